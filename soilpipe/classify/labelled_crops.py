"""From labelled images to labelled crops: every single animal, every labelled thing that is none, and bare ground."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.embedding import embed_boxes, longer_sides
from soilpipe.classify.examples import BACKGROUND, Examples, Source, joined
from soilpipe.classify.label_facts import ImageFacts
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet
from soilpipe.detect.pictures import Scene, um_per_px_of
from soilpipe.encoder.encoder import Encoder
from soilpipe.taxonomy import Taxonomy, TaxonomyError

BACKGROUND_PER_ANIMAL = 1.0
TRIES = 30  # places tried for a window without an animal
CLEARANCE = 0.5  # of the longer side, px kept between such a window and any label
BARE_MM = (0.5, 1.0, 2.0, 4.0)  # sizes of windows where no label gives one
EDGE_PX = 1.0  # a box that ends so near to the edge of a tile, or nearer, is taken to go on behind it
THUMBNAIL_QUALITY = 88

Progress = Callable[[int, int], None]  # images done, of


def labelled_crops(
    labels: LabelSet,
    encoder: Encoder,
    *,
    taxonomy: Taxonomy,
    facts: Mapping[str, ImageFacts] | None = None,
    dpi: float | None = None,
    difference: bool = True,
    background_per_animal: float = BACKGROUND_PER_ANIMAL,
    false_alarms: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    keep: CropPixels | None = None,
    progress: Progress | None = None,
) -> Examples:
    """The labelled crops of the labelled images, read with their difference as a run reads them, and embedded.

    `taxa` of the result are the names of the taxonomy, stages taken off. Regions of animals not told apart (crowds) are
    left out, and so is what the edge of a tile cuts (`cut_by_edge`). Windows without an animal are as large as the
    labels, one an animal by default (`background_per_animal`), at least one an image, where there is room; they depend
    on `seed` and the image's name alone. `false_alarms`: for the images of which they are known what a detector took
    for animals, (n, 4), px of the image: background too. Those images alone tell how frequent background is; windows
    are as many as were asked for, and tell nothing of it. `keep`: where the pixels of the crops are put; their
    `rows` are those of the result.

    LabelError names the categories that the taxonomy does not have.
    """
    names = taxon_names(labels, taxonomy)
    sizes_mm = _all_sizes_mm(labels, dpi)
    parts: list[Examples] = []
    for done, scene in enumerate(open_scenes(labels, dpi=dpi, difference=difference), start=1):
        name = scene.image.file_name
        alarms = None if false_alarms is None else false_alarms.get(name)
        wanted = _wanted(scene, names, sizes_mm, background_per_animal, alarms, seed)
        if len(wanted.boxes):
            parts.append(_examples(scene, wanted, encoder, (facts or {}).get(name), keep))
        if progress:
            progress(done, len(labels.labelled))
    return joined(parts, encoder.info.dim)


def taxon_names(labels: LabelSet, taxonomy: Taxonomy) -> Mapping[int, str]:
    """For each category that has a label the name of its taxon. LabelError names those that the taxonomy lacks."""
    used = sorted({int(label) for image in labels.labelled for label in image.labels[~image.crowd]})
    found, unknown = {}, []
    for index in used:
        category = labels.categories[index]
        try:
            found[index] = BACKGROUND if category == BACKGROUND else taxonomy.find(category).name
        except TaxonomyError as error:
            unknown.append(str(error))
    if unknown:
        raise LabelError(
            f"{labels.source}: {'; '.join(unknown)}. Add the taxon to `taxa` in the project file (or as a synonym of "
            "one that is there), or correct the label"
        )
    return found


def cut_by_edge(image: LabelledImage, boxes: np.ndarray) -> np.ndarray:
    """(n,) bool: which boxes (n, 4), px of the image, end at an edge of a tile that is none of its scan.

    A run sees such an animal whole. Its label is a piece: too small, in the middle of the wrong place, and beside it
    nothing where the scan has soil. Of a whole scan nothing is cut that a run would see. How far the scan goes on to
    the right and below a tile its labels do not say: there it is taken to.
    """
    if image.origin is None or not len(boxes):
        return np.zeros(len(boxes), bool)
    x0, y0 = image.origin
    left, top = (boxes[:, 0] <= EDGE_PX) & (x0 > 0), (boxes[:, 1] <= EDGE_PX) & (y0 > 0)
    return np.asarray(
        left | top | (boxes[:, 2] >= image.width - EDGE_PX) | (boxes[:, 3] >= image.height - EDGE_PX), bool
    )


def cut_labels(labels: LabelSet) -> int:
    """How many single labels are left out since a tile's edge cuts them."""
    return sum(int(cut_by_edge(image, image.boxes[~image.crowd]).sum()) for image in labels.labelled)


class _Wanted(NamedTuple):
    """The boxes of one image to embed, (n, 4) float64, px; their taxa; counts (n,) bool: those that come as in the
    field; detected: what a detector took for animals is among them."""

    boxes: np.ndarray
    taxa: list[str]
    counts: np.ndarray
    detected: bool


