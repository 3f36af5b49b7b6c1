"""Which labelled images are trained on, and which are held back to choose the working threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from soilpipe.detect.coco import LabelledImage, LabelSet
from soilpipe.errors import SoilpipeError

SHARE = 10  # one in ten scanners (or images) is held back when nobody says which


class SplitError(SoilpipeError):
    """A split that names what is not there, or that leaks from training into validation."""


@dataclass(frozen=True)
class Split:
    """Both parts keep all images as references; `told` says in words how it was split, for the card."""

    training: LabelSet
    validation: LabelSet
    told: str


def split_labels(
    labels: LabelSet, *, val_scanners: Sequence[str] | None = None, val_images: Sequence[str] | None = None
) -> Split:
    """Split by scanner; without scanners in the file, by image.

    `val_scanners` names the scanners to hold back, `val_images` file names (or patterns with `*`). Without either,
    the last tenth of the scanners in the order of their ids is held back, at least one of two or more; in a file that
    names no scanners, the last tenth of the images by name, from ten images on. An empty sequence: none.

    SplitError: a name that no image has, nothing left to train on, and images of one scanner on both sides: a scanner
    sees the same ground scan after scan, so such figures would flatter.
    """
    if val_scanners is not None and val_images is not None:
        raise SplitError("give val_scanners or val_images, not both")
    labelled = labels.labelled
    if val_scanners is not None:
        held, told = _by_scanner(labelled, val_scanners), f"scanners {', '.join(val_scanners)}"
    elif val_images is not None:
        held, told = _by_name(labelled, val_images), f"{len(val_images)} images or patterns named by the user"
    else:
        held, told = _by_default(labelled)
    if held and len(held) == len(labelled):
        raise SplitError(
            f"{labels.source}: all {len(labelled)} labelled images are held back; none is left to train on"
        )
    return Split(
        _labelled_only(labels, [image for image in labelled if image.file_name not in held]),
        _labelled_only(labels, [image for image in labelled if image.file_name in held]),
        told if held else "no images held back",
    )


def _by_scanner(images: Sequence[LabelledImage], scanners: Sequence[str]) -> frozenset[str]:
    known = {image.scanner_id for image in images if image.scanner_id is not None}
    strange = [scanner for scanner in scanners if scanner not in known]
    if strange:
        there = ", ".join(sorted(known)) or "none (its image entries have no scanner_id)"
        raise SplitError(f"no labelled image is of scanner {', '.join(strange)}; the label file has {there}")
    return frozenset(image.file_name for image in images if image.scanner_id in scanners)


def _by_name(images: Sequence[LabelledImage], patterns: Sequence[str]) -> frozenset[str]:
    idle = [pattern for pattern in patterns if not any(fnmatchcase(image.file_name, pattern) for image in images)]
    if idle:
        raise SplitError(f"no labelled image is called {', '.join(idle)}")
    held = frozenset(
        image.file_name for image in images if any(fnmatchcase(image.file_name, pattern) for pattern in patterns)
    )
    both = sorted(
        {image.scanner_id for image in images if image.scanner_id is not None and image.file_name in held}
        & {image.scanner_id for image in images if image.scanner_id is not None and image.file_name not in held}
    )
    if both:
        raise SplitError(
            f"images of scanner {', '.join(both)} would be on both sides. A scanner sees the same ground scan after "
            "scan, so figures from such a split flatter: hold back whole scanners (val_scanners)"
        )
    return held


def _by_default(images: Sequence[LabelledImage]) -> tuple[frozenset[str], str]:
    scanners = sorted({image.scanner_id for image in images if image.scanner_id is not None})
    if scanners:
        if len(scanners) < 2:
            return frozenset(), ""
        last = scanners[-max(1, len(scanners) // SHARE) :]
        held = frozenset(image.file_name for image in images if image.scanner_id in last)
        return held, f"the last scanners in order of id: {', '.join(last)}"
    names = sorted(image.file_name for image in images)
    count = len(names) // SHARE
    return frozenset(names[len(names) - count :]), f"the last {count} images by name; the labels name no scanner"


def _labelled_only(labels: LabelSet, kept: Sequence[LabelledImage]) -> LabelSet:
    names = {image.file_name for image in kept}
    return replace(
        labels,
        images=tuple(image if image.file_name in names else replace(image, labelled=False) for image in labels.images),
    )
