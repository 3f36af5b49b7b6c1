"""A classifier as a whole, on crops made up of numbers: fitting, judging, keeping, adding a class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soilpipe.classify.adding import add_taxa
from soilpipe.classify.classifier import Classifier
from soilpipe.classify.evaluation import auroc, evaluate, expected_calibration_error, macro_f1
from soilpipe.classify.examples import BACKGROUND, ClassifierError, joined
from soilpipe.classify.fitting import Fitted, fit_classifier
from soilpipe.classify.weights import load_classifier, save_classifier
from soilpipe.encoder.encoder import EncoderInfo
from soilpipe.taxonomy import SOIL
from tests.classify.made_crops import DIM, made_crops

COUNTS = {"Poduromorpha": 12, "Entomobryomorpha": 6, "Oribatida": 10, "Symphyla": 2, BACKGROUND: 15}
CARD = {"name": "made up", "encoder": "e1", "alpha": 0.05, "validation": "none"}


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit_classifier(made_crops(COUNTS), taxonomy=SOIL, alpha=0.05)


@pytest.fixture(scope="module")
def classifier(fitted: Fitted) -> Classifier:
    return replace(fitted.classifier, card=CARD)


def test_it_is_calibrated_and_keeps_its_promises_on_new_scanners(classifier: Classifier) -> None:
    fresh = made_crops(COUNTS, tuple("KLMNOPQRST"), seed=9)
    figures = evaluate(classifier, fresh, SOIL)
    assert figures.macro_f1 > 0.75
    assert figures.expected_calibration_error < 0.06
    assert figures.coverage > 0.92
    assert figures.error_among_answers <= 0.05 and figures.answered > 0.9
    assert figures.unknown_among_known < 0.15
    assert set(figures.by_class) == set(COUNTS)


def test_in_doubt_it_answers_with_what_is_above(classifier: Classifier) -> None:
    strict = replace(classifier, threshold=0.9, limit=0.2)
    place = [classifier.classes.index(taxon) for taxon in ("Poduromorpha", "Entomobryomorpha", "Oribatida")]
    probabilities = np.zeros((1, len(classifier.classes)))
    probabilities[0, place] = 0.5, 0.45, 0.05
    answers = strict.answers(probabilities, np.array([1.2]))
    assert answers.taxon == ("Collembola",) and answers.probability[0] == pytest.approx(0.95)
    assert answers.alternatives == ((("Poduromorpha", 0.5), ("Entomobryomorpha", 0.45)),)
    assert answers.best_taxon == ("Poduromorpha",) and answers.is_unknown[0]


def test_the_answer_itself_is_no_alternative(classifier: Classifier) -> None:
    crops = made_crops(COUNTS, ("X",), seed=3)
    answers = classifier.classify(crops.embeddings, crops.sizes_mm)
    for taxon, others, members in zip(answers.taxon, answers.alternatives, answers.sets, strict=True):
        names = [name for name, _ in others]
        chances = [chance for _, chance in others]
        assert taxon not in names and chances == sorted(chances, reverse=True)
        assert len(names) == members.sum() - (taxon in classifier.classes and members[classifier.classes.index(taxon)])


def test_background_is_told_as_such(classifier: Classifier) -> None:
    crops = made_crops({BACKGROUND: 20, "Oribatida": 20}, ("X",), seed=4)
    answers = classifier.classify(crops.embeddings, crops.sizes_mm)
    truth = np.array([taxon == BACKGROUND for taxon in crops.taxa])
    assert (answers.is_background == truth).mean() > 0.9


def test_no_crop_is_no_answer(classifier: Classifier) -> None:
    answers = classifier.classify(np.zeros((0, DIM), np.float32), np.zeros(0, np.float32))
    assert len(answers) == 0 and answers.probabilities.shape == (0, 5)


def test_an_answer_does_not_depend_on_the_others(classifier: Classifier) -> None:
    crops = made_crops(COUNTS, ("X",), seed=3)
    together = classifier.classify(crops.embeddings, crops.sizes_mm)
    alone = classifier.classify(crops.embeddings[7:8], crops.sizes_mm[7:8])
    assert alone.taxon[0] == together.taxon[7]
    np.testing.assert_allclose(alone.probabilities[0], together.probabilities[7], rtol=1e-9)


def test_what_was_chosen_for_its_content_does_not_say_how_frequent_it_is() -> None:
    """Suggested tiles are rich in mites; the field is not."""
    field = made_crops({"Poduromorpha": 20, "Oribatida": 2, BACKGROUND: 20})
    chosen = made_crops({"Oribatida": 30}, as_it_comes=False, seed=2)
    told = fit_classifier(joined([field, chosen], DIM), taxonomy=SOIL, alpha=0.05).told
    assert told["frequencies"]["Oribatida"] < 0.06
    assert "pooled in part with the other classes" in told["unknown_from"]
    assert told["background"].startswith("counted on 252 crops") and "scanner-days" in told["sets_from"]
    assert told["figures"]["by_class"]["Oribatida"][1] == 12


def test_scanners_kept_for_calibration_are_not_learned_from() -> None:
    crops = made_crops(COUNTS)
    told = fit_classifier(crops, taxonomy=SOIL, alpha=0.05, calibrate=["A", "B"])
    assert {source.scanner_id for source in told.classifier.examples.sources} == {"C", "D", "E", "F"}
    assert told.told["figures"]["crops"] == 45  # the other half of them calibrates
    assert told.told["sets_from"].startswith("split-conformal: by 45 crops of 1 scanners that fitted nothing else")
    with pytest.raises(ClassifierError, match="no labelled crop is of scanner Z; there are A, B"):
        fit_classifier(crops, taxonomy=SOIL, alpha=0.05, calibrate=["Z"])
    with pytest.raises(ClassifierError, match="none is left to learn from"):
        fit_classifier(crops, taxonomy=SOIL, alpha=0.05, calibrate=list("ABCDEF"))


def test_one_scanner_is_parted_in_time() -> None:
    crops = made_crops(COUNTS, ("A",), seed=1)
    told = fit_classifier(crops, taxonomy=SOIL, alpha=0.05).told
    assert "blocks of time of the only scanner" in told["held_out"]
    assert told["figures"]["crops"] > 0


def test_a_class_of_one_scanner_is_learned_though_it_cannot_be_held_out() -> None:
    crops = joined([made_crops(COUNTS), made_crops({"Protura": 5}, ("A",), seed=3)], DIM)
    found = fit_classifier(crops, taxonomy=SOIL, alpha=0.05)
    assert "Protura" in found.classifier.classes
    assert found.told["held_out_without_class"] == 5


def test_one_class_alone_is_refused_and_with_background_it_is_not() -> None:
    with pytest.raises(ClassifierError, match="one class alone"):
        fit_classifier(made_crops({"Oribatida": 10}), taxonomy=SOIL, alpha=0.05)
    with pytest.raises(ClassifierError, match="no animal is labelled"):
        fit_classifier(made_crops({BACKGROUND: 10}), taxonomy=SOIL, alpha=0.05)
    found = fit_classifier(made_crops({"Oribatida": 10, BACKGROUND: 10}), taxonomy=SOIL, alpha=0.05)
    assert found.classifier.classes == ("Oribatida", BACKGROUND)


def test_five_crops_of_each_of_two_classes_are_enough_to_begin() -> None:
    found = fit_classifier(made_crops({"Oribatida": 5, "Symphyla": 5}, ("A",)), taxonomy=SOIL, alpha=0.05)
    answers = found.classifier.classify(*_some({"Symphyla": 4}))
    assert set(answers.best_taxon) == {"Symphyla"}
    assert "too few" in found.told["calibrated_on"]


def test_another_encoder_is_refused(classifier: Classifier) -> None:
    classifier.check_encoder(EncoderInfo("one", "e1", 21.17, "medium", DIM))
    with pytest.raises(ClassifierError, match=r"fitted on embeddings of the encoder e1 and cannot read those of e2"):
        classifier.check_encoder(EncoderInfo("two", "e2", 21.17, "medium", DIM))
    with pytest.raises(ClassifierError, match="expected embeddings of 12 numbers"):
        classifier.classify(np.zeros((1, 5), np.float32), np.ones(1))


def test_the_nearest_crop_is_explained_with_all_that_is_known_of_it(classifier: Classifier) -> None:
    near = classifier.nearest(classifier.examples.embeddings[20], float(classifier.examples.sizes_mm[20]))
    assert len(near) == 5
    assert near[0].distance == pytest.approx(0, abs=1e-9)
    assert near[0].source == classifier.examples.sources[20]
    assert near[0].thumbnail == b"picture 20"
    assert [one.distance for one in near] == sorted(one.distance for one in near)


def test_kept_and_read_again_it_says_the_same(classifier: Classifier, tmp_path: Path) -> None:
    version = save_classifier(tmp_path / "one", classifier, CARD)
    read = load_classifier(tmp_path / "one")
    assert read.version == version and read.encoder == "e1" and read.alpha == 0.05
    assert read.classes == classifier.classes and read.examples.sources == classifier.examples.sources
    assert read.card["taxa"] == ["Poduromorpha", "Entomobryomorpha", "Symphyla", "Oribatida"]
    crops = made_crops(COUNTS, ("X",), seed=3)
    one, other = (each.classify(crops.embeddings, crops.sizes_mm) for each in (classifier, read))
    assert (one.probabilities == other.probabilities).all() and one.alternatives == other.alternatives
    assert save_classifier(tmp_path / "two", read, read.card) == version
    for name in ("weights.safetensors", "card.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("weights.safetensors", b"\x80\x04pickle", "pickle"),
        ("weights.safetensors", b"torn", "not a complete safetensors file"),
        ("card.json", b"{", "not readable as JSON"),
        ("card.json", b"{}", "`encoder` is missing"),
        ("card.json", None, "card.json is missing"),
    ],
)
def test_a_damaged_classifier_is_refused(
    classifier: Classifier, tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    save_classifier(tmp_path, classifier, CARD)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ClassifierError, match=told):
        load_classifier(tmp_path)


def test_the_weights_of_another_classifier_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    other = fit_classifier(made_crops({"Oribatida": 5, BACKGROUND: 5}), taxonomy=SOIL, alpha=0.05).classifier
    save_classifier(tmp_path / "other", other, CARD)
    save_classifier(tmp_path, classifier, CARD)
    (tmp_path / "weights.safetensors").write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(ClassifierError, match="does not fit its card"):
        load_classifier(tmp_path)


def _some(counts: dict[str, int], seed: int = 11):
    crops = made_crops(counts, ("X", "Y"), seed=seed, spread=0.15)
    return crops.embeddings, crops.sizes_mm


def test_a_class_of_five_crops_is_added_without_training() -> None:
    new = made_crops({"Protura": 5, "Oribatida": 5}, ("A",), seed=7, spread=0.15)
    classifier = replace(
        fit_classifier(made_crops(COUNTS, spread=0.15), taxonomy=SOIL, alpha=0.05).classifier, card=CARD
    )
    before = classifier.classify(*_some({"Protura": 10}))
    added = add_taxa(classifier, new, SOIL)
    assert added.told == {"Protura": 5}
    after = added.classifier.classify(*_some({"Protura": 10}))
    assert (before.is_unknown.mean(), after.is_unknown.mean()) == (pytest.approx(1, abs=0.3), pytest.approx(0, abs=0.3))
    assert np.mean([taxon == "Protura" for taxon in after.best_taxon]) > 0.8
    assert (added.classifier.head.weight[:-1] == classifier.head.weight).all()
    assert len(added.classifier.examples) == len(classifier.examples) + 5


def test_the_old_classes_keep_their_answers_when_one_is_added(classifier: Classifier) -> None:
    added = add_taxa(classifier, made_crops({"Protura": 5}, ("A",), seed=7), SOIL).classifier
    crops = made_crops(COUNTS, tuple("KLMN"), seed=9)
    one, other = (each.classify(crops.embeddings, crops.sizes_mm) for each in (classifier, added))
    assert np.mean([a == b for a, b in zip(one.best_taxon, other.best_taxon, strict=True)]) > 0.97


def test_adding_says_what_is_missing(classifier: Classifier) -> None:
    with pytest.raises(ClassifierError, match="5 labelled crops of a taxon are needed to add it; there are: Protura 4"):
        add_taxa(classifier, made_crops({"Protura": 4}, ("A",)), SOIL)
    with pytest.raises(ClassifierError, match="no taxon that made up lacks"):
        add_taxa(classifier, made_crops({"Oribatida": 9, BACKGROUND: 9}, ("A",)), SOIL)


def test_figures_are_those_of_their_definitions() -> None:
    true, found = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert macro_f1(true, found, 3) == pytest.approx((0.8 + 2 / 3) / 2)
    assert auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])) == pytest.approx(0.875)
    assert np.isnan(auroc(np.array([1.0]), np.array([True])))
    sure = np.array([0.9, 0.9, 0.9, 0.9, 0.6])
    right = np.array([True, True, True, False, True])
    assert expected_calibration_error(sure, right) == pytest.approx((4 * 0.15 + 0.4) / 5)
