"""What a run costs that finds nothing new: seconds and memory on a disk, and on S3 the number of calls.

    python benchmarks/arrivals.py [--names 100000] [--known 50000] [--runs 3] [--skip-s3] [--skip-disk]

Disk: an inbox of `--names` files that two scanners share; `--known` of them are scans of the first, of 5 years, with
receipts of 50 files and detection files of 10 boxes each. Timed, each in a process of its own: the library calls of a
run in the order of flows/stages.py (the look into the inbox, what to detect, the series, the pages, the newest counts),
the first time, when nothing is known but the index of the inbox; again, with nothing new; and with one new file that is
taken in and detected. Printed too: peak memory of the process (libraries alone take most of it).

S3 (a moto server on this machine): four scans a day; receipts and detections of 1 and of 5 years, all of the files in
the inbox. Counted: the requests that the server is sent for such a run. One LIST lists at most 1,000 objects. The
first run of each day lists one older year besides, in turn.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from arrivals_store import (
    NOW,
    YEARS,
    analysis_in_use,
    detections,
    file_name,
    index_of,
    moments,
    picture,
    project_at,
    put,
    receipts,
    template_receipt,
)

from soilpipe import __version__, layout
from soilpipe.analyses import read_analysis
from soilpipe.config import Project
from soilpipe.counts.series import build_series
from soilpipe.counts.undetected import publish_and_list_undetected
from soilpipe.detect.run import detect_scan
from soilpipe.detect.select import load_project_detector
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.receipts import read_receipt
from soilpipe.ingest.scan import ingest_file
from soilpipe.report.newest import newest_counts
from soilpipe.report.page import write_report
from soilpipe.store import Inbox, Store

STAGES = ("inbox", "ingest", "undetected", "detect", "series", "pages", "newest")


def one_run(project: Project, store: Store, expected: int) -> dict[str, float]:
    """The library calls of a run in the order of flows/stages.py: seconds of each stage."""
    scanner, now = project.scanners[0], datetime.now(UTC) + timedelta(hours=1)
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    found = find_arrivals(project, scanner, store, now, everything=False)
    assert len(found.ready) == expected and not found.growing, "something else than expected is new"
    mark()
    for arrival in found.ready:
        assert ingest_file(project, scanner, store, arrival, now).kind == "accepted"
    mark()
    detector = load_project_detector(project, store)
    scans = publish_and_list_undetected(store, scanner, analysis_in_use(project, store))
    assert len(scans) == expected
    mark()
    for scan in scans:
        detect_scan(project, store, read_receipt(store, scan.scan_id), detector, read_analysis(store, scan.analysis_id))
    mark()
    summary = build_series(project, store, scanner.id, NOW + timedelta(days=2))
    assert not summary.problems, summary.problems[:1]
    mark()
    write_report(project, store, [scanner.id], known=True)
    mark()
    assert newest_counts(project, store, scanner.id) is not None
    mark()
    return dict(zip(STAGES, (after - before for before, after in pairwise(marks)), strict=True))


def in_a_process(folder: Path, step: timedelta, expected: int) -> dict[str, float]:
    """A run in a process of its own: seconds by stage, of the whole process, and its peak memory in GB."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--one-run", str(folder), str(step.total_seconds()), str(expected)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "process": time.perf_counter() - begin}


def told(what: str, results: list[dict[str, float]]) -> None:
    middle = {name: median(result[name] for result in results) for name in results[0]}
    total = [sum(result[stage] for stage in STAGES) for result in results]
    print(f"  {what}: {median(total):.2f} s ({min(total):.2f} to {max(total):.2f}, n = {len(total)}),", end=" ")
    print(f"with the start of Python {middle['process']:.2f} s, peak memory {middle['gb']:.2f} GB")
    print("    " + ", ".join(f"{stage} {middle[stage]:.2f}" for stage in STAGES))


