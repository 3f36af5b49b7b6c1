"""The figures: by hand, against COCO's own evaluation, and for any detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.coco import LabelError
from soilpipe.detect.evaluate import JudgedScene, Meeting, evaluate_detector
from soilpipe.detect.precision import ImageAnswer, coco_precisions
from soilpipe.detect.scoring import average_precision, match, pool
from soilpipe.taxonomy import SOIL

Labelled = Callable[..., Path]


@dataclass
class Oracle:
    """Says what it is given, scan by scan in the order of the file; remembers how many references it saw."""

    answers: list[Detections]
    taxa: tuple[str, ...] = ("mite", "springtail")
    thresholds: dict[str, float] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)

    @property
    def info(self) -> DetectorInfo:
        return DetectorInfo("oracle", "1", self.taxa, 21.17, 0.5, "none", {"thresholds": self.thresholds})

    def detect(self, scan: Any, references: Sequence[Any], registrations: Any, *, threshold: Any = None) -> Detections:
        self.seen.append(len(references))
        return self.answers[len(self.seen) - 1]


def told(boxes: Any, scores: Any, labels: Any, taxa: tuple[str, ...] = ("mite", "springtail")) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64), taxa
    )


def truth(path: Path, image: int = 1) -> tuple[np.ndarray, np.ndarray]:
    found = [a for a in json.loads(path.read_text())["annotations"] if a["image_id"] == image]
    boxes = np.array([a["bbox"] for a in found], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, np.array([a["category_id"] - 1 for a in found])


def test_a_perfect_answer_is_perfect(labelled: Labelled) -> None:
    path = labelled(images=2)
    truths = [truth(path, image) for image in (1, 2)]
    answers = [told(boxes, np.full(len(boxes), 0.9), labels) for boxes, labels in truths]
    result = evaluate_detector(Oracle(answers), path, path.parent)
    assert result.any_taxon.ap50 == result.any_taxon.ap == result.mean_of_taxa.ap75 == 1.0
    assert result.f1 == result.centre_f1 == result.f1_with_taxon == result.precision == result.recall == 1.0
    assert result.count_error == 0 and result.detections == 12 and set(result.taxa) == {"Collembola", "Acari"}
    assert json.loads(json.dumps(result.as_dict()))["any_taxon"]["animals"] == 12


def test_misses_doubles_and_wrong_taxa_are_counted_by_hand(labelled: Labelled) -> None:
    path = labelled(images=1, animals=4)
    boxes, labels = truth(path)
    answer = told([*boxes[:3], boxes[0] + 1], [0.9, 0.8, 0.3, 0.7], [*labels[:2], labels[2], labels[0]])
    result = evaluate_detector(Oracle([answer]), path, path.parent)
    assert (result.precision, result.recall) == (pytest.approx(2 / 3), 0.5)
    assert result.count_error == 1 and result.count_error_relative == 0.25
    wrong = evaluate_detector(Oracle([told(boxes, [0.9] * 4, 1 - labels)]), path, path.parent)
    assert wrong.f1 == 1.0 and wrong.f1_with_taxon == 0.0 and wrong.mean_of_taxa.ap50 == 0.0


def test_more_than_a_hundred_detections_of_an_image_count() -> None:
    """COCO's headline stops at 100 detections; 300 animals that are all found must give 1.0, not 0.33."""
    boxes = np.array([[20 * (i % 20), 20 * (i // 20), 20 * (i % 20) + 10, 20 * (i // 20) + 10] for i in range(300)])
    none = np.zeros(300, bool)
    taxa = np.zeros(300, np.int64)
    answer = ImageAnswer(boxes, taxa, none, ~none, boxes, taxa, np.linspace(0.1, 1, 300))
    assert coco_precisions([answer]).ap50 == 1.0


def test_a_crowd_of_more_than_a_thousand_is_counted_whole(labelled: Labelled) -> None:
    """1,100 boxes at work, on six animals: every one counts, though COCO's precision looks at a thousand."""
    path = labelled(images=1)
    boxes, labels = truth(path)
    corners = np.random.default_rng(0).uniform(0, 150, (1094, 2))
    crowd = np.concatenate([boxes, np.concatenate([corners, corners + 3], axis=1)])
    answer = told(crowd, np.linspace(0.99, 0.6, 1100), [*labels, *[0] * 1094])
    result = evaluate_detector(Oracle([answer]), path, path.parent)
    assert result.detections == 1100 and result.recall == 1.0
    unsure = told(crowd, np.linspace(0.49, 0.1, 1100), [*labels, *[0] * 1094])
    assert len(evaluate_detector(Oracle([unsure]), path, path.parent).judged[0].scores) == 1000


def test_our_own_average_precision_agrees_with_cocos() -> None:
    rng = np.random.default_rng(0)
    answers, matches = [], []
    for _ in range(6):
        corners = rng.uniform(0, 200, (15, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (15, 2))], axis=1)
        found = np.concatenate([boxes[:11] + rng.normal(0, 2, (11, 4)), boxes[5:] + rng.normal(60, 5, (10, 4))])
        scores = rng.random(21).astype(np.float32)
        none = np.zeros(15, bool)
        taxa = np.zeros(21, np.int64)
        answers.append(ImageAnswer(boxes, taxa[:15], none, ~none, found, taxa, scores))
        matches.append(match(Detections(found, scores, taxa, ("a",)), boxes, None, none))
    ours, cocos = average_precision(pool(matches)), coco_precisions(answers).ap50
    assert cocos is not None and 0.3 < cocos < 0.9 and ours == pytest.approx(cocos, abs=1e-6)


def test_moving_and_resting_animals_are_judged_apart(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        for annotation, present in zip(data["annotations"], (0, 0, 3, 12, 1, 2), strict=True):
            annotation["scans_present"] = present

    path = labelled(images=1, animals=6, change=change)
    boxes, labels = truth(path)
    result = evaluate_detector(Oracle([told(boxes[[0, 1, 2, 4]], [0.6, 0.5, 0.9, 0.8], labels[:4])]), path, path.parent)
    assert result.moving.ap50 == 1.0 and result.moving.animals == 2  # the resting one found is no false alarm
    assert result.resting.animals == 2 and result.resting.ap50 == pytest.approx(51 / 101)


def test_without_presence_in_the_labels_there_are_no_subsets(labelled: Labelled) -> None:
    path = labelled(images=1)
    result = evaluate_detector(Oracle([told([], [], [])]), path, path.parent)
    assert result.moving.ap50 is None and result.resting.animals == 0 and result.any_taxon.ap50 == 0.0


def test_references_come_from_earlier_scans_and_can_be_left_out(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 3})
    for difference, seen in ((True, [0, 1, 2]), (False, [0, 0, 0])):
        oracle = Oracle([told([], [], [])] * 3)
        result = evaluate_detector(oracle, path, path.parent, difference=difference)
        assert oracle.seen == seen and result.difference == difference


def test_only_the_images_asked_for_are_judged(labelled: Labelled) -> None:
    path = labelled(images=3)
    result = evaluate_detector(
        Oracle([told([], [], [])]), path, path.parent, where=lambda image: image.file_name == "image_2.png"
    )
    assert result.images == 1 and result.any_taxon.animals == 6
    with pytest.raises(LabelError, match="no labelled image is left to judge on"):
        evaluate_detector(Oracle([]), path, path.parent, where=lambda image: False)


def test_taxa_meet_where_both_sides_know_them() -> None:
    finer = Meeting.of(["Poduromorpha", "Acari", "root"], ["Collembola", "Nematoda"], SOIL)
    assert finer.taxa == ("Collembola",)
    assert finer.of_labels.tolist() == [0, -1, -1] and finer.of_detector.tolist() == [0, -1]
    assert finer.animals.tolist() == [True, True, False]
    coarser = Meeting.of(["springtail"], ["Poduromorpha", "Entomobryomorpha", "Acari"], SOIL)
    assert coarser.taxa == ("Collembola",) and coarser.of_detector.tolist() == [0, 0, -1]
    any_animal = Meeting.of(["Acari", "Nematoda"], ["Invertebrata"], SOIL)
    assert any_animal.taxa == ("Invertebrata",) and any_animal.of_labels.tolist() == [0, 0]
    strangers = Meeting.of(["RBC"], ["Acari"], SOIL)
    assert strangers.taxa == () and strangers.of_labels.tolist() == [-1]


def test_a_child_counts_for_its_parent_where_both_sides_know_both() -> None:
    both = Meeting.of(["Collembola", "Poduromorpha"], ["Collembola", "Poduromorpha"], SOIL)
    assert both.taxa == ("Collembola", "Poduromorpha") and both.of_labels.tolist() == [0, 1]
    assert both.within.tolist() == [[True, False], [True, True]]
    assert both.names_it(1, np.array([0, 1, -1])).tolist() == [True, True, False]
    assert both.names_it(0, np.array([0, 1, -1])).tolist() == [True, False, False], "coarser than the labels"


def with_parent_and_child(labelled: Labelled) -> Path:
    """Labels: the even ones Collembola and no more, the odd ones Poduromorpha."""

    def rename(data: dict[str, Any]) -> None:
        data["categories"] = [{"id": 1, "name": "Collembola"}, {"id": 2, "name": "Poduromorpha"}]

    return labelled(images=1, animals=4, change=rename)


def test_parent_and_child_are_judged_by_what_each_label_tells(labelled: Labelled) -> None:
    """All four are called Poduromorpha: two are, the two others nobody has told finer than Collembola."""
    path = with_parent_and_child(labelled)
    boxes, labels = truth(path)
    assert labels.tolist() == [0, 1, 0, 1]
    taxa = ("Collembola", "Poduromorpha")
    result = evaluate_detector(Oracle([told(boxes, [0.9] * 4, [1] * 4, taxa)], taxa=taxa), path, path.parent)
    parent, child = result.by_taxon["Collembola"], result.by_taxon["Poduromorpha"]
    assert (parent.animals, parent.recall, parent.precision, parent.precisions.ap50) == (4, 1.0, 1.0, 1.0)
    assert (child.animals, child.recall, child.precision, child.precisions.ap50) == (2, 1.0, 1.0, 1.0)
    assert child.false_alarms == 0 and result.f1_with_taxon == 1.0


def test_an_animal_that_is_only_told_coarsely_is_missed_for_the_child(labelled: Labelled) -> None:
    path = with_parent_and_child(labelled)
    boxes, _ = truth(path)
    taxa = ("Collembola", "Poduromorpha")
    result = evaluate_detector(Oracle([told(boxes, [0.9] * 4, [0] * 4, taxa)], taxa=taxa), path, path.parent)
    assert result.by_taxon["Collembola"].recall == 1.0 and result.by_taxon["Poduromorpha"].recall == 0.0
    assert result.f1_with_taxon == 0.5, "the two labels of Poduromorpha were called by their parent"


def test_the_figures_of_a_taxon_by_hand(labelled: Labelled) -> None:
    """Two mites and two springtails; one mite is found, one springtail is called a mite."""
    path = labelled(images=1, animals=4)
    boxes, labels = truth(path)
    assert labels.tolist() == [0, 1, 0, 1]
    result = evaluate_detector(Oracle([told(boxes[:2], [0.9, 0.8], [0, 0])]), path, path.parent, dpi=1200)
    mites = result.by_taxon["Acari"]
    assert (mites.animals, mites.recall, mites.precision, mites.f1) == (2, 0.5, 0.5, 0.5)
    assert mites.false_alarms == 1 and mites.counts.bias == 0
    area = 160 * 224 * (25.4 / 1200 / 10) ** 2
    assert result.area_cm2 == pytest.approx(area) and mites.false_alarms_per_100cm2 == pytest.approx(100 / area)


def test_a_taxon_may_have_a_threshold_of_its_own(labelled: Labelled) -> None:
    """The mite's box is too strong for the springtail's label: out of the way below its own threshold."""
    path = labelled(images=1, animals=2)
    boxes, _ = truth(path)
    answer = told([boxes[0], boxes[1], boxes[1]], [0.6, 0.7, 0.65], [0, 0, 1])
    plain = evaluate_detector(Oracle([answer]), path, path.parent)
    strict = evaluate_detector(Oracle([answer], thresholds={"mite": 0.68}), path, path.parent)
    own = evaluate_detector(Oracle([answer], thresholds={"mite": 0.71}), path, path.parent)
    assert (plain.detections, strict.detections, own.detections) == (3, 2, 1)
    assert (plain.recall, strict.recall, own.recall) == (1.0, 0.5, 0.5)
    assert own.precision == 1.0 and own.f1_with_taxon == pytest.approx(2 / 3) and own.thresholds == {"mite": 0.71}
    assert plain.any_taxon == strict.any_taxon == own.any_taxon, "curves are over all scores"
    overridden = evaluate_detector(Oracle([answer], thresholds={"mite": 0.71}), path, path.parent, threshold=0.5)
    assert overridden.detections == 3 and overridden.thresholds == {}


def test_several_images_are_drawn_again_and_a_single_one_by_blocks(labelled: Labelled) -> None:
    path = labelled(images=3)
    truths = [truth(path, image) for image in (1, 2, 3)]
    answers = [
        told(boxes[:keep], [0.9] * keep, labels[:keep]) for (boxes, labels), keep in zip(truths, (6, 3, 0), strict=True)
    ]
    several = evaluate_detector(Oracle(answers), path, path.parent)
    assert (several.units, several.unit_count, several.blocks_px) == ("image", 3, None)
    low, high = several.intervals["recall"]
    assert (low, several.recall, high) == (0.0, 0.5, 1.0)
    assert several.counts.found == (6, 3, 0) and several.unit_names == ("image_0.png", "image_1.png", "image_2.png")
    single = evaluate_detector(
        Oracle(answers[1:2]), path, path.parent, where=lambda image: image.file_name == "image_1.png"
    )
    assert (single.units, single.blocks_px, single.unit_count) == ("block", 24, 7 * 10)
    assert sum(single.counts.labelled) == 6 and sum(single.counts.found) == 3
    assert single.count_error == 3, "per image, as ever"
    low, high = single.intervals["recall"]
    assert 0 <= low < 0.5 < high <= 1


def test_judging_twice_gives_the_same_figures(labelled: Labelled) -> None:
    path = labelled(images=2)
    answers = [told(boxes + 2, np.linspace(0.2, 0.9, 6), labels) for boxes, labels in (truth(path, n) for n in (1, 2))]
    first, second = (evaluate_detector(Oracle(answers), path, path.parent).as_dict() for _ in range(2))
    assert first == second and json.loads(json.dumps(first)) == json.loads(json.dumps(second))
    assert first["intervals"]["ap50"] is not None


def test_the_digest_is_of_the_labels_and_not_of_their_file(labelled: Labelled, tmp_path: Path) -> None:
    path = labelled(images=2)
    nothing = [told([], [], [])] * 2

    def digest(file: Path) -> str:
        return evaluate_detector(Oracle(nothing), file, tmp_path).labels_sha256

    data = json.loads(path.read_text())
    data["images"].reverse()
    data["annotations"].reverse()
    shuffled = tmp_path / "shuffled.json"
    shuffled.write_text(json.dumps(data))
    data["annotations"][0]["bbox"][2] += 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(data))
    assert digest(path) == digest(shuffled) != digest(changed)


def test_lengths_in_mm_come_from_the_dpi_and_are_called_assumed_without_one(labelled: Labelled) -> None:
    path = labelled(images=1, change=lambda data: data["images"][0].update(dpi=2400))
    result = evaluate_detector(Oracle([told([], [], [])]), path, path.parent)
    assert not result.um_per_px_assumed
    assert [(size.shortest, size.animals) for size in result.by_length_mm] == [(0.0, 3), (0.3, 3)]
    assert [(size.shortest, size.animals) for size in result.by_length_px] == [(16.0, 3), (32.0, 3)]
    bare = labelled(images=1)
    assert evaluate_detector(Oracle([told([], [], [])]), bare, bare.parent).um_per_px_assumed


def test_precision_by_length_is_cocos_where_all_are_of_one_length(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        for annotation in data["annotations"]:
            annotation["bbox"][2:] = [20, 20]

    path = labelled(images=3, animals=6, change=change)
    rng, answers = np.random.default_rng(4), []
    for image in (1, 2, 3):
        boxes, labels = truth(path, image)
        shaken = np.concatenate([boxes + rng.normal(0, 1.2, boxes.shape), [[190, 130, 212, 152]]])
        answers.append(told(shaken, rng.random(7), [*labels, 0]))
    result = evaluate_detector(Oracle(answers), path, path.parent)
    (size,), whole = result.by_length_px, result.any_taxon
    assert whole.ap is not None and whole.ap75 is not None and 0.1 < whole.ap < whole.ap75 < 1
    assert (size.ap50, size.ap75, size.ap) == pytest.approx((whole.ap50, whole.ap75, whole.ap), abs=1e-6)


def test_several_dpi_are_told_apart(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        for image, dpi in zip(data["images"], (600, 1200, 1200), strict=True):
            image["dpi"] = dpi

    path = labelled(images=3, change=change)
    boxes, labels = truth(path, 2)
    answers = [told([], [], []), told(boxes, [0.9] * len(boxes), labels), told([], [], [])]
    result = evaluate_detector(Oracle(answers), path, path.parent)
    assert list(result.by_dpi) == ["600", "1200"]
    assert [(size.shortest, size.animals, size.recall) for size in result.by_dpi["600"]] == [(0.7, 3, 0), (1.0, 3, 0)]
    assert [(size.shortest, size.animals, size.recall) for size in result.by_dpi["1200"]] == [
        (0.3, 6, 0.5), (0.45, 6, 0.5),
    ]  # fmt: skip
    assert json.loads(json.dumps(result.as_dict()))["by_dpi"]["600"][0]["recall"] == 0
    alike = labelled(images=3)
    assert evaluate_detector(Oracle(answers), alike, alike.parent).by_dpi == {}


def test_whoever_watches_sees_each_scene_with_its_names(labelled: Labelled) -> None:
    path = labelled(images=1, animals=2)
    boxes, labels = truth(path)
    seen: list[JudgedScene] = []
    evaluate_detector(Oracle([told(boxes, [0.3, 0.9], labels)]), path, path.parent, watch=seen.append)
    assert seen[0].found_names == ("springtail", "mite") and seen[0].label_names == ("mite", "springtail")
    assert seen[0].judged.matched.tolist() == [1, 0] and seen[0].judged.at_work.tolist() == [True, False]
    assert seen[0].judged.found_by().tolist() == [-1, 0], "the first label's detection is not at work"


def test_a_single_class_detector_is_judged_on_labels_of_many_taxa(labelled: Labelled) -> None:
    path = labelled(images=1)
    boxes, _ = truth(path)
    oracle = Oracle([told(boxes, [0.9] * 6, [0] * 6, ("Invertebrata",))], taxa=("Invertebrata",))
    result = evaluate_detector(oracle, path, path.parent)
    assert result.mean_of_taxa.ap50 == 1.0 and list(result.taxa) == ["Invertebrata"]


def test_where_no_taxon_is_shared_only_animals_are_judged(labelled: Labelled) -> None:
    path = labelled(images=1, change=lambda data: [c.update(name=f"kind {c['id']}") for c in data["categories"]])
    boxes, _ = truth(path)
    result = evaluate_detector(Oracle([told(boxes, [0.9] * 6, [0] * 6)]), path, path.parent)
    assert result.any_taxon.ap50 == 1.0 and result.taxa == {} and result.mean_of_taxa.ap50 is None
    assert result.f1 == 1.0 and result.f1_with_taxon == 0.0
