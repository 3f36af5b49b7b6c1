"""A zarr store on disk that writes as `store` does: through ``.tmp/``, fsync, ``os.replace``.

zarr's own LocalStore does not fsync, and a killed writer leaves its ``.partial`` files beside the shards, where the
next run would find a scan folder with other bytes in it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from soilpipe.atomic import write_atomically


class AtomicLocalStore(LocalStore):
    """zarr's LocalStore, with durable and atomic writes by way of the folder ``temporary`` of the same file system."""

    def __init__(self, root: Path | str, temporary: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._temporary = Path(temporary)

    def with_read_only(self, read_only: bool = False) -> AtomicLocalStore:
        return type(self)(self.root, self._temporary, read_only=read_only)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (self.root, self._temporary, self.read_only)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._ensure_open_sync()
        self._check_writable()
        self._write(key, value)

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        if not self._is_open:
            await self._open()
        self._check_writable()
        if exclusive and await self.exists(key):
            raise FileExistsError(key)
        await asyncio.to_thread(self._write, key, value)

    def _write(self, key: str, value: Buffer) -> None:
        # The same bytes again (another run at the same scan, or this one after a kill) change nothing.
        write_atomically(self.root / key, self._temporary, iter((value.as_buffer_like(),)))


def _reopened(root: Path, temporary: Path, read_only: bool) -> AtomicLocalStore:
    return AtomicLocalStore(root, temporary, read_only=read_only)
