"""The random half: tiles cover the scan, and the recorded probabilities are those with which tiles are drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilpipe.labels.records import Stratum
from soilpipe.labels.sampling import draw_scans, draw_windows, inclusion_probability, make_strata, tile_windows


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(128, 2048))
def test_tiles_cover_the_scan_without_overlap_and_none_is_larger_than_asked(width: int, height: int, side: int) -> None:
    windows = tile_windows(width, height, side)
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in windows) == width * height
    assert len({(x0, y0) for x0, y0, _, _ in windows}) == len(windows)
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in windows)
    assert all(x1 - x0 <= side and y1 - y0 <= side for x0, y0, x1, y1 in windows)
    widths = [x1 - x0 for x0, _, x1, _ in windows]
    assert max(widths) - min(widths) <= 1


@given(st.integers(1, 400), st.integers(1, 300))
def test_strata_share_out_all_scans_and_all_draws(scans: int, wanted: int) -> None:
    strata = make_strata(scans, wanted)
    assert sum(stratum.scans for stratum in strata) == scans
    assert sum(stratum.draws for stratum in strata) == wanted
    assert all(stratum.scans >= 1 for stratum in strata)
    if 2 <= wanted <= scans:
        assert all(2 <= stratum.draws <= 3 for stratum in strata)
    drawn = draw_scans(strata, np.random.default_rng(0))
    assert sum(scan.tiles for scan in drawn) == wanted
    assert max(scan.index for scan in drawn) < scans


STRATA = [Stratum(scans=5, draws=2), Stratum(scans=3, draws=7), Stratum(scans=1, draws=6)]
TILES = [4, 4, 2, 4, 6, 2, 4, 4, 4]  # of each scan; in the second stratum, a scan of 2 tiles is drawn out of


def sample(seed: int) -> list[tuple[int, int]]:
    """(scan, tile) of one sample."""
    rng = np.random.default_rng(seed)
    drawn = []
    for scan in draw_scans(STRATA, rng):
        windows = [(tile, 0, tile + 1, 1) for tile in range(TILES[scan.index])]
        drawn += [(scan.index, window[0]) for window in draw_windows(windows, scan.tiles, rng)]
    return drawn


def probability(scan: int) -> float:
    stratum = STRATA[0] if scan < 5 else STRATA[1] if scan < 8 else STRATA[2]
    return inclusion_probability(stratum, TILES[scan])


def test_every_tile_is_drawn_as_often_as_its_probability_says() -> None:
    samples = 3000
    seen = Counter(tile for seed in range(samples) for tile in sample(seed))
    for scan, tiles in enumerate(TILES):
        for tile in range(tiles):
            expected = probability(scan)
            spread = 4 * np.sqrt(expected * (1 - expected) / samples)
            assert abs(seen[scan, tile] / samples - expected) <= spread + 1e-9, (scan, tile)


def test_values_over_probabilities_sum_to_the_total_on_average() -> None:
    value = {(scan, tile): 1 + (scan * 7 + tile * 3) % 11 for scan, n in enumerate(TILES) for tile in range(n)}
    estimates = [sum(value[tile] / probability(tile[0]) for tile in sample(seed)) for seed in range(3000)]
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(sum(value.values()), abs=4 * error)
    assert 4 * error < 0.05 * sum(value.values())  # so that a wrong probability would show
