"""What others said the sha256 of a file is: a ``.sha256`` file beside it, or the checksum that S3 keeps.

Of some formats nobody can see that a part is missing: an uncompressed TIFF whose end is black may be black soil. What
was reckoned where the file was made tells it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from soilpipe.ingest.readers import Refused
from soilpipe.store import Entry, Inbox, InboxError

SUFFIX = ".sha256"
LONGEST = 1 << 16
"""Bytes of a side file that are looked at: a list of 400 files."""

_HEX = r"[0-9a-fA-F]{64}"
_LINES = (
    re.compile(rf"(?P<escaped>\\?)(?P<hex>{_HEX})(?:[ \t]+\*?(?P<name>.+))?"),  # sha256sum, or the bare digits
    re.compile(rf"(?P<escaped>\\?)SHA256 ?\((?P<name>.+)\) ?= ?(?P<hex>{_HEX})"),  # sha256sum --tag, openssl
)


@dataclass(frozen=True)
class Told:
    """``sha256`` in small hex digits; None where ``problem`` says why nobody can read it. ``source``: who said it."""

    source: str
    sha256: str | None
    problem: str | None = None


def told_checksums(inbox: Inbox, entry: Entry, name: str) -> tuple[Told, ...]:
    """Everything that is said of a file in the inbox; ``name`` is its printable name."""
    side = name + SUFFIX
    found = []
    try:
        data = inbox.read_beside(entry, SUFFIX, LONGEST + 1)
    except InboxError as error:
        found.append(Told(side, None, str(error)))
    else:
        if data is not None:
            found.append(read_side_file(data, side, PurePosixPath(entry.key).name))
    if kept := inbox.sha256_kept(entry):
        found.append(Told("S3", kept))
    return tuple(found)


def read_side_file(data: bytes, side: str, name: str) -> Told:
    """Lines as sha256sum writes them, or the digits alone. Of several, the one for ``name`` counts."""
    if len(data) > LONGEST:
        return Told(side, None, f"{side} is longer than {LONGEST // 1024} kB: that is no checksum")
    lines = [line for line in map(str.strip, _text(data).splitlines()) if line and not line.startswith("#")]
    matches = [match for line in lines if (match := _match(line))]
    if len(matches) < len(lines) or not matches:
        what = (
            "is empty"
            if not data.strip()
            else "holds no sha256 as sha256sum writes it (64 hex digits, two spaces, name)"
        )
        return Told(side, None, f"{side} {what}")
    digests = {match["hex"].lower() for match in matches}
    if len(digests) > 1:
        digests = {match["hex"].lower() for match in matches if _is_named(match, name)}
    if len(digests) != 1:
        return Told(side, None, f"{side} holds {len(matches)} checksums, and {len(digests) or 'none'} for this file")
    return Told(side, digests.pop())


def check(told: tuple[Told, ...], sha256: str) -> None:
    """Raises Refused when somebody said another sha256 of the file."""
    for one in told:
        if one.sha256 is not None and one.sha256 != sha256:
            raise Refused(
                "checksum",
                f"Its sha256 is {sha256}, but {one.source} says {one.sha256}.",
                "Copy it again from the scanner, the good file will take its place; or, where the checksum is what is "
                "wrong, accept the file.",
            )


def confirmed_by(told: tuple[Told, ...], sha256: str) -> str | None:
    """The first who said that sha256."""
    return next((one.source for one in told if one.sha256 == sha256), None)


def problems(told: tuple[Told, ...]) -> str | None:
    """What could not be read, in words."""
    return "; ".join(one.problem for one in told if one.problem) or None


def _text(data: bytes) -> str:
    """UTF-8, or UTF-16 as PowerShell's ``>`` writes it; names that are neither do not matter."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, "replace")


def _match(line: str) -> re.Match[str] | None:
    return next((match for pattern in _LINES if (match := pattern.fullmatch(line))), None)


def _is_named(match: re.Match[str], name: str) -> bool:
    told = match["name"] or ""
    if match["escaped"]:
        told = told.replace("\\n", "\n").replace("\\\\", "\\")
    return PurePosixPath(told).name == name
