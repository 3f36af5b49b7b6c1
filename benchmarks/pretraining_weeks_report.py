"""The table of simulated weeks: with the gate and without it, and how far what is in use ever fell."""

from __future__ import annotations

from typing import Any

import numpy as np

ALLOWED = 0.01


def report(rows: list[dict[str, Any]]) -> None:
    """The table, and whether what is in use ever fell by more than a point under the best so far."""
    seeds = sorted({row["seed"] for row in rows})
    print("macro-F1 of what is in use, mean over seeds (range)")
    print(f"{'week':>4s}  {'with the gate':>24s}  {'without':>24s}   outcomes with the gate")
    for week in sorted({row["week"] for row in rows}):
        of_week = [row for row in rows if row["week"] == week]
        outcomes = ", ".join(row["outcome"] for row in of_week if row["gated"])
        told = [_spread([r["macro_f1"] for r in of_week if r["gated"] is gated]) for gated in (True, False)]
        print(f"{week:4d}  {told[0]:>24s}  {told[1]:>24s}   {outcomes}")
    for gated in (True, False):
        arm_rows = [row for row in rows if row["gated"] is gated]
        falls = [_deepest_fall([row["macro_f1"] for row in arm_rows if row["seed"] == seed]) for seed in seeds]
        arm = "with the gate" if gated else "without"
        known = [fall for fall in falls if fall is not None]
        if not known:
            print(f"deepest fall under the best so far, {arm}: nothing was ever in use")
            continue
        held = (
            f" (asked for: at most {ALLOWED:.3f}; {'held' if max(known) <= ALLOWED else 'not held'})" if gated else ""
        )
        print(f"deepest fall under the best so far, {arm}: {max(known):.3f}{held}")


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f} ({min(known):.3f}-{max(known):.3f})" if known else "nothing in use"


def _deepest_fall(values: list[float | None]) -> float | None:
    """None where nothing was ever in use."""
    best, fall = None, None
    for value in values:
        if value is not None:
            best = value if best is None else max(best, value)
            fall = max(fall or 0.0, best - value)
    return fall
