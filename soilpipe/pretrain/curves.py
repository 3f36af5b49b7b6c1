"""The picture of a pretraining: its losses, and how its vectors are spread, beside the card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

CURVES = "pretraining.png"
SMOOTHED = 0.1  # of the curve: the window of the running mean, which is drawn over the single values

Row = tuple[float, ...]


def plot_curves(
    losses: Sequence[Row], looks: Sequence[Row], path: Path, *, crops: int, full_from: int, of_a_guess: float
) -> None:
    """One PNG; left out without matplotlib.

    losses: (step, loss of the whole view, of its parts, sum). looks: (step, standard deviation, effective rank,
    uniformity, alignment). crops: on how many the looks were. full_from: the step from which on losses compare.
    of_a_guess: the loss of an encoder that says the same of all.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 8), layout="constrained")
    loss, rank, even = figure.subplots(3, 1, sharex=True)
    rows = np.array(losses, float).reshape(-1, 4)
    for column, label, colour in ((1, "of the whole view", "C0"), (2, "of its parts", "C1")):
        loss.plot(rows[:, 0], rows[:, column], ".", color=colour, markersize=3, alpha=0.4)
        loss.plot(*running_mean(rows[:, 0], rows[:, column]), color=colour, label=label)
    loss.axhline(of_a_guess, color="grey", linestyle=":", label="of a guess")
    if full_from > 1:
        loss.axvspan(0, full_from, color="grey", alpha=0.15, label="queue not yet full of crops: easy")
    loss.set(
        ylabel="loss", title="How well a view's other view is told from earlier crops (lower: better)", ylim=(0, None)
    )
    loss.legend(fontsize="small", loc="lower right")
    seen = np.array(looks, float).reshape(-1, 5)
    rank.plot(seen[:, 0], seen[:, 2], "o-", color="C2")
    rank.set(
        ylabel="effective rank",
        title=f"How many directions the vectors of {crops} crops use (1: collapsed)",
        ylim=(0, 1.05 * max(1.0, *seen[:, 2])),
    )
    even.plot(seen[:, 0], seen[:, 1], "o-", color="C3", label="standard deviation (1: everywhere, 0: collapsed)")
    even.plot(seen[:, 0], seen[:, 4], "s-", color="C4", label="alignment: distance² of two views (lower: better)")
    even.plot(seen[:, 0], -seen[:, 3], "^-", color="C5", label="− uniformity (higher: more even, 0: collapsed)")
    even.set(ylabel="spread of the vectors", xlabel="step", ylim=(0, None))
    even.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def running_mean(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles and means of windows of `SMOOTHED` of the curve, which slide by one."""
    width = max(1, round(SMOOTHED * len(y)))
    if len(y) < 2 * width:
        return x, y
    kernel = np.full(width, 1 / width)
    return np.convolve(x, kernel, "valid"), np.convolve(y, kernel, "valid")
