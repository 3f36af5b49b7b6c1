"""Which labelled images are trained on, and which are held back: for the working threshold, and for when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from soilpipe.detect.labelled import LabelledImage, LabelSet
from soilpipe.errors import SoilpipeError

SHARE = 10  # one in ten scanners (or images) is held back when nobody says which
LAST_SHARE = 5  # of a single scanner the last fifth in time
NEIGHBOURING = timedelta(hours=72)
"""So far apart or less, two scans of one scanner are neighbours: references reach back that far, and an animal that
sits still for as long counts as stationary. Both show the same ground, often the same animals."""


class SplitError(SoilpipeError):
    """A split that names what is not there, or that leaks from training into validation."""


@dataclass(frozen=True)
class Split:
    """Both parts keep all images as references; `told` says in words how it was split, for the card."""

    training: LabelSet
    validation: LabelSet
    told: str


def split_labels(
    labels: LabelSet,
    *,
    val_scanners: Sequence[str] | None = None,
    val_images: Sequence[str] | None = None,
    val_from: datetime | None = None,
    val_until: datetime | None = None,
) -> Split:
    """Split by scanner, by a block of time, or by both; without scanners in the file, by image.

    `val_scanners` names the scanners to hold back; `val_from` and `val_until` (aware, half-open) a block of time of all
    scanners: what neighbours it (`NEIGHBOURING`) is left out of both parts. `val_images` names files (or patterns with
    `*`). Without any, the last tenth of the scanners in the order of their ids is held back, at least one of two or
    more; of a single scanner the last fifth in time, where two in three of the others are not neighbours of it; in a
    file that names no scanners, the last tenth of the images by name, from ten images on. An empty sequence: none.

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
        held, left_out, words = _by_default(labelled)
        told = [words]
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


def _by_default(images: Sequence[LabelledImage]) -> tuple[frozenset[str], frozenset[str], str]:
    """Held back, left out of both, and that in words."""
    scanners = sorted({image.scanner_id for image in images if image.scanner_id is not None})
    if len(scanners) == 1:
        return _last_in_time(images)
    if scanners:
        last = scanners[-max(1, len(scanners) // SHARE) :]
        held = frozenset(image.file_name for image in images if image.scanner_id in last)
        return held, frozenset(), f"the last scanners in order of id: {', '.join(last)}"
    names = sorted(image.file_name for image in images)
    count = len(names) // SHARE
    told = f"the last {count} images by name; the labels name no scanner"
    return frozenset(names[len(names) - count :]), frozenset(), told


def _last_in_time(images: Sequence[LabelledImage]) -> tuple[frozenset[str], frozenset[str], str]:
    """The last fifth of one scanner's times; nothing where too few images are apart from them."""
    nothing: tuple[frozenset[str], frozenset[str], str] = (frozenset(), frozenset(), "")
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
    return held, left_out, f"the last fifth in time of the only scanner, {_block_told(begin, None)}"


def _labelled_only(labels: LabelSet, kept: Sequence[LabelledImage]) -> LabelSet:
    names = {image.file_name for image in kept}
    return replace(
        labels,
        images=tuple(image if image.file_name in names else replace(image, labelled=False) for image in labels.images),
    )
