"""Pasted against really there: one simulated season with animals in its last scan, the same season without any, and
the animals cut out of the first pasted at their own places into the second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from soilpipe.background import ModelInput, even_contrast, register_all
from soilpipe.background.contrast import EvenContrast
from soilpipe.detect.coco import LabelledImage
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.scenes_cutouts import cut_animal, rim_of
from soilpipe.detect.scenes_paste import paste
from soilpipe.simulate import SeasonSpec, SimulatedScan, simulate_season
from soilpipe.simulate import season as season_module
from soilpipe.simulate.population import PATCH, Placement, populate
from soilpipe.tiles import image_from_array

SIDE, ACROSS, UM = 768, 4, 25400 / 1200
LAST = datetime(2025, 5, 4, tzinfo=UTC)
SPEC = SeasonSpec(
    scanner_id="A",
    generator="loam",
    seed=5,
    times=tuple(LAST - timedelta(hours=hours) for hours in (72, 48, 24, 6, 0)),
    height_px=SIDE,
    width_px=SIDE,
    animals_per_100cm2=600.0,
    evenness=1.0,
)


@pytest.fixture
def animals() -> list[Placement]:
    """Animals of the season that are shorter than 4 mm, each in a square of its own."""
    first: dict[int, Placement] = {}
    for scan in populate(SPEC):
        for one in scan:
            if one.taxon != PATCH and one.length_mm < 4:
                first.setdefault(one.track_id, one)
    side = SIDE / ACROSS / SPEC.px_per_mm
    return [
        replace(one, x_mm=(n % ACROSS + 0.5) * side, y_mm=(n // ACROSS + 0.5) * side, velocity_mm_s=0.0, buried=0.0)
        for n, one in enumerate(list(first.values())[: ACROSS**2])
    ]


def last_scan(
    monkeypatch: pytest.MonkeyPatch,
    animals: list[Placement],
    present: Iterable[int],
    even: EvenContrast | None = None,
) -> tuple[Sample, SimulatedScan]:
    """The season's last scan with its difference, evened by `even`; animals sit in the scans of those numbers."""
    there = set(present)
    monkeypatch.setattr(
        season_module, "populate", lambda spec: [tuple(animals) if n in there else () for n in range(len(spec.times))]
    )
    *earlier, last = simulate_season(SPEC)
    scan = image_from_array(last.image, UM)
    references = [image_from_array(one.image, UM) for one in reversed(earlier)]
    whole = ModelInput(scan, references, register_all(scan, references), UM, even=even)
    n = len(last.animals)
    image = LabelledImage(
        file_name="A",
        path=Path("A"),
        width=SIDE,
        height=SIDE,
        dpi=1200.0,
        scanner_id="A",
        captured_at=LAST,
        labelled=True,
        boxes=np.array([animal.box for animal in last.animals], np.float32).reshape(-1, 4),
        labels=np.zeros(n, np.int64),
        crowd=np.zeros(n, bool),
        scans_present=np.zeros(n, np.int64),
        outlines=tuple((np.array(animal.polygon, np.float32),) for animal in last.animals),
    )
    return Sample(image, {"fine": SamplePass(whole.read(0, SIDE, 0, SIDE), 1.0)}, UM, whole.usable), last


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values.astype(float) ** 2).mean()))


@pytest.mark.parametrize("evened", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["as scanned", "evened"])
@pytest.mark.parametrize(
    ("present", "background"),
    [pytest.param((4,), 0.0, id="came"), pytest.param((0, 1, 2, 3, 4), 1.0, id="rests", marks=pytest.mark.slow)],
)
def test_a_pasted_animals_difference_is_that_of_the_animal_really_there(
    monkeypatch: pytest.MonkeyPatch,
    animals: list[Placement],
    present: tuple[int, ...],
    background: float,
    evened: bool,
) -> None:
    _, empty = last_scan(monkeypatch, [], ())
    even = even_contrast(image_from_array(empty.image, UM)) if evened else None
    level = 1.0 if even is None else float(np.median(even.gain))
    real, scan = last_scan(monkeypatch, animals, present, even)
    bare, _ = last_scan(monkeypatch, [], (), even)
    assert real.references == bare.references == 4
    true, errors, pasted = [], [], []
    for row, animal in enumerate(scan.animals):
        cutout = cut_animal(real, row, "fine")
        if cutout is None:
            continue
        box = np.array(animal.box)
        y, x = (int(np.floor(value)) - rim_of(box) for value in (box[1], box[0]))
        window = bare.passes["fine"].pixels.copy()
        paste(window, cutout, y, x, turn=0, present=background, rng=np.random.default_rng(row))
        x0, y0, x1, y1 = np.round(box).astype(int)
        there = real.passes["fine"].pixels[3:6, y0:y1, x0:x1].astype(int) - 128
        made = window[3:6, y0:y1, x0:x1].astype(int) - 128
        true.append(rms(there))
        pasted.append(rms(made))
        errors.append(rms(made - there))
    assert len(true) >= 8
    if background == 0.0:
        assert np.median(true) > 10 * level
        assert np.median(np.array(errors) / true) < 0.2
    else:
        assert np.median(true) < 5 * level and np.median(pasted) < np.median(true) + 2 * level
        assert np.median(errors) < 4 * level, "grey levels: noise"
