"""First scans of a series, which have nothing before them to compare with: left out of training where others do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from soilpipe.detect.dataset import Sample

ENOUGH_REFERENCES = 2  # fewer make no difference, see `soilpipe.background`
MOST_NAMED = 5  # sources

Source = tuple[bool, str | None]
"""Whether it is simulated, and its scanner."""


def without_first_scans(samples: Sequence[Sample]) -> tuple[list[Sample], str | None]:
    """The samples to train on, in their order, and in words what was put aside; None where nothing was.

    An image with fewer than two earlier ones to compare with is put aside where most others of its own scanner have
    more; images of other scanners, and simulated ones, have no say in it. It stays where a taxon would else be left
    without an animal to learn from, among the real images or among the simulated ones.

    A quarter of the scans of short seasons are first ones. With them in, a third of all crops had no difference, and on
    those no network can tell an animal from a static look-alike; dropped differences stand for them, at a known rate.
    """
    images: Counter[Source] = Counter(_source(sample) for sample in samples)
    compared: Counter[Source] = Counter(_source(sample) for sample in samples if not _is_first(sample))
    keep = [not _is_first(sample) or 2 * compared[_source(sample)] < images[_source(sample)] for sample in samples]
    for simulated in (False, True):
        there = [_taxa(sample) if sample.image.simulated == simulated else set() for sample in samples]
        lost = set().union(*there) - set().union(*(taxa for taxa, kept in zip(there, keep, strict=True) if kept))
        keep = [kept or bool(taxa & lost) for taxa, kept in zip(there, keep, strict=True)]
    aside = Counter(_source(sample) for sample, kept in zip(samples, keep, strict=True) if not kept)
    return [sample for sample, kept in zip(samples, keep, strict=True) if kept], _told(aside, len(samples))


def _is_first(sample: Sample) -> bool:
    return sample.references < ENOUGH_REFERENCES


def _source(sample: Sample) -> Source:
    return sample.image.simulated, sample.image.scanner_id


def _taxa(sample: Sample) -> set[int]:
    return set(sample.image.labels[~sample.image.crowd].tolist())


def _told(aside: Counter[Source], of: int) -> str | None:
    if not aside:
        return None
    names = [f"{count} of {scanner}" for (_, scanner), count in sorted(aside.items(), key=str)]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"{aside.total()} of {of} images to train on were put aside, since fewer than {ENOUGH_REFERENCES} earlier ones "
        f"of their scanner can be compared with them and most others of it have more: "
        f"{', '.join(names[:MOST_NAMED])}{more}"
    )
