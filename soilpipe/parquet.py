"""Parquet to bytes and back, so that an equal table is equal bytes.

Options are fixed here and nowhere else; nothing of pandas and no time of writing goes into a file. What is left in it
that may change is the name of the pyarrow release that wrote it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

_LARGE = {"compression": "zstd", "compression_level": 3, "use_dictionary": True, "write_statistics": True}
# A file of some tens of rows is read four times as fast like this, and is no larger; there are a thousand a year.
_SMALL = {"compression": "snappy", "use_dictionary": False, "write_statistics": False}


def to_parquet(table: pa.Table, metadata: Mapping[str, str] | None = None, *, small: bool = False) -> bytes:
    """The bytes of a Parquet file; ``metadata`` is added to that of the schema.

    ``small``: for files of one scan, of which there are many.

    Raises pa.ArrowInvalid when there is a null in a column that must not have one.
    """
    if metadata:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), **{k.encode(): metadata[k].encode() for k in sorted(metadata)}}
        )
    # One chunk a column: chunk borders cut pages, so equal tables put together differently would differ in bytes.
    table = table.combine_chunks()
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        version="2.6",
        data_page_version="1.0",
        row_group_size=1 << 20,
        store_schema=True,
        **(_SMALL if small else _LARGE),
    )
    return sink.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The table as written, with its schema metadata. Raises pa.ArrowInvalid when the bytes are not whole."""
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def metadata_of(data: bytes) -> dict[str, str]:
    """The schema's metadata alone, without reading a row."""
    metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW:")}
