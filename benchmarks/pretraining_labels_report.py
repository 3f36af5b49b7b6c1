"""The tables of the benchmark of labels."""

from __future__ import annotations

from typing import Any

import numpy as np

ARMS = ("scratch", "pretrained", "supervised", "supervised+pretrained")
UNCOUNTED = "-uncounted"
"""Ends the name of an arm whose pretraining nobody takes off its seconds."""
OF_DETECTOR, OF_START = "macro_f1_of_detector", "macro_f1_of_start"
FIGURES = {
    "ap50": "AP50 of the detector, any taxon",
    OF_DETECTOR: "macro-F1 of a classifier on the detector's own encoder, after the same seconds",
    OF_START: "macro-F1 of a classifier on the encoder that the detector began from",
}

WIDE = 33  # letters of a row's head


def report(rows: list[dict[str, Any]]) -> None:
    """Means over seeds with their standard deviation."""
    shares = sorted({row["share"] for row in rows})
    heads = [f"{share:.0%}: {_range([r['images'] for r in rows if r['share'] == share])} images" for share in shares]
    there = {row["arm"] for row in rows}
    arms = [arm for arm in (*ARMS, *(f"{arm}{UNCOUNTED}" for arm in ARMS)) if arm in there]
    for figure, head in FIGURES.items():
        on = ", ".join(sorted({row["judged_on"] for row in rows}))
        print(f"{head}, on {on} scanners, mean (sd) of {len({row['seed'] for row in rows})} seeds")
        print(f"{'of the labels':{WIDE}s}" + "".join(f"{one:>24s}" for one in heads))
        for arm in arms:
            cells = [_cell([r[figure] for r in rows if r["arm"] == arm and r["share"] == share]) for share in shares]
            print(f"{arm:{WIDE}s}" + "".join(f"{cell:>24s}" for cell in cells))
        if figure != "ap50":
            classes = [_range([r["classes"] for r in rows if r["share"] == share]) for share in shares]
            print(f"{'classes':{WIDE}s}" + "".join(f"{one:>24s}" for one in classes))


def _range(values: list[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ({np.std(known, ddof=1):.3f})" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{spread}"
