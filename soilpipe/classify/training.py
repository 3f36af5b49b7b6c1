"""Training a classifier from labelled images: one function, from a COCO file to a folder with weights and a card."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.embedding import crops_told
from soilpipe.classify.examples import BACKGROUND, Examples
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.label_facts import ImageFacts, image_facts
from soilpipe.classify.labelled_crops import BACKGROUND_PER_ANIMAL, cut_labels, labelled_crops
from soilpipe.classify.learned_from import CALIBRATION, told_of
from soilpipe.classify.tuned import TunedVectors, save_tuned
from soilpipe.classify.tuning import Tuning
from soilpipe.classify.weights import load_classifier, save_classifier
from soilpipe.detect.coco import read_labels
from soilpipe.detect.labelled import LabelError, LabelSet, Where, only
from soilpipe.detect.learned_taxa import roll_up
from soilpipe.encoder.encoder import Encoder
from soilpipe.taxonomy import Taxonomy

ALPHA = 0.05
LEAST_EXAMPLES = 5
"""Animals of a taxon from which it is a class of its own: prototypes of fewer are those of single animals."""

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told: the stage, how much of it is done, of how much, and figures."""
FalseAlarms = Callable[[LabelSet, Mapping[str, ImageFacts]], dict[str, np.ndarray]]


