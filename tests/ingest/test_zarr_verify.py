"""Nothing that ingest wrote of a scan can change without `verify` telling which object it was."""

from __future__ import annotations

import os

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from soilpipe import layout
from soilpipe.counts.series import build_series
from soilpipe.counts.verify import verify
from soilpipe.ingest.receipts import list_receipts


@pytest.fixture
def scanned(make_bench, draw, encode, monkeypatch: pytest.MonkeyPatch):
    """A store with one accepted scan of two levels and several chunks, and its series."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    bench = make_bench(dpi=1200)
    bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(700, 530), ".png"))
    bench.run()
    build_series(bench.project, bench.store, "A20", bench.now)
    assert verify(bench.project, bench.store) == []
    return bench


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(which=0, where=0.0, bit=0)
@example(which=3, where=0.999999, bit=7)
@given(which=st.integers(0, 10**6), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_written_scan_is_found(scanned, which: int, where: float, bit: int) -> None:
    entries = scanned.store.list(layout.SCANS)
    assert {entry.key.rpartition("/")[2] for entry in entries} >= {"zarr.json", "0", "mask.png", "original.png"}
    entry = entries[which % len(entries)]
    sound = scanned.store.read_bytes(entry.key)
    broken = bytearray(sound)
    broken[int(where * len(sound))] ^= 1 << bit
    scanned.store.write_bytes(entry.key, bytes(broken))
    assert [(problem.kind, problem.key) for problem in verify(scanned.project, scanned.store)] == [("scan", entry.key)]
    scanned.store.write_bytes(entry.key, sound)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_its_receipt_is_found_or_changes_nothing_that_it_says(scanned, where: float, bit: int) -> None:
    (entry,) = scanned.store.list(layout.RECEIPTS)
    sound = scanned.store.read_bytes(entry.key)
    broken = bytearray(sound)
    broken[int(where * len(sound))] ^= 1 << bit
    scanned.store.write_bytes(entry.key, bytes(broken))
    if not any(problem.kind in ("record", "scan") for problem in verify(scanned.project, scanned.store)):
        # White space, the seal's own name, or the time that is made again from the device's: no fact has changed.
        (read,) = list_receipts(scanned.store, "A20")
        scanned.store.write_bytes(entry.key, sound)
        (written,) = list_receipts(scanned.store, "A20")
        assert read.model_dump(exclude={"seal", "captured_at"}) == written.model_dump(exclude={"seal", "captured_at"})
    scanned.store.write_bytes(entry.key, sound)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 10**6), kept=st.floats(0, 1, exclude_max=True))
def test_a_cut_object_is_found(scanned, which: int, kept: float) -> None:
    entries = scanned.store.list(layout.SCANS)
    entry = entries[which % len(entries)]
    sound = scanned.store.read_bytes(entry.key)
    scanned.store.write_bytes(entry.key, sound[: int(kept * len(sound))])
    assert [problem.key for problem in verify(scanned.project, scanned.store)] == [entry.key]
    scanned.store.write_bytes(entry.key, sound)
