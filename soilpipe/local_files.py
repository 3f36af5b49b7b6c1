"""Objects as files below a folder, each written through ``.tmp/``, fsync and ``os.replace``. Part of `store`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from soilpipe.atomic import sync_folder, write_atomically

BLOCK = 1 << 22
Fields = tuple[str, int, float, str, float]  # key, size, modified, version, last write


class LocalFiles:
    """A folder of objects. Missing ones raise FileNotFoundError."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self._root = root
        self._temporary = temporary

    def exists(self, key: str) -> bool:
        return (self._root / key).is_file()

    def read(self, key: str) -> bytes:
        return (self._root / key).read_bytes()

    def blocks(self, key: str) -> Iterator[bytes]:
        with (self._root / key).open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    def write(self, key: str, blocks: Iterator[bytes]) -> None:
        write_atomically(self._root / key, self._temporary, blocks)

    def create(self, key: str, data: bytes) -> None:
        write_atomically(self._root / key, self._temporary, iter((data,)), new=True)

    def list(self, prefix: str) -> Iterator[Fields]:
        for key, item in self._below(prefix):
            if fields := _fields(item, key):
                yield fields

    def keys(self, prefix: str, after: str = "", before: str = "") -> Iterator[str]:
        return (key for key, _ in self._below(prefix) if after < key and (not before or key < before))

    def folders(self, prefix: str) -> Iterator[str]:
        try:
            found = os.scandir(self._root / prefix)
        except (FileNotFoundError, NotADirectoryError):
            return
        with found:
            yield from (item.name for item in found if item.is_dir())

    def present(self, keys: Collection[str]) -> set[str]:
        return {key for key in keys if self.exists(key)}

    def _below(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folders = [prefix]
        while folders:
            folder = folders.pop()
            try:
                found = os.scandir(self._root / folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            with found:
                for item in found:
                    key = f"{folder}/{item.name}" if folder else item.name
                    if item.is_dir():
                        if self._root / key != self._temporary:
                            folders.append(key)
                        continue
                    yield key, item

    def list_folder(self) -> Iterator[Fields]:
        """The files right in the root. Raises FileNotFoundError or NotADirectoryError."""
        with os.scandir(self._root) as found:
            for item in found:
                if item.is_file() and (fields := _fields(item, item.name)):
                    yield fields

    def stat(self, key: str) -> Fields | None:
        """As listed. The last write is that, whatever time a program gave the file."""
        try:
            status = (self._root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return key, status.st_size, status.st_mtime, "", status.st_ctime

    def sha256_kept(self, key: str) -> None:
        """Disks keep none."""

    def delete(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def unfinished(self) -> Iterator[Fields]:
        try:
            found = os.scandir(self._temporary)
        except FileNotFoundError:
            return
        with found:
            for item in found:
                if item.is_file() and (fields := _fields(item, f"{self._temporary.name}/{item.name}")):
                    key, size, modified, version, changed = fields
                    yield key, size, max(modified, changed), version, changed

    def discard(self, key: str, version: str) -> int:
        try:
            size = (self._root / key).stat().st_size
            (self._root / key).unlink()
        except FileNotFoundError:
            return 0
        return size

    def delete_older(self, prefix: str, before: float) -> int:
        freed = 0
        for folder, _, names in os.walk(self._root / prefix, topdown=False):
            for name in names:
                path = Path(folder) / name
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if max(status.st_mtime, status.st_ctime) < before:
                        path.unlink()
                        freed += status.st_size
            with suppress(OSError):  # something is in it
                Path(folder).rmdir()
        return freed

    def sync(self, prefix: str) -> None:
        for folder, _, names in os.walk(self._root / prefix):
            for name in names:
                descriptor = os.open(Path(folder) / name, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            sync_folder(Path(folder))
        for parent in (self._root / prefix).parents:
            if parent == self._root.parent or not parent.is_dir():
                break
            sync_folder(parent)

    def zarr(self, key: str, read_only: bool) -> Any:
        from soilpipe.atomic_zarr import AtomicLocalStore

        return AtomicLocalStore(self._root / key, self._temporary, read_only=read_only)


def _fields(item: os.DirEntry[str], key: str) -> Fields | None:
    try:
        status = item.stat()
    except FileNotFoundError:  # went away between the listing and the look
        return None
    return key, status.st_size, status.st_mtime, "", status.st_ctime
