"""Objects below an ``s3://bucket/prefix``, one PUT or a completed multipart upload each. Part of `store`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

BLOCK = 1 << 24  # above S3's smallest part of a multipart upload, 5 MiB
Fields = tuple[str, int, float, str]  # key, size, modified, version


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
        return bool(self._fs.isfile(self._path(key)))

    def read(self, key: str) -> bytes:
        return bytes(self._fs.cat_file(self._path(key)))

    def blocks(self, key: str) -> Iterator[bytes]:
        with self._fs.open(self._path(key), "rb", block_size=BLOCK, cache_type="readahead") as file:
            while block := file.read(BLOCK):
                yield block

    def write(self, key: str, blocks: Iterator[bytes]) -> None:
        # Shows only with commit(): one PUT, or the end of a multipart upload. (The file system's own transactions
        # are shared by all threads that use it.)
        file = self._fs.open(self._path(key), "wb", block_size=BLOCK, autocommit=False)
        try:
            for block in blocks:
                file.write(block)
            file.close()
            file.commit()
        except BaseException:
            file.discard()
            file.closed = True
            raise

    def list(self, prefix: str) -> Iterator[Fields]:
        start = len(self._root) + 1
        for path, info in self._fs.find(self._path(prefix) + "/", detail=True).items():
            yield _fields(path[start:], info)

    def keys(self, prefix: str) -> Iterator[str]:
        return (fields[0] for fields in self.list(prefix))

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
        try:
            return _fields(key, self._fs.info(self._path(key), refresh=True))
        except FileNotFoundError:
            return None

    def sha256_kept(self, key: str) -> str | None:
        """Hex; None where the server keeps none, or only one of the parts in which the object was uploaded."""
        bucket, _, path = self._path(key).partition("/")
        try:
            head = self._fs.call_s3("head_object", Bucket=bucket, Key=path, ChecksumMode="ENABLED")
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

    def sync(self, prefix: str) -> None:
        """Nothing to do: a PUT that was answered is durable."""

    def zarr(self, key: str, read_only: bool) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(f"{self._url}/{key}", storage_options=self._options, read_only=read_only)


def _fields(key: str, info: Mapping[str, Any]) -> Fields:
    modified = info.get("LastModified")
    return key, int(info["size"]), modified.timestamp() if modified else 0.0, str(info.get("ETag", "")).strip('"')
