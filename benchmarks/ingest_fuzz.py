"""Hostile and broken files through the readers: what becomes of each.

    python benchmarks/ingest_fuzz.py --count 4000 --seed 1

Each file is read whole in a worker process, with 5 seconds and a limit of memory. It must give the right pixels, or
be refused with a reason that names the part of the format. "Undetectable" are other pixels where the format has no
checksum that could tell: bytes changed in coded data of JPEG, JPEG 2000, LZW, PackBits and zstd, in plain samples,
and in the headers of all formats but PNG. What a cut, a tail of zeros or a hole of zeros of 4 KiB or more changes is
only put there for plain TIFF samples (black is a legitimate picture) and for the last bytes of PackBits and zstd.
Exits with 1 if anything came out wrong, crashed, hung or took more memory than allowed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ingest_fuzz_cases import MAX_PIXELS, Case, Seed, cases, seeds
from ingest_fuzz_odd import odd_cases

LIMIT_S = 5.0
MAX_MEMORY = 300_000_000
MORE_MEMORY = 1_000_000_000
"""Address space that a worker may take beyond what it has after its imports."""

GOOD = ("right pixels", "refused", "undetectable")
BAD = ("WRONG PIXELS", "refused though good", "no reason", "unforeseen", "crash", "hang", "memory")


def work() -> None:
    """The worker: a path and a name a line in, what came of it a line out."""
    from soilpipe.ingest.readers import Refused, open_reader
    from soilpipe.ingest.readers.base import UNFORESEEN

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the answers
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    answers.write("ready\n")
    for line in sys.stdin:
        path, name = json.loads(line)
        try:
            with open_reader(Path(path), max_pixels=MAX_PIXELS, max_memory=MAX_MEMORY, name=name) as reader:
                digest = hashlib.sha256(f"{reader.height} {reader.width}".encode())
                rows = 0
                for band in reader.bands(256):
                    digest.update(band)
                    rows += len(band)
                answer = ["pixels", digest.hexdigest() if rows == reader.height else "rows are missing"]
        except Refused as refused:
            unforeseen = "unforeseen" if UNFORESEEN in refused.reason else "refused"
            answer = ["memory" if isinstance(refused.__cause__, MemoryError) else unforeseen, refused.reason]
        except Exception as error:
            answer = ["crash", f"{type(error).__name__}: {error}"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answers.write(json.dumps([*answer, peak]) + "\n")


class Worker:
    """A worker process that is started again when it crashed or hung."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.peak_mb = 0.0
        self.peak_of = ""
        self._start_mb = 0.0

    def read(self, data: bytes, name: str, what: str) -> list[Any]:
        """What the worker answers, ["hang", ...] or ["crash", ...]. ``what``: told if it takes the most memory."""
        path = self._folder / "file"
        path.write_bytes(data)
        process = self._process or self._start()
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            process.stdin.write(json.dumps([str(path), name]).encode() + b"\n")
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            return ["crash", f"the process ended with {process.returncode}"] if ready else ["hang", f"{LIMIT_S} s"]
        answer: list[Any] = json.loads(line)
        peak_mb = answer.pop() / 1024 - self._start_mb
        if peak_mb > self.peak_mb:
            self.peak_mb, self.peak_of = peak_mb, what
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the worker did not start; run it by hand with --worker to see why")
        status = Path(f"/proc/{process.pid}/status").read_text()
        self._start_mb = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM")) / 1024
        self._process = process
        return process

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def outcome_of(case: Case, answer: list[Any], right: str) -> str:
    """One of GOOD or BAD. ``right``: the digest of the good file's pixels."""
    kind, what = answer[0], answer[1]
    if kind == "refused":
        if case.must == "right":
            return "refused though good"
        generic = case.data[:16] != case.seed.data[:16]  # what it was can no longer be told
        return "refused" if generic or f"{case.seed.format_name}" in what else "no reason"
    if kind != "pixels":
        return str(kind)
    if case.must == "refuse":
        return "WRONG PIXELS"
    if what == right:
        return "right pixels"
    return "undetectable" if case.trusted else "WRONG PIXELS"


def judge(all_cases: Iterable[Case], worker: Worker) -> Iterator[tuple[Case, str, str]]:
    """(case, outcome, what was said) of each."""
    known: dict[str, str] = {}
    for case in all_cases:
        key = hashlib.sha256(case.seed.data).hexdigest()
        if key not in known:
            known[key] = str(worker.read(case.seed.data, f"seed{case.seed.suffix}", case.seed.kind)[1])
        suffix = "" if case.suffix == "." else case.suffix or case.seed.suffix
        answer = worker.read(case.data, f"scan{suffix}", case.name)
        yield case, outcome_of(case, answer, known[key]), str(answer[1])


def make_cases(count: int, seed: int, good: list[Seed] | None = None, odd: bool = True) -> Iterator[Case]:
    """At least ``count`` cases, the same for the same seed."""
    good = good or seeds()
    made = 0
    for case in odd_cases(good) if odd else ():
        made += 1
        yield case
    rng = np.random.default_rng(seed)
    for one in good:
        yield from cases(one, max(8, -(-(count - made) // len(good))), rng)


def table(title: str, rows: dict[str, Counter[str]]) -> str:
    columns = [*GOOD, *(name for name in BAD if any(row[name] for row in rows.values()))]
    lines = [f"| {title} | files | {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) + 1)]
    total: Counter[str] = Counter()
    for name, row in rows.items():
        total += row
        lines.append(f"| {name} | {row.total()} | {' | '.join(str(row[column]) for column in columns)} |")
    lines.append(f"| all | {total.total()} | {' | '.join(str(total[column]) for column in columns)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the files that came out bad")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        with contextlib.suppress(BrokenPipeError):
            work()
        return 0
    by_mutation: dict[str, Counter[str]] = {}
    by_kind: dict[str, Counter[str]] = {}
    bad = 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Worker(Path(folder)) as worker:
        for case, outcome, said in judge(make_cases(args.count, args.seed), worker):
            by_mutation.setdefault(case.mutation, Counter())[outcome] += 1
            by_kind.setdefault(case.seed.kind, Counter())[outcome] += 1
            if outcome in BAD:
                bad += 1
                print(f"{outcome}: {case.name}: {said[:200]}", flush=True)
                if args.keep:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    (args.keep / f"{bad:04d}{case.suffix or case.seed.suffix}").write_bytes(case.data)
        peak = f"{worker.peak_mb:.0f} MB ({worker.peak_of})"
    print(table("what was done", by_mutation), table("to a file of", by_kind), sep="\n\n")
    print(f"\n{time.monotonic() - begun:.0f} s; most memory beyond a worker's start: {peak}; bad: {bad}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
