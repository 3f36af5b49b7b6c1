"""Judging a detector on labelled images: average precision, the working threshold, and how well it counts.

Taxa: where one side tells more than the other, they meet in the taxon that both know (labels of Poduromorpha and a
detector of Collembola in Collembola); where they share none, only whether there is an animal is judged. Any `Detector`
can be judged, so that figures of different kinds of detector stand beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect.base import Detections, Detector
from soilpipe.detect.coco import LabelError, LabelledImage, Where, is_background, only, read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.precision import MOST, ImageAnswer, Precisions, coco_precisions, mean_precisions
from soilpipe.detect.scoring import Matches, match, pool, precision_recall_f1
from soilpipe.taxonomy import SOIL, Taxonomy

__all__ = ["Evaluation", "Precisions", "evaluate_detector"]

LOWEST = 0.01  # score from which detections enter the precision-recall curve
RESTING, MOVING = 3, 0  # scans before this one with the animal at this place: at least, at most


@dataclass(frozen=True)
class Evaluation:
    """What a detector is worth on some labelled images; `as_dict` makes JSON of it.

    any_taxon: an animal that is found is right whatever it is called. taxa: by taxon; mean_of_taxa: their mean.
    precision, recall, f1 (IoU 0.5) and centre_f1 (either centre in the other box) are at `threshold`, any taxon;
    f1_with_taxon: only the right taxon counts. detections: how many at the threshold. count_error: mean absolute
    difference per image between detections at the threshold and labels; count_error_relative: sum of those
    differences over the number of labels; None without labels. moving: animals at their place for the first time,
    resting: there in three scans before or more; the other animals are ignored there.
    """

    detector: str
    version: str
    labels: str
    images: int
    images_with_difference: int
    difference: bool
    threshold: float
    any_taxon: Precisions
    mean_of_taxa: Precisions
    taxa: dict[str, Precisions]
    moving: Precisions
    resting: Precisions
    precision: float
    recall: float
    f1: float
    centre_f1: float
    f1_with_taxon: float
    detections: int
    count_error: float
    count_error_relative: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def evaluate_detector(
    detector: Detector,
    labels: Path | str,
    images: Path | str,
    *,
    where: Where | None = None,
    difference: bool = True,
    dpi: float | None = None,
    threshold: float | None = None,
    taxonomy: Taxonomy = SOIL,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge on the images of a COCO file that `where` keeps; the others serve as references only.

    References come from `scanner_id` and `date_captured` as in training; `difference` False does without. `dpi` is
    that of images whose entry says none (1200 by default). `threshold` replaces the detector's own. LabelError when
    no labelled image is left.
    """
    given = only(read_labels(labels, images), where)
    if not given.labelled:
        raise LabelError(f"{given.source}: no labelled image is left to judge on")
    threshold = detector.info.threshold if threshold is None else threshold
    difference = difference and detector.info.uses_difference
    meeting = Meeting.of(given.categories, detector.info.taxa, taxonomy)
    answers, presence = [], []
    with_difference = 0
    for scene in open_scenes(given, dpi=dpi, difference=difference):
        found = detector.detect(scene.scan, scene.references, scene.registrations, threshold=LOWEST)
        answer, kept = meeting.answer(scene.image, found)
        answers.append(answer)
        presence.append(scene.image.scans_present[kept])
        with_difference += sum(registration.ok for registration in scene.registrations) >= 2
        if progress:
            progress(len(answers), len(given.labelled))
    by_taxon = {taxon: coco_precisions(answers, index) for index, taxon in enumerate(meeting.taxa)}
    by_taxon = {taxon: figures for taxon, figures in by_taxon.items() if figures.animals}
    matched = [_match(answer) for answer in answers]
    precision, recall, f1 = precision_recall_f1(pool(matched), threshold)
    error, relative = _count_errors(matched, threshold)
    return Evaluation(
        detector=detector.info.name,
        version=detector.info.version,
        labels=given.source,
        images=len(answers),
        images_with_difference=with_difference,
        difference=difference,
        threshold=threshold,
        any_taxon=coco_precisions(answers),
        mean_of_taxa=mean_precisions(list(by_taxon.values())),
        taxa=by_taxon,
        moving=coco_precisions(_counting(answers, [(at >= 0) & (at <= MOVING) for at in presence])),
        resting=coco_precisions(_counting(answers, [at >= RESTING for at in presence])),
        precision=precision,
        recall=recall,
        f1=f1,
        centre_f1=precision_recall_f1(pool([_match(answer, centres=True) for answer in answers]), threshold)[2],
        f1_with_taxon=precision_recall_f1(pool([_match(answer, taxa=True) for answer in answers]), threshold)[2],
        detections=sum(int((part.scores >= threshold).sum()) for part in matched),
        count_error=error,
        count_error_relative=relative,
    )


