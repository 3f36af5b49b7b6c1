"""Judging a bundle of encoder and classifier on the labelled crops of the hold-out, and keeping what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from soilpipe.bundles.gate import told_as
from soilpipe.bundles.records import BundleRecord, JudgedCrops, keep, kept
from soilpipe.config import Project
from soilpipe.detect.ancestry import seen
from soilpipe.detect.coco import only, read_labels
from soilpipe.detect.holdout import LAST_SHARE
from soilpipe.detect.labelled import LabelSet
from soilpipe.held_out import held_out
from soilpipe.labels.references import add_references
from soilpipe.labels.taken import write_coco
from soilpipe.store import Store, canonical_json
from soilpipe.taxonomy import Taxonomy

if TYPE_CHECKING:
    from soilpipe.classify.classifier import Classifier
    from soilpipe.classify.examples import Examples
    from soilpipe.classify.label_facts import ImageFacts
    from soilpipe.encoder.encoder import Encoder
    from soilpipe.lineage_crops import LearnedCrops

JUDGED_AS = 3
"""Counts the ways in which bundles were judged: with another one, judgements of earlier releases are made again. 2:
crops are marked by the place that was learned from, not by its scan. 3: earlier scans are registered to the whole scan,
as in a run, not to the tile."""


@dataclass(frozen=True)
class HoldOutLabels:
    """The labelled tiles that judge and serve nothing else; the other images only serve as references.

    alarms: what the project's detector took for animals in them and is none, by image: background as it is met.
    sha256: over all of that, so that a judgement is made again only when it has changed.
    scanner: the one held out whole, if one is. told: in words what they are.
    """

    labels: LabelSet
    facts: Mapping[str, ImageFacts]
    alarms: Mapping[str, np.ndarray]
    scanner: str | None
    sha256: str
    told: str

    @property
    def tiles(self) -> int:
        return len(self.labels.labelled)

    @property
    def scanners(self) -> frozenset[str]:
        """The scanners of the tiles."""
        return frozenset(str(image.scanner_id) for image in self.labels.labelled if image.scanner_id is not None)


def hold_out_labels(project: Project, store: Store, folder: Path) -> HoldOutLabels | None:
    """The project's hold-out, its tiles cut into `folder`; None where nobody has looked at a tile yet.

    Suggested tiles are among them, for the rare taxa; which crops are of tiles drawn at random is kept crop by crop.
    """
    from soilpipe.classify.false_alarms import false_alarms
    from soilpipe.classify.label_facts import image_facts

    path = write_coco(project, store, folder, which="all", difference=False)
    if path is None:
        return None
    hold_out = held_out(project, store)
    held = only(read_labels(path, path.parent), hold_out.holds)
    # Registering takes seconds a scan, so that is left for the tiles that are judged on.
    add_references(project, store, path, {image.file_name for image in held.labelled})
    held, facts = only(read_labels(path, path.parent), hold_out.holds), image_facts(path)
    whole = f"scanner {hold_out.scanner} whole, and " if hold_out.scanner else ""
    told = f"{len(held.labelled)} labelled tiles of the hold-out ({whole}the last {LAST_SHARE}th part in time of every "
    told += "scanner)"
    alarms = false_alarms(store, held, facts)
    return HoldOutLabels(held, facts, alarms, hold_out.scanner, _digest(held, alarms), told)


def judge(
    store: Store,
    encoder: Encoder,
    classifier: Classifier,
    classifier_version: str,
    on: HoldOutLabels,
    *,
    taxonomy: Taxonomy,
    learned: Callable[[], LearnedCrops] | None = None,
    ancestors: Sequence[Mapping[str, Any]] = (),
    now: datetime,
) -> BundleRecord:
    """What a bundle says of the hold-out's crops; taken from the store where it was judged on these labels before.

    learned: gives what the encoder, or one before it, was pretrained on (`lineage_crops`); asked where it is judged
    anew. Crops that show some of it are marked. ancestors: what the detectors were trained on that the encoder comes
    from (`lineage`). Crops of their images are marked, and those of images that the classifier was fitted or calibrated
    on: the hold-out of today may hold what was learned from before.
    ClassifierError when the classifier was fitted on another encoder.
    """
    classifier.check_encoder(encoder.info)
    before = kept(store, encoder.info.version, classifier_version, on.sha256)
    if before is not None:
        return before
    from soilpipe.classify.labelled_crops import labelled_crops
    from soilpipe.pretrain.spread import effective_rank

    told = {key: classifier.card[key] for key in ("trained_on", "served") if key in classifier.card}
    learned_from = {**told, "ancestors": ancestors}
    marked = {
        image.file_name for image in on.labels.labelled if seen(learned_from, [image.file_name], [image], held_out=True)
    }
    examples = labelled_crops(on.labels, encoder, taxonomy=taxonomy, facts=on.facts, false_alarms=on.alarms)
    answers = classifier.classify(examples.embeddings, examples.sizes_mm)
    place = {name: column for column, name in enumerate(answers.classes)}
    columns = [place.get(told_as(taxon, place, taxonomy)) for taxon in examples.taxa]
    crops = JudgedCrops(
        ids=tuple(f"{one.scan} {','.join(f'{side:g}' for side in one.box)}" for one in examples.sources),
        days=tuple(f"{one.scanner_id or one.scan} {(one.captured_at or '')[:10]}" for one in examples.sources),
        truth=examples.taxa,
        found=answers.best_taxon,
        probability=tuple(
            round(float(row[best]), 6) for row, best in zip(answers.probabilities, answers.best, strict=True)
        ),
        covered=tuple(
            column is not None and bool(row[column]) for row, column in zip(answers.sets, columns, strict=True)
        ),
        as_it_comes=tuple(one.as_it_comes for one in examples.sources),
        seen=tuple(
            bool(met) or one.image in marked
            for met, one in zip(_met(examples, None if learned is None else learned()), examples.sources, strict=True)
        ),
    )
    record = BundleRecord(
        encoder=encoder.info.version,
        classifier=classifier_version,
        judged_at=now,
        labels_sha256=on.sha256,
        hold_out_scanner=on.scanner,
        alpha=classifier.alpha,
        classes=tuple(answers.classes),
        effective_rank=effective_rank(examples.embeddings) if len(examples) > 1 else 0.0,
        crops=crops,
        figures={"tiles": on.tiles, "unknown": int(np.sum(answers.is_unknown))},
    )
    keep(store, record)
    return record


def _met(examples: Examples, learned: LearnedCrops | None) -> np.ndarray:
    """(n,) bool: which crops show a place that was learned from, with what the encoder sees round it."""
    met = np.zeros(len(examples), bool)
    if learned is None or not len(met):
        return met
    windows = _windows_mm(examples)
    of_scan: dict[str, list[int]] = {}
    for row, one in enumerate(examples.sources):
        of_scan.setdefault(one.scan, []).append(row)
    for scan_id, rows in of_scan.items():
        one = examples.sources[rows[0]]
        if one.scanner_id is not None and one.captured_at is not None:
            at = datetime.fromisoformat(one.captured_at)
            met[rows] = learned.meet(one.scanner_id, scan_id, at, windows[rows])
    return met


def _windows_mm(examples: Examples) -> np.ndarray:
    """(n, 4) float64, mm from the scan's corner: the windows of which the embeddings are made (`embed_boxes`)."""
    from soilpipe.classify.embedding import SIDES, longer_sides
    from soilpipe.detect.second_stage.crops import CONTEXT as CLOSE_CONTEXT
    from soilpipe.encoder.crops import CONTEXT

    boxes = np.array([one.box for one in examples.sources], np.float64)
    long_mm = np.asarray(examples.sizes_mm, np.float64)
    mm_per_px = long_mm / longer_sides(boxes)  # of the scan
    crop_mm = np.array([one.um_per_px for one in examples.sources]) / 1000
    side = np.select([CONTEXT * long_mm <= least * crop_mm for least in SIDES[:-1]], SIDES[:-1], SIDES[-1])
    half = np.maximum(side * crop_mm, CLOSE_CONTEXT * long_mm) / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 * mm_per_px[:, None]
    return np.concatenate([middle - half[:, None], middle + half[:, None]], axis=1)


def _digest(labels: LabelSet, alarms: Mapping[str, np.ndarray]) -> str:
    """Hex sha256 over the labelled images, what is marked in them, and what was wrongly found in them."""
    none = np.zeros((0, 4))
    content = [
        {
            "image": image.file_name,
            "boxes": np.asarray(image.boxes, float).round(2).tolist(),
            "taxa": [labels.categories[label] for label in image.labels.tolist()],
            "crowd": image.crowd.tolist(),
            "alarms": np.asarray(alarms.get(image.file_name, none), float).round(2).tolist(),
        }
        for image in sorted(labels.labelled, key=lambda image: image.file_name)
    ]
    return hashlib.sha256(canonical_json([JUDGED_AS, content])).hexdigest()
