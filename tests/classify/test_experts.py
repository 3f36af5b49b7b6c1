"""The space, the logistic head, and calibration."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.classify.calibration import (
    FEWEST,
    Calibration,
    Experts,
    fit_calibration,
    mixed,
    softmax,
)
from soilpipe.classify.field import Field
from soilpipe.classify.head import fit_head
from soilpipe.classify.space import REST, fit_space


def clouds(counts: list[int], seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    return 1.2 * np.eye(len(counts), 6)[labels] + spread * rng.normal(0, 1, (len(labels), 6)), labels


def test_the_space_has_spread_one_within_the_classes_where_they_differ_and_less_elsewhere() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 400)
    stretched = rng.normal(0, 1, (1200, 4)) @ np.diag([5.0, 1.0, 0.2, 2.0]) + 10 * np.eye(3, 4)[labels]
    sizes = np.exp(rng.normal(0, 0.5, 1200))
    space = fit_space(stretched, sizes, labels, 3)
    within = space.coordinates(stretched, sizes)
    within = within - np.stack([within[labels == c].mean(axis=0) for c in range(3)])[labels]
    spread, axes = np.linalg.eigh(np.cov(within.T))
    np.testing.assert_allclose(np.sqrt(spread), [REST, REST, REST, 1, 1], rtol=0.05)
    means = np.stack([space.coordinates(stretched, sizes)[labels == c].mean(axis=0) for c in range(3)])
    assert np.linalg.norm(means @ axes[:, :3]) < 0.02 * np.linalg.norm(means), "they differ along two directions"
    # What differs from all of them in another direction still lies apart.
    other = stretched[:50] + np.array([0, 0, 0, 40.0])
    assert np.linalg.norm(space.coordinates(other, sizes[:50]).mean(axis=0)) > 2 * REST


def test_size_alone_can_part_two_classes() -> None:
    """A mite and a beetle of the same look are told apart by their length."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    looks = rng.normal(0, 1, (100, 5))
    sizes = np.where(labels == 0, 0.5, 5.0) * np.exp(rng.normal(0, 0.1, 100))
    space = fit_space(looks, sizes, labels, 2)
    head = fit_head(space.coordinates(looks, sizes), labels, 2, decay=1e-2)
    assert (head.logits(space.coordinates(looks, sizes)).argmax(axis=1) == labels).all()


def test_three_crops_make_a_space() -> None:
    space = fit_space(np.eye(3, 200), np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]), 2)
    assert np.isfinite(space.directions(np.eye(3, 200), np.ones(3))).all()


def test_the_head_finds_the_rare_class_that_a_plain_one_overlooks() -> None:
    coordinates, labels = clouds([400, 400, 12])
    head = fit_head(coordinates, labels, 3, decay=1e-2)
    test, true = clouds([300, 300, 300], seed=1)
    adjusted = head.logits(test)
    prior = np.log(np.bincount(labels) / len(labels))
    recall = (adjusted.argmax(axis=1) == true)[true == 2].mean()
    plain = ((adjusted + prior).argmax(axis=1) == true)[true == 2].mean()
    assert plain < 0.3 < 0.5 < recall


def test_the_head_is_the_same_every_time() -> None:
    coordinates, labels = clouds([50, 20, 5])
    one, other = (fit_head(coordinates, labels, 3, decay=1e-2) for _ in range(2))
    assert (one.weight == other.weight).all() and (one.bias == other.bias).all()


def test_a_class_without_a_crop_is_unknown_to_the_head() -> None:
    coordinates, labels = clouds([20, 20])
    head = fit_head(coordinates, labels, 3, decay=1e-2)
    assert head.known.tolist() == [True, True, False]
    assert np.isneginf(head.logits(coordinates)[:, 2]).all()


