"""Bad input, each kind once: a clear message, nothing lost, and the other scans go on."""

from __future__ import annotations

import errno
import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soilpipe import layout
from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.quarantine import list_quarantine, open_quarantine, quarantined_file
from soilpipe.ingest.receipts import list_receipts, read_receipt
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import StoreFullError
from soilpipe.tiles import open_image

SIX, NOON = "A20_2024-03-06_06H00M.png", "A20_2024-03-06_12H00M.png"


@pytest.fixture
def good(draw, encode) -> bytes:
    return encode(draw(), ".png")


def kinds(outcomes: list) -> list[str]:
    return [outcome.kind for outcome in outcomes]


def test_a_scan_is_kept_with_all_that_is_known_of_it(bench, draw, good: bytes) -> None:
    bench.deliver(SIX, good)
    (outcome,) = bench.run()
    receipt = read_receipt(bench.store, outcome.scan_id)
    assert outcome.kind == "accepted"
    assert receipt.captured_at == datetime(2024, 3, 6, 5, tzinfo=UTC)
    assert receipt.device_time == datetime(2024, 3, 6, 6) and receipt.time_from == "name"
    assert (receipt.height_px, receipt.width_px, receipt.format) == (90, 130, "PNG")
    assert (receipt.dpi, receipt.dpi_from) == (None, "unknown")
    for file in receipt.files:
        assert bench.store.sha256(f"{layout.scan_folder(receipt.scan_id)}/{file.path}") == file.sha256
    assert bench.store.read_bytes(layout.original(receipt.scan_id, "png")) == good
    assert np.array_equal(open_image(bench.store, receipt.scan_id, 1.0).levels[0].read(0, 90, 0, 130), draw())


def test_originals_may_be_left_out(make_bench, good: bytes) -> None:
    bench = make_bench(keep_originals=False, dpi=1200)
    bench.deliver(SIX, good)
    (outcome,) = bench.run()
    receipt = read_receipt(bench.store, outcome.scan_id)
    assert not any(file.path.startswith("original") for file in receipt.files)
    assert (receipt.dpi, receipt.dpi_from, receipt.um_per_px) == (1200, "project", pytest.approx(21.1667, abs=1e-3))


def test_a_second_run_changes_no_byte(bench, good: bytes, draw, encode) -> None:
    bench.deliver(SIX, good)
    bench.deliver(NOON, good[:500])
    bench.deliver("A20_2024-03-06_18H00M.png", b"", age_s=10)
    assert kinds(bench.run()) == ["accepted", "refused"]
    before = bench.bytes_of_the_store()
    assert bench.run() == []
    assert bench.bytes_of_the_store() == before


