"""The store (a folder or an ``s3://`` prefix) and the inboxes: the only module that touches fsspec.

One object is written atomically: on disk into ``.tmp/``, fsync, ``os.replace``; on S3 by one PUT or a completed
multipart upload. A reader sees the old object or the new one, never half of one, and a killed writer leaves
nothing but a file in ``.tmp/``. Keys are POSIX paths relative to the root.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from soilpipe.errors import SoilpipeError
from soilpipe.local_files import LocalFiles
from soilpipe.temporary import temporary_folder

TEMPORARY = ".tmp"
BLOCK = 1 << 22


class StoreError(SoilpipeError):
    """The store could not be read or written."""


class StoreFullError(StoreError):
    """No room is left where the store lives. Nothing is lost: what was not finished has no receipt."""


class MissingKeyError(StoreError, FileNotFoundError):
    """The store has no object of that key."""


class InboxError(SoilpipeError):
    """An inbox does not exist or cannot be listed."""


@dataclass(frozen=True)
class Entry:
    """One object: ``size`` in bytes, ``modified`` in epoch seconds, ``version`` the ETag on S3 and "" on disk.

    ``changed`` (epoch seconds): when a file on disk was last written to, which no program can set. Only `Inbox.stat`
    tells it; 0 elsewhere.
    """

    key: str
    size: int
    modified: float
    version: str = ""
    changed: float = 0.0

    def is_now(self, current: Entry) -> bool:
        """Whether a later look shows the same. Servers list times to the millisecond and tell them to the second."""
        if (self.size, self.version) != (current.size, current.version):
            return False
        if self.version:
            return int(self.modified) == int(current.modified)
        return self.modified == current.modified and self.changed in (0.0, current.changed)


class Files(Protocol):
    """What a store needs of the place it lives in. Missing objects raise FileNotFoundError, the rest OSError."""

    def exists(self, key: str) -> bool: ...
    def read(self, key: str) -> bytes: ...
    def blocks(self, key: str) -> Iterator[bytes]: ...
    def write(self, key: str, blocks: Iterator[bytes]) -> None: ...
    def list(self, prefix: str) -> Iterator[tuple[str, int, float, str]]: ...
    def keys(self, prefix: str) -> Iterator[str]: ...
    def delete(self, key: str) -> None: ...
    def sync(self, prefix: str) -> None: ...
    def zarr(self, key: str, read_only: bool) -> Any: ...


class Store:
    """Everything the pipeline writes, below ``root``. Created at the first write; safe to send to other processes.

    ``options`` go to s3fs for an ``s3://`` root and are never written anywhere.
    """

    def __init__(self, root: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self.root = str(root).rstrip("/") or "/"
        self._options = dict(options or {})
        self._files = _files_at(self.root, self._options)

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

    def keys(self, prefix: str, suffix: str = "") -> list[str]:
        """The keys that `list` would give, sorted: on a disk many times faster, for no file is looked at."""
        with self.told("list", prefix):
            found = [key for key in self._files.keys(_checked(prefix)) if key.endswith(suffix)]
        return sorted(found)

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


class Inbox:
    """A read-only view of the folder or ``s3://`` prefix in which a scanner's files arrive."""

    def __init__(self, url: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self.url = str(url).rstrip("/") or "/"
        self._options = dict(options or {})

    def list(self) -> list[Entry]:
        """The files right in the inbox (folders are not entered), sorted by name.

        Raises InboxError when it does not exist. An empty ``s3://`` prefix is an empty inbox: S3 has no folders.
        """
        remedy = "Create it, or correct `inbox` in the project file."
        try:
            found = [Entry(*fields) for fields in _files_at(self.url, self._options).list_folder()]
        except FileNotFoundError as error:
            raise InboxError(f"the inbox {self.url} does not exist. {remedy}") from error
        except NotADirectoryError as error:
            raise InboxError(f"the inbox {self.url} is a file, not a folder. {remedy}") from error
        except OSError as error:
            raise InboxError(f"the inbox {self.url} cannot be listed: {error.strerror or error}. {remedy}") from error
        return sorted(found, key=lambda entry: entry.key)

    @contextmanager
    def open_local(self, entry: Entry) -> Iterator[Path]:
        """A local path with the file's bytes. From S3 into a temporary file that is removed afterwards.

        Raises FileNotFoundError when the file has gone.
        """
        files = _files_at(self.url, self._options)
        if isinstance(files, LocalFiles):
            path = Path(self.url) / entry.key
            path.stat()
            yield path
            return
        with temporary_folder() as folder:
            path = folder / ("download" + PurePosixPath(entry.key).suffix)
            try:
                files.download(entry.key, path)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise InboxError(
                    f"no space left in {folder.parent} for a copy of {entry.key} from {self.url} ({entry.size} bytes). "
                    "Free some, or name another folder in the environment variable TMPDIR."
                ) from error
            yield path

    def stat(self, entry: Entry) -> Entry | None:
        """The file as it is now, or None when it has gone."""
        found = _files_at(self.url, self._options).stat(entry.key)
        return Entry(*found) if found else None

    def read_beside(self, entry: Entry, suffix: str, most: int) -> bytes | None:
        """Of the file called like this one with ``suffix`` at its end at most ``most`` bytes; None where there is none.

        Raises InboxError when it cannot be read.
        """
        key = entry.key + suffix
        data = b""
        files = _files_at(self.url, self._options)
        try:
            if files.stat(key) is None:
                return None
            for block in files.blocks(key):
                data += block
                if len(data) >= most:
                    break
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InboxError(f"{key} in the inbox {self.url} cannot be read: {error.strerror or error}") from error
        return data[:most]

    def sha256_kept(self, entry: Entry) -> str | None:
        """The hex sha256 of the whole object that an S3 server keeps with it; None elsewhere, and where it has none."""
        kept: str | None = _files_at(self.url, self._options).sha256_kept(entry.key)
        return kept


def canonical_json(value: Any) -> bytes:
    """Sorted keys, indent 1, a newline at the end. Undecodable parts of file names stay as JSON escapes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def _checked(key: str) -> str:
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in key:
        raise StoreError(f"{key!r} is no key of a store: it must be a relative path without '.', '..' or empty parts")
    return key


def _files_at(root: str, options: Mapping[str, Any]) -> Any:
    if root.startswith("s3://"):
        from soilpipe.s3_files import S3Files

        return S3Files(root, options)
    return LocalFiles(Path(root), Path(root) / TEMPORARY)
