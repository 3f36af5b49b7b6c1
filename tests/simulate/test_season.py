"""What the pictures show is what the truth says."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe.simulate import SeasonSpec, SimulatedScan, simulate_season
from soilpipe.simulate.field import BY_NAME, TAXA
from soilpipe.simulate.season import generator_of
from soilpipe.simulate.sensor import MAX_SHIFT_PX, carriage

TIMES = tuple(datetime(2024, 3, 6, tzinfo=UTC) + timedelta(hours=6 * i) for i in range(4))
GENERATORS = ("loam", "varied", "peat")


def spec(generator: Any = "loam", **change: Any) -> SeasonSpec:
    wanted: dict[str, Any] = {
        "seed": 3,
        "times": TIMES,
        "height_px": 480,
        "width_px": 560,
        "animals_per_100cm2": 1500.0,
    }
    return SeasonSpec("S1", generator, **(wanted | change))


def digest(scans: list[SimulatedScan]) -> str:
    seen = hashlib.sha256()
    for scan in scans:
        seen.update(scan.image.tobytes())
        seen.update(repr(scan.animals).encode())
    return seen.hexdigest()


@pytest.fixture(scope="module", params=GENERATORS)
def scans(request: pytest.FixtureRequest) -> list[SimulatedScan]:
    return list(simulate_season(spec(request.param)))


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_season_is_the_same_whatever_was_simulated_before(generator: str) -> None:
    small = spec(generator, height_px=256, width_px=256)
    first = digest(list(simulate_season(small)))
    list(islice(simulate_season(spec(generator, height_px=256, width_px=256, seed=4)), 2))
    assert digest(list(simulate_season(small))) == first


def test_seeds_scanners_and_generators_differ() -> None:
    small: dict[str, Any] = {"height_px": 128, "width_px": 128, "times": TIMES[:1]}
    asked = [spec(**small), spec(seed=4, **small), spec("peat", **small), spec("varied", **small)]
    asked.append(SeasonSpec("S2", "loam", 3, TIMES[:1], 128, 128, animals_per_100cm2=400.0))
    assert len({digest(list(simulate_season(one))) for one in asked}) == 5


def test_scans_are_dark_soil_in_rgb(scans: list[SimulatedScan]) -> None:
    for scan in scans:
        assert scan.image.shape == (480, 560, 3)
        assert scan.image.dtype == np.uint8
        red, green, blue = scan.image.reshape(-1, 3).mean(axis=0)
        assert 120 > red > green > blue > 3


def test_boxes_hold_a_visible_change(scans: list[SimulatedScan], request: pytest.FixtureRequest) -> None:
    """Beside the same season without any animal, the pixels inside the outlines differ much more than those outside."""
    generator = request.node.callspec.params["scans"]
    bare = simulate_season(spec(generator, animals_per_100cm2=0.0))
    for scan, empty in zip(scans, bare, strict=True):
        change = np.abs(scan.image.astype(float) - empty.image.astype(float)).mean(axis=2)
        anything = np.zeros(change.shape, bool)
        for animal in scan.animals:
            x0, y0, x1, y1 = (round(v) for v in animal.box)
            anything[max(0, y0 - 25) : y1 + 25, max(0, x0 - 25) : x1 + 25] = True
        for animal in scan.animals:
            outline = np.zeros(change.shape, np.uint8)
            cv2.fillPoly(outline, [np.rint(np.array(animal.polygon)).astype(np.int32)], 1)
            assert change[outline > 0].mean() > 2.0 * np.median(change[~anything]), animal


def test_no_season_without_animals_has_truth() -> None:
    """Look-alikes, fallen crumbs and pasted patches of ground are no animals."""
    assert not any(scan.animals for scan in simulate_season(spec(animals_per_100cm2=0.0, look_alikes_per_cm2=10.0)))
    patches = spec(animals_per_100cm2=0.001, patches_per_animal=4e5)
    drawn, none = list(simulate_season(patches)), list(simulate_season(spec(animals_per_100cm2=0.0)))
    assert not any(scan.animals for scan in drawn)
    change = np.abs(drawn[0].image.astype(int) - none[0].image.astype(int)).max(axis=2)
    assert (change > 12).mean() > 0.01  # they were there, though


def test_boxes_lie_inside_the_scan_and_hold_their_outline(scans: list[SimulatedScan]) -> None:
    n = 0
    for scan in scans:
        for animal in scan.animals:
            x0, y0, x1, y1 = animal.box
            assert 0 <= x0 < x1 <= 560
            assert 0 <= y0 < y1 <= 480
            points = np.array(animal.polygon)
            assert (points >= np.array([x0, y0]) - 2.5).all()
            assert (points <= np.array([x1, y1]) + 2.5).all()
            assert animal.taxon in TAXA
            assert 0.25 <= animal.visible <= 1.0
            n += 1
    assert n > 15


def test_an_animal_at_rest_stays_where_it_is(scans: list[SimulatedScan]) -> None:
    """Up to the carriage's 2 px and a shifted leg, an animal in its second scan has the box of its first."""
    resting = 0
    for before, now in pairwise(scans):
        boxes = {animal.track_id: animal for animal in before.animals}
        for animal in now.animals:
            if animal.scans_present and animal.track_id in boxes and animal.visible > 0.9:
                earlier = boxes[animal.track_id]
                if earlier.visible > 0.9 and not earlier.walking:
                    middle = [(np.array(a.box[:2]) + np.array(a.box[2:])) / 2 for a in (earlier, animal)]
                    assert np.abs(middle[0] - middle[1]).max() < 2 * MAX_SHIFT_PX + 0.1 * animal.length_mm / 25.4 * 1200
                    resting += 1
    assert resting


