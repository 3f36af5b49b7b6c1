"""The suggested half of a draw: tiles from which a detector would learn most, by its own stored detections.

Two kinds, half and half: doubtful tiles, with many scores close to the threshold of their taxon, above it or below, and
tiles with the taxa found least often. A stone that is doubtful today is so tomorrow, so of one scanner and place one
scan is taken before any second one.

What lies below the threshold is what detection files tell of near misses (`soilpipe.detect.near_misses`): what the
detector may have missed. What it has no idea of shows in the random half of a draw alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from soilpipe import layout
from soilpipe.analyses import Analysis
from soilpipe.detections import NEAR_MISSES, DetectionFile
from soilpipe.labels.records import Place
from soilpipe.labels.sampling import grid_edges
from soilpipe.taxonomy import Taxonomy, TaxonomyError, split_stage

DOUBT = 0.15
"""How far from the threshold a score is still doubtful at all."""


@dataclass
class Candidate:
    """A tile with detections or near misses. `doubt`: 1 for each at the threshold of its taxon, less farther from it;
    `doubtful`: detections close to it, `missed`: near misses; `taxa`: how many detections of each."""

    place: Place
    doubt: float = 0.0
    doubtful: int = 0
    missed: int = 0
    taxa: Counter[str] = field(default_factory=Counter)

    @property
    def spot(self) -> tuple[str, int, int]:
        """Scanner and place, whatever the time."""
        return layout.parse_scan_id(self.place[0]).scanner_id, self.place[1], self.place[2]

    @property
    def why(self) -> str:
        """What is doubtful in it, in words."""
        told = [f"{_times(self.doubtful, 'detection')} close to the threshold"] if self.doubtful else []
        return " and ".join(told + ([f"{self.missed} nearly found"] if self.missed else []))


@dataclass(frozen=True)
class Suggestion:
    """A place, and in words why."""

    place: Place
    reason: str


def candidates_of(
    scan_id: str, found: DetectionFile, size: tuple[int, int], analysis: Analysis, tile_px: int, taxonomy: Taxonomy
) -> list[Candidate]:
    """The tiles of a scan that hold the centre of a detection, or of a near miss; `size`: width and height, px. Where a
    classifier has named a detection otherwise than the detector, the threshold of the detector's taxon is not known any
    more: that of the name stands for it."""
    own = _own_thresholds(analysis, taxonomy)
    across, down = grid_edges(size[0], tile_px), grid_edges(size[1], tile_px)
    tiles: dict[Place, Candidate] = {}

    def tile_at(x: float, y: float) -> Candidate:
        column = min(max(bisect_right(across, x) - 1, 0), len(across) - 2)
        row = min(max(bisect_right(down, y) - 1, 0), len(down) - 2)
        place = (scan_id, across[column], down[row], across[column + 1], down[row + 1])
        return tiles.setdefault(place, Candidate(place))

    columns = ("x_min", "y_min", "x_max", "y_max", "score", "taxon", "stage")
    for x_min, y_min, x_max, y_max, score, taxon, stage in zip(
        *(found.table[name].to_pylist() for name in columns), strict=True
    ):
        tile = tile_at((x_min + x_max) / 2, (y_min + y_max) / 2)
        doubt = min(1.0, max(0.0, 1 - (score - own.get((taxon, stage), analysis.threshold)) / DOUBT))
        tile.doubt += doubt
        tile.doubtful += doubt > 0
        if taxon is not None:
            tile.taxa[taxon] += 1
    for x, y, gap in _near_misses(found):
        if gap < DOUBT:
            tile = tile_at(x, y)
            tile.doubt += 1 - gap / DOUBT
            tile.missed += 1
    return [tiles[place] for place in sorted(tiles)]


def _near_misses(found: DetectionFile) -> Iterator[tuple[float, float, float]]:
    for x, y, gap in found.metadata.get(NEAR_MISSES, ()):
        yield float(x), float(y), float(gap)


def _own_thresholds(analysis: Analysis, taxonomy: Taxonomy) -> dict[tuple[str, str | None], float]:
    """Thresholds of taxa that have one of their own, by taxon and stage as detection files name them."""
    own: dict[tuple[str, str | None], float] = {}
    for label, value in analysis.settings.get("thresholds", {}).items():
        try:
            name = taxonomy.find(label).name, split_stage(label)[1]
        except TaxonomyError:
            name = label, None
        own[name] = min(float(value), own.get(name, 1.0))
    return own


def suggest(candidates: Iterable[Candidate], wanted: int, taken: Iterable[Place]) -> list[Suggestion]:
    """At most `wanted` places, none of those `taken` already; the same for the same candidates in any order."""
    left = {tile.place: tile for tile in sorted(candidates, key=lambda tile: tile.place)}
    totals: Counter[str] = Counter()
    for tile in left.values():
        totals.update(tile.taxa)
    for place in taken:
        left.pop(place, None)
    rarer = sorted(totals, key=lambda taxon: (totals[taxon], taxon))[: len(totals) // 2]
    chosen: list[Suggestion] = []
    spots: set[tuple[str, int, int]] = set()

    def take(tile: Candidate, reason: str) -> None:
        chosen.append(Suggestion(tile.place, reason))
        spots.add(tile.spot)
        del left[tile.place]

    _take_rare(left, rarer, totals, wanted // 2, spots, take)
    for fresh in (True, False):
        for tile in sorted(left.values(), key=lambda tile: (-tile.doubt, tile.place)):
            if len(chosen) >= wanted or tile.doubt <= 0:
                break
            if not fresh or tile.spot not in spots:
                take(tile, f"doubtful: {tile.why}")
    return chosen


def _take_rare(
    left: Mapping[Place, Candidate],
    rarer: list[str],
    totals: Mapping[str, int],
    wanted: int,
    spots: set[tuple[str, int, int]],
    take: Callable[[Candidate, str], None],
) -> None:
    """In turn from the rarest taxon on, for each the tile that shows most of it at a place not taken yet."""
    queues: dict[str, list[Candidate]] = defaultdict(list)
    for taxon in rarer:
        queues[taxon] = sorted(
            (tile for tile in left.values() if tile.taxa[taxon]), key=lambda tile: (-tile.taxa[taxon], tile.place)
        )
    while wanted > 0 and any(queues.values()):
        for taxon in rarer:
            while queues[taxon]:
                tile = queues[taxon].pop(0)
                if tile.place in left and tile.spot not in spots:
                    take(tile, f"rare: {taxon}, {_times(totals[taxon], 'detection')} in all")
                    wanted -= 1
                    break
            if wanted == 0:
                return


def _times(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
