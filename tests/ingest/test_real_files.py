"""Real pictures of real devices, where they are at hand: nothing of them is in the project."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.receipts import list_receipts
from soilpipe.tiles import open_image


def deliver_all(bench, folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    for file in files:
        path = Path(bench.scanner.inbox) / file.name
        shutil.copyfile(file, path)
        os.utime(path, (0, 0))
    return files


def test_sticky_traps_share_an_inbox(make_bench, shared_data: Path) -> None:
    ids = ("08038ade", "0a5bb6f4", "398948ee", "15e612cd", "1b74105a", "5c173ff2", "afbd6f68")
    bench = make_bench(*ids, shared=True, filename="stickypi", slots="irregular")
    files = deliver_all(bench, shared_data / "stickypi" / "images", "*.jpg")
    found = {s.id: find_arrivals(bench.project, s, bench.store, bench.now) for s in bench.project.scanners}
    assert sorted(arrival.name for one in found.values() for arrival in one.ready) == [file.name for file in files]
    assert not any(one.strangers or one.growing for one in found.values())
    last = bench.project.scanners[-1]
    (outcome,) = bench.run(last)
    assert outcome.kind == "accepted"
    (receipt,) = list_receipts(bench.store, last.id)
    assert receipt.dpi is None  # its 72 dpi are a program's default
    level = open_image(bench.store, receipt.scan_id, 1.0).levels[0]
    original = cv2.imread(str(next(file for file in files if file.name == receipt.source_name)))
    stored = level.read(0, level.height, 0, level.width)[:, :, ::-1]
    assert np.abs(stored.astype(int) - original).max() <= 4


def test_soil_scanner_crops_are_of_one_place_27_days_apart(make_bench, shared_data: Path) -> None:
    bench = make_bench("PD_T088_L004", filename="ci600", slots="irregular")
    deliver_all(bench, shared_data / "soil_scanner" / "images", "*.tiff")
    assert [outcome.kind for outcome in bench.run()] == ["accepted", "accepted"]
    first, second = list_receipts(bench.store, "PD_T088_L004")
    assert first.device_time == datetime(2018, 10, 17, 14, 0, 56)
    assert (second.captured_at - first.captured_at).days == 26
    assert (first.width_px, first.height_px, first.quality.flat_bands) == (1024, 1024, ())
