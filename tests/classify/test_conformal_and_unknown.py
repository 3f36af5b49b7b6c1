"""Sets that hold the true class, and crops that are none of the classes."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.classify.conformal import fit_limit, sets
from soilpipe.classify.evaluation import auroc
from soilpipe.classify.examples import Examples, Source
from soilpipe.classify.folds import make_folds
from soilpipe.classify.left_out import left_out_distances, place
from soilpipe.classify.prototypes import References, nearest, votes
from soilpipe.classify.space import fit_space, unit
from soilpipe.classify.unknown import distances, farness, fit_limits, fit_limits_of_added
from tests.classify.made_crops import made_crops

KNOWN = ("Poduromorpha", "Oribatida", "Symphyla")


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


def limits_of(crops: Examples, known: tuple[str, ...], calibrate: tuple[str, ...] = ()) -> np.ndarray:
    labels = np.array([known.index(taxon) for taxon in crops.taxa])
    return fit_limits(left_out_distances(crops, labels, make_folds(crops, calibrate), len(known)), labels)


def test_a_taxon_that_was_left_out_is_unknown_and_the_known_are_not() -> None:
    space, references, _ = placed(KNOWN)
    limits = limits_of(made_crops(dict.fromkeys(KNOWN, 8), spread=0.15), KNOWN)
    known = made_crops(dict.fromkeys(KNOWN, 10), ("X", "Y"), spread=0.15, seed=5)
    other = made_crops({"Protura": 20}, ("X", "Y"), spread=0.15, seed=6)
    far = [farness(distances(space.directions(c.embeddings, c.sizes_mm), references), limits) for c in (known, other)]
    assert (far[0] > 1).mean() <= 0.2
    assert (far[1] > 1).mean() > 0.8


CLASSES, NEW = 12, 2  # known classes, and others that nobody labelled


def clouds(
    rng: np.random.Generator, middles: np.ndarray, look: np.ndarray, counts: np.ndarray, scanners: int
) -> tuple[Examples, np.ndarray]:
    """`counts` crops of each class, of heavier tails than normal ones, dealt to scanners that each move them a
    little; 48 numbers a crop."""
    labels = np.repeat(np.arange(len(counts)), counts)
    on = np.concatenate([np.arange(count) % scanners for count in counts])
    moved = rng.normal(0, 0.3, (scanners, 48))
    vectors = 3 + middles[labels] + (rng.standard_t(6, (len(labels), 48)) + moved[on]) @ look
    source = [Source(f"{at}", (0, 0, 8, 6), f"{at}", "2024-03-01T06:00:00+00:00", True, 21.17, "") for at in on]
    crops = Examples(
        unit(vectors).astype(np.float32),
        np.ones(len(labels), np.float32),
        tuple(str(label) for label in labels),
        tuple(source),
        (b"",) * len(labels),
    )
    return crops, labels


@pytest.mark.parametrize("each", [5, 10, 50])
def test_one_known_animal_in_twenty_is_called_unknown_however_few_were_labelled(each: int) -> None:
    """Measured on the crops that the space was fitted to, it were 32, 15 and 5 %."""
    called, told_apart = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        middles = 0.6 * rng.normal(0, 1, (CLASSES + NEW, 48))
        look = rng.normal(0, 1, (48, 48)) / np.sqrt(48) * np.exp(rng.normal(0, 0.7, 48))
        tail = np.array([6, 4, 2, *[1] * (CLASSES - 3)]) * each  # a few classes have most of the labels
        crops, labels = clouds(rng, middles[:CLASSES], look, tail, scanners=8)
        space, references = place(crops, labels, CLASSES)
        limits = fit_limits(left_out_distances(crops, labels, make_folds(crops), CLASSES), labels)
        fresh, true = clouds(rng, middles, look, np.full(CLASSES + NEW, 40), scanners=20)
        far = farness(distances(space.directions(fresh.embeddings, fresh.sizes_mm), references), limits)
        called.append((far[true < CLASSES] > 1).mean())
        told_apart.append(auroc(far, true >= CLASSES))
    print(f"{each} a class: {np.mean(called):.3f} of the known called unknown, AUROC {np.mean(told_apart):.3f}")
    assert 0.02 <= np.mean(called) <= 0.12
    assert max(called) <= 0.2
    assert np.mean(told_apart) >= 0.85


def test_a_class_of_one_scanner_has_the_limit_of_a_middling_one() -> None:
    """The same animal, scan after scan, would make every other one of its kind unknown."""
    crops = made_crops(dict.fromkeys(KNOWN, 8), spread=0.15)
    still = made_crops({"Protura": 1}, ("A",), spread=0.15)
    both = Examples(
        np.concatenate([crops.embeddings, np.repeat(still.embeddings, 5, axis=0)]),
        np.concatenate([crops.sizes_mm, np.repeat(still.sizes_mm, 5)]),
        (*crops.taxa, *still.taxa * 5),
        (*crops.sources, *still.sources * 5),
        (*crops.thumbnails, *still.thumbnails * 5),
    )
    limits = limits_of(both, (*KNOWN, "Protura"))
    assert min(limits[:3]) <= limits[3] <= max(limits[:3])


def test_with_a_single_scan_every_fifth_crop_is_left_out() -> None:
    crops = made_crops(dict.fromkeys(KNOWN, 1), ("A",) * 10, spread=0.15)
    limits = limits_of(crops, KNOWN)
    assert not make_folds(crops).folds
    assert ((limits > 0) & (limits < 1)).all()


def test_scanners_kept_for_calibration_do_not_hide_how_far_the_others_reach() -> None:
    """A rare class has no crop on them: its own limit is then told on the scanners that are learned from."""
    crops = made_crops(dict.fromkeys(KNOWN, 8), spread=0.15)
    rare = np.array([not (taxon == "Symphyla" and source.scanner_id in "AB") for taxon, source in
                     zip(crops.taxa, crops.sources, strict=True)])  # fmt: skip
    kept = crops.select(rare)
    labels = np.array([KNOWN.index(taxon) for taxon in kept.taxa])
    found = left_out_distances(kept, labels, make_folds(kept, ("A", "B")), 3)
    assert np.isfinite(found).all()


def test_without_a_crop_left_out_a_class_has_a_limit() -> None:
    assert fit_limits(np.full((2, 3), np.nan), np.array([0, 1])).tolist() == [1.0, 1.0, 1.0]
    limits = fit_limits(np.array([[0.2, 0.9, 0.9], [0.3, 0.8, 0.9]]), np.array([0, 0]))
    assert np.isfinite(limits).all() and (limits > 0.2).all()


def test_an_added_class_of_few_crops_is_not_held_to_less_than_the_middle_of_the_others() -> None:
    references = References(
        unit(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0.01], [0, 1, 0.02]])), np.array([0, 1, 1, 1]), 2
    )
    scanners = np.array(["A", "A", "B", "C"], object)
    assert fit_limits_of_added(references, scanners, np.array([0.4])).tolist() == [0.4, 0.4]


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
