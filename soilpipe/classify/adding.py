"""Adding classes to a classifier without a training run: new labelled crops are new prototypes and new neighbours.

Everything else stays: the head says nothing of the new classes and shares what the prototypes leave it (`calibration`),
and temperature, threshold and sets are those of before. A class that was not seen so far is taken to be as rare as the
rarest of the others. The next training learns it like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.classify.backoff import lineage_of
from soilpipe.classify.calibration import Calibration
from soilpipe.classify.classifier import Classifier
from soilpipe.classify.examples import BACKGROUND, ClassifierError, Examples, joined
from soilpipe.classify.head import Head
from soilpipe.classify.label_facts import image_facts
from soilpipe.classify.labelled_crops import cut_labels, labelled_crops
from soilpipe.classify.training import Progress, trained_on
from soilpipe.classify.unknown import fit_limits_of_added
from soilpipe.classify.weights import load_classifier, save_classifier
from soilpipe.detect.coco import read_labels
from soilpipe.detect.labelled import Where, only
from soilpipe.encoder.encoder import Encoder
from soilpipe.taxonomy import Taxonomy

LEAST_CROPS = 5


@dataclass(frozen=True)
class Added:
    """The classifier with the new classes, and for its card: the new taxa with their numbers of crops."""

    classifier: Classifier
    told: Mapping[str, Any]


def add_taxa(
    classifier: Classifier, examples: Examples, taxonomy: Taxonomy, *, least_crops: int = LEAST_CROPS
) -> Added:
    """Add every taxon of `examples` that is no class yet and has `least_crops` or more; crops of others are left out.

    The examples must be embeddings of the classifier's own encoder (`Classifier.check_encoder`). ClassifierError where
    no taxon is new, or none has enough crops.
    """
    counts = {taxon: n for taxon, n in examples.counts().items() if taxon not in classifier.lineages}
    counts.pop(BACKGROUND, None)
    if not counts:
        raise ClassifierError(
            f"the labels hold no taxon that {classifier.card.get('name', 'the classifier')} lacks: it knows "
            f"{', '.join(classifier.classes)}. Label some of the new one, or train anew without --add-to"
        )
    new = [taxon for taxon, n in counts.items() if n >= least_crops]
    if not new:
        told = ", ".join(f"{taxon} {n}" for taxon, n in counts.items())
        raise ClassifierError(
            f"{least_crops} labelled crops of a taxon are needed to add it; there are: {told}. Label more of it"
        )
    fresh = examples.select(np.array([taxon in new for taxon in examples.taxa], bool))
    lineages = {**classifier.lineages, **{taxon: lineage_of(taxon, taxonomy) for taxon in new}}
    unmeasured = replace(
        classifier,
        lineages=lineages,
        head=_with_unknown(classifier.head, len(new)),
        calibration=_with_rare(classifier.calibration, len(new)),
        examples=joined([classifier.examples, fresh], classifier.space.dim),
    )
    scanners = np.array(unmeasured.examples.scanners, object)
    limits = fit_limits_of_added(unmeasured.references, scanners, classifier.unknown_limits)
    return Added(replace(unmeasured, unknown_limits=limits), {taxon: counts[taxon] for taxon in new})


def _with_unknown(head: Head, count: int) -> Head:
    return Head(
        np.concatenate([head.weight, np.zeros((count, head.weight.shape[1]))]),
        np.concatenate([head.bias, np.zeros(count)]),
        np.concatenate([head.known, np.zeros(count, bool)]),
    )


def _with_rare(calibration: Calibration, count: int) -> Calibration:
    shares: Sequence[np.ndarray] = (calibration.frequencies, np.full(count, calibration.frequencies.min()))
    frequencies = np.concatenate(shares)
    return replace(calibration, frequencies=frequencies / frequencies.sum())


def add_to_version(
    classifier: Classifier,
    labels: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    encoder: Encoder,
    taxonomy: Taxonomy,
    name: str | None = None,
    where: Where | None = None,
    least_crops: int = LEAST_CROPS,
    dpi: float | None = None,
    difference: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Add the taxa of a COCO file that a classifier lacks, and write the new version into `out`; returns its card.

    As `training.train_classifier`, with `add_taxa` for training. What the card tells of calibration and figures is of
    the version before, and says so. ClassifierError, LabelError.
    """
    classifier.check_encoder(encoder.info)
    given = only(read_labels(labels, images), where)
    crops = labelled_crops(
        given,
        encoder,
        taxonomy=taxonomy,
        facts=image_facts(labels),
        dpi=dpi,
        difference=difference,
        background_per_animal=0,
        progress=None if progress is None else lambda done, of: progress("labelled images", done, of, {}),
    )
    added = add_taxa(classifier, crops, taxonomy, least_crops=least_crops)
    before = classifier.card
    card = {
        **before,
        "name": name or before["name"],
        "validation": "none",
        "trained_on": trained_on(given, added.classifier.examples),
        "added": {**before.get("added", {}), **added.told},
        "added_to": classifier.version,
        "calibrated_on": f"{before.get('calibrated_on', 'unknown')} (of {classifier.version}, before adding)",
        "label_notes": list(given.notes),
        "cut_by_edge": before.get("cut_by_edge", 0) + cut_labels(given),
    }
    save_classifier(out, added.classifier, card)
    return dict(load_classifier(out).card)
