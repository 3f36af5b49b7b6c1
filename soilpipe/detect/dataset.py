"""From labelled images to what a detector sees: scenes (a scan with its references) and training samples.

An image whose entry names its scanner and time gets earlier images of that scanner in the same file as references,
chosen, registered and subtracted exactly as in a project. A window that was cut from a scan of a project comes with its
references, registered to the whole scan as in a run (`background.cut_references`). Registration costs time, so samples
are built in parallel processes; a process takes consecutive images of one scanner and keeps the last ones decoded.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from soilpipe.background import ModelInput, choose_references, even_contrast
from soilpipe.background.registered_before import RegisteredBefore
from soilpipe.detect.base import Detections
from soilpipe.detect.coco import LabelError, LabelledImage, LabelSet
from soilpipe.detect.cut_windows import with_its_references
from soilpipe.detect.network import Head
from soilpipe.detect.padding import padded
from soilpipe.detect.passes import TIMES, PassName, sees_finest
from soilpipe.detect.pictures import PICTURES, Pictures, Scene, um_per_px_of
from soilpipe.detect.spill import mapped, spill, spilled_file

WORTH_PROCESSES = 50_000_000  # px with references, from which several processes are sooner ready than one
CHUNK = 16  # images that a process takes at once

Progress = Callable[[int, int], None]  # done, of


@dataclass(frozen=True)
class SamplePass:
    """What one pass of the detector reads of a scan, whole: (7, h, w) uint8, and full px per px of it."""

    pixels: np.ndarray
    factor: float

    @property
    def height(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[2])

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """As `soilpipe.background.ModelInput.read`."""
        window, size = (y0, y1, x0, x1), (self.height, self.width)
        return padded(window, size, lambda top, bottom, left, right: self.pixels[:, top:bottom, left:right])


@dataclass(frozen=True)
class Sample:
    """One image, ready for training: what the fine and the coarse pass see, a finest one where that is asked for, and
    its labels in px of full resolution.

    faint: by pass, which animals hardly show in the difference, (n,) bool; None: its pixels tell. Samples that show one
    image in several ways are given the same, so that the same crops are drawn of them.
    """

    image: LabelledImage
    passes: dict[PassName, SamplePass]
    um_per_px: float
    references: int  # how many counted in the difference; 0: it is nowhere valid
    faint: dict[Head, np.ndarray] | None = None


def references_of(labels: LabelSet) -> dict[str, tuple[LabelledImage, ...]]:
    """For each file name the earlier images of its scanner that it is compared with; none without scanner and time.

    Only images of the same size and dpi, and of the same place in their scans, are candidates. LabelError when two
    images of one scanner have one time.
    """
    by_device: dict[tuple[object, ...], list[LabelledImage]] = {}
    for image in labels.images:
        if image.scanner_id is not None and image.captured_at is not None:
            key = (image.scanner_id, image.origin, image.width, image.height, image.dpi)
            by_device.setdefault(key, []).append(image)
    chosen: dict[str, tuple[LabelledImage, ...]] = {image.file_name: () for image in labels.images}
    for group in by_device.values():
        by_name = {image.file_name: image for image in group}
        times = {image.captured_at for image in group}
        if len(times) < len(group):
            raise LabelError(
                f"{labels.source}: two images of scanner {group[0].scanner_id} have the same date_captured"
            )
        earlier = [(image.file_name, image.captured_at) for image in group if image.captured_at is not None]
        for name, time in earlier:
            chosen[name] = tuple(by_name[other] for other in choose_references(time, earlier))
    return chosen


def open_scenes(labels: LabelSet, *, dpi: float | None = None, difference: bool = True) -> Iterator[Scene]:
    """The labelled images with their references, one after the other, grouped by scanner and time."""
    pictures = Pictures(dpi)
    references = references_of(labels) if difference else {}
    for image in _in_order(labels):
        yield _open_scene(image, references.get(image.file_name), pictures)
    _tidy(references)


def _in_order(labels: LabelSet) -> list[LabelledImage]:
    """Labelled images, those of one scanner together and by time, so that references are at hand."""
    return sorted(
        labels.labelled,
        key=lambda image: (
            image.scanner_id or "",
            image.captured_at.isoformat() if image.captured_at else "",
            image.file_name,
        ),
    )


def _open_scene(image: LabelledImage, references: Sequence[LabelledImage] | None, pictures: Pictures) -> Scene:
    """references: other images of the label file; None: none at all, whatever the image brings along."""
    scan = pictures.scan(image)
    if references is not None and image.registered is not None:
        return Scene(image, *with_its_references(image, scan))
    return pictures.compared(image, references or ())


def build_samples(
    labels: LabelSet,
    um_per_px: float,
    *,
    dpi: float | None = None,
    difference: bool = True,
    even: bool = False,
    workers: int = 1,
    finest: bool = False,
    spilled: Path | None = None,
    progress: Progress | None = None,
) -> list[Sample]:
    """Training samples of all labelled images, at `um_per_px` and a quarter of that scale, in a fixed order.

    `finest`: also what a finest pass sees, of images that are fine enough for it; four times as many pixels.
    `even`: the contrast of their colours is evened. `workers` processes (spawned) share the work; the result does not
    depend on how many. `spilled`: a folder that holds the pixels instead of memory (`soilpipe.detect.spill`), as long
    as the samples are used.
    """
    references = references_of(labels) if difference else {}
    images = _in_order(labels)
    jobs = [
        (chunk, [references.get(image.file_name) for image in chunk], um_per_px, dpi, even, finest, spilled)
        for _, group in groupby(images, key=lambda image: image.scanner_id)
        for chunk in _chunks(list(group))
    ]
    samples: list[Sample] = []
    if workers <= 1 or len(jobs) == 1:
        for job in jobs:
            samples += _mapped(_build(job), spilled)
            if progress:
                progress(len(samples), len(images))
        _tidy(references)
        return samples
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_single_threaded) as pool:
        for built in pool.map(_build, jobs):
            samples += _mapped(built, spilled)
            if progress:
                progress(len(samples), len(images))
    _tidy(references)
    return samples


def _tidy(references: Mapping[str, Sequence[LabelledImage]]) -> None:
    """Bound what is kept of registrations, where there was anything to register."""
    if any(references.values()):
        RegisteredBefore(PICTURES).tidy()


def bytes_of(images: Sequence[LabelledImage], um_per_px: float, dpi: float | None, *, finest: bool) -> float:
    """Bytes of the samples of images; `finest`: with what a finest pass sees of those that are fine enough."""
    size = 0.0
    for image in images:
        scale = um_per_px_of(image, dpi)
        a_px = 7.5 + (28.0 if finest and sees_finest(um_per_px, scale) else 0.0)
        size += a_px * image.width * image.height * (scale / um_per_px) ** 2
    return size


def workers_that_pay(labels: LabelSet, difference: bool) -> int:
    """How many processes pay: registering references takes about a second a Mpx, starting a process four. Images that
    bring theirs along are soon done."""
    dated = [
        image
        for image in labels.labelled
        if image.scanner_id is not None and image.captured_at is not None and image.registered is None
    ]
    if not difference or sum(image.width * image.height for image in dated) < WORTH_PROCESSES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Job = tuple[list[LabelledImage], list[tuple[LabelledImage, ...] | None], float, float | None, bool, bool, Path | None]


def _chunks(images: list[LabelledImage]) -> list[list[LabelledImage]]:
    return [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]


def _single_threaded() -> None:
    cv2.setNumThreads(1)


def _build(job: Job) -> list[Sample]:
    images, references, um_per_px, dpi, even, finest, spilled = job
    pictures = Pictures(dpi)
    samples = []
    for image, others in zip(images, references, strict=True):
        scene = _open_scene(image, others, pictures)
        passes: dict[PassName, SamplePass] = {}
        tone = even_contrast(scene.scan) if even else None
        names: list[PassName] = ["fine", "coarse"]
        if finest and sees_finest(um_per_px, scene.scan.um_per_px):
            names.append("finest")
        for name in names:
            whole = ModelInput(scene.scan, scene.references, scene.registrations, TIMES[name] * um_per_px, even=tone)
            if spilled is None:
                pixels = whole.read(0, whole.height, 0, whole.width)
            else:
                spill(whole, spilled_file(spilled, image.file_name, name))
                pixels = np.zeros((7, 0, 0), np.uint8)
            passes[name] = SamplePass(pixels, whole.factor)
            usable = whole.usable
        samples.append(Sample(image, passes, scene.scan.um_per_px, usable))
    return samples


def _mapped(samples: list[Sample], spilled: Path | None) -> list[Sample]:
    """The samples with the pixels that were spilled."""
    if spilled is None:
        return samples
    return [
        replace(
            sample,
            passes={
                name: replace(part, pixels=mapped(spilled_file(spilled, sample.image.file_name, name)))
                for name, part in sample.passes.items()
            },
        )
        for sample in samples
    ]


def true_detections(image: LabelledImage, taxa: tuple[str, ...]) -> Detections:
    """The labels of an image in the shape of a detector's answer, for pictures and for tests."""
    return Detections(image.boxes, np.ones(len(image.boxes), np.float32), image.labels, taxa)
