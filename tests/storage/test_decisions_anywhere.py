"""What a person decides, a mended clock, and the check of the whole: the same in every kind of place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import cv2
import numpy as np

from soilpipe import layout
from soilpipe.config import ClockEntry
from soilpipe.counts.series import build_series
from soilpipe.counts.verify import rebuild, verify
from soilpipe.ingest.decisions import accept, retry
from soilpipe.ingest.quarantine import list_decisions, open_quarantine, superseded_scans
from soilpipe.parquet import from_parquet

NOW = datetime(2024, 3, 8, tzinfo=UTC)


def picture(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def slots(place) -> list[tuple[datetime, str]]:
    key = layout.series_file("slots", "A20", 2024)
    rows = from_parquet(place.store.read_bytes(key)).to_pylist()
    return [(row["slot"], row["scan_id"]) for row in rows if row["scan_id"]]


def test_a_conflict_is_decided_a_clock_is_mended_and_all_of_it_is_sound(place) -> None:
    for name, seed in (("06H00M", 1), ("06H00M00S", 2)):
        place.deliver(f"A20_2024-03-06_{name}.png", picture(seed))
    kinds = [outcome.kind for outcome in place.run()]
    assert kinds == ["accepted", "conflict"]
    (refused,) = open_quarantine(place.store, place.scanner)
    later = datetime.now(UTC) + timedelta(hours=2)
    assert [one.kind for one in retry(place.project, place.scanner, place.store, later)] == ["conflict"]
    decision = accept(place.project, place.scanner, place.store, refused.sha256[:12], later)
    assert decision.outcome == "taken" and len(list_decisions(place.store, "A20")) == 1
    assert superseded_scans(place.store, "A20") == {refused.conflicts_with}
    assert open_quarantine(place.store, place.scanner) == []

    build_series(place.project, place.store, "A20", NOW)
    before = slots(place)
    assert [scan_id for _, scan_id in before] == [decision.scan_id]

    entry = ClockEntry(from_=datetime(2024, 3, 6), until=datetime(2024, 3, 7), offset=timedelta(hours=6), reason="slow")
    mended = place.with_(clock=(entry,))
    rebuild(mended.project, mended.store, NOW)
    assert slots(mended) == [(at + timedelta(hours=6), scan_id) for at, scan_id in before]
    assert verify(mended.project, mended.store) == []

    (key,) = mended.store.keys("records/quarantine", ".json")
    whole = mended.store.read_bytes(key)
    mended.store.write_bytes(key, whole.replace(b"2024", b"2025", 1))
    assert key in {problem.key for problem in verify(mended.project, mended.store)}
