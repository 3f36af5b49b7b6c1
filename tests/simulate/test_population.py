"""Who is where, and for how long."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from soilpipe.simulate.field import BY_NAME, FIELD, TOTAL_PER_100CM2
from soilpipe.simulate.population import PATCH, Placement, populate
from soilpipe.simulate.spec import SeasonSpec, SimulationError

START = datetime(2024, 3, 6, tzinfo=UTC)


def season(n: int, *, seed: int = 1, hours: float = 6.0, **wanted: float) -> SeasonSpec:
    times = tuple(START + timedelta(hours=hours * i) for i in range(n))
    return SeasonSpec("S1", "loam", seed, times, 5000, 4500, 600, **wanted)  # type: ignore[arg-type]


def stayed(scans: list[tuple[Placement, ...]], taxon: str, gap: int) -> tuple[int, int]:
    """Animals of a taxon that lie at the very same place `gap` scans later, and all."""
    same = total = 0
    for scan, later in zip(scans, scans[gap:], strict=False):
        places = {(p.track_id, p.x_mm, p.y_mm) for p in later}
        of_taxon = [p for p in scan if p.taxon == taxon]
        total += len(of_taxon)
        same += sum((p.track_id, p.x_mm, p.y_mm) in places for p in of_taxon)
    return same, total


@pytest.mark.slow
def test_a_long_season_keeps_each_taxon_in_place_as_long_as_the_campaign_saw() -> None:
    seasons = [populate(season(120, seed=seed, animals_per_100cm2=60.0, evenness=1.0)) for seed in range(4)]
    for taxon in FIELD:
        same, total = np.sum([stayed(scans, taxon.name, 4) for scans in seasons], axis=0)
        assert total > 300, taxon.name
        assert same / total == pytest.approx(taxon.stay_24h, abs=0.05), taxon.name


@pytest.mark.slow
def test_a_gap_of_a_day_keeps_as_many_as_four_gaps_of_six_hours() -> None:
    scans = populate(season(120, hours=24.0, animals_per_100cm2=60.0, evenness=1.0))
    same, total = stayed(scans, "Gastropoda", 1)
    assert same / total == pytest.approx(BY_NAME["Gastropoda"].stay_24h, abs=0.04)


def test_seasons_hold_as_many_animals_as_the_campaign_found() -> None:
    found = [sum(p.taxon != PATCH for scan in populate(season(8, seed=seed)) for p in scan) / 8 for seed in range(60)]
    expected = TOTAL_PER_100CM2 * season(8).window_cm2 / 100.0
    assert np.mean(found) == pytest.approx(expected, rel=0.15)
    assert np.var(found, ddof=1) > 1.3 * np.mean(found)  # scanners differ, and activity comes and goes: not Poisson


def test_scans_present_counts_the_scans_at_this_very_place() -> None:
    scans = populate(season(30, animals_per_100cm2=20.0))
    age: dict[tuple[int, float, float], int] = defaultdict(lambda: -1)
    for scan in scans:
        now = {(p.track_id, p.x_mm, p.y_mm): age[p.track_id, p.x_mm, p.y_mm] + 1 for p in scan}
        assert {key: p.scans_present for key, p in zip(now, scan, strict=True)} == now
        age = defaultdict(lambda: -1, now)
    assert max(age.values()) > 3


def test_an_animal_that_walks_on_keeps_its_track_and_its_length() -> None:
    scans = populate(season(30, animals_per_100cm2=20.0))
    lengths: dict[int, set[tuple[str, float]]] = defaultdict(set)
    places: dict[int, set[tuple[float, float]]] = defaultdict(set)
    for scan in scans:
        assert len({p.track_id for p in scan}) == len(scan)
        for p in scan:
            lengths[p.track_id].add((p.taxon, p.length_mm))
            places[p.track_id].add((p.x_mm, p.y_mm))
    assert all(len(kinds) == 1 for kinds in lengths.values())
    assert sum(len(where) > 1 for where in places.values()) > 20


def test_resting_animals_do_not_walk_and_lengths_are_within_their_range() -> None:
    for scan in populate(season(20, animals_per_100cm2=30.0)):
        for p in scan:
            assert p.scans_present == 0 or p.velocity_mm_s == 0.0
            if p.taxon != PATCH:
                low, high = BY_NAME[p.taxon].length_mm
                assert low - 0.001 <= p.length_mm <= high + 0.001


def test_a_season_at_twice_the_dpi_holds_the_same_animals_at_the_same_places() -> None:
    coarse = season(5, animals_per_100cm2=20.0)
    fine = replace(coarse, dpi=1200.0, height_px=10000, width_px=9000)
    assert populate(fine) == populate(coarse)


@pytest.mark.slow
def test_gregarious_animals_lie_nearer_together_than_others() -> None:
    def near(taxon: str) -> float:
        shares = []
        for seed in range(6):
            for scan in populate(season(40, seed=seed, animals_per_100cm2=30.0, evenness=1.0))[::8]:
                xy = np.array([(p.x_mm, p.y_mm) for p in scan if p.taxon == taxon])
                if 1 < len(xy) < 25:
                    gaps = np.linalg.norm(xy[:, None] - xy[None], axis=2) + 1e9 * np.eye(len(xy))
                    shares.append((gaps.min(axis=1) < 10.0).mean())
        return float(np.mean(shares))

    assert near("Polydesmida") > near("Isopoda") + 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"times": ()}, "at least one"),
        ({"times": (START, START)}, "ascend"),
        ({"times": (datetime(2024, 3, 6),)}, "time zone"),
        ({"generator": "clay"}, "loam"),
        ({"height_px": 10}, "64 x 64"),
        ({"evenness": 2.0}, "between 0 and 1"),
    ],
)
def test_a_season_that_makes_no_sense_is_told(change: dict[str, object], said: str) -> None:
    asked = {"generator": "loam", "times": (START,), "height_px": 200, "evenness": 0.0} | change
    with pytest.raises(SimulationError, match=said):
        SeasonSpec("S1", seed=1, width_px=200, **asked)  # type: ignore[arg-type]
