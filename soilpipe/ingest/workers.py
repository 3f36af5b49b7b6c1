"""The workers of a Dask cluster, made ready to compress: as many threads as they have, and memory that they keep.

Dask starts its workers with MALLOC_TRIM_THRESHOLD_=65536, which also ends glibc's own habit of raising the size from
which memory is mapped and unmapped each time. Every chunk that zarr compresses then costs the system's zeroed pages
anew. While they write, that size is what glibc would have raised it to. zarr would take as many threads in each worker
as the machine has cores, and four more. Together: a tenth of the time of a scan.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from soilpipe.cluster import on_workers

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_GLIBC_DEFAULT = 128 << 10
KEPT = 256 << 20
"""Bytes of free memory at the end of the heap that a worker keeps while it writes."""
LARGEST_KEPT = 32 << 20
"""Bytes; larger arrays are mapped and unmapped as before. The most that glibc allows."""


@contextmanager
def ready_to_write(client: Any) -> Iterator[None]:
    """Until it ends, the workers of a Dask client keep memory; on other systems than Linux with glibc they do not."""
    on_workers(client, _prepare)
    try:
        yield
    finally:
        on_workers(client, _let_go)


def _prepare(dask_worker: Any) -> bool:
    import zarr

    zarr.config.set({"threading.max_workers": dask_worker.state.nthreads})
    return _set(KEPT, LARGEST_KEPT)


def _let_go() -> bool:
    """As the worker was started, and what it kept goes back to the system."""
    trim, mapped = (
        int(os.environ.get(name, _GLIBC_DEFAULT)) for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    )
    return _set(trim, mapped) and bool(_libc().malloc_trim(0))


def _set(trim: int, mapped: int) -> bool:
    try:
        mallopt = _libc().mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_TRIM_THRESHOLD, trim)) and bool(mallopt(_MMAP_THRESHOLD, mapped))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL("libc.so.6")
