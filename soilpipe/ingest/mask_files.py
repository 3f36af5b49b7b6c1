"""The mask of a scan's window in the store: one small PNG beside its image, listed in its receipt."""

from __future__ import annotations

import hashlib

import numpy as np

from soilpipe import layout
from soilpipe.ingest.receipts import FileRecord, Scanned
from soilpipe.ingest.window_mask import decode_mask, encode_mask
from soilpipe.store import Store


def write_mask(store: Store, scan_id: str, mask: np.ndarray) -> FileRecord:
    """Write (rows, columns) uint8; the receipt's line for it."""
    key, data = layout.window_mask(scan_id), encode_mask(mask)
    store.write_if_changed(key, data)
    return FileRecord(path=key.rpartition("/")[2], size=len(data), sha256=hashlib.sha256(data).hexdigest())


def read_mask(store: Store, receipt: Scanned) -> np.ndarray | None:
    """(rows, columns) uint8; None where nothing of the window is masked, or the receipt is from before the mask.

    Raises MissingKeyError or MaskError when the mask is not there or no mask.
    """
    if not receipt.quality.masked:
        return None
    key = layout.window_mask(receipt.scan_id)
    return decode_mask(store.read_bytes(key), key)