def on_disk(folder: Path, names: int, known: int, runs: int) -> None:
    inbox, step = folder / "inbox", timedelta(days=365 * YEARS) / known
    inbox.mkdir()
    project = project_at(str(inbox), str(folder / "store"), step=step)
    store, times = Store(project.store), moments(known, step)
    for name in [file_name("A20", t) for t in times] + [file_name("B20", t) for t in times][: names - known]:
        (inbox / name).write_bytes(b"x")
    made = receipts(template_receipt(folder), times)
    for key, data in made.items():
        put(folder / "store", key, data)
    analysis = analysis_in_use(project, store)
    for key, data in detections(analysis, [Path(key).stem for key in made]):
        put(folder / "store", key, data)
    store.write_bytes(layout.index("A20"), index_of(Inbox(inbox).list()))
    print(f"disk: {names:,} names in the inbox, {known:,} known scans of {YEARS} years", flush=True)
    told("the first run, when nothing is known yet", [in_a_process(folder, step, 0)])
    told("a run with nothing new", [in_a_process(folder, step, 0) for _ in range(runs)])
    (inbox / file_name("A20", NOW.replace(tzinfo=None) + timedelta(hours=1))).write_bytes(picture(1))
    told("a run with one new file of 64 x 64 px", [in_a_process(folder, step, 1)])


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
        print("S3: four scans a day; requests of a run that finds nothing new")
        for years in (1, 2, YEARS):
            run_on_s3(options, template, years)
    finally:
        server.stop()


def run_on_s3(options: dict[str, Any], template: Any, years: int) -> None:
    import s3fs

    bucket = f"of-{years}-years"
    filesystem = s3fs.S3FileSystem(use_listings_cache=False, **options)  # the one that Store and Inbox use
    filesystem.mkdir(bucket)
    project = project_at(f"s3://{bucket}/inbox", f"s3://{bucket}/store", options)
    store = Store(project.store, options)
    times = moments(365 * 4 * years, timedelta(hours=6))
    made = receipts(template, times)
    made |= detections(analysis_in_use(project, store), [Path(key).stem for key in made])
    objects = {f"store/{key}": data for key, data in made.items()}
    objects |= {f"inbox/{file_name('A20', moment)}": b"x" for moment in times}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: filesystem.pipe_file(f"{bucket}/{item[0]}", item[1]), objects.items()))
    store.write_bytes(layout.index("A20"), index_of(Inbox(project.scanners[0].inbox, options).list()))
    first, seconds = requests(filesystem, lambda: one_run(project, store, 0))
    print(f"  {years} years, {len(times):,} scans: the first run {in_words(first)}, {seconds:.2f} s", flush=True)
    for _ in range(2):  # the second has looked at the inbox twice
        calls, seconds = requests(filesystem, lambda: one_run(project, store, 0))
        print(f"    a run with nothing new {in_words(calls)}, {seconds:.2f} s", flush=True)


def requests(filesystem: Any, call: Callable[[], Any]) -> tuple[Counter[str], float]:
    """The requests that a call sends, by kind (LIST also by place), and its seconds."""
    counted: Counter[str] = Counter()

    def count(model: Any, params: dict[str, Any], **_: Any) -> None:
        place = ""
        if model.name == "ListObjectsV2":
            place = " of the inbox" if params["query_string"].get("prefix", "").startswith("inbox") else " of the store"
        counted[model.name.removesuffix("Object").removesuffix("ObjectsV2").upper() + place] += 1

    filesystem.s3.meta.events.register("before-call.s3", count)
    begin = time.perf_counter()
    try:
        call()
    finally:
        filesystem.s3.meta.events.unregister("before-call.s3", count)
    return counted, time.perf_counter() - begin


def in_words(calls: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(calls.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--known", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--skip-disk", action="store_true")
    parser.add_argument("--skip-s3", action="store_true")
    parser.add_argument("--one-run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_run:
        folder, step, expected = arguments.one_run
        project = project_at(f"{folder}/inbox", f"{folder}/store", step=timedelta(seconds=float(step)))
        seconds = one_run(project, Store(project.store), int(expected))
        print(json.dumps({**seconds, "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
        return
    print(f"soilpipe {__version__}")
    with tempfile.TemporaryDirectory() as name:
        if not arguments.skip_disk:
            on_disk(Path(name), arguments.names, arguments.known, arguments.runs)
    with tempfile.TemporaryDirectory() as name:
        if not arguments.skip_s3:
            on_s3(Path(name))


if __name__ == "__main__":
    main()
