"""A scan that breaks the reading of candidates is named, and told from a machine or a store that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from soilpipe.errors import SoilpipeError
from soilpipe.store import StoreError

NO_MEMORY = "nsufficient memory"
"""In what OpenCV says of it, which has no class of its own for that."""


class UnreadableScanError(SoilpipeError):
    """Reading a scan ends with an error, and would again."""


@contextmanager
def reading(scan_id: str) -> Iterator[None]:
    """Turn errors in this block into UnreadableScanError, but for those of the store, the disk and the memory."""
    try:
        yield
    except (OSError, StoreError, MemoryError):
        raise
    except Exception as error:
        if NO_MEMORY in str(error):
            raise
        raise UnreadableScanError(f"scan {scan_id} cannot be learned from: {type(error).__name__}: {error}") from error
