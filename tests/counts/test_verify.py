"""What verify finds, each thing that can go wrong in a store, and that rebuild mends what it can."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from soilpipe import layout
from soilpipe.counts.problem import Problem
from soilpipe.counts.series import build_series, record_config
from soilpipe.counts.verify import rebuild, verify
from soilpipe.ingest.quarantine import Decision, Quarantined, list_quarantine, write_decision
from soilpipe.labels.records import LabelFile, write_label_file
from soilpipe.parquet import from_parquet, to_parquet
from soilpipe.seals import is_damaged_json

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
MITE = ("Acari", (100, 100, 120, 120))
COUNTS_KEY = layout.series_file("counts", "A20", 2024)


@pytest.fixture
def sound(season: Any) -> Any:
    """A store without a fault: two analyses, a gap, five scans."""
    season.publish(season.analysis())
    for hours in (0, 6, 18, 24, 30):
        season.scan(START + hours * HOUR, [MITE])
    build_series(season.project, season.store, "A20", START + 40 * HOUR)
    return season


def check(season: Any, **options: Any) -> list[Problem]:
    return verify(season.project, season.store, **options)


def pixels(season: Any) -> list[str]:
    return [entry.key for entry in season.store.list("scans")]


def test_a_sound_store_has_no_problem(sound: Any) -> None:
    assert check(sound) == []


def test_a_new_project_has_no_problem(season: Any) -> None:
    assert check(season) == []


def test_one_changed_byte_of_an_image_is_found(sound: Any) -> None:
    key = pixels(sound)[2]
    sound.store.write_bytes(key, sound.store.read_bytes(key)[:-1] + b"!")
    (problem,) = check(sound)
    assert (problem.kind, problem.key) == ("scan", key)
    assert "is not what was written" in problem.message and "run again" in problem.message


def test_a_lost_file_is_found(sound: Any) -> None:
    key = pixels(sound)[0]
    sound.store.delete(key)
    (problem,) = check(sound)
    assert problem.key == key and "not in the store" in problem.message


def test_since_and_sample_bound_what_is_hashed(sound: Any) -> None:
    for key in pixels(sound):
        sound.store.delete(key)
    assert len(check(sound)) == 5
    assert len(check(sound, since=START + 18 * HOUR)) == 3
    assert len(check(sound, sample=2)) == 2
    assert len(check(sound, sample=99)) == 5
    assert check(sound, sample=0) == []


def test_scans_that_a_person_put_aside_are_still_kept_whole(sound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from soilpipe.counts import truth

    scan_id = pixels(sound)[0].split("/")[3]
    monkeypatch.setattr(truth, "set_aside", lambda decisions: frozenset({scan_id}))
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    sound.store.delete(pixels(sound)[0])
    assert [p.kind for p in check(sound)] == ["scan"]


def test_a_damaged_detection_file_is_found(sound: Any) -> None:
    key = sound.store.list("detections")[0].key
    sound.store.write_bytes(key, b"PAR1 but no more")
    (problem,) = (p for p in check(sound) if p.kind == "detections")
    assert problem.key == key
    assert (
        "`soilpipe run --scanner A20 --since 2024-03-06 --until 2024-03-06` detects the scan again" in problem.message
    )


def test_a_damaged_detection_file_from_which_nothing_is_counted_can_be_deleted(sound: Any) -> None:
    sound.publish(sound.analysis("second"), START)
    key = sound.store.list("detections")[0].key
    sound.store.write_bytes(key, b"")
    (problem,) = (p for p in check(sound) if p.kind == "detections")
    assert (problem.key, problem.message[-9:]) == (key, "delete it")


def test_a_detection_file_of_another_scan_is_found(sound: Any) -> None:
    first, second = (entry.key for entry in sound.store.list("detections")[:2])
    sound.store.write_bytes(second, sound.store.read_bytes(first))
    assert ("detections", second) in {(p.kind, p.key) for p in check(sound)}


def test_a_series_that_is_not_what_the_truth_gives_is_found_and_mended(sound: Any) -> None:
    before = sound.files()
    frame = from_parquet(sound.store.read_bytes(COUNTS_KEY))
    forged = frame.set_column(
        frame.schema.get_field_index("n"), frame.schema.field("n"), pa.array([7] * frame.num_rows, pa.int32())
    )
    sound.store.write_bytes(COUNTS_KEY, to_parquet(forged))
    assert [(p.kind, p.key) for p in check(sound)] == [("series", COUNTS_KEY)]
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    assert check(sound) == []
    assert sound.files() == before


@pytest.mark.parametrize("table", ["slots", "counts", "detections"])
def test_a_lost_or_broken_series_file_is_found_and_mended(sound: Any, table: str) -> None:
    before = sound.files()
    key = layout.series_file(table, "A20", 2024)
    sound.store.delete(key)
    assert key in {p.key for p in check(sound)}
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    sound.store.write_bytes(key, b"half a file")
    assert key in {p.key for p in check(sound)}
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    assert sound.files() == before


def test_a_scan_that_no_series_has_yet_is_found(sound: Any) -> None:
    sound.scan(START + 36 * HOUR, [MITE])
    assert {p.kind for p in check(sound)} == {"series"}


def test_a_stray_file_in_the_series_is_found(sound: Any) -> None:
    for name in ("series/counts/year=2024/A20.parquet.tmp", "series/counts/notes.txt", "series/counts/year=2024/.x"):
        sound.store.write_bytes(name, b"")
    assert [p.kind for p in check(sound)] == ["stray"] * 3


def test_series_of_a_scanner_that_is_no_longer_declared_are_told(sound: Any, make_scanner: Any) -> None:
    sound.refresh(make_scanner("B7"))
    problems = check(sound)
    assert {p.kind for p in problems} == {"stray", "series"}  # the scanner table is not up to date either
    assert any("A20" in p.message and "`until`" in p.message for p in problems)


def test_a_truth_that_cannot_be_read_hides_nothing_else(sound: Any, make_scanner: Any) -> None:
    sound.refresh(make_scanner("A20"), make_scanner("B7"))
    sound.publish(sound.analysis(), scanner_id="B7")
    bad = sound.scan(START, [MITE], scanner_id="B7")
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    sound.store.write_bytes(layout.receipt(bad), b"{}")
    sound.store.delete(pixels(sound)[0])
    assert sorted(p.kind for p in check(sound)) == ["record", "scan"]


def test_progress_is_told_to_the_end(sound: Any) -> None:
    told: list[tuple[str, int, int]] = []
    check(sound, progress=lambda what, done, of: told.append((what, done, of)))
    assert ("scans of A20", 5, 5) in told
    assert told[-1] == ("scanners", 1, 1)


def test_a_leftover_in_the_folder_itself_is_found(sound: Any) -> None:
    (Path(sound.store.root) / "series" / "counts" / "year=2024" / "A20.parquet.part").write_bytes(b"")
    assert [p.kind for p in check(sound)] == ["stray"]


def test_a_lost_receipt_is_still_told_when_the_series_follow_from_its_absence(sound: Any) -> None:
    key = sound.store.list("receipts")[1].key
    sound.store.delete(key)
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    (problem,) = check(sound)
    assert (problem.kind, problem.key) == ("record", key)
    assert "inbox" in problem.message


def test_a_receipt_of_another_time_than_its_name_is_found(sound: Any) -> None:
    key = sound.store.list("receipts")[1].key
    edited = {**sound.store.read_json(key), "device_time": "2024-03-06T07:00:00"}
    sound.store.write_json(key, edited)
    assert ("record", key) in {(p.kind, p.key) for p in check(sound)}


def test_a_refused_file_that_was_lost_or_changed_is_found(sound: Any) -> None:
    refused = sound.refuse(START + 12 * HOUR)
    rebuild(sound.project, sound.store, START + 40 * HOUR)
    assert check(sound) == []
    key = f"{layout.quarantine_folder('A20', refused.sha256)}/file.jpg"
    sound.store.write_bytes(key, b"other bytes")
    assert [(p.kind, p.key) for p in check(sound)] == [("quarantine", key)]
    sound.store.delete(key)
    assert [p.kind for p in check(sound)] == ["quarantine"]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_any_flipped_bit_of_a_refusals_reason_or_of_a_decision_is_found(sound: Any) -> None:
    """By its seal, or because it can no longer be read, which is told as well."""
    sound.refuse(START + 12 * HOUR)
    (refused,) = list_quarantine(sound.store)
    decision = Decision(
        scanner_id="A20", sha256=refused.sha256, captured_at=refused.captured_at, outcome="dismissed", decided_at=START
    )
    write_decision(sound.store, decision)
    assert check(sound, sample=1) == []
    (reason,) = sound.store.keys("quarantine", ".json")
    (decided,) = sound.store.keys("records/quarantine", ".json")
    for key, model in ((reason, Quarantined), (decided, Decision)):
        whole = sound.store.read_bytes(key)
        for place in range(len(whole)):
            other = flipped(whole, place)
            if not is_damaged_json(other):
                with pytest.raises(ValidationError):
                    model.model_validate_json(other)
        digit = whole.index(b'sha256": "') + 12
        sound.store.write_bytes(key, flipped(whole, digit))
        assert key in {problem.key for problem in check(sound, sample=1)}
        sound.store.write_bytes(key, whole)


def test_labels_snapshots_and_models_that_are_not_those_of_their_names_are_found(sound: Any) -> None:
    label = LabelFile(imported_at=START, source_name="x", source_sha256="0" * 64, format="coco", labels=())
    (config,) = record_config(sound.project, sound.store) or sound.store.keys("records/config", ".json")
    keys = [write_label_file(sound.store, label), config]
    for name, data in (("weights.safetensors", b"weights"), ("card.json", b"{}")):
        version = hashlib.sha256(b"weights{}").hexdigest()[:12]
        sound.store.write_bytes(f"models/detector/{version}/{name}", data)
        keys.append(f"models/detector/{version}/{name}")
    assert check(sound) == []
    for key in keys:
        whole = sound.store.read_bytes(key)
        sound.store.write_bytes(key, whole.replace(b"{", b"{ ", 1) if b"{" in whole else whole + b"!")
        (problem,) = check(sound)
        assert key.startswith(problem.key) and "not as it was written" in problem.message
        sound.store.write_bytes(key, whole)
