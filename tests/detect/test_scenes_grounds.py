"""Windows of scans that nobody labelled: which are free, what they hold, and what in them counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from soilpipe.background import ModelInput, register_all
from soilpipe.config import TEMPLATE, load_project
from soilpipe.detect import scenes_grounds
from soilpipe.detect.coco import LabelSet, read_labels
from soilpipe.detect.dataset import build_samples
from soilpipe.detect.pictures import Scene
from soilpipe.detect.scenes import make_scenes
from soilpipe.detect.scenes_grounds import free_images, grounds_of_labels, windows_in, windows_of
from soilpipe.detect.scenes_store import grounds_of_store
from soilpipe.store import Store
from soilpipe.tiles import image_from_array
from tests.detect.test_run import SCANNER, accept, picture

Labelled = Callable[..., Path]
START = datetime(2024, 3, 6, tzinfo=UTC)


def labels_with(labelled: Labelled, unlabelled: set[str], scanners: dict[str, int]) -> LabelSet:
    path = labelled(scanners=scanners)
    labels = read_labels(path, path.parent)
    return replace(
        labels,
        images=tuple(
            replace(image.select(np.zeros(len(image.boxes), bool)), labelled=False)
            if image.file_name in unlabelled
            else image
            for image in labels.images
        ),
    )


def training(labels: LabelSet, *names: str) -> LabelSet:
    """The part that is trained on."""
    return replace(labels, images=tuple(replace(image, labelled=image.file_name in names) for image in labels.images))


def free(labels: LabelSet, *trained_on: str) -> list[str]:
    return [image.file_name for image in free_images(labels, training(labels, *trained_on))]


def test_only_images_that_nobody_labelled_are_free(labelled: Labelled) -> None:
    labels = labels_with(labelled, {"A_1.png", "B_0.png"}, {"A": 3, "B": 1})
    assert free(labels, "A_0.png", "A_2.png") == ["A_1.png", "B_0.png"]


def test_the_ground_of_a_scanner_that_is_held_back_is_not_shown(labelled: Labelled) -> None:
    labels = labels_with(labelled, {"A_1.png", "B_1.png"}, {"A": 2, "B": 2})
    assert free(labels, "A_0.png") == ["A_1.png"]


def test_of_a_block_of_time_that_is_held_back_its_neighbours_are_not_shown(labelled: Labelled) -> None:
    labels = labels_with(labelled, {"A_1.png", "A_2.png"}, {"A": 4})
    far = {"A_0.png": 0, "A_1.png": 100, "A_2.png": 140, "A_3.png": 200}
    labels = replace(
        labels,
        images=tuple(
            replace(image, captured_at=START + timedelta(hours=far[image.file_name])) for image in labels.images
        ),
    )
    assert free(labels, "A_0.png") == ["A_1.png"], "A_2 was taken 60 hours before A_3, which is held back"


def scene(animal: bool = True, size: tuple[int, int] = (300, 400), references: int = 4) -> Scene:
    labels = LabelSet("x", (), (), False)
    assert labels.labelled == ()
    scan = image_from_array(picture(9, animal=animal, size=size), 25400 / 1200, "scan")
    others = tuple(image_from_array(picture(k, size=size), 25400 / 1200) for k in range(references))
    return Scene(unlabelled(size), scan, others, tuple(register_all(scan, others)))


def unlabelled(size: tuple[int, int]) -> scenes_grounds.LabelledImage:
    return scenes_grounds.LabelledImage(
        file_name="scan",
        path=Path("scan"),
        width=size[1],
        height=size[0],
        dpi=1200.0,
        scanner_id="A",
        captured_at=START,
        labelled=False,
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, bool),
        scans_present=np.zeros(0, np.int64),
    )


def test_an_animal_that_came_into_an_unlabelled_scan_counts_neither_way() -> None:
    (window,) = windows_of(scene(), 21.17, 4, np.random.default_rng(0))
    assert window.references == 4 and not window.image.labelled
    assert window.image.crowd.all() and len(window.image.boxes) >= 1
    over = [box for box in window.image.boxes if box[0] < 200 < box[2] and box[1] < 150 < box[3]]
    assert len(over) == 1 and (over[0][2] - over[0][0]) < 110
    (empty,) = windows_of(scene(animal=False), 21.17, 4, np.random.default_rng(0))
    assert len(empty.image.boxes) == 0


def test_windows_are_what_prediction_would_read_there_in_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes_grounds, "SIDE", 128)
    given = scene()
    windows = list(windows_of(given, 21.17, 3, np.random.default_rng(0)))
    assert len(windows) == 3
    first: list[tuple[int, int]] = []
    for head, scale, side in (("fine", 21.17, 128), ("coarse", 84.68, 32)):
        whole = ModelInput(given.scan, given.references, given.registrations, scale)
        pixels = whole.read(0, whole.height, 0, whole.width)
        found = []
        for window in windows:
            part = window.passes[head].pixels  # type: ignore[index]
            assert part.shape == (7, side, side)
            views = np.lib.stride_tricks.sliding_window_view(pixels[0], (side, side))
            at = np.argwhere((views[:, :, :4, :4] == part[0, :4, :4]).all(axis=(2, 3)))
            found += [(int(y), int(x)) for y, x in at if np.array_equal(pixels[:, y : y + side, x : x + side], part)]
        places = found if head == "fine" else [(4 * y, 4 * x) for y, x in found]
        first = first or places
        assert places == first and len(set(places)) == 3
    assert (windows[0].image.width, windows[0].image.height) == (128, 128)


def test_a_scan_in_which_all_has_changed_gives_no_ground() -> None:
    given = scene(animal=False)
    rain = picture(9)
    noise = np.random.default_rng(1).normal(0, 60, (30, 40, 3)).repeat(10, 0).repeat(10, 1)
    wet = image_from_array(np.clip(rain + noise, 0, 255).astype(np.uint8), 25400 / 1200, "wet")
    drowned = replace(given, scan=wet)
    assert [len(s.image.boxes) for s in windows_of(drowned, 21.17, 4, np.random.default_rng(0))] == []


def test_the_budget_bounds_what_is_kept(labelled: Labelled) -> None:
    labels = labels_with(labelled, {"A_1.png", "A_2.png", "A_3.png"}, {"A": 4})
    part = training(labels, "A_0.png")
    assert windows_in(10) == 1 and windows_in(100_000_000) == 5
    assert len(grounds_of_labels(labels, 21.17, trained_on=part)) == 3
    few = grounds_of_labels(labels, 21.17, trained_on=part, budget=40_000_000, seed=1)
    again = grounds_of_labels(labels, 21.17, trained_on=part, budget=40_000_000, seed=1)
    assert len(few) == 2 and [s.image.file_name for s in few] == [s.image.file_name for s in again]
    assert grounds_of_labels(training(labels, *(f"A_{n}.png" for n in range(4))), 21.17, trained_on=part) == []


def test_animals_of_labelled_images_are_pasted_on_unlabelled_ones(labelled: Labelled) -> None:
    labels = labels_with(labelled, {"B_0.png"}, {"A": 2, "B": 1})
    part = training(labels, "A_0.png", "A_1.png")
    samples = build_samples(part, 21.17)
    scenes = make_scenes(samples, grounds_of_labels(labels, 21.17, trained_on=part), ("mite", "springtail"))
    assert scenes is not None and scenes.told()["grounds_from"] == "unlabelled"
    drawing = scenes.of_pass("fine", (0, 1e9))
    assert drawing is not None
    drawn = drawing.draw(150, 120.0, np.random.default_rng(0))
    assert (~drawn.crowd).sum() >= 1


def test_stored_scans_are_read_with_the_references_of_detection(tmp_path: Path) -> None:
    path = tmp_path / "soilpipe.yaml"
    path.write_text(TEMPLATE, encoding="utf-8")
    project, store = load_project(path), Store(str(tmp_path / "store"))
    for number, hours in enumerate((0, 6, 24, 48, 72)):
        accept(store, hours, picture(number, animal=hours == 0))
    accept(store, 200, picture(8), pixels=False)
    accept(store, 300, picture(9), dpi=None)
    nothing = LabelSet("store", (), (), False)
    told: list[tuple[int, int]] = []
    grounds = grounds_of_store(
        project,
        store,
        21.17,
        labels=nothing,
        trained_on=nothing,
        progress=lambda done, of: told.append((done, of)),
    )
    assert len(grounds) == 5 and told[-1][0] == 5
    newest = next(ground for ground in grounds if ground.references == 4)
    assert newest.image.scanner_id == SCANNER and len(newest.image.boxes) >= 1
    assert len(grounds_of_store(project, store, 21.17, labels=nothing, trained_on=nothing, scans=2)) == 2
    held = replace(unlabelled((9, 9)), labelled=True, scanner_id=SCANNER)
    held_back = replace(nothing, images=(held,))
    assert grounds_of_store(project, store, 21.17, labels=held_back, trained_on=nothing) == []
