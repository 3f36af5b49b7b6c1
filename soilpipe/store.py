"""The store: a folder or an ``s3://`` prefix. With `files` and its two kinds of place, all that touches fsspec.

One object is written atomically: on disk into ``.tmp/``, fsync, ``os.replace``; on S3 by one PUT or a completed
multipart upload. A reader sees the old object or the new one, never half of one, and a killed writer leaves
nothing but a file in ``.tmp/``. Keys are POSIX paths relative to the root.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soilpipe.errors import SoilpipeError
from soilpipe.files import TEMPORARY, Entry, files_at
from soilpipe.inbox import Inbox, InboxError

__all__ = [
    "Entry",
    "Inbox",
    "InboxError",
    "MissingKeyError",
    "Store",
    "StoreError",
    "StoreFullError",
    "canonical_json",
]

BLOCK = 1 << 22


class StoreError(SoilpipeError):
    """The store could not be read or written."""


class StoreFullError(StoreError):
    """No room is left where the store lives. Nothing is lost: what was not finished has no receipt."""


class MissingKeyError(StoreError, FileNotFoundError):
    """The store has no object of that key."""


class Store:
    """Everything the pipeline writes, below ``root``. Created at the first write; safe to send to other processes.

    ``options`` go to s3fs for an ``s3://`` root and are never written anywhere.
    """

    def __init__(self, root: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self.root = str(root).rstrip("/") or "/"
        self._options = dict(options or {})
        self._files = files_at(self.root, self._options)

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.root, self._options)

    def exists(self, key: str) -> bool:
        """Whether an object (not a folder) of that key is there."""
        with self.told("look for", key):
            return self._files.exists(_checked(key))

    def read_bytes(self, key: str) -> bytes:
        """The whole object. Raises MissingKeyError (a FileNotFoundError too) when it is not there."""
        with self.told("read", key):
            return self._files.read(_checked(key))

    def read_json(self, key: str) -> Any:
        """The object as JSON. Raises StoreError when it is not JSON."""
        try:
            return json.loads(self.read_bytes(key))
        except ValueError as error:
            raise StoreError(f"{self.root}/{key} is not valid JSON ({error}); was it edited by hand?") from error

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write or replace one object, atomically and durably."""
        with self.told("write", key):
            self._files.write(_checked(key), iter((data,)))

    def create_bytes(self, key: str, data: bytes) -> bool:
        """Write an object that must be new; False, and nothing written, where there is another, also when another
        process writes it at the same moment (on S3 by a conditional PUT, on disk by a hard link, where these are to be
        had). True where just these bytes are there: a PUT whose answer was lost is sent again."""
        with self.told("write", key):
            try:
                self._files.create(_checked(key), data)
            except FileExistsError:
                return self._files.read(key) == data
        return True

    def write_json(self, key: str, value: Any) -> None:
        """Write JSON with sorted keys, so that equal values are equal bytes."""
        self.write_bytes(key, canonical_json(value))

    def write_if_changed(self, key: str, data: bytes) -> bool:
        """Write only when the object is absent or differs; True when something was written."""
        try:
            if self.read_bytes(key) == data:
                return False
        except FileNotFoundError:
            pass
        self.write_bytes(key, data)
        return True

    def put_file(self, local: Path, key: str) -> str:
        """Copy a local file into the store, streamed and atomic; the sha256 of the bytes that were copied."""
        digest = hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            with local.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    yield block

        with self.told("write", key):
            self._files.write(_checked(key), blocks())
        return digest.hexdigest()

    @contextmanager
    def open_local(self, key: str) -> Iterator[Path]:
        """A local path with the object's bytes, only to be read; from S3 a temporary file, removed afterwards."""
        with Inbox(f"{self.root}/{_checked(key).rpartition('/')[0]}", self._options).open_local(
            Entry(key.rpartition("/")[2], 0, 0.0)
        ) as path:
            yield path

    def keys(self, prefix: str, suffix: str = "", *, after: str = "", before: str = "") -> list[str]:
        """The keys that `list` would give, sorted: on a disk many times faster, for no file is looked at.

        ``after`` and ``before``: only those between, which on S3 are found without listing the others.
        """
        with self.told("list", prefix):
            found = [key for key in self._files.keys(_checked(prefix), after, before) if key.endswith(suffix)]
        return sorted(found)

    def present(self, keys: Collection[str]) -> set[str]:
        """Which of these objects are there. On S3, neighbours are found with one LIST call for 1,000 of them."""
        with self.told("look for", next(iter(keys), "")):
            return self._files.present([_checked(key) for key in keys])

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below ``prefix``, sorted; [] when absent. What is in them is not listed."""
        with self.told("list", prefix):
            return sorted(self._files.folders(_checked(prefix)))

    def list(self, prefix: str, suffix: str = "") -> list[Entry]:
        """Every object below the folder ``prefix`` whose key ends in ``suffix``, sorted by key; [] when absent."""
        prefix = _checked(prefix) if prefix else ""
        with self.told("list", prefix):
            found = [Entry(*fields) for fields in self._files.list(prefix) if fields[0].endswith(suffix)]
        return sorted((e for e in found if not e.key.startswith(TEMPORARY + "/")), key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        """Remove one object; nothing happens when it is not there."""
        with self.told("delete", key):
            self._files.delete(_checked(key))

    def unfinished(self) -> tuple[Entry, ...]:
        """Writes that were begun and not finished, by whom ever: files in ``.tmp/``; on S3 open multipart uploads, of
        which ``version`` is the server's name. Some may still be at work."""
        with self.told("list", TEMPORARY):
            found = [Entry(*fields) for fields in self._files.unfinished()]
        return tuple(sorted(found, key=lambda entry: entry.key))

    def discard(self, unfinished: Entry) -> int:
        """Remove one of them; how many bytes that freed, 0 when it has gone."""
        with self.told("discard", unfinished.key):
            freed: int = self._files.discard(unfinished.key, unfinished.version)
        return freed

    def delete_older(self, prefix: str, before: float) -> int:
        """Remove what lies below the folder ``prefix`` and was last changed before ``before`` (epoch seconds); how many
        bytes that freed. On a disk folders that are then empty go too."""
        with self.told("delete", prefix):
            freed: int = self._files.delete_older(_checked(prefix), before)
        return freed

    def sha256(self, key: str) -> str:
        """Hex sha256 of an object, streamed."""
        digest = hashlib.sha256()
        with self.told("read", key):
            for block in self._files.blocks(_checked(key)):
                digest.update(block)
        return digest.hexdigest()

    def zarr(self, key: str, read_only: bool = False) -> Any:
        """A zarr store at ``key``. On disk each of its objects is written through ``.tmp/`` and synced, like ours."""
        return self._files.zarr(_checked(key), read_only)

    def sync(self, prefix: str) -> None:
        """Force to disk what lies below ``prefix``; nothing to do on S3."""
        with self.told("sync", prefix):
            self._files.sync(_checked(prefix))

    @contextmanager
    def told(self, doing: str, key: str) -> Iterator[None]:
        """Turn errors of the place into errors for people; also for what is written through `zarr`."""
        try:
            yield
        except SoilpipeError:
            raise
        except FileNotFoundError as error:
            raise MissingKeyError(f"the store has no {key} (in {self.root})") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFullError(
                    f"cannot {doing} {key}: no space left where the store {self.root} lives. "
                    "Free some space and run again; nothing was lost."
                ) from error
            raise StoreError(f"cannot {doing} {key} in the store {self.root}: {error.strerror or error}") from error


def canonical_json(value: Any) -> bytes:
    """Sorted keys, indent 1, a newline at the end. Undecodable parts of file names stay as JSON escapes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def _checked(key: str) -> str:
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in key:
        raise StoreError(f"{key!r} is no key of a store: it must be a relative path without '.', '..' or empty parts")
    return key
