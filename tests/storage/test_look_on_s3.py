"""What a scheduled run costs that finds nothing new, where the inbox is never emptied: asked of moto's server.

A tenth of four scans a day, and pages of a tenth of the names: moto takes its time. (`benchmarks/arrivals.py` counts
them all.)
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import s3fs

from soilpipe import layout, s3_files
from soilpipe.ingest import look
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.index import Index, KnownFile
from soilpipe.store import Inbox, Store
from tests.storage.conftest import Place, project_at

PAGE = 100
LATER = datetime.now(UTC) + timedelta(hours=1)


def times(years: int) -> list[datetime]:
    """A scan every 60 hours, up to the end of 2025."""
    return [datetime(2026, 1, 1) - timedelta(hours=60) * number for number in range(146 * years, 0, -1)]


@pytest.fixture(autouse=True)
def a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "PAGE", PAGE)
    monkeypatch.setattr(look, "MARGIN", 30)


def filled(options: dict, bucket: str, folder: Path, years: int, scanner: str = "A20") -> Place:
    """A project that knows every scan of its inbox. Its objects are put into moto itself, for speed."""
    from moto.s3.models import s3_backends

    s3fs.S3FileSystem(**options).mkdir(bucket)
    project = project_at(f"s3://{bucket}/inbox", f"s3://{bucket}/store", options, folder)
    server = s3_backends["123456789012"]["aws"]
    shas = {}
    for moment in times(years):
        name = f"{scanner}_{moment:%Y-%m-%d_%HH%MM}.png"
        shas[name] = hashlib.sha256(name.encode()).hexdigest()
        server.put_object(bucket, f"inbox/{name}", b"x")
        server.put_object(bucket, f"store/{layout.receipt(layout.make_scan_id(scanner, moment, shas[name]))}", b"")
    files = {
        entry.key: KnownFile(
            size=entry.size,
            modified=entry.modified,
            version=entry.version,
            sha256=shas[entry.key],
            kind="accepted",
            year=int(entry.key[4:8]),
        )
        for entry in Inbox(project.scanners[0].inbox, options).list()
    }
    place = Place(project, s3=True)
    place.store.write_bytes(layout.index(scanner), Index(files=files).model_dump_json().encode())
    return place


@contextmanager
def list_calls(options: dict) -> Iterator[Counter[str]]:
    """How many LIST calls the server gets meanwhile, of the inbox and of the store."""
    calls: Counter[str] = Counter()
    filesystem = s3fs.S3FileSystem(use_listings_cache=False, **options)  # the one that Store and Inbox use

    def count(params: dict[str, Any], **_: Any) -> None:
        calls[params["query_string"].get("prefix", "").partition("/")[0]] += 1

    filesystem.s3.meta.events.register("before-call.s3.ListObjectsV2", count)
    yield calls
    filesystem.s3.meta.events.unregister("before-call.s3.ListObjectsV2", count)


def most_calls(place: Place, options: dict, runs: int) -> dict[str, int]:
    """Of the scheduled runs of more than a round, the most LIST calls that one needed."""
    most: dict[str, int] = {"inbox": 0, "store": 0}
    for _ in range(runs):
        with list_calls(options) as calls:
            found = find_arrivals(place.project, place.scanner, place.store, LATER, everything=False)
        assert (found.ready, found.growing, found.is_whole) == ((), (), False)
        most = {where: max(most[where], calls[where]) for where in most}
    return most


@pytest.mark.slow
def test_a_run_costs_the_same_with_one_year_and_with_five_in_the_inbox(options: dict, tmp_path: Path) -> None:
    most = {}
    for years in (1, 5):
        place = filled(options, f"years-{years}", tmp_path, years)
        with list_calls(options) as first:
            assert find_arrivals(place.project, place.scanner, place.store, LATER, everything=False).is_whole
        names = len(times(years))
        assert first["inbox"] == 1  # everything, once, in moto's own pages
        most[years] = most_calls(place, options, math.ceil(names / (PAGE - 1)) + 2)
    assert most[1] == most[5] == {"inbox": 2, "store": 2}


def test_a_late_file_is_taken_within_a_round(options: dict, tmp_path: Path) -> None:
    place = filled(options, "a-late-file", tmp_path, 5)
    find_arrivals(place.project, place.scanner, place.store, LATER, everything=False)
    late, newest = "A20_2022-05-05_05H05M.png", "A20_2026-01-01_00H00M.png"
    for name in (late, newest):
        place.deliver(name, b"x")
    found: list[str] = []
    for number in range(math.ceil(732 / (PAGE - 1)) + 2):
        ready = find_arrivals(place.project, place.scanner, place.store, LATER, everything=False).ready
        found += [arrival.name for arrival in ready]
        assert number > 0 or newest in found
        if late in found:
            break
    assert late in found
    everything = find_arrivals(place.project, place.scanner, Store(place.project.store, options), LATER)
    assert [arrival.name for arrival in everything.ready] == [late, newest]