BAD = {
    "truncated": ("png", lambda good: good[:-300], "truncated", "not complete"),
    "empty": ("png", lambda good: b"", "empty", "0 bytes"),
    "not an image": ("jpg", lambda good: b"notes of the day, nothing else", "not_an_image", "none of JPEG"),
    "wrong extension": ("jpg", lambda good: good, "wrong_extension", "is PNG but is called .jpg"),
    "unread format": ("webp", lambda good: b"RIFF1234WEBPVP8 ", "not_an_image", "none of JPEG"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_quarantined_with_its_reason_and_the_day_goes_on(fault: str, bench, good, draw, encode) -> None:
    suffix, spoil, code, told = BAD[fault]
    name = f"A20_2024-03-06_06H00M.{suffix}"
    bad = spoil(good)
    path = bench.deliver(name, bad)
    bench.deliver(NOON, encode(draw(seed=2), ".png"))
    refused, accepted = bench.run()
    assert (refused.kind, accepted.kind) == ("refused", "accepted")
    assert name in refused.reason and told in refused.reason
    (quarantined,) = open_quarantine(bench.store, bench.scanner)
    assert quarantined.code == code and quarantined.captured_at == datetime(2024, 3, 6, 5, tzinfo=UTC)
    kept = quarantined_file(bench.store, "A20", refused.sha256)
    assert kept.startswith(f"quarantine/A20/{refused.sha256}/") and bench.store.read_bytes(kept) == bad
    assert path.read_bytes() == bad


def test_a_good_file_that_comes_later_supersedes_the_bad_one(bench, good: bytes) -> None:
    bench.deliver(SIX, good[:-300])
    assert kinds(bench.run()) == ["refused"]
    bench.deliver(SIX, good, age_s=1800)
    assert kinds(bench.run()) == ["accepted"]
    assert open_quarantine(bench.store, bench.scanner) == []
    assert len(list_quarantine(bench.store, "A20")) == 1


def test_a_broken_copy_of_a_good_scan_contradicts_nothing(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    bench.run()
    bench.deliver("A20_2024-03-06_06H00M00S.png", good[:-300])
    assert kinds(bench.run()) == ["refused"]
    assert open_quarantine(bench.store, bench.scanner) == []


@pytest.mark.parametrize(("of_file", "told"), [(300, True), (1190, False), (None, False)])
def test_a_resolution_other_than_the_project_files_is_a_doubt(
    of_file: int | None, told: bool, make_bench, draw
) -> None:
    bench = make_bench(dpi=1200.0)
    file = io.BytesIO()
    Image.fromarray(draw()).save(file, "TIFF", **({"dpi": (of_file, of_file)} if of_file else {}))
    bench.deliver("A20_2024-03-06_06H00M.tif", file.getvalue())
    (outcome,) = bench.run()
    assert outcome.kind == "accepted"
    assert ("its dpi is 300, while the project file says 1200 for A20" in (outcome.reason or "")) == told


def test_a_time_nobody_can_read_is_told(bench, good: bytes) -> None:
    bench.deliver("A20_yesterday.png", good)
    (outcome,) = bench.run()
    assert outcome.kind == "refused"
    assert "A20_yesterday.png" in outcome.reason and "soil_scan" in outcome.reason and "Rename" in outcome.reason
    assert open_quarantine(bench.store, bench.scanner)[0].captured_at is None


def test_the_files_own_time_serves_where_the_name_has_none(bench, draw, encode) -> None:
    bench.deliver("A20_0001.tif", encode(draw(), ".tif", datetime="2024:03:06 06:00:00"))
    (outcome,) = bench.run()
    receipt = read_receipt(bench.store, outcome.scan_id)
    assert (receipt.device_time, receipt.time_from) == (datetime(2024, 3, 6, 6), "file")


def test_a_scanner_nobody_declared_is_told_and_its_files_stay(make_bench, good: bytes) -> None:
    bench = make_bench("A20", "B20", shared=True)
    path = bench.deliver("C20_2024-03-06_06H00M.png", good)
    bench.deliver(SIX, good)
    arrivals = find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    assert arrivals.strangers == (path.name,)
    assert kinds(bench.run()) == ["accepted"] and path.read_bytes() == good


def test_the_same_bytes_again_are_a_repeat(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    bench.deliver("A20_2024-03-06_06H00M00S.png", good)
    assert kinds(bench.run()) == ["accepted", "repeat"]
    assert len(list_receipts(bench.store, "A20")) == 1
    arrivals = find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    assert (arrivals.repeats, arrivals.known) == (1, 2)


def test_the_same_time_with_another_picture_is_a_conflict(bench, good: bytes, draw, encode) -> None:
    bench.deliver(SIX, good)
    (first,) = bench.run()
    bench.deliver("A20_2024-03-06_06H00M00S.png", encode(draw(seed=5), ".png"))
    (second,) = bench.run()
    assert second.kind == "conflict" and first.scan_id in second.reason and "keeps the scan" in second.reason
    (conflict,) = open_quarantine(bench.store, bench.scanner)
    assert conflict.conflicts_with == first.scan_id and conflict.code == "same_time"


def test_a_time_that_the_zone_skips_in_spring_contradicts_none_that_it_has(bench, draw, encode) -> None:
    """A device with a fixed clock shows both, and both would be 01:30 UTC."""
    for hour in (1, 2, 3):
        bench.deliver(f"A20_2024-03-31_{hour:02}H30M.png", encode(draw(seed=hour), ".png"))
    assert kinds(bench.run()) == ["accepted"] * 3
    assert kinds(bench.run()) == []


def test_the_same_picture_at_another_time_is_a_conflict_each_time(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    (first,) = bench.run()
    bench.deliver(NOON, good)
    bench.deliver("A20_2024-03-06_18H00M.png", good)
    assert kinds(bench.run()) == ["conflict", "conflict"]
    conflicts = open_quarantine(bench.store, bench.scanner)
    assert [q.captured_at.hour for q in conflicts] == [11, 17]
    assert {q.conflicts_with for q in conflicts} == {first.scan_id}
    assert {q.code for q in conflicts} == {"same_content"}


def test_two_empty_files_are_two_refused_slots(bench) -> None:
    bench.deliver(SIX, b"")
    bench.deliver(NOON, b"")
    assert kinds(bench.run()) == ["refused", "refused"]
    assert len(open_quarantine(bench.store, bench.scanner)) == 2


def test_two_runs_that_accept_two_pictures_of_one_time_end_in_a_conflict(
    bench, good: bytes, draw, encode, monkeypatch
) -> None:
    bench.deliver(SIX, good)
    bench.deliver("A20_2024-03-06_06H00M00S.png", encode(draw(seed=5), ".png"))
    # Both runs look for conflicts before either has written its receipt.
    monkeypatch.setattr(scan_module, "check_conflicts", lambda *_: None)
    assert kinds(bench.run()) == ["accepted", "conflict"]
    assert len(open_quarantine(bench.store, bench.scanner)) == 1


def test_a_file_that_vanishes_during_the_run_stops_nobody(bench, good: bytes, draw, encode) -> None:
    path = bench.deliver(SIX, good)
    bench.deliver(NOON, encode(draw(seed=1), ".png"))
    first, second = find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    path.unlink()
    gone = ingest_file(bench.project, bench.scanner, bench.store, first, bench.now)
    assert gone.kind == "vanished" and SIX in gone.reason and "went away" in gone.reason
    assert ingest_file(bench.project, bench.scanner, bench.store, second, bench.now).kind == "accepted"
    bench.deliver(SIX, good)
    assert kinds(bench.run()) == ["accepted"]


def test_a_file_that_changes_while_it_is_read_is_not_taken(bench, good: bytes, draw, encode, monkeypatch) -> None:
    path = bench.deliver(SIX, good)
    other = encode(draw(seed=9), ".png")
    real = scan_module.write_image
    monkeypatch.setattr(scan_module, "write_image", lambda *a: (real(*a), path.write_bytes(other))[0])
    (outcome,) = bench.run()
    assert outcome.kind == "vanished" and "changed while it was read" in outcome.reason
    assert list_receipts(bench.store, "A20") == [] and list_quarantine(bench.store, "A20") == []
    monkeypatch.undo()
    bench.now += timedelta(days=3000)
    assert kinds(bench.run()) == ["accepted"]


@pytest.mark.parametrize("writes_before", [0, 1, 3, 5, 7])
def test_a_full_disk_is_told_loses_nothing_and_the_next_run_takes_the_file(
    writes_before: int, bench, good: bytes, monkeypatch
) -> None:
    path = bench.deliver(SIX, good)
    left = [writes_before]
    real = os.fsync

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError, match="no space left"):
        bench.run()
    monkeypatch.undo()
    assert list_receipts(bench.store, "A20") == [] and path.read_bytes() == good
    assert kinds(bench.run()) == ["accepted"]


def test_names_that_would_lead_astray_stay_in_the_store(bench, good: bytes) -> None:
    for name in ("..A20..%2f.png", b"A20\xff.png", "A20_" + "x" * 200 + ".png", "A20\n.png"):
        bench.deliver(name, good[:400])
    outside = {path for path in bench.folder.rglob("*") if Path(bench.project.store) not in path.parents}
    assert set(kinds(bench.run())) <= {"refused", "repeat"}
    now = {path for path in bench.folder.rglob("*") if Path(bench.project.store) not in path.parents}
    assert now - {Path(bench.project.store)} == outside
    (bad,) = {q.sha256 for q in list_quarantine(bench.store, "A20")}
    assert {q.source_name for q in list_quarantine(bench.store, "A20")} >= {r"A20\xff.png", r"A20\x0a.png"}
    assert bench.store.read_bytes(quarantined_file(bench.store, "A20", bad)) == good[:400]


def test_a_lost_index_is_made_again(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    bench.deliver(NOON, good[:500])
    bench.run()
    truth = {key: value for key, value in bench.bytes_of_the_store().items() if not key.startswith(".index")}
    bench.store.delete(layout.index("A20"))
    assert bench.run() == []
    assert {k: v for k, v in bench.bytes_of_the_store().items() if not k.startswith(".index")} == truth


def test_the_year_of_the_receipts_is_that_of_the_devices_clock(bench, draw, encode) -> None:
    bench.deliver("A20_2024-01-01_00H00M.png", encode(draw(seed=1), ".png"))
    bench.deliver("A20_2023-12-31_18H00M.png", encode(draw(seed=2), ".png"))
    bench.run()
    assert [r.captured_at.year for r in list_receipts(bench.store, "A20")] == [2023, 2023]
    assert len(list_receipts(bench.store, "A20", 2024)) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".jp2"])
def test_every_format_makes_a_scan(suffix: str, bench, draw, encode) -> None:
    bench.deliver(f"A20_2024-03-06_06H00M{suffix}", encode(draw(), suffix))
    (outcome,) = bench.run()
    assert outcome.kind == "accepted"
    assert bench.store.exists(layout.original(outcome.scan_id, suffix))
