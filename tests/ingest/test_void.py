"""Conflicts that the project file has made void are found cheaply, retried once, and leave nothing for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe import layout
from soilpipe.config import ClockEntry
from soilpipe.ingest.crashed import CRASHES, quarantine_crashed_again
from soilpipe.ingest.decisions import accept
from soilpipe.ingest.quarantine import open_quarantine
from soilpipe.ingest.receipts import list_receipts
from soilpipe.ingest.scan import Outcome
from soilpipe.ingest.void import retry_void, void_conflicts
from soilpipe.store import Store

RESET, REAL = datetime(2000, 1, 1), datetime(2024, 3, 6, 6)
STEP, DAY = timedelta(hours=6), timedelta(days=1)
ENTRY = ClockEntry(
    from_=RESET, until=RESET + DAY, set_=REAL, arrived_from=datetime(2024, 3, 1, tzinfo=UTC), reason="battery"
)


def declare(bench: Any, *entries: ClockEntry) -> None:
    scanner = bench.scanner.model_copy(update={"clock": entries})
    bench.project = bench.project.model_copy(update={"scanners": (scanner,)})


def retried(bench: Any) -> list[Outcome]:
    found = void_conflicts(bench.scanner, bench.store)
    return [retry_void(bench.project, bench.scanner, bench.store, one.refusal, bench.now) for one in found]


@pytest.fixture
def two_resets(bench, draw, encode):
    """Three test pictures, made when the device's clock stood at 2000, and three scans after it was reset."""
    for seed, came in ((0, datetime(2024, 2, 1, tzinfo=UTC)), (10, REAL.replace(tzinfo=UTC))):
        for step in range(3):
            picture = encode(draw(24, 32, seed=seed + step), ".png")
            age = (bench.now - came).total_seconds()
            bench.deliver(f"A20_{RESET + step * STEP:%Y-%m-%d_%HH%MM}.png", picture, age_s=age)
        bench.kinds = [outcome.kind for outcome in bench.run()]
    assert bench.kinds == ["conflict"] * 3
    return bench


def test_they_are_taken_in_order_of_time_once(two_resets) -> None:
    bench = two_resets
    assert void_conflicts(bench.scanner, bench.store) == []
    declare(bench, ENTRY)
    found = void_conflicts(bench.scanner, bench.store)
    assert [one.captured_at for one in found] == [
        (REAL + step * STEP).replace(tzinfo=bench.scanner.zone).astimezone(UTC) for step in range(3)
    ]
    assert [outcome.kind for outcome in retried(bench)] == ["accepted"] * 3
    assert len(list_receipts(bench.store, "A20")) == 6 and open_quarantine(bench.store, bench.scanner) == []
    assert void_conflicts(bench.scanner, bench.store) == [] and bench.run() == []


def test_finding_none_costs_no_listing(two_resets, monkeypatch) -> None:
    bench = two_resets
    declare(bench, ENTRY)
    retried(bench)
    for ask in ("list", "keys", "present"):
        monkeypatch.setattr(Store, ask, lambda *_: pytest.fail("something was listed"))
    assert void_conflicts(bench.scanner, bench.store) == []


def test_one_whose_other_scan_has_gone_is_taken(two_resets) -> None:
    bench = two_resets
    gone = sorted(bench.store.keys("receipts"))[1]
    bench.store.delete(gone)
    (void,) = void_conflicts(bench.scanner, bench.store)
    assert layout.receipt(void.refusal.conflicts_with) == gone
    assert [outcome.kind for outcome in retried(bench)] == ["accepted"]
    assert void_conflicts(bench.scanner, bench.store) == []


def test_one_that_a_person_has_decided_on_stays_decided(two_resets) -> None:
    bench = two_resets
    first = open_quarantine(bench.store, bench.scanner)[0]
    bench.now += STEP
    accept(bench.project, bench.scanner, bench.store, first.conflicts_with, bench.now)
    declare(bench, ENTRY)
    found = void_conflicts(bench.scanner, bench.store)
    assert len(found) == 2 and first.sha256 not in {one.refusal.sha256 for one in found}


def test_one_that_is_a_conflict_elsewhere_too_is_tried_once_and_again_when_that_is_mended(two_resets) -> None:
    bench = two_resets
    wrong = ENTRY.model_copy(update={"set_": RESET + STEP})
    declare(bench, wrong)  # now they meet the next ones of the test pictures, but for the last
    bench.now += STEP
    assert [outcome.kind for outcome in retried(bench)] == ["conflict", "conflict", "accepted"]
    assert void_conflicts(bench.scanner, bench.store) == []
    bench.now += STEP
    declare(bench, ENTRY)
    assert [outcome.kind for outcome in retried(bench)] == ["accepted"] * 2


def test_one_that_crashes_its_reader_is_not_tried_by_every_run(two_resets) -> None:
    bench = two_resets
    declare(bench, ENTRY)
    first = void_conflicts(bench.scanner, bench.store)[0]
    bench.now += STEP
    outcome = quarantine_crashed_again(bench.scanner, bench.store, first.refusal, bench.now, "crashed the library")
    assert outcome.kind == "refused" and "crashed the library" in outcome.reason
    assert len(void_conflicts(bench.scanner, bench.store)) == 2
    assert [q.code for q in open_quarantine(bench.store, bench.scanner)].count(CRASHES) == 1


def test_a_lost_index_hides_none(two_resets) -> None:
    bench = two_resets
    for key in (layout.index("A20"), layout.index_notes("A20")):
        bench.store.delete(key)
    for path in Path(bench.scanner.inbox).iterdir():
        path.unlink()
    declare(bench, ENTRY)
    assert len(void_conflicts(bench.scanner, bench.store)) == 3