def train_classifier(
    labels: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    encoder: Encoder,
    taxonomy: Taxonomy,
    name: str | None = None,
    where: Where | None = None,
    where_told: str | None = None,
    calibrate: Sequence[str] | None = None,
    alpha: float = ALPHA,
    least_examples: int = LEAST_EXAMPLES,
    background_per_animal: float = BACKGROUND_PER_ANIMAL,
    false_alarms: FalseAlarms | None = None,
    dpi: float | None = None,
    difference: bool = True,
    seed: int = 0,
    tuning: Tuning | None = None,
    tuned: Path | str | None = None,
    tune_from: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train on a COCO file and its images, and write weights.safetensors and card.json into `out`.

    Crops are read and embedded as a run reads them (`labelled_crops`). Taxa with fewer than `least_examples` animals
    count as the nearest taxon above them that has as many. `where` says which images are taken, told on the card as
    `where_told`; the others serve as references. `calibrate`: scanners that serve calibration alone, whose taxa come as
    often as in the field; by default every scanner is held out once. `dpi`: of images whose entry says none (1200).
    `false_alarms`: told the labels and what their file says of the images, gives for each image what a detector took
    for animals there and is none (`soilpipe.classify.false_alarms`): background as the field brings it. `seed`: of
    where windows without an animal are. `tuning`: where there are `tune_from` animals or more, the encoder itself
    learns from the crops first (`soilpipe.classify.tuning`), and is written into the folder `tuned`, an encoder of its
    own that the classifier stands on. Same labels, encoder and seed, same files, but for the time taken.

    Returns the card. Raises LabelError, ClassifierError.
    """
    began = time.monotonic()
    given = only(read_labels(labels, images), where)
    if not any(len(image.boxes) for image in given.labelled):
        raise LabelError(
            f"{given.source}: {len(given.labelled)} labelled images and not one label. A classifier learns from "
            "labelled animals, five of a taxon are a beginning"
        )
    facts = image_facts(labels)
    alarms = {} if false_alarms is None else false_alarms(given, facts)
    told = None if progress is None else lambda done, of: progress("labelled images", done, of, {})
    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder:
        keep = None if tuning is None else CropPixels(Path(folder) / "crops")
        crops = labelled_crops(
            given,
            encoder,
            taxonomy=taxonomy,
            facts=facts,
            false_alarms=alarms,
            dpi=dpi,
            difference=difference,
            background_per_animal=background_per_animal,
            seed=seed,
            keep=keep,
            progress=told,
        )
        crops, rolled_up, left_out = rolled(crops, taxonomy, least_examples)
        vectors = None
        if keep is not None and tuning is not None and _animals(crops, taxonomy) >= tune_from:
            vectors = TunedVectors(encoder, crops, keep, tuning, progress)
        fitted = fit_classifier(crops, taxonomy=taxonomy, alpha=alpha, calibrate=calibrate, vectors=vectors)
    classifier = fitted.classifier
    training = trained_on(given, classifier.examples)
    if vectors is not None and tuning is not None and tuned is not None:
        encoder = save_tuned(tuned, encoder, vectors.last, tuning, training)
    card = {
        "name": name or Path(out).name,
        "alpha": alpha,
        "calibrate": sorted(set(calibrate or ())),
        "least_examples": least_examples,
        "validation": "none",
        **encoder_told(encoder),
        **fitted.told,
        "trained_on": training,
        "served": _served(crops, calibrate),
        "rolled_up": rolled_up,
        "left_out": left_out,
        "cut_by_edge": cut_labels(given),
        "labels_taken": where_told or "all",
        "label_notes": [*given.notes, *_empty_classes(given, crops, taxonomy)],
        "background_per_animal": background_per_animal,
        "false_alarms": {"images": len(alarms), "crops": sum(len(boxes) for boxes in alarms.values())},
        "difference": difference,
        "seed": seed,
        "added": {},
        "seconds": round(time.monotonic() - began, 1),
    }
    save_classifier(out, classifier, card)
    return dict(load_classifier(out).card)


def encoder_told(encoder: Encoder) -> dict[str, Any]:
    """The card's entries on the encoder: `encoder` is its version, by which another one is refused."""
    info = encoder.info
    told: dict[str, Any] = {"name": info.name, "um_per_px": info.um_per_px, "size": info.size, "dim": info.dim}
    if tuned := encoder.card.get("tuned"):
        told["tuned"] = {"steps": tuned["steps"], "begun_from": encoder.card["begun_from"]}
    # What the detectors have seen that the encoder comes from, this has: images of it do not judge it.
    ancestors = list(encoder.card.get("ancestors") or ())
    return {"encoder": info.version, "encoder_info": told, "crops": crops_told(encoder), "ancestors": ancestors}


def rolled(
    examples: Examples, taxonomy: Taxonomy, least: int
) -> tuple[Examples, dict[str, dict[str, Any]], dict[str, int]]:
    """The examples with taxa that have fewer than `least` counted as what is above them, and which those are.

    Where even all that is rolled up into the taxon at the top is fewer, those examples are left out, and told by taxon:
    a class of any animal made of three mites would say nothing true.
    """
    counts = {taxon: count for taxon, count in examples.counts().items() if taxon in taxonomy and taxon != BACKGROUND}
    goes = roll_up(counts, taxonomy, least) if len(counts) > 1 else {}
    taxa = np.array([goes.get(taxon, taxon) for taxon in examples.taxa], object)
    few = {taxon for taxon in set(goes.values()) if (taxa == taxon).sum() < least and taxon not in counts}
    told = {taxon: above for taxon, above in goes.items() if above != taxon}
    kept = replace(examples, taxa=tuple(taxa.tolist())).select(np.array([taxon not in few for taxon in taxa], bool))
    rolled_up = {taxon: {"as": above, "animals": counts[taxon]} for taxon, above in told.items() if above not in few}
    return kept, rolled_up, {taxon: counts[taxon] for taxon, above in told.items() if above in few}


def trained_on(labels: LabelSet, examples: Examples) -> dict[str, Any]:
    """File name, counts, and the images, scans and times that it was fitted on, no paths."""
    return {
        "labels": labels.source,
        "simulated": labels.simulated,
        "scanners": len({source.scanner_id for source in examples.sources if source.scanner_id is not None}),
        "crops": examples.counts(),
        "drawn_as_it_comes": int(np.sum([source.as_it_comes for source in examples.sources])),
        **told_of(examples.sources),
    }


def _animals(crops: Examples, taxonomy: Taxonomy) -> int:
    return sum(taxon != BACKGROUND and not taxonomy.find(taxon).background for taxon in crops.taxa)


def _served(crops: Examples, calibrate: Sequence[str] | None) -> dict[str, Any]:
    """What was not fitted on and calibrated it all the same: nothing new judges it."""
    if not calibrate:
        return {}
    return {CALIBRATION: told_of([one for one in crops.sources if (one.scanner_id or one.scan) in set(calibrate)])}


def _empty_classes(labels: LabelSet, crops: Examples, taxonomy: Taxonomy) -> list[str]:
    """Categories of the file that are no class for want of a label."""
    there = {above for taxon in set(crops.taxa) for above in (taxon, *_above(taxon, taxonomy))}
    used = {int(label) for image in labels.labelled for label in image.labels}
    idle = [category for index, category in enumerate(labels.categories) if index not in used]
    idle = [category for category in idle if category not in taxonomy or taxonomy.find(category).name not in there]
    if not idle:
        return []
    return [f"{', '.join(idle)}: no labelled animal to learn from (a hold-out's are not), so not among the classes"]


def _above(taxon: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    return taxonomy.ancestors(taxon) if taxon in taxonomy else ()
