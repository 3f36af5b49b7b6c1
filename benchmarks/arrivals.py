"""What a run costs that finds nothing new: seconds on a disk, and on S3 the number of LIST calls.

    python benchmarks/arrivals.py [--names 100000] [--known 50000] [--runs 5] [--skip-s3]

Disk: an inbox of `--names` files that two scanners share, `--known` of them scans of the first, with their receipts
and the index. Timed: the look into the inbox; the index made again after its loss; one new file taken in; and, for
comparison, reading the truth, which the later stages of a run do.

S3 (a moto server on this machine): four scans a day; receipts of 1 and of 5 years; in the inbox the files of the last
90 days, or all of them. Counted: the LIST calls that the server is sent for one look. One of them lists at most 1,000
objects.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from soilpipe import __version__, layout
from soilpipe.config import Project, Scanner, Site
from soilpipe.counts.truth import read_truth
from soilpipe.ingest.arrivals import Arrivals, find_arrivals
from soilpipe.ingest.index import Index, KnownFile, load_index
from soilpipe.ingest.receipts import Receipt, read_receipt
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Entry, Inbox, Store, canonical_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEARS = 5


def project_at(folder: str, store: str, options: dict[str, Any] | None = None) -> Project:
    """Two scanners that share an inbox."""
    place = {"site": "bench", "inbox": folder, "inbox_options": options or {}, "timezone": "UTC", "slots": "irregular"}
    return Project(
        project="arrivals",
        path=Path("soilpipe.yaml"),
        store=store,
        storage_options=options or {},
        timezone="UTC",
        sites=(Site(id="bench"),),
        scanners=(Scanner(id="A20", **place), Scanner(id="B20", **place)),
        keep_originals=False,
    )


def file_name(scanner_id: str, moment: datetime) -> str:
    return f"{scanner_id}_{moment:%Y-%m-%d_%HH%MM%SS}.png"


def picture(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def moments(count: int, step: timedelta) -> list[datetime]:
    """The times of scans (naive), the last of them a step before NOW."""
    return [NOW.replace(tzinfo=None) - step * number for number in range(count, 0, -1)]


def receipts(template: Receipt, times: Sequence[datetime]) -> dict[str, bytes]:
    """One receipt for each time, by its key."""
    made = {}
    for moment in times:
        name = file_name("A20", moment)
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        scan_id = layout.make_scan_id("A20", moment, sha256)
        receipt = template.model_copy(
            update={
                "scan_id": scan_id,
                "sha256": sha256,
                "source_name": name,
                "source_size": 1,
                "source_modified": moment.replace(tzinfo=UTC).timestamp(),
                "captured_at": moment.replace(tzinfo=UTC),
                "device_time": moment,
            }
        )
        made[layout.receipt(scan_id)] = canonical_json(receipt.model_dump(mode="json"))
    return made


def index_of(entries: Sequence[Entry]) -> bytes:
    """The index that knows these files of the inbox."""
    files = {}
    for entry in entries:
        if entry.key.startswith("A20_"):
            sha256 = hashlib.sha256(entry.key.encode()).hexdigest()
            files[entry.key] = KnownFile(
                size=entry.size,
                modified=entry.modified,
                version=entry.version,
                sha256=sha256,
                kind="accepted",
                year=int(entry.key[4:8]),
            )
    return Index(files=files).model_dump_json().encode()


def template_receipt(folder: Path) -> Receipt:
    """The receipt of a scan that was really taken in."""
    (folder / "template").mkdir()
    project = project_at(str(folder / "template"), str(folder / "template-store"))
    (folder / "template" / file_name("A20", NOW.replace(tzinfo=None))).write_bytes(picture(0))
    store = Store(project.store)
    later = datetime.now(UTC) + timedelta(hours=1)
    (arrival,) = find_arrivals(project, project.scanners[0], store, later).ready
    outcome = ingest_file(project, project.scanners[0], store, arrival, later)
    assert outcome.scan_id is not None
    return read_receipt(store, outcome.scan_id)


def timed(what: str, runs: int, call: Callable[[], Any]) -> Any:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    print(f"  {what:<62} {statistics.median(seconds):8.2f} s  ({min(seconds):.2f} to {max(seconds):.2f}, n = {runs})")
    return result


def on_disk(folder: Path, names: int, known: int, runs: int) -> None:
    inbox = folder / "inbox"
    inbox.mkdir()
    project = project_at(str(inbox), str(folder / "store"))
    scanner, store = project.scanners[0], Store(project.store)
    times = moments(known, timedelta(days=365 * YEARS) / known)
    for name in [file_name("A20", t) for t in times] + [file_name("B20", t) for t in times][: names - known]:
        (inbox / name).write_bytes(b"x")
    for key, data in receipts(template_receipt(folder), times).items():
        path = folder / "store" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    store.write_bytes(layout.index("A20"), index_of(Inbox(inbox).list()))
    later = datetime.now(UTC) + timedelta(hours=1)

    def look() -> Arrivals:
        return find_arrivals(project, scanner, store, later)

    print(f"disk: {names:,} names in the inbox, {known:,} known scans of {YEARS} years")
    found = timed("a look that finds nothing new", runs, look)
    assert (found.known, found.ready, found.growing) == (known, (), ()), "something is new"

    def lose_the_index() -> None:
        store.delete(layout.index("A20"))
        load_index(store, "A20")

    timed("the index made again after its loss", 1, lose_the_index)
    store.write_bytes(layout.index("A20"), index_of(Inbox(inbox).list()))
    for number in range(runs + 1):
        moment = NOW.replace(tzinfo=None) + timedelta(hours=1 + number)
        (inbox / file_name("A20", moment)).write_bytes(picture(number))
    waiting = list(look().ready)

    def take() -> None:
        outcome = ingest_file(project, scanner, store, waiting.pop(), later)
        assert outcome.kind == "accepted", outcome

    take()  # loads libraries
    timed("one new file of 64 x 64 px taken in", runs, take)
    timed("for comparison: reading the truth, as the later stages do", 1, lambda: read_truth(store, scanner))


def on_s3(folder: Path) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        region = {"endpoint_url": f"http://{host}:{port}", "region_name": "eu-west-1"}
        options = {"key": "test", "secret": "test", "client_kwargs": region}
        template = template_receipt(folder)
        print("S3: four scans a day; LIST calls of one look that finds nothing new")
        for in_inbox in ("last 90 days", "all"):
            for years in (1, YEARS):
                look_on_s3(options, template, years, in_inbox)
    finally:
        server.stop()


def look_on_s3(options: dict[str, Any], template: Receipt, years: int, in_inbox: str) -> None:
    import s3fs

    bucket = f"y{years}-{'all' if in_inbox == 'all' else 'recent'}"
    filesystem = s3fs.S3FileSystem(use_listings_cache=False, **options)  # the one that Store and Inbox use
    filesystem.mkdir(bucket)
    project = project_at(f"s3://{bucket}/inbox", f"s3://{bucket}/store", options)
    store = Store(project.store, options)
    times = moments(365 * 4 * years, timedelta(hours=6))
    objects = {f"store/{key}": data for key, data in receipts(template, times).items()}
    for moment in times if in_inbox == "all" else times[-360:]:
        objects[f"inbox/{file_name('A20', moment)}"] = b"x"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: filesystem.pipe_file(f"{bucket}/{item[0]}", item[1]), objects.items()))
    listed = Inbox(project.scanners[0].inbox, options).list()
    store.write_bytes(layout.index("A20"), index_of(listed))
    calls: Counter[str] = Counter()

    def count(params: dict[str, Any], **_: Any) -> None:
        calls["inbox" if params["query_string"].get("prefix", "").startswith("inbox") else "store"] += 1

    filesystem.s3.meta.events.register("before-call.s3.ListObjectsV2", count)
    start = time.perf_counter()
    found = find_arrivals(project, project.scanners[0], store, datetime.now(UTC) + timedelta(hours=1))
    seconds = time.perf_counter() - start
    filesystem.s3.meta.events.unregister("before-call.s3.ListObjectsV2", count)
    assert (found.known, found.ready, found.growing) == (len(listed), (), ()), "something is new"
    total = sum(calls.values())
    print(
        f"  receipts of {years} year{'s' * (years > 1)} ({len(times):,}), in the inbox {in_inbox} ({len(listed):,}): "
        f"{total} LIST calls ({calls['inbox']} of the inbox, {calls['store']} of the store), {seconds:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--known", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--skip-s3", action="store_true")
    arguments = parser.parse_args()
    print(f"soilpipe {__version__}")
    with tempfile.TemporaryDirectory() as name:
        on_disk(Path(name), arguments.names, arguments.known, arguments.runs)
    if not arguments.skip_s3:
        with tempfile.TemporaryDirectory() as name:
            on_s3(Path(name))


if __name__ == "__main__":
    main()
