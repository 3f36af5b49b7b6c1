"""Values that name something: inboxes and the store, the pattern of file names, the detector, a cluster."""

from __future__ import annotations

import os
import re
from pathlib import Path

from soilpipe.config.errors import shown, suggestion

PRESETS_NAME_THE_SCANNER = {"soil_scan": True, "stickypi": True, "ci600": True, "iso": False}
"""The file-name presets of `soilpipe.ingest.names`, and whether a name of that pattern says whose it is."""

_SCHEDULER = re.compile(r"(tcp|tls|ws|wss)://[^\s:/@]+:\d{1,5}")
_MARKER = re.compile(r"[._-][A-Za-z0-9._-]{1,31}")
_NO_MARKER = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".sha256")
_NEEDED_GROUPS = ("year", "month", "day", "hour", "minute")
_KNOWN_GROUPS = (*_NEEDED_GROUPS, "second", "scanner")
TORCHVISION_FAMILIES = ("fasterrcnn_resnet50_fpn_v2", "fcos_resnet50_fpn")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def parse_place(value: object, folder: Path | None = None) -> str:
    """A folder as an absolute path (relative ones to `folder`), or s3://bucket/prefix without a slash at the end."""
    right = "Write a folder, such as ./inbox/A20, or s3://bucket/prefix"
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{shown(value)} is no place. {right}")
    if "://" in value:
        scheme, rest = value.split("://", 1)
        bucket = rest.strip("/").split("/")[0]
        if "@" in bucket or ":" in bucket:
            # Not shown: what stands before an "@" is a password.
            raise ValueError("has a user or a password in its address. Put them into storage_options (key, secret)")
        if scheme.lower() != "s3" or not bucket:
            raise ValueError(f"{shown(value)} is no place that can be read. {right}")
        return f"s3://{rest.strip('/')}"
    if re.match(r"[A-Za-z]:[\\/]", value) and os.name != "nt":
        drive, rest = value[0].lower(), value[3:].replace("\\", "/")
        raise ValueError(f"{shown(value)} is a path of Windows. In WSL2 write /mnt/{drive}/{rest}")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(value)} names a home folder that is not there. {right}") from None
    if not path.is_absolute() and folder is None:
        raise ValueError(f"{shown(value)} is relative to nothing. Write an absolute path, or s3://bucket/prefix")
    return os.path.normpath((folder or Path()) / path)


def parse_filename(value: object) -> str:
    """A preset, or a regular expression with the named groups year month day hour minute (second, scanner).

    One without any group of the time says that names tell no time, so that it comes from the files (EXIF). Unnamed
    groups there are taken for a time whose groups somebody forgot to name.
    """
    presets = tuple(PRESETS_NAME_THE_SCANNER)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{shown(value)} is no file-name pattern. Write a preset: {', '.join(presets)}")
    if value in presets:
        return value
    if re.fullmatch(r"[\w -]+", value):
        raise ValueError(
            f"{shown(value)} is no preset: {suggestion(value, presets)} Or write a regular expression with the groups "
            "(?P<year>...), month, day, hour and minute"
        )
    try:
        pattern = re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{shown(value)} is no regular expression: {error}. Mend it, or write a preset: {', '.join(presets)}"
        ) from None
    groups = set(pattern.groupindex)
    timeless = groups <= {"scanner"} and pattern.groups == len(groups)
    missing = [] if timeless else [group for group in _NEEDED_GROUPS if group not in groups]
    foreign = sorted(groups - set(_KNOWN_GROUPS))
    told = []
    if missing:
        told.append(f"lacks the named groups {', '.join(missing)}: write (?P<{missing[0]}>\\d+) and so on")
    if foreign:
        told.append(
            f"has the groups {', '.join(foreign)}, which mean nothing here: "
            f"known are {', '.join(_KNOWN_GROUPS)}; write (?:...) for any other"
        )
    if told:
        raise ValueError(f"{shown(value)} {'; it '.join(told)}")
    return value


def parse_done_marker(value: object) -> str:
    """What is added to a file's name for the empty file that says it is whole: ".done" for `A20.tiff.done`."""
    right = "Write what is added to the file's name, such as .done"
    if not isinstance(value, str) or not _MARKER.fullmatch(value):
        raise ValueError(f"{shown(value)} is no done-marker. {right}")
    if value.lower() in _NO_MARKER:
        raise ValueError(f"{shown(value)} is no done-marker: such files have a meaning of their own. {right}")
    return value


def parse_scheduler(value: object) -> str:
    """The address of a Dask cluster's scheduler: "tcp://host:8786"."""
    if not isinstance(value, str) or not _SCHEDULER.fullmatch(value):
        raise ValueError(f"{shown(value)} is no address of a Dask scheduler. Write it as tcp://host:8786")
    return value


def names_scanner(filename: str) -> bool:
    """Whether a name of this pattern says which scanner made the file, so that scanners may share an inbox."""
    if filename in PRESETS_NAME_THE_SCANNER:
        return PRESETS_NAME_THE_SCANNER[filename]
    return "scanner" in re.compile(filename).groupindex


def parse_detector(value: object) -> str:
    """ "champion", "change", a version (12 hex) or the name of a model in the store's registry, or "torchvision:" and a
    family of detectors, for the trained one of that family. `detect.select` says which one, where there are several."""
    if isinstance(value, str) and value.startswith("torchvision:"):
        if value.removeprefix("torchvision:") not in TORCHVISION_FAMILIES:
            raise ValueError(
                f"{shown(value)}: of torchvision's detectors there are {' and '.join(TORCHVISION_FAMILIES)}. "
                f"Write torchvision:{TORCHVISION_FAMILIES[0]}, champion, change, or the version of a trained detector "
                "(`soilpipe models list`)"
            )
        return value
    if not isinstance(value, str) or not _MODEL_NAME.fullmatch(value):
        raise ValueError(
            f"{shown(value)} is no detector. Write champion, change, or the version or name of a trained one "
            "(`soilpipe models list`)"
        )
    for word in ("champion", "change"):
        if value.lower() == word != value:
            raise ValueError(f"{shown(value)} is no detector. Write {word}, in small letters")
    return value
