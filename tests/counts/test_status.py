"""What status says of each scanner, and when it calls for a person."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe.config import ClockEntry
from soilpipe.counts.status import project_status

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def watched(season: Any, make_scanner: Any, tmp_path: Path) -> Any:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    season.inbox = inbox
    season.refresh(make_scanner(inbox=str(inbox), until=START + 400 * HOUR))
    season.publish(season.analysis())
    return season


def status(season: Any, at: datetime) -> Any:
    return project_status(season.project, season.store, at)[0]


def test_slots_are_counted_by_state_and_nobody_is_needed(watched: Any) -> None:
    watched.scan(START)
    last = watched.scan(START + 6 * HOUR, None)
    found = status(watched, START + 12 * HOUR)
    assert found.slots == {"observed": 2, "late": 0, "pending": 1, "missing": 0, "quarantined": 0}
    assert (found.last_scan_id, found.last_scan) == (last, START + 6 * HOUR)
    assert found.not_analysed == 1
    assert found.needs_person == ()
    assert found.complete_through == START + 6 * HOUR


def test_a_refused_file_needs_a_person_and_says_why(watched: Any) -> None:
    watched.scan(START)
    watched.refuse(START + 6 * HOUR)
    found = status(watched, START + 6 * HOUR)
    assert found.slots["quarantined"] == 1
    assert len(found.quarantine) == 1
    (need,) = found.needs_person
    assert "bad.jpg" in need and "ends too early" in need and "Copy it again." in need


def test_a_silent_scanner_needs_a_person_until_it_is_taken_out(watched: Any) -> None:
    watched.scan(START)
    assert status(watched, START + 48 * HOUR).needs_person == ()
    (need,) = status(watched, START + 72 * HOUR).needs_person
    assert "sent nothing since 2024-03-06 06:00 UTC" in need and "`until`" in need
    assert status(watched, START + 500 * HOUR).needs_person == ()


def test_an_inbox_that_does_not_exist_needs_a_person_and_hides_nothing(watched: Any) -> None:
    watched.scan(START)
    watched.inbox.rmdir()
    found = status(watched, START)
    assert "inbox" in found.needs_person[0]
    assert found.slots["observed"] == 1


def test_scans_without_a_slot_are_listed(watched: Any) -> None:
    watched.scan(START)
    other = watched.scan(START + timedelta(minutes=3))
    assert [u.scan_id for u in status(watched, START).unslotted] == [other]


def test_files_in_the_inbox_are_told_apart(watched: Any) -> None:
    now = START + 10 * HOUR
    for name, age in (
        ("A20_2024-03-06_06H00M.jpg", 3600),
        ("A20_2024-03-06_12H00M.jpg", 1),
        ("B9_2024-03-06_12H00M.jpg", 9),
    ):
        path = watched.inbox / name
        path.write_bytes(b"x")
        os.utime(path, (now.timestamp() - age, now.timestamp() - age))
    found = status(watched, now)
    assert found.waiting == 1
    assert found.growing == ("A20_2024-03-06_12H00M.jpg",)
    assert found.strangers == ("B9_2024-03-06_12H00M.jpg",)


def test_a_truth_that_cannot_be_read_needs_a_person(watched: Any) -> None:
    scan = watched.scan(START)
    from soilpipe import layout

    watched.store.write_bytes(layout.receipt(scan), b"{}")
    assert any("receipt" in need for need in status(watched, START).needs_person)


def test_pictures_of_a_scanner_that_nobody_declared_need_a_person_and_other_files_do_not(watched: Any) -> None:
    for name in ("readme.txt", "B9_2024-03-06_12H00M.jpg", "B9_2024-03-06_18H00M.jpg"):
        (watched.inbox / name).write_bytes(b"x")
    (need,) = status(watched, START).needs_person
    assert "B9_2024-03-06_12H00M.jpg and 1 more" in need and "no scanner of the project file" in need
    (watched.inbox / "B9_2024-03-06_12H00M.jpg").unlink()
    (watched.inbox / "B9_2024-03-06_18H00M.jpg").unlink()
    assert status(watched, START).needs_person == ()


def test_a_scan_from_the_future_needs_a_person(watched: Any) -> None:
    watched.scan(START)
    wrong = watched.scan(datetime(2099, 1, 1, tzinfo=UTC))
    (need,) = status(watched, START + HOUR).needs_person
    assert wrong in need and "from the future" in need


def test_a_clock_that_was_reset_to_1970_needs_a_person_until_the_start_is_given(
    watched: Any, make_scanner: Any
) -> None:
    watched.scan(datetime(2014, 1, 1, tzinfo=UTC))
    watched.scan(START)
    (need,) = status(watched, START + HOUR).needs_person
    assert "`from: 2024-03-06`" in need
    watched.refresh(make_scanner(inbox=str(watched.inbox), from_=START))
    found = status(watched, START + HOUR)
    assert (found.needs_person, found.slots["missing"], len(found.unslotted)) == ((), 0, 1)


def test_a_corrected_time_zone_moves_the_scans_and_needs_nobody(watched: Any, make_scanner: Any) -> None:
    watched.scan(START)
    watched.refresh(make_scanner(inbox=str(watched.inbox), timezone="Europe/Paris"))
    found = status(watched, START + HOUR)
    assert (found.needs_person, found.last_scan) == ((), START - HOUR)


def test_two_scans_that_the_project_file_moves_to_one_time_need_a_person(watched: Any, make_scanner: Any) -> None:
    first, second = watched.scan(START), watched.scan(START + 6 * HOUR)
    fault = ClockEntry(from_=START.replace(tzinfo=None), until=datetime(2024, 3, 6, 3), offset=6 * HOUR, reason="x")
    watched.refresh(make_scanner(inbox=str(watched.inbox), clock=(fault,)))
    found = status(watched, START + 7 * HOUR)
    (need,) = found.needs_person
    assert f"{first} and {second} are of one time, 2024-03-06 06:00 UTC" in need
    assert found.slots["quarantined"] == 1 and f"accept A20 {first}" in need


def test_a_conflict_is_told_as_one(watched: Any) -> None:
    scan = watched.scan(START)
    watched.refuse(START, code="same_time", conflicts_with=scan)
    (need,) = status(watched, START + HOUR).needs_person
    assert f"bad.jpg contradicts {scan}" in need and "refused" not in need


def test_a_device_that_does_not_follow_summer_time_is_told_and_its_two_scans_contradict_no_other(watched: Any) -> None:
    watched.refresh(watched.scanners[0].model_copy(update={"timezone": "Europe/Paris"}))
    for hour in (1, 2, 3):  # there is no half past two
        watched.receipt(START, shown=datetime(2024, 3, 31, hour, 30), content=str(hour))
    needs = status(watched, datetime(2024, 3, 31, 4, tzinfo=UTC)).needs_person
    assert [need for need in needs if "contradict" in need or "one time" in need] == []
    (told,) = (need for need in needs if "skips" in need)
    assert "20240331T023000" in told and "Etc/GMT-1" in told


def test_a_newest_scan_of_another_resolution_than_the_project_files_needs_a_person(watched: Any) -> None:
    watched.scan(START, dpi=300.0)
    (need,) = status(watched, START).needs_person
    assert "its dpi is 300, while the project file says 1200 for A20" in need
    watched.scan(START + 6 * HOUR, dpi=1199.5)
    assert status(watched, START + 6 * HOUR).needs_person == ()
