"""Objects below an ``s3://bucket/prefix``, one PUT or a completed multipart upload each. Part of `store`."""

from __future__ import annotations

import base64
import binascii
import errno
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from os.path import commonpath
from pathlib import Path
from typing import Any

PAGE = 1000  # names of one LIST call, the most that servers give
LAST = chr(0x10FFFF)
TAKEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")  # another PUT was first, or is under way
UNCONDITIONAL = ("NotImplemented", "501")  # what servers say that cannot put an object only where there is none
BLOCK = 1 << 24  # above S3's smallest part of a multipart upload, 5 MiB
Fields = tuple[str, int, float, str]  # key, size, modified, version


class ChecksumError(OSError):
    """What was received is not what the server has the checksum of."""


class S3Files:
    """Objects below a prefix. Missing ones raise FileNotFoundError."""

    def __init__(self, root: str, options: Mapping[str, Any]) -> None:
        import s3fs  # here, so that projects on disk do not load aiobotocore

        self._url = root
        self._root = root.removeprefix("s3://").strip("/")
        self._options = dict(options)
        # Listings must be of now: another process may have written since.
        self._fs = s3fs.S3FileSystem(**{"use_listings_cache": False, **self._options})

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def exists(self, key: str) -> bool:
        return self._head(key) is not None

    def _head(self, key: str, **asked: str) -> dict[str, Any] | None:
        """What the server says of an object, in one request: s3fs would look for a folder too where there is none."""
        bucket, _, path = self._path(key).partition("/")
        try:
            told: dict[str, Any] = self._fs.call_s3("head_object", Bucket=bucket, Key=path, **asked)
        except FileNotFoundError:
            return None
        return told

    def read(self, key: str) -> bytes:
        return bytes(self._fs.cat_file(self._path(key)))

    def blocks(self, key: str) -> Iterator[bytes]:
        from botocore.exceptions import FlexibleChecksumError

        try:
            with self._fs.open(self._path(key), "rb", block_size=BLOCK, cache_type="readahead") as file:
                while block := file.read(BLOCK):
                    yield block
        except FlexibleChecksumError as error:
            raise ChecksumError(f"the bytes received are not those that its checksum is of: {error}") from error

    def download(self, key: str, path: Path) -> None:
        """Into a file. Bytes that do not fit the server's checksum too, if it is one that `sha256_kept` tells."""
        try:
            self._download(key, path)
        except ChecksumError:
            if self.sha256_kept(key) is None:
                raise
            self._unchecked()._download(key, path)

    def _download(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            for block in self.blocks(key):
                file.write(block)

    def _unchecked(self) -> S3Files:
        """The same objects, given out whatever checksum the server has of them."""
        config = {**self._options.get("config_kwargs", {}), "response_checksum_validation": "when_required"}
        return S3Files(self._url, {**self._options, "config_kwargs": config})

    def write(self, key: str, blocks: Iterator[bytes]) -> None:
        first = next(blocks, b"")
        second = next(blocks, None)
        if second is None and len(first) <= BLOCK:
            self._fs.pipe_file(self._path(key), first)
            return
        # Shows only with commit(), the end of a multipart upload. (The file system's own transactions are shared by
        # all threads that use it.)
        file = self._fs.open(self._path(key), "wb", block_size=BLOCK, autocommit=False)
        try:
            for block in chain((first,), () if second is None else (second,), blocks):
                file.write(block)
            file.close()
            file.commit()
        except BaseException:
            file.discard()
            file.closed = True
            raise

    def create(self, key: str, data: bytes) -> None:
        """One PUT that the server refuses where the object is there. Servers that know no conditions are looked at
        first; what another process writes between the two is not seen there."""
        if self.exists(key):
            raise FileExistsError(errno.EEXIST, "it is there already", key)
        try:
            self._fs.pipe_file(self._path(key), data, mode="create")
        except FileExistsError:
            raise
        except OSError as error:
            code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")
            if code in TAKEN:
                raise FileExistsError(errno.EEXIST, "it is there already", key) from error
            if code not in UNCONDITIONAL:
                raise
            self._fs.pipe_file(self._path(key), data)

    def list(self, prefix: str) -> Iterator[Fields]:
        start = len(self._root) + 1
        for path, info in self._fs.find(self._path(prefix) + "/", detail=True).items():
            yield _fields(path[start:], info)

    def keys(self, prefix: str, after: str = "", before: str = "") -> Iterator[str]:
        end: str | None = after
        while end is not None:
            found, end = self.page(f"{prefix}/", end, folders=True)
            yield from (fields[0] for fields in found if not before or fields[0] < before)
            if before and end is not None and end >= before:
                return

    def folders(self, prefix: str) -> Iterator[str]:
        try:
            found = self._fs.ls(self._path(prefix), detail=True, refresh=True)
        except FileNotFoundError:
            return
        yield from (info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    def present(self, keys: Collection[str]) -> set[str]:
        """By listing from the first on: whatever lies between two of them costs nothing where it fills no page."""
        wanted, there = sorted(keys), set[str]()
        folder = commonpath([key.rpartition("/")[0] for key in wanted]) if wanted else ""
        while wanted:
            found, end = self.page(f"{folder}/" if folder else "", _before(wanted[0]), folders=True)
            there |= {fields[0] for fields in found}
            wanted = [key for key in wanted if end is not None and key > end]
        return there & set(keys)

    def page(self, begins: str, after: str, folders: bool = False) -> tuple[tuple[Fields, ...], str | None]:
        """The next PAGE objects at most whose keys begin so and sort after `after`, and where the next page starts.

        One LIST call. `folders`: what lies in folders too. None instead of a start: there are no more.
        """
        bucket = self._root.partition("/")[0]
        within = f"{self._root}/".partition("/")[2]
        asked: dict[str, Any] = {} if folders else {"Delimiter": "/"}
        if after:
            asked["StartAfter"] = within + after
        told = self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=within + begins, MaxKeys=PAGE, **asked)
        listed = [(item["Key"].removeprefix(within), item) for item in told.get("Contents", ())]
        # A folder is one name to S3; the page after it starts behind all that lies in it.
        skipped = [item["Prefix"].removeprefix(within) + LAST for item in told.get("CommonPrefixes", ())]
        end = max((*(name for name, _ in listed), *skipped), default="")
        files = ((name, item) for name, item in listed if name and name[-1] != "/")
        found = tuple(_fields(name, {**item, "size": item["Size"]}) for name, item in files)
        return found, end if told.get("IsTruncated") and end > after else None

    def list_folder(self) -> Iterator[Fields]:
        bucket = self._root.partition("/")[0]
        try:
            found = self._fs.ls(self._root, detail=True, refresh=True)
        except FileNotFoundError:
            if not self._fs.exists(bucket):
                raise
            return
        for info in found:
            name = info["name"].removeprefix(self._root).lstrip("/")
            if info["type"] == "file" and name and "/" not in name:
                yield _fields(name, info)

    def stat(self, key: str) -> Fields | None:
        told = self._head(key)
        return None if told is None else _fields(key, {**told, "size": told["ContentLength"]})

    def sha256_kept(self, key: str) -> str | None:
        """Hex; None where the server keeps none, or only one of the parts in which the object was uploaded."""
        try:
            head = self._head(key, ChecksumMode="ENABLED") or {}
        except OSError:
            return None  # not every server knows of checksums
        told = head.get("ChecksumSHA256", "")
        if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in told:
            return None
        try:
            digest = base64.b64decode(told, validate=True)
        except binascii.Error:
            return None
        return digest.hex() if len(digest) == 32 else None

    def delete(self, key: str) -> None:
        if self.exists(key):
            self._fs.rm_file(self._path(key))

    def unfinished(self) -> Iterator[Fields]:
        """Open multipart uploads below the root: when each began, and the server's name of it."""
        bucket, _, within = f"{self._root}/".partition("/")
        asked: dict[str, Any] = {}
        while True:
            try:
                told = self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=within, **asked)
            except FileNotFoundError:  # so rclone's server says that there is none
                return
            for upload in told.get("Uploads", ()):
                key, name = upload["Key"], upload["UploadId"]
                size = sum(part["Size"] for part in self._parts(bucket, key, name))
                yield key.removeprefix(within), size, upload["Initiated"].timestamp(), name
            if not told.get("IsTruncated"):
                return
            asked = {"KeyMarker": told["NextKeyMarker"], "UploadIdMarker": told["NextUploadIdMarker"]}

    def _parts(self, bucket: str, key: str, upload: str) -> Iterator[dict[str, Any]]:
        asked: dict[str, Any] = {}
        while True:
            told = self._fs.call_s3("list_parts", Bucket=bucket, Key=key, UploadId=upload, **asked)
            yield from told.get("Parts", ())
            if not told.get("IsTruncated"):
                return
            asked = {"PartNumberMarker": told["NextPartNumberMarker"]}

    def discard(self, key: str, version: str) -> int:
        bucket, _, path = self._path(key).partition("/")
        try:
            size = sum(part["Size"] for part in self._parts(bucket, path, version))
            self._fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=path, UploadId=version)
        except FileNotFoundError:  # finished or given up since it was listed
            return 0
        return size

    def delete_older(self, prefix: str, before: float) -> int:
        old = [fields for fields in self.list(prefix) if fields[2] < before]
        if old:
            self._fs.rm([self._path(fields[0]) for fields in old])
        return sum(fields[1] for fields in old)

    def sync(self, prefix: str) -> None:
        """Nothing to do: a PUT that was answered is durable."""

    def zarr(self, key: str, read_only: bool) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(f"{self._url}/{key}", storage_options=self._options, read_only=read_only)


def _before(key: str) -> str:
    """What sorts directly before a key, so that a listing after it begins with the key."""
    return key[:-1] + chr(ord(key[-1]) - 1) + LAST


def _fields(key: str, info: Mapping[str, Any]) -> Fields:
    modified = info.get("LastModified")
    return key, int(info["size"]), modified.timestamp() if modified else 0.0, str(info.get("ETag", "")).strip('"')
