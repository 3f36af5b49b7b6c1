"""What a run with nothing new, or little, looks at: the recent past, and not all years."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soilpipe import layout, touched
from soilpipe.analyses import read_analysis
from soilpipe.counts.known import known_truth
from soilpipe.counts.series import build_series
from soilpipe.counts.status import scanner_status
from soilpipe.counts.truth import read_truth
from soilpipe.counts.undetected import publish_and_list_undetected
from soilpipe.counts.verify import rebuild
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.report.newest import newest_counts
from soilpipe.report.page import write_report
from soilpipe.store import Entry, Store
from tests.counts.built import HOUR, MITE, SPRINGTAIL, table

NOW = datetime(2025, 1, 1, tzinfo=UTC)
SCANS = 6


class Watched(Store):
    """A store that notes what is listed and read."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.listed: list[str] = []
        self.read: list[str] = []

    def list(self, prefix: str, suffix: str = "") -> list[Entry]:
        self.listed.append(prefix)
        return super().list(prefix, suffix)

    def keys(self, prefix: str, suffix: str = "") -> list[str]:
        self.listed.append(prefix)
        return super().keys(prefix, suffix)

    def read_bytes(self, key: str) -> bytes:
        self.read.append(key)
        return super().read_bytes(key)


@pytest.fixture
def years_of(season: Any, make_scanner: Any, tmp_path: Any) -> Any:
    """Gives a season of so many years, of which the series are built."""

    def fill(years: int, inbox: str, options: dict[str, Any] | None = None) -> Any:
        scanner = make_scanner(slots="irregular", inbox=inbox, inbox_options=options or {})
        season.refresh(scanner)
        season.publish(season.analysis())
        for year in range(2025 - years, 2025):
            for number in range(SCANS):
                season.scan(datetime(year, 12, 20, tzinfo=UTC) + number * 6 * HOUR, [MITE])
        run(season, NOW)
        return season

    return fill


def run(season: Any, now: datetime, store: Store | None = None) -> None:
    """The library calls of a run, in their order; nothing waits in the inbox."""
    store = store or season.store
    (scanner,) = season.scanners
    assert find_arrivals(season.project, scanner, store, now).ready == ()
    publish_and_list_undetected(store, scanner, read_analysis(store, season.analysis()), now=now)
    build_series(season.project, store, scanner.id, now)
    write_report(season.project, store, [scanner.id], known=True)
    newest_counts(season.project, store, scanner.id)


def of_old_years(keys: list[str]) -> list[str]:
    return [key for key in keys if any(f"/{year}" in key or f"year={year}" in key for year in range(2020, 2024))]