def _wanted(
    scene: Scene,
    names: Mapping[int, str],
    sizes_mm: np.ndarray,
    background_per_animal: float,
    alarms: np.ndarray | None,
    seed: int,
) -> _Wanted:
    """What is labelled, then false alarms, then bare windows."""
    image = scene.image
    single = _whole(image)
    taxa = [names[label] for label in image.labels[single].tolist()]
    count = max(1, round(background_per_animal * len(single))) if background_per_animal > 0 else 0
    bare = _bare_windows(image, sizes_mm * 1000 / scene.scan.um_per_px, count, seed)
    # Of false alarms too: what is background is as often cut as what is none, so the frequencies stay what they are.
    known = np.zeros((0, 4)) if alarms is None else alarms[~cut_by_edge(image, alarms)]
    return _Wanted(
        np.concatenate([image.boxes[single].astype(np.float64), known, bare]),
        taxa + [BACKGROUND] * (len(known) + len(bare)),
        np.repeat([True, False], [len(single) + len(known), len(bare)]),
        alarms is not None,
    )


def _whole(image: LabelledImage) -> np.ndarray:
    """The indices of the labels of single animals, or things, that are seen whole."""
    return np.flatnonzero(~image.crowd & ~cut_by_edge(image, image.boxes))


def _bare_windows(image: LabelledImage, sides_px: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Up to `count` boxes, (k, 4), of the labels' sizes, clear of every label and of each other."""
    digest = hashlib.sha256(f"{seed}/{image.file_name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    taken = image.boxes.astype(np.float64)
    found: list[np.ndarray] = []
    for _ in range(count):
        for _ in range(TRIES):
            long = float(rng.choice(sides_px))
            across = max(2.0, long * float(rng.uniform(0.3, 1.0)))
            w, h = (long, across) if rng.random() < 0.5 else (across, long)
            if w >= image.width or h >= image.height:
                continue
            x, y = float(rng.uniform(0, image.width - w)), float(rng.uniform(0, image.height - h))
            box = np.array([x, y, x + w, y + h])
            if not _touches(box, CLEARANCE * long, taken):
                found.append(box)
                taken = np.concatenate([taken, box[None]])
                break
    return np.array(found).reshape(-1, 4)


def _touches(box: np.ndarray, margin: float, others: np.ndarray) -> bool:
    x0, y0, x1, y1 = box + margin * np.array([-1, -1, 1, 1])
    return bool(((others[:, 0] < x1) & (others[:, 2] > x0) & (others[:, 1] < y1) & (others[:, 3] > y0)).any())


def _all_sizes_mm(labels: LabelSet, dpi: float | None) -> np.ndarray:
    """The longer sides of all single labels, mm; some usual ones where there is none."""
    found = [
        longer_sides(image.boxes[_whole(image)]) * um_per_px_of(image, dpi) / 1000
        for image in labels.labelled
        if len(image.boxes)
    ]
    sizes = np.concatenate(found) if found else np.zeros(0)
    return sizes if len(sizes) else np.array(BARE_MM)


def _examples(
    scene: Scene, wanted: _Wanted, encoder: Encoder, facts: ImageFacts | None, keep: CropPixels | None
) -> Examples:
    boxes = wanted.boxes
    found = embed_boxes(encoder, scene.scan, scene.references, scene.registrations, boxes)
    image = scene.image
    x0, y0 = image.origin or (0, 0)
    source = Source(
        scan=facts.scan if facts else image.file_name,
        box=(0.0, 0.0, 0.0, 0.0),
        scanner_id=image.scanner_id,
        captured_at=image.captured_at.isoformat() if image.captured_at else None,
        as_it_comes=facts.as_it_comes if facts else True,
        um_per_px=0.0,
        image=image.file_name,
        detected=wanted.detected,
    )
    return Examples(
        embeddings=found.embeddings,
        sizes_mm=(longer_sides(boxes) * scene.scan.um_per_px / 1000).astype(np.float32),
        taxa=tuple(wanted.taxa),
        sources=tuple(
            replace(
                source,
                box=_moved(box, x0, y0),
                um_per_px=round(float(scale), 4),
                as_it_comes=source.as_it_comes and bool(counts),
            )
            for box, scale, counts in zip(boxes, found.um_per_px, wanted.counts, strict=True)
        ),
        thumbnails=tuple(thumbnail(crop) for crop in found.pixels),
        rows=None if keep is None else keep.add(found.tuned_on),
    )


def _moved(box: np.ndarray, x0: float, y0: float) -> tuple[float, float, float, float]:
    a, b, c, d = (round(float(value), 2) for value in box + np.array([x0, y0, x0, y0]))
    return a, b, c, d


def thumbnail(crop: np.ndarray) -> bytes:
    """(7, s, s) uint8 to a JPEG of its colours."""
    colours = np.ascontiguousarray(crop[2::-1].transpose(1, 2, 0))
    done, data = cv2.imencode(".jpg", colours, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])
    assert done
    return bytes(data.tobytes())
