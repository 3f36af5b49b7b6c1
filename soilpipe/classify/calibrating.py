"""Calibration that does not judge itself: what limits and thresholds are told by fitted nothing that they depend on.

Two ways, by whether scanners are kept for calibration (`folds.make_folds`):

- split, where they are: half of those scanners fit weight decay, mixture, temperature and frequencies, the other half
  the limit of the sets and the threshold of the answers. Neither of the last two enters the other. This is
  split-conformal prediction (Papadopoulos et al. 2002; Vovk, Gammerman and Shafer 2005): over draws of crops that are
  exchangeable with those of the second half, the true class is in a set with a probability of at least 1 - alpha.
- crossed, where none is: each fold's crops are scored by experts that were fitted on the other folds, and calibrated on
  the other folds' crops (cross-conformal prediction, Vovk 2015). Vovk's own sets ask all folds' classifiers for each
  new crop; they miss the true class with a probability of at most 2 alpha and a little, in practice of about alpha.
  Here one classifier, fitted on all folds, answers in their place, and the experts by which the other folds were scored
  had learned from this one. For such sets no bound is proved: they hold the true class in a share of about 1 - alpha
  as far as the one classifier scores new scanners as the folds' classifiers scored theirs. The same is so of the error
  among answers.

Crops of one scanner are not exchangeable with those of another; what is promised is promised for scanners like these,
and few scanners are counted as few (`clusters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from soilpipe.classify.calibration import Calibration, Experts, fit_calibration, softmax
from soilpipe.classify.field import Field
from soilpipe.classify.head import DECAYS


@dataclass(frozen=True)
class Held:
    """What experts that did not see a crop's scanner say of it: for each decay, of m crops.

    rows (m,) int64: which crops. labels (m,) int64, scanners (m,). groups (m,) int64: crops of one group calibrate
    nothing by which that group is judged.
    """

    by_decay: Mapping[float, Experts]
    rows: np.ndarray
    labels: np.ndarray
    scanners: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Calibrated:
    """decay, calibration: of the classifier in use. judged (j,) int64: places among the held crops by which limit and
    threshold are told, and probabilities (j, classes) of them. told: how, in words."""

    decay: float
    calibration: Calibration
    judged: np.ndarray
    probabilities: np.ndarray
    told: str


def calibrate_split(held: Held, field: Field) -> Calibrated:
    """Group 0 calibrates, group 1 judges."""
    fit, judged = np.flatnonzero(held.groups == 0), np.flatnonzero(held.groups == 1)
    if not len(fit) or not len(judged):
        return _on_the_same(held, field)
    own = field.without(set(held.scanners[judged].tolist()))
    decay, calibration = _fitted(held, fit, own)
    probabilities = calibration.probabilities(held.by_decay[decay].select(judged))
    told = (
        f"split-conformal: by {len(judged)} crops of {len(set(held.scanners[judged].tolist()))} scanners that fitted "
        f"nothing else, after calibration on {len(fit)} crops of others"
    )
    return Calibrated(decay, calibration, judged, probabilities, told)


def calibrate_crossed(held: Held, field: Field) -> Calibrated:
    """Each group is judged by what the others calibrate; what is used is calibrated on all."""
    names = np.unique(held.groups)
    if len(names) < 2:
        return _on_the_same(held, field)
    probabilities = np.zeros((len(held.labels), field.classes))
    for name in names:
        own, others = np.flatnonzero(held.groups == name), np.flatnonzero(held.groups != name)
        elsewhere = field.without(set(held.scanners[own].tolist()))
        decay, calibration = _fitted(held, others, elsewhere)
        probabilities[own] = calibration.probabilities(held.by_decay[decay].select(own))
    everything = np.arange(len(held.labels))
    decay, calibration = _fitted(held, everything, field)
    told = (
        f"cross-conformal (Vovk 2015): by {len(everything)} crops in {len(names)} folds, each scored by what was "
        "fitted and calibrated on the others. The classifier was then fitted on all of them: 1 - alpha is its aim, and "
        "no bound"
    )
    return Calibrated(decay, calibration, everything, probabilities, told)


def _on_the_same(held: Held, field: Field) -> Calibrated:
    everything = np.arange(len(held.labels))
    decay, calibration = _fitted(held, everything, field)
    probabilities = calibration.probabilities(held.by_decay[decay], _elsewhere(field, held.scanners))
    told = (
        f"by the same {len(everything)} crops that calibrated it, for want of others: nothing is promised"
        if len(everything)
        else "by nothing: no crop of a scan drawn as it comes was held out"
    )
    return Calibrated(decay, calibration, everything, probabilities, told)


def _fitted(held: Held, rows: np.ndarray, field: Field) -> tuple[float, Calibration]:
    """The decay and the calibration that some of the held crops ask for."""
    by_decay = {decay: said.select(rows) for decay, said in held.by_decay.items()}
    decay = best_decay(by_decay, held.labels[rows])
    elsewhere = _elsewhere(field, held.scanners[rows])
    return decay, fit_calibration(by_decay[decay], held.labels[rows], elsewhere, field.frequencies())


def _elsewhere(field: Field, scanners: np.ndarray) -> np.ndarray:
    """(m, classes): for each crop the frequencies on the other scanners.

    A new scanner has taxa that no other had. Were a crop's own scanner counted, a calibration would be fitted to
    frequencies known better than they ever are.
    """
    found = np.tile(field.frequencies(), (len(scanners), 1))
    for name in sorted(set(scanners.tolist())):
        found[scanners == name] = field.without({name}).frequencies()
    return found


def best_decay(by_decay: Mapping[float, Experts], labels: np.ndarray) -> float:
    """The one with which the head alone tells held-out crops best, each class counting alike; 0.1 without any."""
    if not len(labels):
        return DECAYS[1]
    weight = 1.0 / np.bincount(labels)[labels]

    def loss(decay: float) -> float:
        shares = softmax(np.where(np.isfinite(by_decay[decay].logits), by_decay[decay].logits, -1e4))
        of_true = np.maximum(shares[np.arange(len(labels)), labels], 1e-12)
        return float(-(weight * np.log(of_true)).sum() / weight.sum())

    return min(DECAYS, key=loss)
