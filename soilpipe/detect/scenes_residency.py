"""How long animals stay in one place, as a real campaign saw it: who of those in a scan was there in the scans before.

Reads `descent_manual_points.csv` (github emmabelaud/soil_scan, MIT): animals that a person saw in daily scans of four
buried scanners, summer 2023. The table is not part of soilpipe; what it says stands, rounded, in `STAYED`. To compute
it again:

    python -m soilpipe.detect.scenes_residency descent_manual_points.csv

There was one scan a day, so nothing is measured at 6 hours: leaving is taken as memoryless there.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from soilpipe.taxonomy import Taxonomy

SAME_PLACE_PX = 60.0
"""How near (px at 600 dpi, 2.5 mm) one of the kind must be in an earlier scan to count as the one that stayed."""
POOLED = "all"
LEAST = 25  # animals of a taxon below which the pooled shares stand for it

Shares = tuple[float, float, float]
"""Of the animals in a scan, those that were there 24 h before; 24 and 48 h before; 24, 48 and 72 h before."""

STAYED: Mapping[str, Shares] = {
    "Collembola": (0.226, 0.112, 0.060),
    "Enchytraeidae": (0.115, 0.060, 0.031),
    "Symphyla": (0.078, 0.031, 0.014),
    "Acari": (0.120, 0.040, 0.027),
    "Rhabdura": (0.055, 0.047, 0.040),
    "Pseudoscorpiones": (0.018, 0.0, 0.0),
    "Formicidae": (0.083, 0.022, 0.0),
    "Diptera": (0.132, 0.067, 0.034),
    "Lithobiomorpha": (0.028, 0.0, 0.0),
    "Geophilomorpha": (0.457, 0.382, 0.333),
    "Polydesmida": (0.312, 0.267, 0.179),
    "Pauropoda": (0.0, 0.0, 0.0),
    "Isopoda": (0.077, 0.0, 0.0),
    POOLED: (0.137, 0.069, 0.040),
}
"""Shares by taxon, of 26 (Isopoda) to 526 (Collembola) animals; chance alone gives 0.000 to 0.026 a scan, and is not
taken away."""


def stays(taxon: str, taxonomy: Taxonomy | None) -> tuple[float, float, float, float]:
    """Shares of the animals of a taxon that were in the same place 6 h before, 6 and 24 h, and so on to 48 and 72 h.

    By its name, else by its nearest ancestor that was measured, else by the pool. 6 h: the fourth root of the share at
    24 h, stated, not measured.
    """
    names = [taxon]
    if taxonomy is not None and taxon in taxonomy:
        name = taxonomy.find(taxon).name
        names = [name, *taxonomy.ancestors(name)]
    day, two, three = next((STAYED[name] for name in names if name in STAYED), STAYED[POOLED])
    return day**0.25, day, two, three


def measure_stays(table: Path) -> dict[str, tuple[Shares, int]]:
    """The shares by subject as the table writes it, and of how many animals the first is; all together as `POOLED`.

    Only animals with a scan at each of those times before count. Subjects with fewer than `LEAST` are pooled only.
    """
    places: dict[str, dict[tuple[str, datetime], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    scans: set[tuple[str, datetime]] = set()
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["scanner"], datetime.fromisoformat(row["time_local"])
            scans.add(key)
            if row["x_px"]:
                places[row["subject"]][key].append((float(row["x_px"]), float(row["y_px"])))
    found: dict[str, tuple[Shares, int]] = {}
    hits, totals = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for subject, by_scan in places.items():
        points = {key: np.asarray(xy, float) for key, xy in by_scan.items()}
        counted = [_there_all_along(points, scans, days) for days in (1, 2, 3)]
        hits += [stayed for stayed, _ in counted]
        totals += [of for _, of in counted]
        if counted[0][1] >= LEAST:
            shares = [stayed / max(of, 1) for stayed, of in counted]
            found[subject] = ((shares[0], shares[1], shares[2]), counted[0][1])
    pooled = hits / np.maximum(totals, 1)
    found[POOLED] = ((float(pooled[0]), float(pooled[1]), float(pooled[2])), int(totals[0]))
    return found


def _there_all_along(
    points: Mapping[tuple[str, datetime], np.ndarray], scans: set[tuple[str, datetime]], days: int
) -> tuple[int, int]:
    """How many animals had one of their kind in their place in each daily scan of the last `days`, and of how many."""
    stayed = of = 0
    for (scanner, time), xy in points.items():
        before = [(scanner, time - timedelta(days=day)) for day in range(1, days + 1)]
        if not all(key in scans for key in before):
            continue
        there = np.ones(len(xy), bool)
        for key in before:
            if key not in points:
                there[:] = False
                break
            gaps = np.linalg.norm(xy[:, None] - points[key][None], axis=2)
            there &= gaps.min(axis=1) <= SAME_PLACE_PX
        stayed += int(there.sum())
        of += len(xy)
    return stayed, of


def main() -> None:
    print(f"{'subject':20s}{'animals':>8s}{'24 h':>8s}{'48 h':>8s}{'72 h':>8s}")
    for subject, (shares, of) in sorted(measure_stays(Path(sys.argv[1])).items(), key=lambda item: -item[1][1]):
        print(f"{subject:20s}{of:8d}" + "".join(f"{share:8.3f}" for share in shares))


if __name__ == "__main__":
    main()