def test_the_carriage_is_smooth_and_never_more_than_two_pixels_off() -> None:
    asked = spec(height_px=1500)
    shifts = [carriage(asked, number) for number in range(20)]
    for moved in shifts:
        for rows in (moved.dy, moved.dx):
            assert np.abs(rows).max() <= MAX_SHIFT_PX
            assert np.abs(np.diff(rows)).max() < 0.1
    assert np.std([moved.dx.mean() for moved in shifts]) > 0.2


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("taxon", TAXA)
def test_bodies_are_as_long_as_their_millimetres(generator: str, taxon: str) -> None:
    """At 600 dpi half the pixels of 1200; the body's outline spans its length, less where it is bent."""
    low, high = BY_NAME[taxon].length_mm
    length = min((low * high) ** 0.5, 8.0)
    spans = []
    for dpi in (600.0, 1200.0):
        sprite = generator_of(spec(generator)).animal(taxon, length, 0.7, dpi / 25.4, pose=5, nudge=0)
        ys, xs = np.nonzero(sprite.body > 0.3)
        (_, size, _) = cv2.minAreaRect(np.stack([xs, ys], axis=1).astype(np.float32))
        spans.append(max(size) + 1.0)
        assert max(size) + 1.0 < 1.3 * length * dpi / 25.4 + 3.0
    assert spans[1] / spans[0] == pytest.approx(2.0, abs=0.35)
    bent = taxon in ("Enchytraeidae", "Julida", "Geophilomorpha", "Nematoda", "Lumbricidae")
    assert spans[1] > (0.25 if bent else 0.7) * length * 1200 / 25.4


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_nudge_moves_an_animal_a_little(generator: str) -> None:
    draw = generator_of(spec(generator)).animal
    rest = [draw("Lithobiomorpha", 9.0, 0.3, 40.0, 11, nudge) for nudge in (0, 0, 1)]
    assert np.array_equal(rest[0].colour, rest[1].colour)
    assert rest[0].colour.shape != rest[2].colour.shape or not np.allclose(rest[0].colour, rest[2].colour)
    assert rest[0].body.sum() == pytest.approx(rest[2].body.sum(), rel=0.1)
