"""Analyses are named by what they are; publications say which counts from when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.analyses import (
    Analysis,
    AnalysisError,
    analysis_of,
    publications,
    publish,
    publish_between,
    publish_current,
    published_analysis,
    read_analysis,
    write_analysis,
)
from soilpipe.counts.verify_records import record_problems
from soilpipe.detect.base import DetectorInfo
from soilpipe.detections import detection_table, write_detection_file
from soilpipe.store import Store

T0 = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def info(**changes: Any) -> DetectorInfo:
    given = {
        "name": "tiny",
        "version": "0123456789ab",
        "taxa": ("Acari", "Collembola"),
        "um_per_px": 21.2,
        "threshold": 0.4,
        "validation": "simulated",
        "settings": {"border": (1, 2), "nested": {"x": 1.5}},
    }
    return DetectorInfo(**{**given, **changes})


def scan_id(hours: int) -> str:
    return layout.make_scan_id("A20", (T0 + hours * HOUR).replace(tzinfo=None), f"{hours:08x}")


def detect(store: Store, analysis_id: str, *hours: int) -> None:
    for hour in hours:
        table = detection_table(
            scan_id(hour), analysis_id, boxes=np.zeros((0, 4)), scores=np.zeros(0), taxa=[], ranks=[]
        )
        write_detection_file(store, analysis_id, scan_id(hour), table, {})


def scans(*hours: int) -> list[tuple[str, datetime]]:
    return [(scan_id(hour), T0 + hour * HOUR) for hour in hours]


def test_an_analysis_read_back_is_itself(store: Store) -> None:
    analysis = analysis_of(info())
    assert write_analysis(store, analysis) == analysis.id
    assert read_analysis(store, analysis.id) == analysis
    assert read_analysis(store, analysis.id).id == analysis.id
    assert analysis.reference_lags_h == (6.0, 24.0, 48.0, 72.0)


def test_the_id_is_16_hex_digits_and_stands_for_every_part() -> None:
    one = analysis_of(info())
    assert len(one.id) == 16 and int(one.id, 16) >= 0
    assert analysis_of(info()).id == one.id
    for change in (
        {"version": "ba9876543210"},
        {"threshold": 0.5},
        {"taxa": ("Acari",)},
        {"validation": "local"},
        {"um_per_px": 10.6},
        {"settings": {"border": (1, 3)}},
    ):
        assert analysis_of(info(**change)).id != one.id
    assert Analysis(**{**one.model_dump(), "algorithm_version": "0"}).id != one.id


def test_an_analysis_that_was_edited_is_refused(store: Store) -> None:
    analysis = analysis_of(info())
    write_analysis(store, analysis)
    store.write_json(layout.analysis(analysis.id), {**analysis.model_dump(mode="json"), "threshold": 0.9})
    with pytest.raises(AnalysisError, match="edited later"):
        read_analysis(store, analysis.id)
    with pytest.raises(AnalysisError, match="restore it"):
        read_analysis(store, "f" * 16)


def test_nothing_is_published_at_first(store: Store) -> None:
    assert published_analysis(publications(store, "A20"), T0) is None


def test_the_first_holds_from_the_beginning_and_later_ones_from_their_time(store: Store) -> None:
    publish(store, "A20", A, None)
    publish(store, "A20", B, T0)
    published = publications(store, "A20")
    assert published_analysis(published, T0 - HOUR) == A
    assert published_analysis(published, T0) == B
    assert published_analysis(published, T0 + 1000 * HOUR) == B


def test_of_two_from_the_same_time_the_later_published_counts(store: Store) -> None:
    publish(store, "A20", A, None)
    publish(store, "A20", B, T0)
    publish(store, "A20", A, T0)
    assert published_analysis(publications(store, "A20"), T0) == A


def test_publishing_what_holds_already_writes_nothing(store: Store) -> None:
    publish(store, "A20", A, None)
    publish(store, "A20", A, None)
    publish(store, "A20", A, T0)
    assert len(publications(store, "A20")) == 1


def test_scanners_with_like_names_are_not_mixed_up(store: Store) -> None:
    publish(store, "A20", A, None)
    publish(store, "A20-b", B, None)
    assert [p.analysis_id for p in publications(store, "A20")] == [A]
    assert [p.analysis_id for p in publications(store, "A20-b")] == [B]


def test_a_new_champion_is_published_from_the_first_scan_that_is_not_done(store: Store) -> None:
    publish_current(store, "A20", A, scans(0, 6))
    detect(store, A, 0, 6)
    assert len(publish_current(store, "A20", B, scans(0, 6))) == 1  # no scan for it yet
    published = publish_current(store, "A20", B, scans(0, 6, 12, 18))
    assert [(p.analysis_id, p.from_) for p in published] == [(A, None), (B, T0 + 12 * HOUR)]
    assert publish_current(store, "A20", B, scans(0, 6, 12, 18, 24)) == published


def test_a_champion_that_never_detected_anything_leaves_no_trace_in_the_series(store: Store) -> None:
    publish_current(store, "A20", A, scans(0))
    detect(store, A, 0)
    publish_current(store, "A20", B, scans(0, 6))
    published = publish_current(store, "A20", C, scans(0, 6))
    assert published_analysis(published, T0 + 6 * HOUR) == C
    assert published_analysis(published, T0) == A


def test_a_scan_that_comes_late_belongs_to_the_analysis_of_its_time(store: Store) -> None:
    publish_current(store, "A20", A, scans(0, 12))
    detect(store, A, 0, 12)
    published = publish_current(store, "A20", B, scans(0, 6, 12, 18))
    assert published_analysis(published, T0 + 6 * HOUR) == A


def test_a_record_that_was_edited_is_told(store: Store) -> None:
    publish(store, "A20", A, None)
    key = store.list("records/publications/A20")[0].key
    store.write_json(key, {"scanner_id": "A20"})
    with pytest.raises(AnalysisError, match="records must not be edited"):
        publications(store, "A20")


def test_a_flipped_bit_of_a_publication_is_found(store: Store) -> None:
    publish(store, "A20", A, T0)
    (key,) = store.keys("records/publications")
    whole = store.read_bytes(key)
    assert list(record_problems(store)) == []
    store.write_bytes(key, whole.replace(b'"from": "2', b'"from": "3'))
    assert [problem.key for problem in record_problems(store)] == [key]


def shown(store: Store, *hours: int) -> list[str | None]:
    published = publications(store, "A20")
    return [published_analysis(published, T0 + hour * HOUR) for hour in hours]


def test_a_period_in_the_past_gets_an_analysis_and_the_time_around_it_keeps_its_own(store: Store) -> None:
    publish(store, "A20", A, None)
    publish(store, "A20", B, T0 + 24 * HOUR)
    publish_between(store, "A20", C, T0 + 12 * HOUR, T0 + 36 * HOUR)
    assert shown(store, -99, 11, 12, 23, 24, 35, 36, 999) == [A, A, C, C, C, C, B, B]
    count = len(publications(store, "A20"))
    publish_between(store, "A20", C, T0 + 12 * HOUR, T0 + 36 * HOUR)
    assert len(publications(store, "A20")) == count  # it holds already
    publish_between(store, "A20", B, T0, None)
    assert shown(store, -1, 0, 12, 24, 36, 999) == [A, B, B, B, B, B]


def test_killed_between_the_records_of_a_period_nothing_outside_of_it_has_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "A20", A, None)
    publish(store, "A20", B, T0 + 24 * HOUR)
    write = Store.write_bytes
    for within in ([A, A, B, B], [A, A, C, C]):
        written: list[str] = []

        def killed_after_one(self: Store, key: str, data: bytes, written: list[str] = written) -> None:
            if written:
                raise KeyboardInterrupt
            written.append(key)
            write(self, key, data)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Store, "write_bytes", killed_after_one)
            publish_between(store, "A20", C, T0 + 12 * HOUR, T0 + 36 * HOUR)
        assert shown(store, -1, 11, 36, 999) == [A, A, B, B]
        assert shown(store, 12, 23, 24, 35) == within
    publish_between(store, "A20", C, T0 + 12 * HOUR, T0 + 36 * HOUR)
    assert shown(store, 11, 12, 23, 24, 35, 36) == [A, C, C, C, C, B]


def test_the_next_model_is_published_from_the_next_scan_also_after_a_period_of_the_past(store: Store) -> None:
    publish_current(store, "A20", A, scans(0, 6))
    detect(store, A, 0, 6, 12)
    publish_between(store, "A20", B, T0, T0 + 6 * HOUR)
    assert shown(store, 0, 6, 12) == [B, A, A]
    publish_current(store, "A20", B, scans(0, 6, 12, 18))
    assert shown(store, 0, 6, 12, 18) == [B, A, A, B]
