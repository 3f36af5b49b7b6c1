"""What is promised of sets and answers, checked on scanners that nothing was fitted on, drawn many times."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.classify.backoff import choose_threshold, lineage_of, tree_of
from soilpipe.classify.calibrating import Held, calibrate_crossed, calibrate_split
from soilpipe.classify.calibration import Experts, softmax
from soilpipe.classify.clusters import design_effect, scanner_days
from soilpipe.classify.conformal import fit_limit, sets
from soilpipe.classify.evaluation import evaluate
from soilpipe.classify.examples import BACKGROUND
from soilpipe.classify.field import Field
from soilpipe.classify.fitting import fit_classifier
from soilpipe.taxonomy import SOIL
from tests.classify.made_crops import made_crops

COUNTS = {"Poduromorpha": 8, "Entomobryomorpha": 5, "Oribatida": 6, "Symphyla": 4, BACKGROUND: 10}
ALPHA = 0.1
DECAYS = (1e-2, 1e-1, 1.0)


def held(n: int, rng: np.random.Generator, groups: int) -> tuple[Held, Field]:
    """Crops of `groups` scanners that three heads of different boldness speak of, none of them rightly bold."""
    honest = rng.normal(0, 1.5, (n, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(honest)], np.int64)
    group = rng.integers(groups, size=n)
    scanners = np.array([f"S{one}" for one in group], object)
    noise = rng.normal(0, 1, (3, n, 4))
    by_decay = {
        decay: Experts(3 * honest + blur, honest / 5, softmax(honest + blur))
        for decay, blur in zip(DECAYS, noise, strict=True)
    }
    return Held(by_decay, np.arange(n), labels, scanners, group), Field(
        labels, scanners, np.ones(n, bool), 4, None, True
    )


@pytest.mark.parametrize("crossed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_with_few_crops_sets_hold_the_true_class_as_often_as_promised(crossed: bool) -> None:
    """Few crops fit four numbers and choose a decay; a limit by the same ones would be too low."""
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(30):
        given, field = held(80, rng, 3 if crossed else 2)
        found = calibrate_crossed(given, field) if crossed else calibrate_split(given, field)
        limit = fit_limit(found.probabilities, given.labels[found.judged], ALPHA)
        fresh, _ = held(300, rng, 6)
        probabilities = found.calibration.probabilities(fresh.by_decay[found.decay])
        covered.append(sets(probabilities, limit)[np.arange(300), fresh.labels].mean())
    print(f"coverage {np.mean(covered):.4f} of {1 - ALPHA}")
    assert abs(np.mean(covered) - (1 - ALPHA)) <= 0.02


def test_what_judges_has_calibrated_nothing() -> None:
    """The labels of the second half, all wrong, change the limit, and neither decay nor calibration."""
    given, field = held(200, np.random.default_rng(0), 2)
    other = Held(given.by_decay, given.rows, np.where(given.groups == 1, 3 - given.labels, given.labels),
                 given.scanners, given.groups)  # fmt: skip
    spoilt = Field(other.labels, field.scanners, field.detected, 4, None, True)
    one, two = calibrate_split(given, field), calibrate_split(other, spoilt)
    assert one.decay == two.decay and one.calibration.temperature == two.calibration.temperature
    assert (one.calibration.frequencies == two.calibration.frequencies).all() and (one.judged == two.judged).all()
    assert (given.groups[one.judged] == 1).all()
    crossed = calibrate_crossed(given, field), calibrate_crossed(other, spoilt)
    own = given.groups == 1  # scored by what group 0 calibrated, whose labels are as they were
    assert (crossed[0].probabilities[own] == crossed[1].probabilities[own]).all()
    assert not (crossed[0].probabilities[~own] == crossed[1].probabilities[~own]).all()


@pytest.mark.parametrize("calibrate", [None, ("G", "H", "I", "J")])
def test_a_whole_classifier_keeps_its_promises_on_new_scanners(calibrate: tuple[str, ...] | None) -> None:
    coverage, errors, answered = [], [], []
    for seed in range(2):
        given = made_crops(COUNTS, tuple("DEFGHIJ") if calibrate else tuple("ABCDEF"), seed=seed, spread=0.5)
        classifier = fit_classifier(given, taxonomy=SOIL, alpha=ALPHA, calibrate=calibrate).classifier
        figures = evaluate(classifier, made_crops(COUNTS, tuple("KLMNOPQRST"), seed=90 + seed, spread=0.5), SOIL)
        coverage.append(figures.coverage)
        errors.append(figures.error_among_answers)
        answered.append(figures.answered)
    print(f"coverage {np.mean(coverage):.3f}, error {np.mean(errors):.3f}, answered {np.mean(answered):.3f}")
    assert abs(np.mean(coverage) - (1 - ALPHA)) <= 0.05
    assert np.mean(coverage) >= 1 - ALPHA - 0.02
    assert np.mean(errors) <= ALPHA + 0.01 and np.mean(answered) > 0.4


def test_crops_that_err_together_count_as_one() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(50), 8)
    alone = rng.random(400) < 0.1
    together = np.repeat(rng.random(50) < 0.1, 8)
    assert design_effect(alone, units) == pytest.approx(1.1, abs=0.25)
    assert design_effect(together, units) == pytest.approx(8, rel=0.1)
    assert design_effect(np.zeros(400, bool), units) == 8.0  # nothing shows how they come together: units are counted
    assert design_effect(together, None) == 1.0


def test_the_same_crop_eight_times_shows_no_more_than_once() -> None:
    tree = tree_of({taxon: lineage_of(taxon, SOIL) for taxon in ("Oribatida", "Symphyla")})
    sure = np.tile([0.97, 0.03], (30, 1))
    eight, units = np.repeat(sure, 8, axis=0), np.repeat(np.arange(30), 8)
    labels = np.zeros(240, np.int64)
    as_crops = choose_threshold(tree, eight, labels, 0.05)
    as_days = choose_threshold(tree, eight, labels, 0.05, units)
    once = choose_threshold(tree, sure, labels[:30], 0.05, np.arange(30))
    assert "with a doubt of 0.1" in as_crops.told
    assert "0 of 240, worth 30 independent ones, so below 0.05 on average" in as_days.told
    assert "0 of 30, so below 0.05 on average" in once.told
    assert as_days.bound > 0.05 > as_crops.bound


def test_the_error_stays_below_alpha_where_crops_of_a_day_err_together() -> None:
    tree = tree_of({taxon: lineage_of(taxon, SOIL) for taxon in ("Oribatida", "Symphyla", "Nematoda")})
    rng = np.random.default_rng(5)
    above: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(40):
        units = np.repeat(np.arange(40), 8)
        sure = np.clip(rng.beta(8, 2, 320), 0.34, 0.999)
        wrong = np.repeat(rng.random(40), 8) > sure + 0.08  # the day decides: animals of a day are wrong together
        labels = np.where(wrong, 1, 0)
        probabilities = np.column_stack([sure, (1 - sure) / 2, (1 - sure) / 2])
        for known in above:
            chosen = choose_threshold(tree, probabilities, labels, 0.1, units if known else None)
            said = np.clip(rng.beta(8, 2, 20_000), 0.34, 0.999)
            said = said[said >= chosen.threshold]
            true_error = np.mean(np.clip(1 - (said + 0.08), 0, 1)) if len(said) else 0.0
            above[known].append(bool(true_error > 0.1))
    print(f"true error above alpha: {np.mean(above[True]):.2f} of draws by days, {np.mean(above[False]):.2f} by crops")
    assert np.mean(above[True]) <= 0.2 and np.mean(above[True]) < np.mean(above[False])


def test_a_crop_without_scanner_or_time_counts_as_its_scans() -> None:
    crops = made_crops({"Oribatida": 3}, ("A", "B"))
    assert len(set(scanner_days(crops.sources).tolist())) == 6
    unknown = [source.__class__("one", source.box, None, None, True, 21.17, "one") for source in crops.sources]
    assert set(scanner_days(unknown).tolist()) == {0}