@dataclass(frozen=True)
class Meeting:
    """The taxa in which labels and a detector can be compared, and what each side's own taxa are among them.

    of_labels, of_detector: index into `taxa` for each category or taxon, -1 where the other side has nothing like it;
    animals: which categories are animals at all.
    """

    taxa: tuple[str, ...]
    of_labels: np.ndarray
    of_detector: np.ndarray
    animals: np.ndarray

    @classmethod
    def of(cls, categories: Sequence[str], taxa: Sequence[str], taxonomy: Taxonomy) -> Meeting:
        """A taxon is common when one side names it and the other side names it or something below it."""

        def line(name: str) -> tuple[str, ...]:
            if name not in taxonomy:
                return (name,)
            known = taxonomy.find(name).name
            return (known, *taxonomy.ancestors(known))

        animals = np.array([not is_background(category, taxonomy) for category in categories], bool)
        lines = [line(category) for category, animal in zip(categories, animals, strict=True) if animal]
        found_lines = [line(taxon) for taxon in taxa]
        above = {name for one in lines for name in one} & {one[0] for one in found_lines}
        above |= {name for one in found_lines for name in one} & {one[0] for one in lines}
        common = tuple(dict.fromkeys(one[0] for one in (*lines, *found_lines) if one[0] in above))

        def index(name: str) -> int:
            return next((common.index(known) for known in line(name) if known in common), -1)

        return cls(
            common,
            np.array([index(category) for category in categories], np.int64),
            np.array([index(taxon) for taxon in taxa], np.int64),
            animals,
        )

    def answer(self, image: LabelledImage, found: Detections) -> tuple[ImageAnswer, np.ndarray]:
        """Labels and the best 1000 detections of one image in common taxa, and which labels those are (a mask).

        What the labels call background is no animal and is left out.
        """
        kept = self.animals[image.labels]
        best = np.argsort(-found.scores, kind="stable")[:MOST]
        answer = ImageAnswer(
            boxes=image.boxes[kept],
            taxa=self.of_labels[image.labels[kept]],
            crowd=image.crowd[kept],
            counted=np.ones(int(kept.sum()), bool),
            found=found.boxes[best],
            found_taxa=self.of_detector[found.labels[best]],
            scores=found.scores[best],
        )
        return answer, kept


def _counting(answers: Sequence[ImageAnswer], counted: Sequence[np.ndarray]) -> list[ImageAnswer]:
    return [replace(answer, counted=mask) for answer, mask in zip(answers, counted, strict=True)]


def _match(answer: ImageAnswer, *, centres: bool = False, taxa: bool = False) -> Matches:
    named = np.where(answer.found_taxa < 0, -2, answer.found_taxa)  # what neither side can name agrees with nothing
    found = Detections(answer.found, answer.scores, named, ())
    return match(found, answer.boxes, answer.taxa if taxa else None, answer.crowd, centres=centres)


def _count_errors(parts: Sequence[Matches], threshold: float) -> tuple[float, float | None]:
    """Mean absolute error of the count per image, and the sum of the errors over the number of labels."""
    errors = [abs(int(((part.scores >= threshold) & ~part.ignored).sum()) - part.truths) for part in parts]
    truths = sum(part.truths for part in parts)
    return float(np.mean(errors)), (sum(errors) / truths if truths else None)
