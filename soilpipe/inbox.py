"""The folder or ``s3://`` prefix in which a scanner's files arrive: only ever read."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from soilpipe.errors import SoilpipeError
from soilpipe.files import Entry, files_at
from soilpipe.local_files import LocalFiles
from soilpipe.temporary import temporary_folder


class InboxError(SoilpipeError):
    """An inbox does not exist or cannot be listed."""


@dataclass(frozen=True)
class Page:
    """Files that follow each other in the order of their names. ``end``: look on after this; None when it was all."""

    entries: tuple[Entry, ...]
    end: str | None


class Inbox:
    """A read-only view of the folder or ``s3://`` prefix in which a scanner's files arrive."""

    def __init__(self, url: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self.url = str(url).rstrip("/") or "/"
        self._options = dict(options or {})

    @property
    def has_pages(self) -> bool:
        """Whether the place lists by pages, each of which takes a request: S3 does, a disk does not."""
        return self.url.startswith("s3://")

    def list(self) -> list[Entry]:
        """The files right in the inbox (folders are not entered), sorted by name.

        Raises InboxError when it does not exist. An empty ``s3://`` prefix is an empty inbox: S3 has no folders.
        """
        with self._told():
            found = [Entry(*fields) for fields in files_at(self.url, self._options).list_folder()]
        return sorted(found, key=lambda entry: entry.key)

    def page(self, after: str = "", begins: str = "") -> Page:
        """The next files whose names sort after ``after`` and begin with ``begins``: one LIST call, 1,000 at most.

        Only where the inbox `has_pages`. Names sort by code points, as Python's. Raises InboxError.
        """
        with self._told():
            found, end = files_at(self.url, self._options).page(begins, after)
        return Page(tuple(Entry(*fields) for fields in found), end)

    @contextmanager
    def _told(self) -> Iterator[None]:
        remedy = "Create it, or correct `inbox` in the project file."
        try:
            yield
        except FileNotFoundError as error:
            raise InboxError(f"the inbox {self.url} does not exist. {remedy}") from error
        except NotADirectoryError as error:
            raise InboxError(f"the inbox {self.url} is a file, not a folder. {remedy}") from error
        except OSError as error:
            raise InboxError(f"the inbox {self.url} cannot be listed: {error.strerror or error}. {remedy}") from error

    @contextmanager
    def open_local(self, entry: Entry) -> Iterator[Path]:
        """A local path with the file's bytes. From S3 into a temporary file that is removed whatever happens.

        It is not streamed: a scan's id holds the hash of the whole file, so nothing of it could be written before its
        last byte has come, and every object would have to be fetched twice. (A killed process's copy is removed by
        the next process that makes one, see `temporary`.)

        Raises FileNotFoundError when the file has gone.
        """
        files = files_at(self.url, self._options)
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
        found = files_at(self.url, self._options).stat(entry.key)
        return Entry(*found) if found else None

    def read_beside(self, entry: Entry, suffix: str, most: int) -> bytes | None:
        """Of the file called like this one with ``suffix`` at its end at most ``most`` bytes; None where there is none.

        Raises InboxError when it cannot be read.
        """
        key = entry.key + suffix
        data = b""
        files = files_at(self.url, self._options)
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
        kept: str | None = files_at(self.url, self._options).sha256_kept(entry.key)
        return kept
