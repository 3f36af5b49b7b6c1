"""Sets that hold the true class, and crops that are none of the classes."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.classify.conformal import fit_limit, sets
from soilpipe.classify.prototypes import References, nearest, votes
from soilpipe.classify.space import fit_space
from soilpipe.classify.unknown import distances, farness, fit_limits
from tests.classify.made_crops import made_crops


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_sets_hold_the_true_class_as_often_as_promised(alpha: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        probabilities = rng.dirichlet(np.full(6, 0.4), 800)
        labels = np.array([rng.choice(6, p=0.7 * row + 0.05) for row in probabilities])  # not calibrated at all
        limit = fit_limit(probabilities[:400], labels[:400], alpha)
        found = sets(probabilities[400:], limit)
        covered.append(found[np.arange(400), labels[400:]].mean())
    assert np.mean(covered) == pytest.approx(1 - alpha, abs=0.01)
    assert np.mean(covered) >= 1 - alpha - 0.005


def test_with_too_few_crops_a_set_holds_everything() -> None:
    probabilities = np.full((10, 4), 0.25)
    assert fit_limit(probabilities, np.zeros(10, np.int64), 0.05) == 0.0
    assert sets(np.array([[0.9, 0.1, 0.0]]), 0.0).all()


def test_no_set_is_empty() -> None:
    assert sets(np.array([[0.4, 0.3, 0.3]]), 0.8).tolist() == [[True, False, False]]


def placed(known: tuple[str, ...], seed: int = 0):
    crops = made_crops(dict.fromkeys(known, 8), spread=0.15, seed=seed)
    labels = np.array([known.index(taxon) for taxon in crops.taxa])
    space = fit_space(crops.embeddings, crops.sizes_mm, labels, len(known))
    references = References(space.directions(crops.embeddings, crops.sizes_mm), labels, len(known))
    return space, references, np.array(crops.scanners, object)


def test_a_taxon_that_was_left_out_is_unknown_and_the_known_are_not() -> None:
    space, references, scanners = placed(("Poduromorpha", "Oribatida", "Symphyla"))
    limits = fit_limits(references, scanners)
    known = made_crops({"Poduromorpha": 10, "Oribatida": 10, "Symphyla": 10}, ("X", "Y"), spread=0.15, seed=5)
    other = made_crops({"Protura": 20}, ("X", "Y"), spread=0.15, seed=6)
    far = [farness(distances(space.directions(c.embeddings, c.sizes_mm), references), limits) for c in (known, other)]
    assert (far[0] > 1).mean() <= 0.2
    assert (far[1] > 1).mean() > 0.8


def test_a_class_of_one_scanner_is_not_measured_by_its_own_crops_alone() -> None:
    """The same animal, scan after scan, would make every other one of its kind unknown."""
    _, references, scanners = placed(("Poduromorpha", "Oribatida", "Symphyla"))
    limits = fit_limits(references, scanners)
    still = references.labels != 1
    directions = np.concatenate([references.directions[still], np.repeat(references.directions[:1], 5, axis=0)])
    labels = np.concatenate([references.labels[still], np.full(5, 1)])
    crowd = References(directions, labels, 3)
    of_one = fit_limits(crowd, np.array([*scanners[still], *["A"] * 5], object))
    assert of_one[1] >= min(limits[0], limits[2])


def test_a_class_of_one_crop_has_a_limit() -> None:
    references = References(np.eye(3), np.array([0, 0, 1]), 2)
    limits = fit_limits(references, np.array(["A", "B", "A"], object))
    assert limits.tolist() == [1.0, 1.0]


def test_the_nearest_crop_of_a_crop_is_itself() -> None:
    _, references, _ = placed(("Poduromorpha", "Oribatida", "Symphyla"))
    order, cosines = nearest(references.directions, references, 5)
    assert (order[:, 0] == np.arange(len(order))).all()
    assert cosines[:, 0] == pytest.approx(1.0) and (np.diff(cosines, axis=1) <= 0).all()


def test_votes_do_not_go_to_the_most_frequent_class_by_number() -> None:
    few, many = np.array([[1.0, 0.0]] * 2), np.array([[0.9, np.sqrt(1 - 0.81)]] * 40)
    references = References(np.concatenate([few, many]), np.array([0] * 2 + [1] * 40), 2)
    shares = votes(np.array([[1.0, 0.0]]), references)
    assert shares[0, 0] > 0.5
    assert shares.sum() == pytest.approx(1)
