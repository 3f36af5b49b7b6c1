"""Back-off: the answer is as deep in the taxonomy as the evidence reaches.

Probabilities of the classes are summed up the taxonomy. From the root the answer goes down, always to the likelier
child, as long as that child's probability passes the threshold. Where not even the root's does, there is no answer.
The threshold is the lowest for which the error among answers stays under alpha on crops of held-out scanners: with a
doubt of one in ten where they are enough to say so, else on average (`choose_threshold`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from soilpipe.classify.clusters import design_effect
from soilpipe.classify.examples import BACKGROUND
from soilpipe.taxonomy import Taxonomy

DOUBT = 0.1  # that the true error among answers is above the bound
STEPS = 61  # thresholds that are tried
SPARE = 2  # errors that the first threshold tried may have


def lineage_of(taxon: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    """The names above a taxon, nearest first. All that is no animal lies below `background`, in any taxonomy."""
    if taxon == BACKGROUND:
        return ()
    found = taxonomy.find(taxon)
    above = taxonomy.ancestors(found.name)
    return (*above, BACKGROUND) if found.background and BACKGROUND not in above else above


class Paths(NamedTuple):
    """The way down for each crop: nodes (n, depth) int64, -1 behind its end, and their probabilities (n, depth)."""

    nodes: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Tree:
    """The classes with all that is above them. nodes: names, parents before children. parent (nodes,) int64, -1: root.

    holds (nodes, classes) bool: the classes at or below a node. at (nodes,) int64: the class of that very name, or -1.
    """

    nodes: tuple[str, ...]
    parent: np.ndarray
    holds: np.ndarray
    at: np.ndarray

    @property
    def depth(self) -> int:
        """Nodes on the longest way down."""
        return max(len(self.above(node)) + 1 for node in range(len(self.nodes)))

    def above(self, node: int) -> list[int]:
        """The nodes above one, nearest first."""
        line = []
        while (node := int(self.parent[node])) >= 0:
            line.append(node)
        return line

    def is_right(self, node: int, label: int) -> bool:
        """Whether a node is a true answer for a crop of the class `label`."""
        return bool(self.holds[node, label])

    def paths(self, probabilities: np.ndarray) -> Paths:
        """(n, classes) to the way down of each crop: to the likelier child, until the class of the node itself is
        likelier than each of them."""
        mass = probabilities @ self.holds.T
        n, depth = len(probabilities), self.depth
        nodes, passed = np.full((n, depth), -1, np.int64), np.zeros((n, depth))
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parent.tolist()):
            children.setdefault(parent, []).append(node)
        for row in range(n):
            here = -1
            for step in range(depth):
                below = children.get(here, [])
                if not below:
                    break
                best = max(below, key=lambda node: (mass[row, node], -node))
                own = probabilities[row, self.at[here]] if here >= 0 and self.at[here] >= 0 else -1.0
                if own >= mass[row, best]:
                    break
                nodes[row, step], passed[row, step] = best, mass[row, best]
                here = best
        return Paths(nodes, passed)

    def answers(self, paths: Paths, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """The deepest node of each way whose probability is at least `threshold`, (n,) int64, -1 for none, and its
        probability, (n,) float64, NaN for none."""
        passing = (paths.nodes >= 0) & (paths.probabilities >= threshold)
        steps = passing.sum(axis=1)  # probabilities fall on the way down
        rows, last = np.arange(len(steps)), np.maximum(steps - 1, 0)
        node = np.where(steps > 0, paths.nodes[rows, last], -1)
        return node, np.where(steps > 0, paths.probabilities[rows, last], np.nan)


def tree_of(lineages: Mapping[str, Sequence[str]]) -> Tree:
    """The tree of some classes: for each the names above it, nearest first. The order of the classes is kept."""
    parents: dict[str, str | None] = {}
    for taxon, above in lineages.items():
        line = (taxon, *above)
        for name, parent in zip(line, (*line[1:], None), strict=True):
            parents.setdefault(name, parent)
    depth = {name: _depth(name, parents) for name in parents}
    nodes = sorted(parents, key=lambda name: depth[name])  # stable: else as first met
    index = {name: number for number, name in enumerate(nodes)}
    classes = list(lineages)
    holds = np.zeros((len(nodes), len(classes)), bool)
    at = np.full(len(nodes), -1, np.int64)
    for label, taxon in enumerate(classes):
        at[index[taxon]] = label
        for name in (taxon, *lineages[taxon]):
            holds[index[name], label] = True
    steps_up = [parents[node] for node in nodes]
    up = np.array([-1 if name is None else index[name] for name in steps_up], np.int64)
    return Tree(tuple(nodes), up, holds, at)


def _depth(name: str, parents: Mapping[str, str | None]) -> int:
    steps, above = 0, parents[name]
    while above is not None:
        steps, above = steps + 1, parents[above]
    return steps


class Chosen(NamedTuple):
    """A threshold, the share of crops answered with it, the error among those, its upper bound, and that in words."""

    threshold: float
    answered: float
    error: float
    bound: float
    told: str


def choose_threshold(
    tree: Tree, probabilities: np.ndarray, labels: np.ndarray, alpha: float, units: np.ndarray | None = None
) -> Chosen:
    """The lowest threshold whose error among answers is below `alpha`.

    probabilities (n, classes), labels (n,): of held-out scanners, drawn as they come, by which nothing else was fitted.
    units (n,): their scanner-days. Crops of one are not independent, so answers and errors are divided by how much
    their errors come together (`clusters.design_effect`, told once, where most are answered, so that it depends on no
    threshold that is tried); without `units` each crop counts. What is promised for crops drawn like them depends on
    how many there are, and `told` says which it is:

    - with a doubt of DOUBT, from about a hundred independent answers on (at an alpha of 5 %): the upper bound of the
      error among them is below alpha (Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks").
      Thresholds are tried from the highest down and the first that fails ends it, so the doubt holds for all of them
      together (fixed sequence testing, as in Angelopoulos et al. 2021, "Learn then Test");
    - on average over the crops that might have been drawn, from 1 / alpha such answers on: one more error than was
      seen, divided by the answers, is at most alpha. This is the Benjamini-Hochberg rule with conformal p-values (Jin
      and Candès 2023, "Selection by Prediction with Conformal p-values"), stopped where it first fails, since the share
      answered is taken from the same crops. It is proved for independent crops; for others the division stands in;
    - with fewer, or where the surest answers are wrong, nothing can be shown. The threshold is then one above which
      none of them is answered wrongly, at least 1 - alpha: right as far as the probabilities are.
    """
    if len(labels) == 0:
        told = "1 - alpha: no crop of a scan drawn as it comes was held out"
        return Chosen(1.0 - alpha, math.nan, math.nan, math.nan, told)
    paths = tree.paths(probabilities)
    first = paths.probabilities[:, 0]
    wrong = _first_wrong(tree, paths, labels)
    steps = paths.probabilities[paths.nodes >= 0]
    effect = design_effect(wrong >= 0, units)
    lowest, promise = _without_doubt(first, wrong, steps, alpha, effect), f"with a doubt of {DOUBT:g}"
    if lowest is None:
        lowest, promise = _on_average(first, wrong, steps, alpha, effect), "on average; for more, more crops are needed"
    if lowest is None:
        lowest = max(1.0 - alpha, float(np.nextafter(wrong.max(), 2.0)))
        promise = ""
    answered, errors = int((first >= lowest).sum()), int((wrong >= lowest).sum())
    worth = "" if effect == 1 else f", worth {answered / effect:.0f} independent ones,"
    told = (
        f"error among answers on held-out scanners: {errors} of {answered}{worth or ','} so below {alpha:g} {promise}"
    )
    if not promise:
        told = f"{len(labels)} held-out crops{worth} are too few to show an error below {alpha:g}; "
        told += "none of them is wrong above it"
    error = errors / answered if answered else math.nan
    bound = upper_bound(math.ceil(errors / effect), int(answered / effect)) if answered else math.nan
    return Chosen(lowest, answered / len(labels), error, bound, told)


def _without_doubt(
    first: np.ndarray, wrong: np.ndarray, steps: np.ndarray, alpha: float, effect: float
) -> float | None:
    lowest = None
    for step in np.quantile(steps, np.linspace(1, 0, STEPS), method="lower"):
        answered, errors = int((first >= step).sum()), int((wrong >= step).sum())
        worth = int(answered / effect)
        if _at_most(SPARE, worth, alpha) > DOUBT:
            continue  # so few are answered that a single unlucky one would end it
        if errors > alpha * answered or _at_most(math.ceil(errors / effect), worth, alpha) > DOUBT:
            break
        lowest = float(step)
    return lowest


def _on_average(first: np.ndarray, wrong: np.ndarray, steps: np.ndarray, alpha: float, effect: float) -> float | None:
    tried = np.unique(steps)
    answered = len(first) - np.searchsorted(np.sort(first), tried)
    errors = len(wrong) - np.searchsorted(np.sort(wrong), tried)
    will_do = errors + effect <= alpha * answered
    if not will_do.any():
        return None
    place = int(np.flatnonzero(will_do)[-1])
    while place > 0 and will_do[place - 1]:  # not to the lowest of all, which is the luckiest
        place -= 1
    return float(tried[place])


def _first_wrong(tree: Tree, paths: Paths, labels: np.ndarray) -> np.ndarray:
    """(n,) the probability of the first wrong node on each way: up to that threshold the answer is wrong; -1: never."""
    found = np.full(len(labels), -1.0)
    for row, label in enumerate(labels.tolist()):
        for node, probability in zip(paths.nodes[row], paths.probabilities[row], strict=True):
            if node < 0:
                break
            if not tree.is_right(int(node), label):
                found[row] = probability
                break
    return found


def upper_bound(errors: int, answered: int, doubt: float = DOUBT) -> float:
    """The greatest true error with which so few errors among so many independent answers have a chance of `doubt`
    (Clopper and Pearson 1934)."""
    if errors >= answered:
        return 1.0
    low, high = errors / answered, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(errors, answered, middle) > doubt else (low, middle)
    return high


def _at_most(errors: int, answered: int, chance: float) -> float:
    """The chance of at most so many errors."""
    if errors >= answered:
        return 1.0
    if chance >= 1.0:
        return 0.0
    logs = [
        math.lgamma(answered + 1) - math.lgamma(k + 1) - math.lgamma(answered - k + 1)
        + k * math.log(max(chance, 1e-300)) + (answered - k) * math.log1p(-chance)
        for k in range(errors + 1)
    ]  # fmt: skip
    return math.fsum(math.exp(value) for value in logs)