def experts(n: int, seed: int, boldness: float) -> tuple[Experts, np.ndarray]:
    """Logits that are `boldness` times too bold; prototypes and votes that know nothing."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 1.5, (n, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(honest)])
    return Experts(boldness * honest, np.zeros((n, 4)), np.full((n, 4), 0.25)), labels


def log_loss(calibration: Calibration, said: Experts, labels: np.ndarray) -> float:
    return float(-np.log(calibration.probabilities(said)[np.arange(len(labels)), labels]).mean())


def test_a_bold_head_is_softened() -> None:
    said, labels = experts(1500, 0, boldness=4.0)
    frequencies = np.full(4, 0.25)
    fitted = fit_calibration(said, labels, np.tile(frequencies, (len(labels), 1)), frequencies)
    assert fitted.temperature > 1.5
    fresh, true = experts(1500, 1, boldness=4.0)
    as_it_was = Calibration((1.0, 0.0, 0.0), 10.0, frequencies, 1.0, 0)
    honest = Calibration((1.0, 0.0, 0.0), 10.0, frequencies, 4.0, 0)
    assert log_loss(fitted, fresh, true) < log_loss(as_it_was, fresh, true) - 0.1
    assert log_loss(fitted, fresh, true) < log_loss(honest, fresh, true) + 0.02


def test_with_few_crops_nothing_is_fitted() -> None:
    said, labels = experts(FEWEST - 1, 0, boldness=4.0)
    fitted = fit_calibration(said, labels, np.full((len(labels), 4), 0.25), np.full(4, 0.25))
    assert fitted.temperature == 1.0 and fitted.crops == 0


def test_the_frequencies_of_the_field_decide_where_the_experts_cannot() -> None:
    blank = Experts(np.zeros((1, 3)), np.zeros((1, 3)), np.full((1, 3), 1 / 3))
    labels = np.repeat([0, 1], [90, 10])
    frequencies = Field(labels, labels.astype(object), np.ones(100, bool), 3, None, True).frequencies()
    found = Calibration((0.6, 0.2, 0.2), 10.0, frequencies, 1.0, 0).probabilities(blank)
    np.testing.assert_allclose(found[0], frequencies, rtol=1e-9)
    assert frequencies[0] > 0.85 and 0 < frequencies[2] < 0.01


def test_a_class_that_the_head_does_not_know_has_what_its_prototype_says() -> None:
    logits = np.array([[3.0, 0.0, -np.inf]])
    said = Experts(logits, np.array([[0.1, 0.1, 0.9]]), np.full((1, 3), 1 / 3))
    found = mixed(said, (1.0, 0.0, 0.0), 10.0)[0]
    by_prototype = softmax(10.0 * said.cosines)[0]
    assert found.sum() == pytest.approx(1)
    assert found[2] == pytest.approx(by_prototype[2]) and found[2] > 0.9
    assert found[0] / found[1] == pytest.approx(np.exp(3.0))


def test_a_scanner_does_not_tell_its_own_frequencies() -> None:
    labels, scanners = np.array([0, 0, 0, 1, 1, 2]), np.array(list("AAABBB"), object)
    field = Field(labels, scanners, np.ones(6, bool), 3, None, True)
    np.testing.assert_allclose(field.without({"A"}).frequencies(), np.array([0.5, 2.5, 1.5]) / 4.5)
    np.testing.assert_allclose(field.without({"A", "B"}).frequencies(), field.frequencies())


def test_background_is_as_frequent_as_the_detector_brings_it_and_of_no_known_frequency_without_it() -> None:
    """40 animals and 60 false alarms on detected scans, 200 animals on others; two bare windows for each animal."""
    labels = np.repeat([0, 2, 1], [40, 60, 200])  # class 2 is background
    detected = np.repeat([True, True, False], [40, 60, 200])
    field = Field(labels, np.full(300, "A", object), detected, 3, 2, True)
    found = field.frequencies()
    assert found.sum() == pytest.approx(1) and found[2] == pytest.approx(0.6, abs=0.01)
    assert found[1] / found[0] == pytest.approx(5, abs=0.1)  # how frequent taxa are beside each other, all labels tell
    assert field.usable.sum() == 100
    animals = Field(labels[detected & (labels == 0)], np.full(40, "A", object), np.zeros(40, bool), 3, 2, False)
    assert animals.frequencies()[2] == pytest.approx(1 / 3) and "not known" in animals.told()
    assert animals.usable.all()
