"""Which labelled images are trained on, and which are held back: for the working threshold, and for when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import numpy as np

from soilpipe.detect.label_taxa import is_background
from soilpipe.detect.labelled import LabelledImage, LabelSet
from soilpipe.errors import SoilpipeError
from soilpipe.taxonomy import Taxonomy

SHARE = 10  # one in ten scanners (or images) is held back when nobody says which
LAST_SHARE = 5  # of a single scanner the last fifth in time
NEIGHBOURING = timedelta(hours=72)
"""So far apart or less, two scans of one scanner are neighbours: references reach back that far, and an animal that
sits still for as long counts as stationary. Both show the same ground, often the same animals."""
UNJUDGED = "the threshold is the default one, the training takes all its steps, and there are no figures"
"""What comes of a split without an animal to judge by."""


class SplitError(SoilpipeError):
    """A split that names what is not there, or that leaks from training into validation."""


@dataclass(frozen=True)
class Split:
    """Both parts keep all images as references; `told` says in words how it was split, for the card; `notes` what the
    user should know of it."""

    training: LabelSet
    validation: LabelSet
    told: str
    notes: tuple[str, ...] = ()


def split_labels(
    labels: LabelSet,
    *,
    val_scanners: Sequence[str] | None = None,
    val_images: Sequence[str] | None = None,
    val_from: datetime | None = None,
    val_until: datetime | None = None,
    taxonomy: Taxonomy | None = None,
) -> Split:
    """Split by scanner, by a block of time, or by both; without scanners in the file, by image.

    `val_scanners` names the scanners to hold back; `val_from` and `val_until` (aware, half-open) a block of time of all
    scanners: what neighbours it (`NEIGHBOURING`) is left out of both parts. `val_images` names files (or patterns with
    `*`). Without any, the last tenth of the scanners in the order of their ids is held back, at least one of two or
    more; of a single scanner the last fifth in time, where two in three of the others are not neighbours of it; in a
    file that names no scanners, the last tenth of the images by name, from ten images on. An empty sequence: none.
    Where all animals would then be on one side, the last scanners (or images) that hold any are taken instead, a tenth
    of those; where one scanner alone does, the last fifth of its time. Background of `taxonomy` is no animal.

    SplitError: a name that no image has, nothing left to train on, and named images of one scanner on both sides that
    are neighbours, or may be since they have no time: a scanner sees the same ground scan after scan, so such figures
    would flatter.
    """
    by_time = val_from is not None or val_until is not None
    if val_images is not None and (val_scanners is not None or by_time):
        raise SplitError("give val_images, or val_scanners and a block of time, not both")
    labelled = labels.labelled
    held: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    told = []
    notes: list[str] = []
    animals = _with_animals(labels, taxonomy)
    if val_images is not None:
        held, told = _by_name(labelled, val_images), [f"{len(val_images)} images or patterns named by the user"]
    if val_scanners is not None:
        held = _by_scanner(labelled, val_scanners)
        told.append(f"scanners {', '.join(val_scanners)}")
    if by_time:
        block = _in_block(labelled, val_from, val_until)
        left_out = neighbours(labelled, block) - held
        held |= block
        told.append(_block_told(val_from, val_until))
    if val_images is None and val_scanners is None and not by_time:
        held, left_out, words = _by_default(labelled, animals, notes)
        told = [words]
    elif held and animals and not held & animals:
        notes.append(f"no animal is marked on the images that are held back, so {UNJUDGED}")
    if left_out:
        hours = NEIGHBOURING.total_seconds() / 3600
        told.append(f"{len(left_out)} images within {hours:g} h of them are in neither part")
    if held and len(held | left_out) == len(labelled):
        raise SplitError(
            f"{labels.source}: all {len(labelled)} labelled images are held back"
            + (f" or within {NEIGHBOURING.days * 24} h of those that are" if left_out else "")
            + "; none is left to train on"
        )
    return Split(
        _labelled_only(labels, [image for image in labelled if image.file_name not in held | left_out]),
        _labelled_only(labels, [image for image in labelled if image.file_name in held]),
        "; ".join(told) if held else "no images held back",
        tuple(notes),
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
    leaks = neighbours(images, held)
    if leaks:
        both = sorted({str(image.scanner_id) for image in images if image.file_name in leaks})
        raise SplitError(
            f"images of scanner {', '.join(both)} would be on both sides, {NEIGHBOURING.days * 24} h or less apart (or "
            f"at times that nobody knows): {', '.join(sorted(leaks)[:3])}. A scanner sees the same ground scan after "
            "scan, so figures from such a split flatter: hold back whole scanners (val_scanners) or a block of time "
            "(val_from)"
        )
    return held


def neighbours(images: Sequence[LabelledImage], held: frozenset[str]) -> frozenset[str]:
    """The images that are not held back and neighbour one of their scanner that is; without times any of it does."""
    theirs: dict[str, list[datetime | None]] = {}
    for image in images:
        if image.file_name in held and image.scanner_id is not None:
            theirs.setdefault(image.scanner_id, []).append(image.captured_at)

    def near(image: LabelledImage) -> bool:
        return any(
            time is None or image.captured_at is None or abs(time - image.captured_at) <= NEIGHBOURING
            for time in theirs.get(image.scanner_id or "", ())
        )

    return frozenset(image.file_name for image in images if image.file_name not in held and near(image))


def _in_block(images: Sequence[LabelledImage], begin: datetime | None, end: datetime | None) -> frozenset[str]:
    undated = [image.file_name for image in images if image.captured_at is None]
    if undated:
        raise SplitError(
            f"to hold back a block of time every labelled image needs its scanner_id and date_captured; {len(undated)} "
            f"have none, {', '.join(undated[:3])} among them"
        )
    times = {image.file_name: image.captured_at for image in images if image.captured_at is not None}
    held = frozenset(
        name for name, time in times.items() if (begin is None or time >= begin) and (end is None or time < end)
    )
    if not held:
        raise SplitError(
            f"no labelled image lies {_block_told(begin, end)}; they are from {min(times.values()).isoformat()} to "
            f"{max(times.values()).isoformat()}"
        )
    return held


def _block_told(begin: datetime | None, end: datetime | None) -> str:
    words = ([f"from {begin.isoformat()}"] if begin else []) + ([f"before {end.isoformat()}"] if end else [])
    return " ".join(words)


_Default = tuple[frozenset[str], frozenset[str], str]
"""Held back, left out of both, and that in words."""


def _by_default(images: Sequence[LabelledImage], animals: frozenset[str], notes: list[str]) -> _Default:
    """`animals`: names of the images that hold any; notes are added to."""
    scanners = sorted({image.scanner_id for image in images if image.scanner_id is not None})
    if not scanners:
        names = sorted(image.file_name for image in images)
        count = len(names) // SHARE
        last = _last(names, count, animals)
        held_with = "" if last == names[len(names) - count :] else " that hold animals"
        return (
            frozenset(last),
            frozenset(),
            f"the last {len(last)} images by name{held_with}; the labels name no scanner",
        )
    if len(scanners) == 1:
        return _last_in_time(images, animals, "the only scanner", notes)
    having = {image.scanner_id for image in images if image.file_name in animals}
    last = _last(scanners, max(1, len(scanners) // SHARE), having - {None}, elsewhere=None in having)
    if not last:
        one = [image for image in images if image.scanner_id in having]
        return _last_in_time(one, animals, f"{one[0].scanner_id}, the only scanner with animals", notes)
    such = ""
    if last != scanners[len(scanners) - len(last) :]:
        such = " that hold animals"
        notes.append(f"the last scanners in order of id hold no animal: held back instead is {', '.join(last)}")
    held = frozenset(image.file_name for image in images if image.scanner_id in last)
    return held, frozenset(), f"the last scanners in order of id{such}: {', '.join(last)}"


def _last(units: Sequence[str], count: int, having: AbstractSet[str | None], elsewhere: bool = False) -> list[str]:
    """The last `count` of some scanners or images. Where those hold no animal, or all there are (unless there are some
    `elsewhere`), the last tenth of those that do, at least one and not all; none where that cannot be."""
    last = list(units[len(units) - count :])
    if not count or not having or (not having.isdisjoint(last) and (elsewhere or not set(last).issuperset(having))):
        return last
    those = [unit for unit in units if unit in having]
    share = min(max(1, len(those) // SHARE), len(those) - (not elsewhere))
    return those[len(those) - share :]


def _last_in_time(images: Sequence[LabelledImage], animals: frozenset[str], whose: str, notes: list[str]) -> _Default:
    """The last fifth of one scanner's times; nothing where too few images are apart from them, or where either part
    would be without animals."""
    begin, held, left_out = _last_fifth(images)
    others = frozenset(image.file_name for image in images) - held - left_out
    if animals and held and not (held & animals and others & animals):
        held = left_out = frozenset()
    if held:
        return held, left_out, f"the last fifth in time of {whose}, {_block_told(begin, None)}"
    if animals and len(images) > 1:
        notes.append(
            f"of {whose}, no block of time can be held back that leaves animals on both sides, far enough apart, so "
            f"{UNJUDGED}; labels of another scanner, or of a longer time, mend that"
        )
    return held, left_out, ""


def _last_fifth(images: Sequence[LabelledImage]) -> tuple[datetime | None, frozenset[str], frozenset[str]]:
    nothing: tuple[None, frozenset[str], frozenset[str]] = (None, frozenset(), frozenset())
    if any(image.captured_at is None or image.scanner_id is None for image in images):
        return nothing
    times = sorted({image.captured_at for image in images if image.captured_at is not None})
    if len(times) < LAST_SHARE:
        return nothing
    begin = times[len(times) - len(times) // LAST_SHARE]
    held = _in_block(images, begin, None)
    left_out = neighbours(images, held)
    others = len(images) - len(held)
    if 3 * (others - len(left_out)) < 2 * others:
        return nothing
    return begin, held, left_out


def _with_animals(labels: LabelSet, taxonomy: Taxonomy | None) -> frozenset[str]:
    """The names of the labelled images that hold an animal to learn or to judge by."""
    animal = np.array([not is_background(category, taxonomy) for category in labels.categories], bool)
    return frozenset(image.file_name for image in labels.labelled if (animal[image.labels] & ~image.crowd).any())


def _labelled_only(labels: LabelSet, kept: Sequence[LabelledImage]) -> LabelSet:
    names = {image.file_name for image in kept}
    return replace(
        labels,
        images=tuple(image if image.file_name in names else replace(image, labelled=False) for image in labels.images),
    )
