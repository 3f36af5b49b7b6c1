"""From the categories of labels to the taxa of a detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet
from soilpipe.taxonomy import Taxonomy, TaxonomyError


def with_taxa(labels: LabelSet, taxa: tuple[str, ...], taxonomy: Taxonomy | None, *, strict: bool = True) -> LabelSet:
    """The same labels as indices into `taxa`.

    A category counts as the taxon of its name, else as the nearest of its ancestors in `taxonomy` that is among
    `taxa`. Background categories of the taxonomy are no animals and are left out. LabelError names the categories
    that have animals and fit none of the taxa; when not `strict`, such animals become crowds: they count neither way.
    """
    target: dict[int, int] = {}
    left_out: set[int] = set()
    lost = []
    used = {int(label) for image in labels.labelled for label in image.labels[~image.crowd]}
    for index, category in enumerate(labels.categories):
        found = nearest_taxon(category, taxa, taxonomy)
        if found is not None:
            target[index] = taxa.index(found)
        elif is_background(category, taxonomy):
            left_out.add(index)
        elif index in used:
            lost.append(category)
    if lost and strict:
        raise LabelError(
            f"{labels.source}: the categories {', '.join(lost)} are none of the taxa {', '.join(taxa)} and lie below "
            "none of them. Name them in the taxonomy, or train a single class"
        )

    def translated(image: LabelledImage) -> LabelledImage:
        if not image.labelled:
            return image
        kept = image.select(np.array([int(label) not in left_out for label in image.labels], bool))
        return replace(
            kept,
            labels=np.array([target.get(int(label), 0) for label in kept.labels], np.int64),
            crowd=kept.crowd | np.array([int(label) not in target for label in kept.labels], bool),
        )

    return replace(labels, categories=taxa, images=tuple(translated(image) for image in labels.images))


def nearest_taxon(category: str, taxa: tuple[str, ...], taxonomy: Taxonomy | None) -> str | None:
    """Which of `taxa` a category counts as: its own name, else its nearest ancestor among them, else None."""
    if category in taxa:
        return category
    if taxonomy is None or category not in taxonomy:
        return None
    name = taxonomy.find(category).name
    known = {taxonomy.find(taxon).name: taxon for taxon in taxa if taxon in taxonomy}
    return next((known[above] for above in (name, *taxonomy.ancestors(name)) if above in known), None)


def is_background(category: str, taxonomy: Taxonomy | None) -> bool:
    """Whether the taxonomy knows the category as no animal (roots, litter)."""
    return taxonomy is not None and category in taxonomy and taxonomy.find(category).background


def taxa_with_examples(labels: LabelSet, taxonomy: Taxonomy | None) -> tuple[str, ...]:
    """The taxa that the labels hold animals of: in the taxonomy's order and spelling, or as the file lists them.

    What has no example but crowds is left out: a detector cannot report a zero of what it never saw. With a taxonomy,
    LabelError names the categories that it does not know.
    """
    used = sorted({int(label) for image in labels.labelled for label in image.labels[~image.crowd]})
    names = [labels.categories[index] for index in used]
    if taxonomy is None:
        return tuple(names)
    found, unknown = set(), []
    for name in names:
        try:
            taxon = taxonomy.find(name)
        except TaxonomyError as error:
            unknown.append(str(error))
            continue
        if not taxon.background:
            found.add(taxon.name)
    if unknown:
        raise LabelError(f"{labels.source}: {'; '.join(unknown)}. Name them in the taxonomy, or train a single class")
    return tuple(name for name in taxonomy.names if name in found)
