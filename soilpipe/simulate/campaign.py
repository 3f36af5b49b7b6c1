"""What a real soil-scanner campaign says about where animals are and how long they stay.

Reads `descent_manual_points.csv` (github emmabelaud/soil_scan, MIT): animals that a person saw in daily scans of
four buried scanners, summer 2023. The table is not part of soilpipe; its summary stands, rounded, in `field.py`.
To compute it again:

    python -m soilpipe.simulate.campaign descent_manual_points.csv

Geometry. The columns say 5094 x 4680 px, but x never passes 4622 and y reaches 5050: x runs along the side of 4680,
y along that of 5094. At 600 dpi 5094 px are 215.6 mm, the width of an A4 scanner's bed (8.5 inch, 215.9 mm); at
1200 dpi they would be 108 mm, which is no scanner's bed. So the scans are 600 dpi, a window of 427 cm2.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

DPI = 600.0
WIDTH_PX, HEIGHT_PX = 4680, 5094
WINDOW_CM2 = WIDTH_PX * HEIGHT_PX * (2.54 / DPI) ** 2
STAY_PX = 60.0
"""How near (px, 2.5 mm) one of the same kind must be a day later to count as the one that stayed."""
NEAR_PX = 10.0 / 25.4 * DPI
"""How near (px, 10 mm) two of a kind in one scan count as together."""

ScanKey = tuple[str, datetime]


@dataclass(frozen=True)
class TaxonSummary:
    """One taxon of the campaign, as the table writes it.

    n: animals (sum of the `number` column). per_100cm2: their mean per scan and 100 cm2 of window.
    stay_24h: share with one of their kind within 60 px in the scan 24 h later, less what scans 14 to 21 days later
    give by chance: (share - chance) / (1 - chance). together: share with one of their kind within 10 mm in the same
    scan, beyond what the same numbers placed at random give, computed alike. activity_cv: coefficient of variation
    of a scanner's expected number from scan to scan, beyond Poisson: sqrt(sum(var - mean) / sum(mean^2)) over
    scanners. scanner_cv: coefficient of variation of the scanners' means.
    """

    n: int
    per_100cm2: float
    stay_24h: float
    together: float
    activity_cv: float
    scanner_cv: float


def summarise(table: Path, groups: Mapping[str, str] | None = None) -> dict[str, TaxonSummary]:
    """Summaries by taxon as written in the table; `groups` renames subjects first (several may become one)."""
    renamed = groups or {}
    places: dict[str, dict[ScanKey, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    numbers: dict[str, dict[ScanKey, int]] = defaultdict(lambda: defaultdict(int))
    scans: set[ScanKey] = set()
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["scanner"], datetime.fromisoformat(row["time_local"]))
            scans.add(key)
            if row["x_px"]:
                taxon = renamed.get(row["subject"], row["subject"])
                places[taxon][key].append((float(row["x_px"]), float(row["y_px"])))
                numbers[taxon][key] += int(float(row["number"] or 1))
    found = {}
    for taxon, by_scan in places.items():
        points = {key: np.asarray(xy, float) for key, xy in by_scan.items()}
        stay, chance = _share_again(points, scans, [1]), _share_again(points, scans, range(14, 22))
        activity, between = _dispersion(numbers[taxon], scans)
        n = sum(numbers[taxon].values())
        found[taxon] = TaxonSummary(
            n=n,
            per_100cm2=n / len(scans) / WINDOW_CM2 * 100.0,
            stay_24h=_beyond(stay, chance),
            together=_together(points),
            activity_cv=activity,
            scanner_cv=between,
        )
    return found


def _beyond(share: float, chance: float) -> float:
    return max(0.0, (share - chance) / (1.0 - chance)) if chance < 1.0 else 0.0


def _share_again(points: Mapping[ScanKey, np.ndarray], scans: set[ScanKey], days: range | list[int]) -> float:
    """Share of the animals with one of their kind within STAY_PX, `days` later, where there is such a scan."""
    hits = total = 0
    for (scanner, time), xy in points.items():
        for later in ((scanner, time + timedelta(days=day)) for day in days):
            if later in scans:
                total += len(xy)
                if later in points:
                    gaps = np.linalg.norm(xy[:, None] - points[later][None], axis=2)
                    hits += int((gaps.min(axis=1) <= STAY_PX).sum())
    return hits / total if total else 0.0


def _together(points: Mapping[ScanKey, np.ndarray], repeats: int = 50) -> float:
    rng = np.random.default_rng(0)
    groups = [xy for xy in points.values() if len(xy) > 1]
    if not groups:
        return 0.0
    seen = np.concatenate([_has_neighbour(xy) for xy in groups]).mean()
    size = np.array([WIDTH_PX, HEIGHT_PX], float)
    drawn = [_has_neighbour(rng.random(xy.shape) * size) for xy in groups for _ in range(repeats)]
    return _beyond(float(seen), float(np.concatenate(drawn).mean()))


def _has_neighbour(xy: np.ndarray) -> np.ndarray:
    gaps = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    return gaps.min(axis=1) <= NEAR_PX


def _dispersion(numbers: Mapping[ScanKey, int], scans: set[ScanKey]) -> tuple[float, float]:
    means, excess = [], []
    for scanner in sorted({key[0] for key in scans}):
        counts = np.array([numbers.get(key, 0) for key in scans if key[0] == scanner], float)
        means.append(counts.mean())
        excess.append(counts.var(ddof=1) - counts.mean())
    squares = float(np.square(means).sum())
    within = float(np.sqrt(max(0.0, float(np.sum(excess))) / squares)) if squares else 0.0
    return within, float(np.std(means, ddof=1) / np.mean(means)) if len(means) > 1 and squares else 0.0


def main() -> None:
    summaries = summarise(Path(sys.argv[1]))
    print(f"{'taxon':20s}{'n':>6s}{'/100cm2':>9s}{'stay24h':>9s}{'together':>10s}{'activity':>10s}{'between':>9s}")
    for taxon, s in sorted(summaries.items(), key=lambda item: -item[1].n):
        print(
            f"{taxon:20s}{s.n:6d}{s.per_100cm2:9.4f}{s.stay_24h:9.3f}{s.together:10.3f}{s.activity_cv:10.2f}"
            f"{s.scanner_cv:9.2f}"
        )


if __name__ == "__main__":
    main()
