"""Which taxa a detector learns: those with enough examples; the rest are rolled up the taxonomy.

A class may stand beside its own members as the remainder: an animal of Hexapoda that is none of the Collembola learned
beside it. Counts need that: the total of Hexapoda is the sum of both, and a rare sister group that went to the top
instead would be missing from it. But a remainder must be one. Where people left more animals of a taxon untold than
they told further ("Collembola", where some are marked as Poduromorpha), its own animals are largely those members,
and a detector that is taught to tell them apart learns how diligent the people were. So its members are rolled up into
it as well. The top of the taxonomy (any animal) is exempt: it takes what is left over, beside the commonest taxa.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from soilpipe.detect.label_taxa import is_background, nearest_taxon, taxa_with_examples, with_taxa
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet
from soilpipe.detect.split import Split
from soilpipe.taxonomy import ROOT, SOIL, Taxonomy

LEAST_EXAMPLES = 20
"""Animals of a taxon from which it is worth a class of its own: with fewer, which taxon it says is a guess."""


@dataclass(frozen=True)
class Learned:
    """A split whose labels index `taxa`; `rolled_up`: for each taxon that is not told apart what it counts as, and how
    many there were; `remainders`: for each class that stands beside its own members, those."""

    split: Split
    taxa: tuple[str, ...]
    rolled_up: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    remainders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def learned_taxa(
    split: Split, taxonomy: Taxonomy | None, taxa: Sequence[str] | None, single_class: bool, least_examples: int = 1
) -> Learned:
    """Both parts with labels as indices into the detector's taxa, and those.

    `taxa`: of the ones asked for, all that the training part holds animals of. `single_class`: one, Invertebrata. Else
    all taxa of the training part with `least_examples` animals or more; those with fewer count as the nearest taxon
    above them that has as many with what is rolled up into it, or as the one at the top; and so do those of which
    people left more untold than they told (see above). A single taxon stays what it is, however few. Animals of other
    taxa count neither way in validation, and neither do simulated ones in training.

    LabelError: nothing to learn from, or a category that the taxonomy does not know.
    """
    if single_class and taxa is None:
        training, validation = (_animals_only(part, taxonomy or SOIL) for part in (split.training, split.validation))
        check_labels(training)
        return Learned(replace(split, training=training, validation=validation), (ROOT,))
    training = split.training
    if taxa is not None:
        training = with_taxa(training, tuple(taxa), taxonomy)
    check_labels(training)
    real = replace(training, images=tuple(image for image in training.images if not image.simulated))
    counted = real if any(len(image.boxes) for image in real.labelled) else training
    wanted = taxa_with_examples(counted, None if taxa is not None else taxonomy)
    if not wanted:
        raise LabelError(
            f"{training.source}: its labels are of background or of crowds alone; a detector learns from single animals"
        )
    rolled_up: dict[str, tuple[str, int]] = {}
    if taxa is None and taxonomy is not None and len(wanted) > 1:
        counts = _counts(counted, wanted, taxonomy)
        kept = roll_up(counts, taxonomy, least_examples)
        rolled_up = {taxon: (above, counts[taxon]) for taxon, above in kept.items() if above != taxon}
        wanted = tuple(name for name in taxonomy.names if name in set(kept.values()))
    return Learned(
        replace(
            split,
            training=with_taxa(training, wanted, taxonomy, strict=counted is training),
            validation=with_taxa(split.validation, wanted, taxonomy, strict=False),
        ),
        wanted,
        rolled_up,
        {} if taxonomy is None else remainders(wanted, taxonomy),
    )


def roll_up(counts: Mapping[str, int], taxonomy: Taxonomy, least: int) -> dict[str, str]:
    """For each taxon what it counts as: itself from `least` examples on, else the nearest above it that has as many
    together with what is rolled up into it; at the top however few.

    Below the top a taxon also takes in its members when no fewer animals are named after it than after those of them
    that would be told apart: then it is no remainder of theirs.
    """
    here = Counter(dict(counts))
    goes: dict[str, str] = {}
    for name in sorted(taxonomy.names, key=lambda name: -len(taxonomy.ancestors(name))):
        above = taxonomy.ancestors(name)
        members = [below for below in taxonomy.descendants(name) if here[below] > 0]
        if above and members and counts.get(name, 0) >= max(1, sum(here[below] for below in members)):
            for below in members:
                here[name] += here.pop(below)
                goes[below] = name
        if 0 < here[name] < least and above:
            here[above[0]] += here.pop(name)
            goes[name] = above[0]

    def end(name: str) -> str:
        return end(goes[name]) if name in goes else name

    return {taxon: end(taxon) for taxon in counts}


def remainders(taxa: Sequence[str], taxonomy: Taxonomy) -> dict[str, tuple[str, ...]]:
    """For each of some taxa that stands beside taxa below it: those. The detector says of such an animal that it is
    none of them."""
    known = {taxonomy.find(taxon).name: taxon for taxon in taxa if taxon in taxonomy}
    below = {
        taxon: tuple(other for other_name, other in known.items() if name in taxonomy.ancestors(other_name))
        for name, taxon in known.items()
    }
    return {taxon: members for taxon, members in below.items() if members}


def check_labels(labels: LabelSet) -> None:
    """LabelError where there is nothing to learn from."""
    if not labels.labelled:
        raise LabelError(f"{labels.source}: no labelled image is left to train on")
    if not any(len(image.boxes) for image in labels.labelled):
        raise LabelError(
            f"{labels.source}: {len(labels.labelled)} images and not one label. A detector learns from labelled "
            "animals; some dozens are a beginning, a few hundred are better"
        )


def _counts(labels: LabelSet, taxa: tuple[str, ...], taxonomy: Taxonomy) -> dict[str, int]:
    """Single animals of each taxon."""
    found: Counter[str] = Counter()
    for image in labels.labelled:
        for label in image.labels[~image.crowd].tolist():
            taxon = nearest_taxon(labels.categories[label], taxa, taxonomy)
            if taxon is not None:
                found[taxon] += 1
    return {taxon: found[taxon] for taxon in taxa}


def _animals_only(labels: LabelSet, taxonomy: Taxonomy) -> LabelSet:
    """All categories but background as one, Invertebrata."""
    animal = np.array([not is_background(category, taxonomy) for category in labels.categories], bool)

    def merged(image: LabelledImage) -> LabelledImage:
        kept = image.select(animal[image.labels])
        return replace(kept, labels=np.zeros_like(kept.labels))

    return replace(labels, categories=(ROOT,), images=tuple(merged(image) for image in labels.images))
