"""Ingest at full size: time, CPU and memory for each format, beside the limit taken in the same run.

    python benchmarks/ingest.py [--formats jpeg,png,...] [--dpi 600,1200] [--runs 3] [--dask] [--json FILE]

For each format and resolution, in turn, each in a process of its own: decoding alone, compressing and writing alone
(from bands in memory, pyramid included), and the whole ingest of the file from its inbox to its receipt, hashes and
quality included. Each is done twice in its process, and the second time counts (`ingest_work.py`); "first" is what the
ingest took before that. The limit is the longest of decoding alone, writing alone, and the CPU of both divided by the
cores. Medians of the runs. With ``--dask`` also the ingest with a cluster of two workers of one thread on the same
cores, and whether it gave the same pixels. Copying the original into the store is left out unless ``--originals``.

Files are made in a temporary folder (or ``--folder``, where they stay); at 2400 dpi count on 8 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ingest_files

from soilpipe.config import Project

WORK = Path(__file__).with_name("ingest_work.py")
TARGET_FORMATS = ("jpeg", "png", "tiff", "tiff deflate")
TIME_TARGET, DASK_TARGET, MEMORY_TARGET_MB, GROWTH_TARGET = 1.25, 1.15, 1200.0, 2.2
WHOLE = ("jpeg progressive", "jp2")
"""Formats that must be decoded whole: the memory target is the project's limit instead."""
LIMIT_MB = Project.model_fields["max_memory"].default / 1e6


