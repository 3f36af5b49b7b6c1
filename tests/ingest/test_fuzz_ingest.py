"""Broken files and hostile names through the whole of ingest: right pixels, or quarantine with a reason."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.outcomes import Outcome
from soilpipe.ingest.quarantine import quarantined_as
from soilpipe.ingest.readers import IMAGE_SUFFIXES, Refused, open_reader
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Entry, Inbox
from soilpipe.tiles import open_image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
fuzz: ModuleType = importlib.import_module("ingest_fuzz")
cases: ModuleType = importlib.import_module("ingest_fuzz_cases")
odd: ModuleType = importlib.import_module("ingest_fuzz_odd")
names: ModuleType = importlib.import_module("ingest_fuzz_names")

FIRST = datetime(2024, 1, 1)


def digest_of(bands: Iterator[np.ndarray], height: int, width: int) -> str:
    digest = hashlib.sha256(f"{height} {width}".encode())
    for band in bands:
        digest.update(np.ascontiguousarray(band))
    return digest.hexdigest()


def right_pixels(seed, folder: Path) -> str:
    path = folder / f"seed{seed.suffix}"
    path.write_bytes(seed.data)
    try:
        with open_reader(path, max_pixels=cases.MAX_PIXELS, max_memory=fuzz.MAX_MEMORY) as reader:
            return digest_of(reader.bands(256), reader.height, reader.width)
    except Refused:  # what was made by hand to be refused has none
        return "none"


def stored_pixels(bench, outcome: Outcome) -> str:
    level = open_image(bench.store, outcome.scan_id, 1.0).levels[0]
    return digest_of(iter([level.read(0, level.height, 0, level.width)]), level.height, level.width)


def delivered(bench, wanted) -> dict:
    """Each case once, as a scan of an hour of its own; by the name of its file."""
    named, known = {}, set()
    for case in wanted:
        suffix = "" if case.suffix == "." else case.suffix or case.seed.suffix
        if suffix.lower() not in IMAGE_SUFFIXES or case.data in known or not case.data:
            continue
        known.add(case.data)
        name = f"{FIRST + timedelta(hours=len(named)):A20_%Y-%m-%d_%HH%MM}{suffix}"
        bench.deliver(name, case.data)
        named[name] = case
    return named


def judged(bench, wanted, folder: Path) -> Counter[str]:
    named = delivered(bench, wanted)
    before = set(bench.folder.rglob("*"))
    outcomes = {outcome.name: outcome for outcome in bench.run()}
    assert outcomes.keys() == named.keys()
    right: dict[bytes, str] = {}
    told, bad = Counter(), []
    for name, case in named.items():
        outcome = outcomes[name]
        if case.seed.data not in right:
            right[case.seed.data] = right_pixels(case.seed, folder)
        if outcome.kind == "accepted":
            answer = ["pixels", stored_pixels(bench, outcome)]
        else:
            assert outcome.kind == "refused", (case.name, outcome)
            assert "soilpipe did not foresee" not in outcome.reason, (case.name, outcome.reason)
            (record,) = quarantined_as(bench.store, "A20", outcome.sha256)
            assert record.reason and record.remedy and record.source_name == name
            answer = ["refused", record.reason]
        judgement = fuzz.outcome_of(case, answer, right[case.seed.data])
        told[judgement] += 1
        if judgement in fuzz.BAD:
            bad.append(f"{judgement}: {case.name}: {answer[1]}")
    assert not bad, "\n".join(bad)
    made = set(bench.folder.rglob("*")) - before
    store = Path(bench.project.store)
    assert all(store == path or store in path.parents for path in made)
    return told


@pytest.fixture
def limited(make_bench):
    return make_bench(max_pixels=cases.MAX_PIXELS, max_memory=fuzz.MAX_MEMORY, slots="irregular", keep_originals=False)


def test_a_few_broken_files_through_the_whole_ingest(limited, tmp_path_factory) -> None:
    good = [cases.seed_of(kind, cases.picture(96, 128)) for kind in ("JPEG", "PNG", "TIFF zstd", "JPEG 2000 tiles")]
    told = judged(limited, fuzz.make_cases(32, 11, good, odd=False), tmp_path_factory.mktemp("seeds"))
    assert told.total() >= 28
    assert told["refused"] >= 8


@pytest.mark.slow
@pytest.mark.parametrize("share", range(8))
def test_broken_files_of_every_kind_through_the_whole_ingest(share: int, limited, tmp_path_factory) -> None:
    """In eight parts, about 400 files in all."""
    good = cases.seeds(96, 128)[share::8]
    by_hand = {"TIFF by hand", "PNG by hand"} if share == 0 else set()
    by_design = [
        case
        for case in odd.odd_cases(good[:1])
        if case.seed is good[0] or (case.seed.kind in by_hand and len(case.data) < 1_000_000)
    ]
    told = judged(limited, [*fuzz.make_cases(45, share, good, odd=False), *by_design], tmp_path_factory.mktemp("seeds"))
    assert told.total() >= 45
    assert told["refused"] >= 20
    assert told["right pixels"] >= 2


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("name", names.HOSTILE, ids=lambda name: ascii(name[:24]))
def test_a_hostile_name_through_the_whole_ingest(
    name: str, good: bool, bench, draw, encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the key of an object in a bucket: no folder would hold some of them."""
    data = encode(draw(20, 30), ".png")
    path = tmp_path / "object"
    path.write_bytes(data if good else data[:-9])
    entry = Entry(key=name, size=path.stat().st_size, modified=0.0)

    @contextmanager
    def open_local(self: Inbox, entry: Entry) -> Iterator[Path]:
        yield path

    monkeypatch.setattr(Inbox, "list", lambda self: [entry])
    monkeypatch.setattr(Inbox, "stat", lambda self, entry: entry)
    monkeypatch.setattr(Inbox, "open_local", open_local)
    monkeypatch.setattr(Inbox, "read_beside", lambda self, entry, suffix, most: None)
    monkeypatch.setattr(Inbox, "sha256_kept", lambda self, entry: None)
    before = set(bench.folder.rglob("*"))
    ready = find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    outcomes = [ingest_file(bench.project, bench.scanner, bench.store, arrival, bench.now) for arrival in ready]
    for outcome in outcomes:
        assert outcome.kind in ("accepted", "refused") if good else outcome.kind == "refused"
        if outcome.kind == "refused":
            assert quarantined_as(bench.store, "A20", outcome.sha256)[0].reason
    store = Path(bench.project.store)
    made = set(bench.folder.rglob("*")) - before
    assert all(store == one or store in one.parents for one in made)
    assert all(one.name.isascii() and one.name.isprintable() and len(one.name) < 200 for one in made)
