"""Receipts that were damaged say so, and how the scan comes back."""

from __future__ import annotations

import pytest

from soilpipe import layout
from soilpipe.ingest.receipts import list_receipts
from soilpipe.store import StoreError


@pytest.mark.parametrize("keep", [50, None], ids=["cut", "emptied"])
def test_a_damaged_receipt_is_told_with_its_remedy_and_the_remedy_works(bench, draw, encode, keep: int | None) -> None:
    bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
    bench.run()
    before = list_receipts(bench.store, "A20")
    key = layout.receipt(before[0].scan_id)
    bench.store.write_bytes(key, bench.store.read_bytes(key)[:keep] if keep else b"{}")
    with pytest.raises(StoreError, match="delete it and run again"):
        list_receipts(bench.store, "A20")
    bench.store.delete(key)
    assert [outcome.kind for outcome in bench.run()] == ["accepted"]
    assert list_receipts(bench.store, "A20") == before
