"""Registrations of labelled scans, kept from one training or judgement to the next.

What two scans show never changes, and to register one under the other takes seconds: every labelled scan would cost
them again for each training, each judgement and each weekly refresh.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2

from soilpipe.atomic import write_atomically
from soilpipe.background.registration import Registration, register_all
from soilpipe.background.registration_file import from_bytes, to_bytes
from soilpipe.tiles import ScanImage
from soilpipe.user_cache import cache_folder

MOST_BYTES = 10_000_000_000
"""Of kept registrations; beyond it those that were not used for longest go. Those of an A4 scan at 1200 dpi with four
references take under 3 MB, so it is reached with some 3,500 labelled scans."""
log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def code() -> str:
    """Hex sha256 of the source that decides what is found: a version number would not tell an edited copy."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "tiles.py"]
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


class RegisteredBefore:
    """The registrations that this machine keeps of scans whose ids tell what they show. `among`: within what they do,
    the root of a store, say."""

    def __init__(self, among: str, folder: Path | None = None) -> None:
        self._among = among
        self._folder = folder or cache_folder("registrations")

    def register(self, scan: ScanImage, references: Sequence[ScanImage]) -> list[Registration]:
        """As `register_all`, of scans with such ids alone; what was found before is taken from where it is kept."""
        paths = [self._path(scan, reference) for reference in references]
        known = [_read(path) for path in paths]
        new = [reference for reference, found in zip(references, known, strict=True) if found is None]
        registered = iter(register_all(scan, new) if new else ())
        told = []
        for path, found in zip(paths, known, strict=True):
            if found is None:
                found = next(registered)
                _write(path, found)
            told.append(found)
        return told

    def tidy(self, most: int = MOST_BYTES) -> None:
        """Let go of what was not used for longest, until what is kept has no more bytes than that."""
        kept = []
        for path in self._folder.glob("*/*.npz"):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue  # another process was faster
            kept.append((facts.st_mtime_ns, facts.st_size, path))
        size = sum(bytes_ for _, bytes_, _ in kept)
        for _, bytes_, path in sorted(kept):
            if size <= most:
                break
            path.unlink(missing_ok=True)
            size -= bytes_

    def _path(self, scan: ScanImage, reference: ScanImage) -> Path:
        """By what decides what is found."""
        ids = [self._among, scan.scan_id, reference.scan_id]
        request = [code(), cv2.__version__, *ids, scan.um_per_px, reference.um_per_px]
        digest = hashlib.sha256(json.dumps(request).encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:34]}.npz"


def _read(path: Path) -> Registration | None:
    try:
        found = from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("a registration that was kept cannot be read (%s: %s); it is made again", path, error)
        return None
    with contextlib.suppress(OSError):  # read only: what is used is then not told from what is not
        path.touch()
    return found


def _write(path: Path, found: Registration) -> None:
    try:
        write_atomically(path, path.parent, iter((to_bytes(found),)))
    except OSError as error:  # no room, read only: it is made again the next time
        log.warning("the registration %s cannot be kept: %s", path, error)
