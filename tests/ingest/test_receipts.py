"""Receipts that were damaged say so, and how the scan comes back."""

from __future__ import annotations

import pytest

from soilpipe import layout
from soilpipe.ingest.receipts import list_receipts, read_receipt, seal_of
from soilpipe.store import StoreError


@pytest.mark.parametrize("keep", [50, None], ids=["cut", "emptied"])
def test_a_damaged_receipt_is_told_with_its_remedy_and_the_remedy_works(bench, draw, encode, keep: int | None) -> None:
    bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
    bench.run()
    before = list_receipts(bench.store, "A20")
    key = layout.receipt(before[0].scan_id)
    bench.store.write_bytes(key, bench.store.read_bytes(key)[:keep] if keep else b"{}")
    with pytest.raises(StoreError, match="delete it, rebuild and run again"):
        list_receipts(bench.store, "A20")
    bench.store.delete(key)
    assert [outcome.kind for outcome in bench.run()] == ["accepted"]
    assert list_receipts(bench.store, "A20") == before


def test_a_receipt_from_before_the_mask_and_the_seal_still_loads(bench, draw, encode) -> None:
    bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
    (outcome,) = bench.run()
    key = layout.receipt(outcome.scan_id)
    written = bench.store.read_json(key)
    assert written["seal"] == seal_of(read_receipt(bench.store, outcome.scan_id))
    quality = {name: written["quality"][name] for name in ("sharpness", "usable_fraction", "flat_bands")}
    old_form = {name: value for name, value in written.items() if name != "seal"} | {"quality": quality}
    bench.store.write_json(key, old_form)
    old = read_receipt(bench.store, outcome.scan_id)
    assert old.seal is None and old.quality.mask_cell_px is None
    assert old.quality.sharpness == written["quality"]["sharpness"]


def test_a_receipt_under_another_scans_name_is_told(bench, draw, encode) -> None:
    bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
    (outcome,) = bench.run()
    key = layout.receipt(outcome.scan_id)
    bench.store.write_bytes(key.replace("T06", "T07"), bench.store.read_bytes(key))
    with pytest.raises(StoreError, match="holds the receipt of"):
        list_receipts(bench.store, "A20")
