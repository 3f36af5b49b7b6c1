"""The picture of a training's losses and looks at validation images, beside its version in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from soilpipe import layout
from soilpipe.detect.checkpoint import Curves
from soilpipe.store import Store

LOSSES = "losses.png"
OF_A_MEAN = 20  # part of all losses told that a smoothed one is the mean of: those of one batch hide where it goes


def plot_curves(curves: Curves, parts: Sequence[str], path: Path) -> None:
    """Losses by step, thin as told and thick smoothed, and below them the looks (step, score, AP50), as one PNG; left
    out without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    looked = len(curves.looks) > 0
    figure = Figure(figsize=(6, 5.5 if looked else 3.5), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1 + looked, 1, sharex=True))
    losses = np.array(curves.losses, float).reshape(-1, len(parts) + 2)
    for column, label in enumerate(parts, start=1):
        told = all_axes[0].plot(losses[:, 0], losses[:, column], linewidth=0.5, alpha=0.4)[0]
        all_axes[0].plot(losses[:, 0], smoothed(losses[:, column]), label=label, color=told.get_color())
    all_axes[0].set(ylabel="loss", yscale="log")
    all_axes[0].legend()
    if looked:
        looks = np.array(curves.looks, float)
        all_axes[1].plot(looks[:, 0], looks[:, 1], "o-", label="score: mean of AP50 of any and of the right taxon")
        all_axes[1].plot(looks[:, 0], looks[:, 2], ".--", label="AP50, any taxon", linewidth=1)
        best = int(looks[:, 1].argmax())
        all_axes[1].plot(looks[best, 0], looks[best, 1], "o", color="black", label=f"kept: step {looks[best, 0]:.0f}")
        all_axes[1].set(ylabel="validation images", ylim=(0, 1))
        all_axes[1].legend(fontsize="small")
    all_axes[-1].set(xlabel="step")
    figure.savefig(path, dpi=120)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Of (n,) values one after the other the mean of each and its neighbours, fewer of them at the ends: (n,) float."""
    width = 2 * (len(values) // OF_A_MEAN // 2) + 1
    return pd.Series(values).rolling(width, center=True, min_periods=1).mean().to_numpy(float)


def keep_curves(store: Store, version: str, folder: Path) -> str | None:
    """Copy the picture that a training left in `folder` to its registered version; where it is then, if there is one.

    It is no part of the version: weights and card are.
    """
    if not (folder / LOSSES).is_file():
        return None
    store.write_if_changed(_key(version), (folder / LOSSES).read_bytes())
    return curves_of(store, version)


def curves_of(store: Store, version: str) -> str | None:
    """Path or address of the picture of a version's losses; None where there is none."""
    return f"{store.root}/{_key(version)}" if store.exists(_key(version)) else None


def _key(version: str) -> str:
    return f"{layout.model_folder('detector', version)}/{LOSSES}"