def measured(work: str, file: Path, scratch: Path, dpi: int, more: list[str]) -> dict[str, Any]:
    """One run in a process of its own, in a fresh folder."""
    folder = scratch / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file.read_bytes() if file.stat().st_size < 1 << 28 else None  # into the page cache, for all alike
    command = [sys.executable, str(WORK), work, str(file), str(folder), str(dpi), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure; of what is the same in every run, that; a failure if there was one."""
    for run in runs:
        if "failed" in run:
            return run
    if len({run.get("pixels") for run in runs}) > 1:
        return {"failed": "the runs gave different pixels"}
    numbers = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "pixels"}
    return numbers | {key: runs[0][key] for key in runs[0] if key == "pixels"}


def one_format(name: str, dpi: int, scratch: Path, arguments: argparse.Namespace, cores: int) -> dict[str, Any]:
    """All figures of a format at a resolution. The works take turns, so that a slow minute falls on all alike."""
    height, width = ingest_files.A4[dpi]
    file = ingest_files.make_file(arguments.folder or scratch, name, dpi)
    works = ["decode", "write", "ingest", *(["dask"] if arguments.dask else [])]
    runs: dict[str, list[dict[str, Any]]] = {work: [] for work in works}
    for number in range(arguments.runs):
        for work in works:
            print(f"\r{name} {dpi} dpi: {work} {number + 1}/{arguments.runs}   ", end="", file=sys.stderr, flush=True)
            more = ["--originals"] if arguments.originals and work in ("ingest", "dask") else []
            runs[work].append(measured(work, file, scratch, dpi, more))
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
    row = {"format": name, "dpi": dpi, "mpix": height * width / 1e6, "file_mb": file.stat().st_size / 1e6}
    row |= {work: medians(found) for work, found in runs.items()}
    if not any("failed" in row[work] for work in ("decode", "write", "ingest")):
        both = (row["decode"]["cpu"] + row["write"]["cpu"]) / cores
        row["limit"] = max(row["decode"]["wall"], row["write"]["wall"], both)
        row["ratio"] = row["ingest"]["wall"] / row["limit"]
    if arguments.dask and "failed" not in row["dask"] and "failed" not in row["ingest"]:
        row["dask_ratio"] = row["dask"]["wall"] / row["ingest"]["wall"]
        row["dask_same_pixels"] = row["dask"]["pixels"] == row["ingest"]["pixels"]
    if not arguments.folder:
        file.unlink()
    return row


HEAD = (
    f"{'format':17s}{'dpi':>5s}{'MPix':>6s}{'file MB':>9s} |"
    f"{'wall s':>8s}{'first':>7s}{'CPU s':>8s}{'MPix/s':>8s}{'peak MB':>9s} |"
    f"{'decode s':>9s}{'CPU':>7s} |{'write s':>8s}{'CPU':>7s} |{'limit s':>8s}{'ratio':>7s} | dask"
)


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    told = f"{row['format']:17s}{row['dpi']:5d}{row['mpix']:6.0f}{row['file_mb']:9.0f} |"
    if "limit" not in row:
        failed = [f"{work}: {row[work]['failed']}" for work in ("decode", "write", "ingest") if "failed" in row[work]]
        return f"{told} {'; '.join(failed)}"
    whole, read, write = row["ingest"], row["decode"], row["write"]
    told += f"{whole['wall']:8.2f}{whole['first_wall']:7.2f}{whole['cpu']:8.2f}"
    told += f"{row['mpix'] / whole['wall']:8.1f}{whole['peak_mb']:9.0f} |"
    told += f"{read['wall']:9.2f}{read['cpu']:7.2f} |{write['wall']:8.2f}{write['cpu']:7.2f} |"
    told += f"{row['limit']:8.2f}{row['ratio']:7.2f} |"
    if "dask_ratio" in row:
        told += f" {row['dask_ratio']:.2f} x, {'same pixels' if row['dask_same_pixels'] else 'OTHER PIXELS'}"
    elif "failed" in row.get("dask", {}):
        told += f" {row['dask']['failed']}"
    return told


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Every target that these rows can tell of: met, or missed and by how much."""
    told = []

    def judge(what: str, value: float, target: float, unit: str = "") -> None:
        met = "met" if value <= target else f"MISSED by {value / target - 1:.0%}"
        told.append(f"{what}: {value:.2f}{unit} of {target:g}{unit} allowed, {met}")

    done = {(row["format"], row["dpi"]): row for row in rows if "limit" in row}
    for (name, dpi), row in done.items():
        if dpi == 1200 and name in TARGET_FORMATS:
            judge(f"{name} at 1200 dpi, wall over limit", row["ratio"], TIME_TARGET)
        if dpi == 2400 and name not in WHOLE:
            judge(f"{name} at 2400 dpi, memory", row["ingest"]["peak_mb"], MEMORY_TARGET_MB, " MB")
        if dpi == 2400 and (name, 1200) in done:
            growth = row["ingest"]["peak_mb"] / done[name, 1200]["ingest"]["peak_mb"]
            judge(f"{name}, memory at 2400 over 1200 dpi", growth, GROWTH_TARGET)
        if "dask_ratio" in row:
            judge(f"{name} at {dpi} dpi, two Dask workers over threads", row["dask_ratio"], DASK_TARGET)
    for row in rows:
        if row["format"] in WHOLE:
            told.append(whole_verdict(row))
    return told


def whole_verdict(row: dict[str, Any]) -> str:
    """What must be decoded whole stays within the project's limit, or is refused for that reason."""
    what, failed = f"{row['format']} at {row['dpi']} dpi", row["ingest"].get("failed")
    if failed is not None:
        refused = "refused with needs_memory, met" if "(needs_memory)" in failed else f"FAILED: {failed}"
        return f"{what}, memory over the project's limit: {refused}"
    peak = row["ingest"]["peak_mb"]
    met = "met" if peak <= LIMIT_MB else f"MISSED by {peak / LIMIT_MB - 1:.0%}"
    return f"{what}, memory: {peak:.0f} MB of the project's limit of {LIMIT_MB:.0f} MB, {met}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--formats", default=",".join(ingest_files.FORMATS), help="some of: %(default)s")
    parser.add_argument("--dpi", default="600,1200,2400")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dask", action="store_true", help="also with a Dask cluster of two workers")
    parser.add_argument("--originals", action="store_true", help="copy the original into the store too")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    names, resolutions = arguments.formats.split(","), [int(dpi) for dpi in arguments.dpi.split(",")]
    if unknown := [name for name in names if name not in ingest_files.FORMATS]:
        parser.error(f"there is no format {unknown[0]!r}; choose from {', '.join(ingest_files.FORMATS)}")
    if unknown_dpi := [dpi for dpi in resolutions if dpi not in ingest_files.A4]:
        parser.error(f"there is no scan at {unknown_dpi[0]} dpi; choose from 600, 1200, 2400")
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f} before; medians of {arguments.runs} runs\n{HEAD}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="soilpipe-bench-") as scratch:
        for dpi in resolutions:
            for name in names:
                rows.append(one_format(name, dpi, Path(scratch), arguments, cores))
                print(line(rows[-1]), flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps({"cores": cores, "rows": rows}, indent=1) + "\n")
    print("\n".join(verdicts(rows)))


if __name__ == "__main__":
    main()
