"""A small part of benchmarks/ingest_fuzz.py, and names that no scanner gives its files."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

from soilpipe import layout
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.readers import IMAGE_SUFFIXES
from soilpipe.ingest.scan import sha256_of
from soilpipe.store import Entry, Inbox

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ingest_fuzz")


def test_broken_files_give_the_right_pixels_or_a_reason(fuzz: ModuleType, tmp_path: Path) -> None:
    cases = importlib.import_module("ingest_fuzz_cases")
    good = cases.seeds(96, 128)
    wanted = list(fuzz.make_cases(320, 7, good, odd=False))
    assert len(wanted) >= 300
    with fuzz.Worker(tmp_path) as worker:
        outcomes = [(case, outcome, said) for case, outcome, said in fuzz.judge(wanted, worker)]
    bad = [f"{outcome}: {case.name}: {said}" for case, outcome, said in outcomes if outcome in fuzz.BAD]
    assert not bad, "\n".join(bad)
    told = [outcome for _, outcome, _ in outcomes]
    assert told.count("refused") > len(told) / 2


def test_odd_files_give_the_right_pixels_or_a_reason(fuzz: ModuleType, tmp_path: Path) -> None:
    cases, odd = (importlib.import_module(name) for name in ("ingest_fuzz_cases", "ingest_fuzz_odd"))
    good = [cases.seed_of(kind, cases.picture(40, 60)) for kind in ("JPEG", "TIFF deflate")]
    wanted = [case for case in odd.odd_cases(good) if "aspect" not in case.mutation and len(case.data) < 1_000_000]
    assert {"pixel bomb", "no pixels", "few pixels", "huge tags", "directories"} <= {case.mutation for case in wanted}
    with fuzz.Worker(tmp_path) as worker:
        bad = [f"{what}: {case.name}: {said}" for case, what, said in fuzz.judge(wanted, worker) if what in fuzz.BAD]
    assert not bad, "\n".join(bad)


def test_the_fuzzer_sees_wrong_pixels_a_crash_and_a_hang(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = importlib.import_module("ingest_fuzz_cases")
    seed = cases.seed_of("PNG", cases.picture(20, 30))
    other = cases.seed_of("PNG", cases.picture(20, 30, seed=1))
    with fuzz.Worker(tmp_path) as worker:
        ((_, outcome, _),) = fuzz.judge([cases.Case(seed, "another picture", other.data)], worker)
        assert outcome == "WRONG PIXELS"
        ((_, outcome, _),) = fuzz.judge([cases.Case(seed, "as it is", seed.data[:-1], "right")], worker)
        assert outcome == "refused though good"
        process = worker._process
        process.kill()
        process.wait()
        assert worker.read(seed.data, "scan.png", "")[0] == "crash"
        assert worker.read(seed.data, "scan.png", "")[0] == "pixels"
        monkeypatch.setattr(fuzz, "LIMIT_S", 0.5)
        os.kill(worker._process.pid, signal.SIGSTOP)
        assert worker.read(seed.data, "scan.png", "")[0] == "hang"


sys.path.insert(0, str(BENCHMARKS))
HOSTILE: tuple[str, ...] = importlib.import_module("ingest_fuzz_names").HOSTILE


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:24]))
def test_hostile_names_give_paths_inside_the_store(name: str, bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As keys of a bucket may be: a folder holds fewer of them."""
    monkeypatch.setattr(Inbox, "list", lambda self: [Entry(key=name, size=5, modified=0.0)])
    found = find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    shown = [*found.strangers, *(arrival.name for arrival in found.ready)]
    assert len(shown) == 1 or name.startswith(".")  # hidden files are passed over
    assert all(one.encode() and min(map(ord, one)) >= 32 for one in shown)
    for arrival in found.ready:
        time = arrival.device_time or bench.now.replace(tzinfo=None)
        scan_id = layout.make_scan_id(bench.scanner.id, time, "ab" * 32)
        suffix = PurePosixPath(arrival.name).suffix.lower()
        keys = [layout.scan_folder(scan_id), layout.receipt(scan_id), layout.quarantine_folder("A20", "ab" * 32)]
        if suffix in IMAGE_SUFFIXES:
            keys.append(layout.original(scan_id, suffix))
        assert all(".." not in key and not key.startswith("/") and len(key) < 200 and key.isascii() for key in keys)


@pytest.mark.parametrize("good", [True, False])
def test_hostile_names_on_disk_leave_nothing_outside_the_store(good: bool, bench, draw, encode) -> None:
    names = [os.fsencode(name) for name in HOSTILE if "/" not in name and "\x00" not in name and len(name) < 250]
    names += [b"A20_2024-03-06_06H00M_" + b"x" * 220 + b".png", b"A20_2024-03-06_12H00M\xff\xfe.png"]
    before = set(bench.folder.rglob("*"))
    for number, name in enumerate(names):
        data = encode(draw(20, 30, seed=number), ".png")
        bench.deliver(name, data if good else data[:-9])
    outcomes = bench.run()
    assert outcomes
    assert {outcome.kind for outcome in outcomes} <= ({"accepted", "refused", "conflict"} if good else {"refused"})
    inbox, store = Path(bench.scanner.inbox), Path(bench.project.store)
    made = {path for path in bench.folder.rglob("*") if path not in before and store not in (path, *path.parents)}
    assert {path.parent for path in made} == {inbox} and len(made) == len(names)
    assert all(path.name.isascii() and path.name.isprintable() for path in store.rglob("*"))
    kept = {sha256_of(path) for path in store.rglob("*") if path.suffix == ".png"}
    assert len(kept) == len({outcome.sha256 for outcome in outcomes})


def test_the_files_of_the_fuzzer_are_the_same_for_the_same_seed(fuzz: ModuleType) -> None:
    cases = importlib.import_module("ingest_fuzz_cases")

    def made(seed: int) -> list[bytes]:
        good = [cases.seed_of(kind, cases.picture(60, 80)) for kind in ("JPEG", "TIFF zstd")]
        return [case.data for case in fuzz.make_cases(40, seed, good, odd=False)]

    assert made(3) == made(3)
    assert made(3) != made(4)
