"""Samples: the scan at both scales, with the difference that a project would compute."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from soilpipe.background import ModelInput, Registration, even_contrast, register, register_all, registered_before
from soilpipe.detect.coco import LabelError, LabelSet, read_labels
from soilpipe.detect.dataset import build_samples, open_scenes, references_of
from soilpipe.detect.pictures import read_picture
from soilpipe.errors import SoilpipeError
from soilpipe.tiles import ScanImage, image_from_array

Labelled = Callable[..., Path]


def labels(path: Path) -> LabelSet:
    return read_labels(path, path.parent)


def still_ground(path: Path) -> None:
    """Gives all images one ground, as scans of one scanner have: without it no registration holds."""
    rng = np.random.default_rng(5)
    ground = cv2.GaussianBlur(rng.normal(100, 40, (160, 224, 3)), (0, 0), 1).clip(0, 255).astype(np.uint8)
    for file in path.parent.glob("*.png"):
        picture = cv2.imread(str(file))
        animal = picture.max(axis=2, keepdims=True) > 180
        cv2.imwrite(str(file), np.where(animal, picture, ground))


def test_references_are_earlier_scans_of_the_same_scanner(labelled: Labelled) -> None:
    chosen = references_of(labels(labelled(scanners={"A": 4, "B": 2})))
    assert [image.file_name for image in chosen["A_3.png"]] == ["A_2.png", "A_1.png", "A_0.png"]
    assert [image.file_name for image in chosen["B_1.png"]] == ["B_0.png"]
    assert chosen["A_0.png"] == ()


def test_plain_coco_has_no_references(labelled: Labelled) -> None:
    assert set(references_of(labels(labelled(images=3))).values()) == {()}


def test_two_scans_of_a_scanner_at_one_time_are_refused(labelled: Labelled) -> None:
    def change(data: dict) -> None:  # type: ignore[type-arg]
        data["images"][1]["date_captured"] = data["images"][0]["date_captured"]

    with pytest.raises(LabelError, match="two images of scanner A have the same date_captured"):
        references_of(labels(labelled(scanners={"A": 2}, change=change)))


def test_a_sample_holds_what_prediction_would_read(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 4})
    still_ground(path)
    sample = build_samples(labels(path), 21.17)[3]
    assert sample.image.file_name == "A_3.png" and sample.references == 3
    scans = {name: image_from_array(read_picture(path.parent / f"A_{name}.png"), 25400 / 1200) for name in range(4)}
    others = [scans[2], scans[1], scans[0]]
    found = [register(scans[3], other) for other in others]
    for head, scale in (("fine", 21.17), ("coarse", 4 * 21.17)):
        whole = ModelInput(scans[3], others, found, scale)
        window = (-20, whole.height + 7, 3, whole.width + 40)
        np.testing.assert_array_equal(sample.passes[head].read(*window), whole.read(*window))
    assert sample.passes["fine"].pixels[6].mean() > 200 and sample.passes["coarse"].factor == 4.0
    assert build_samples(labels(path), 21.17, difference=False)[3].references == 0


def test_pictures_are_registered_once_as_long_as_they_show_the_same(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second training takes what the first has found, wherever the files lie by then and whatever they are called."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls: list[int] = []

    def counting(scan: ScanImage, references: Sequence[ScanImage]) -> list[Registration]:
        calls.append(len(references))
        return register_all(scan, references)

    monkeypatch.setattr(registered_before, "register_all", counting)
    path = labelled(scanners={"A": 3})
    still_ground(path)
    first = build_samples(labels(path), 21.17)
    assert calls == [1, 2]
    moved = Path(shutil.copytree(path.parent, tmp_path / "elsewhere")) / path.name
    for one, other in zip(first, build_samples(labels(moved), 21.17), strict=True):
        np.testing.assert_array_equal(one.passes["fine"].pixels, other.passes["fine"].pixels)
    assert calls == [1, 2]
    picture = read_picture(moved.parent / "A_1.png")
    picture[0, 0] ^= 1
    cv2.imwrite(str(moved.parent / "A_1.png"), picture[..., ::-1])
    list(open_scenes(labels(moved)))
    assert calls == [1, 2, 1, 1], "A_1 under A_0, and under A_2; A_0 under A_2 is known"


def test_evened_samples_hold_what_prediction_would_read_of_an_evened_scan(labelled: Labelled) -> None:
    path = labelled(images=1)
    sample = build_samples(labels(path), 42.3, even=True)[0]
    scan = image_from_array(read_picture(sample.image.path), 25400 / 1200)
    for head, scale in (("fine", 42.3), ("coarse", 4 * 42.3)):
        whole = ModelInput(scan, (), (), scale, even=even_contrast(scan))
        window = (0, whole.height, 0, whole.width)
        np.testing.assert_array_equal(sample.passes[head].read(*window), whole.read(*window))
    plain = build_samples(labels(path), 42.3)[0].passes["fine"].pixels
    assert not np.array_equal(plain, sample.passes["fine"].pixels)


def test_a_sample_for_a_finest_pass_holds_what_that_would_read(labelled: Labelled) -> None:
    """Where the image is finer than the model; of others the fine pass sees all that there is."""

    def change(data: dict) -> None:  # type: ignore[type-arg]
        data["images"][1]["dpi"] = 600

    path = labelled(images=2, change=change)
    fine, coarse = build_samples(labels(path), 42.3, finest=True)
    scan = image_from_array(read_picture(fine.image.path), 25400 / 1200)
    whole = ModelInput(scan, (), (), 42.3 / 2)
    window = (-4, whole.height, 0, whole.width + 9)
    np.testing.assert_array_equal(fine.passes["finest"].read(*window), whole.read(*window))
    assert fine.passes["finest"].factor == 1.0 and fine.passes["fine"].factor == 2.0
    assert coarse.image.dpi == 600 and set(coarse.passes) == {"fine", "coarse"}
    assert set(build_samples(labels(path), 42.3)[0].passes) == {"fine", "coarse"}


@pytest.mark.slow  # a spawned process imports torch anew
def test_the_number_of_processes_changes_nothing(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 2, "B": 1}, size=(96, 96), animals=2)
    told: list[tuple[int, int]] = []
    parallel = build_samples(labels(path), 21.17, workers=2, progress=lambda done, of: told.append((done, of)))
    for one, other in zip(build_samples(labels(path), 21.17), parallel, strict=True):
        assert one.image.file_name == other.image.file_name
        np.testing.assert_array_equal(one.passes["fine"].pixels, other.passes["fine"].pixels)
    assert told[-1] == (3, 3)


def test_images_that_nobody_looked_at_are_references_only(labelled: Labelled) -> None:
    def change(data: dict) -> None:  # type: ignore[type-arg]
        for image in data["images"][:3]:
            image["labelled"] = False

    path = labelled(scanners={"A": 4}, change=change)
    (scene,) = open_scenes(labels(path))
    assert scene.image.file_name == "A_3.png" and len(scene.references) == 3


def test_the_dpi_of_an_image_sets_its_scale(labelled: Labelled) -> None:
    path = labelled(images=1, change=lambda data: data["images"][0].update(dpi=2400))
    (sample,) = build_samples(labels(path), 21.17)
    assert sample.passes["fine"].pixels.shape == (7, 80, 112) and sample.passes["fine"].factor == 2.0


def test_an_image_of_another_size_than_its_labels_is_refused(labelled: Labelled) -> None:
    path = labelled(images=1)
    cv2.imwrite(str(path.parent / "image_0.png"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(LabelError, match=r"image_0\.png has 30 x 20 px, its labels were made on 224 x 160"):
        build_samples(labels(path), 21.17)


def test_a_file_that_is_no_image_is_named(labelled: Labelled) -> None:
    path = labelled(images=1)
    (path.parent / "image_0.png").write_bytes(b"not an image at all")
    with pytest.raises(SoilpipeError, match=r"image_0\.png"):
        build_samples(labels(path), 21.17)


@pytest.mark.slow
def test_pixels_may_lie_in_files_and_are_the_same(labelled: Labelled, tmp_path: Path) -> None:
    path = labelled(scanners={"A": 4, "B": 1}, size=(1500, 224))
    for workers in (1, 2):
        kept = build_samples(labels(path), 21.17, workers=workers, spilled=tmp_path / f"spilled-{workers}")
        for one, other in zip(build_samples(labels(path), 21.17), kept, strict=True):
            assert one.image.file_name == other.image.file_name
            for head in ("fine", "coarse"):
                np.testing.assert_array_equal(one.passes[head].pixels, other.passes[head].pixels)
                assert one.passes[head].factor == other.passes[head].factor
        assert len(list((tmp_path / f"spilled-{workers}").iterdir())) == 10
    other.passes["fine"].pixels[0, 0, 0] ^= 255
    again = build_samples(labels(path), 21.17, spilled=tmp_path / "spilled-3")[-1].passes["fine"].pixels
    assert again[0, 0, 0] != other.passes["fine"].pixels[0, 0, 0], "writing into them changes no file"


def test_a_disk_without_room_is_told(labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(SoilpipeError, match=r"do not fit there \(No space left on device\).*XDG_CACHE_HOME"):
        build_samples(labels(labelled(images=1)), 21.17, spilled=tmp_path / "spilled")