@pytest.fixture
def old_tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hours later: the tokens of what was made are gone after the next run."""
    monkeypatch.setattr(touched, "clock", lambda: datetime.now(UTC).timestamp() + 3 * 3600)
    yield


def test_a_run_with_nothing_new_touches_no_old_year(years_of: Any, tmp_path: Any, old_tokens: None) -> None:
    (tmp_path / "inbox").mkdir()
    season = years_of(5, str(tmp_path / "inbox"))
    run(season, NOW)
    watched = Watched(season.store.root)
    before = season.files()
    run(season, NOW + HOUR, watched)
    assert of_old_years(watched.listed) == [] and of_old_years(watched.read) == []
    assert not any(prefix in (layout.receipts_prefix("A20"), layout.QUARANTINE) for prefix in watched.listed)
    assert not any(key.startswith(("receipts/", "detections/")) for key in watched.read)
    assert season.files() == before
    assert watched.read.count(layout.known_truth("A20")) == 2  # which scans to detect, and the series


def test_a_new_scan_costs_its_own_year(years_of: Any, tmp_path: Any, old_tokens: None) -> None:
    (tmp_path / "inbox").mkdir()
    season = years_of(5, str(tmp_path / "inbox"))
    run(season, NOW)
    new = season.scan(datetime(2024, 12, 30, tzinfo=UTC), [SPRINGTAIL])
    watched = Watched(season.store.root)
    build_series(season.project, watched, "A20", NOW)
    assert of_old_years([key for key in watched.read if not key.startswith("detections/")]) == []
    assert [key for key in watched.read if key.startswith("receipts/")] == [layout.receipt(new)]
    # Its year is compared with the last scans before it.
    assert len(of_old_years([key for key in watched.read if key.startswith("detections/")])) <= 11


def test_what_a_person_deletes_by_hand_is_seen_when_its_turn_comes(
    years_of: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inbox").mkdir()
    days = [0.0]
    monkeypatch.setattr(touched, "clock", lambda: datetime.now(UTC).timestamp() + days[0] * 86_400)
    season = years_of(3, str(tmp_path / "inbox"))
    (scanner,) = season.scanners
    days[0] = 0.5
    known_truth(season.store, scanner)
    gone = next(e.key for e in season.store.list("detections") if "/2022/" in e.key)
    season.store.delete(gone)
    analysis = season.analysis()
    seen = []
    for _ in range(5):
        days[0] += 1.01
        truth = known_truth(season.store, scanner).truth
        seen.append(truth.detected == read_truth(season.store, scanner).detected)
    assert seen[-1] and seen == sorted(seen)
    assert layout.detection_file(analysis, next(iter(set(truth.receipts) - set(truth.detected[analysis])))) == gone


def test_what_is_published_later_counts_in_every_year_that_it_is_of(
    years_of: Any, tmp_path: Any, old_tokens: None
) -> None:
    (tmp_path / "inbox").mkdir()
    season = years_of(3, str(tmp_path / "inbox"))
    second = season.analysis("second")
    for scan in list(known_truth(season.store, season.scanners[0]).truth.receipts):
        season.detect(scan, [SPRINGTAIL], second)
    for _ in range(2):  # the second deletes the tokens of all that
        known_truth(season.store, season.scanners[0])
    assert touched.tokens(season.store, "A20").years == frozenset()
    season.publish(second)
    build_series(season.project, season.store, "A20", NOW)
    made = season.files()
    assert (table(season, "counts", 2022)["analysis_id"] == second).all()
    rebuild(season.project, season.store, NOW)
    assert season.files() == made


def test_status_believes_what_runs_know_and_writes_nothing(years_of: Any, tmp_path: Any, old_tokens: None) -> None:
    (tmp_path / "inbox").mkdir()
    season = years_of(2, str(tmp_path / "inbox"))
    run(season, NOW)
    everything = {e.key: e.modified for e in season.store.list("")}
    watched = Watched(season.store.root)
    status = scanner_status(season.project, season.scanners[0], watched, NOW)
    assert status.slots["observed"] == 2 * SCANS and of_old_years(watched.read) == []
    assert {e.key: e.modified for e in season.store.list("")} == everything


@pytest.mark.slow
def test_on_s3_the_calls_of_a_run_with_nothing_new_do_not_grow_with_the_years(
    season: Any, years_of: Any, options: dict[str, Any], old_tokens: None
) -> None:
    import s3fs

    files = s3fs.S3FileSystem(use_listings_cache=False, **options)
    found = []
    for years in (1, 5):
        files.mkdir(f"of-{years}")
        season.store = Store(f"s3://of-{years}/store", options)
        files.pipe_file(f"of-{years}/inbox/.keep", b"")
        years_of(years, f"s3://of-{years}/inbox", options)
        run(season, NOW)
        found.append(calls_of(files, lambda: run(season, NOW + timedelta(hours=1))))
    assert found[0] == found[1] and found[0]["ListObjectsV2"] > 0
    assert "PutObject" not in found[0] and "DeleteObject" not in found[0]


def calls_of(files: Any, call: Any) -> Counter[str]:
    """How many requests of each kind a call makes."""
    counted: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        counted[model.name] += 1

    files.s3.meta.events.register("before-call.s3", count)
    try:
        call()
    finally:
        files.s3.meta.events.unregister("before-call.s3", count)
    return counted
