"""What a store or an inbox needs of the place it lives in: a disk (`local_files`) or S3 (`s3_files`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from soilpipe.local_files import LocalFiles

TEMPORARY = ".tmp"
ALIKE_S = 2.0  # seconds: times of one object that differ by less are of the same state of it


@dataclass(frozen=True)
class Entry:
    """One object: ``size`` in bytes, ``modified`` in epoch seconds, ``version`` the ETag on S3 and "" on disk.

    ``changed`` (epoch seconds): when a file on disk was last written to, given a name or other rights, which no program
    can set back; 0 on S3.
    """

    key: str
    size: int
    modified: float
    version: str = ""
    changed: float = 0.0

    def is_now(self, current: Entry) -> bool:
        """Whether a later look shows the same. Servers list times to the millisecond and tell them to the second, and
        one that serves a disk may tell another few milliseconds each time, on either side of a full second."""
        if (self.size, self.version) != (current.size, current.version):
            return False
        if self.version:
            return abs(self.modified - current.modified) < ALIKE_S
        return self.modified == current.modified and (
            self.changed == current.changed or 0.0 in (self.changed, current.changed)
        )


class Files(Protocol):
    """A store's place. Missing objects raise FileNotFoundError, the rest OSError."""

    def exists(self, key: str) -> bool: ...
    def read(self, key: str) -> bytes: ...
    def blocks(self, key: str) -> Iterator[bytes]: ...
    def write(self, key: str, blocks: Iterator[bytes]) -> None: ...
    def create(self, key: str, data: bytes) -> None: ...
    def list(self, prefix: str) -> Iterator[tuple[Any, ...]]: ...
    def keys(self, prefix: str, after: str, before: str) -> Iterator[str]: ...
    def present(self, keys: Collection[str]) -> set[str]: ...
    def delete(self, key: str) -> None: ...
    def unfinished(self) -> Iterator[tuple[Any, ...]]: ...
    def discard(self, key: str, version: str) -> int: ...
    def delete_older(self, prefix: str, before: float) -> int: ...
    def sync(self, prefix: str) -> None: ...
    def zarr(self, key: str, read_only: bool) -> Any: ...


def files_at(root: str, options: Mapping[str, Any]) -> Any:
    """The files below a folder or an ``s3://`` prefix, which gets the options."""
    if root.startswith("s3://"):
        from soilpipe.s3_files import S3Files

        return S3Files(root, options)
    return LocalFiles(Path(root), Path(root) / TEMPORARY)
