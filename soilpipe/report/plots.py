"""Counts through time, one figure per scanner: a panel per taxon, and below them what became of every slot.

A gap is not a zero: where a slot has no count, the line breaks and the panel is hatched.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soilpipe.report.palette import line_colour
from soilpipe.report.summary import compared_with_nothing
from soilpipe.taxonomy import ROOT, SOIL, Taxonomy

MOST_PANELS = 8
MOST_SLOTS = 240  # more than these and a point is a day's mean; more than MOST_DAYS days, a week's
MOST_DAYS = 400
INK, MUTED, GRID, GAP = "#202124", "#5f6368", "#e8eaed", "#f1f0ee"
# state: colour, marker, words. Shape and lane tell the states apart without the colour.
LANES = {
    "observed": ("#5f6368", "|", "counted"),
    "late": ("#0072b2", "D", "late, counted"),
    "uncompared": ("#6a3d9a", "v", "counted, not compared"),
    "uncounted": ("#8a6d00", "s", "scan, no count"),
    "quarantined": ("#d55e00", "^", "refused"),
    "missing": ("#a3175d", "x", "missing"),
    "pending": ("#5f6368", "o", "not yet due"),
}


@dataclass(frozen=True)
class Timeline:
    """What happened in each slot. slots: one row per slot, sorted, with `slot` (UTC), `state` and `lane` (a key of
    LANES); counts: slots x taxa, NaN where there is no count; reported: the taxa that something was told to be exactly,
    most found first."""

    slots: pd.DataFrame
    counts: pd.DataFrame
    reported: tuple[str, ...]


def timeline(slots: pd.DataFrame, counts: pd.DataFrame) -> Timeline:
    """One scanner's rows of series/slots and series/counts, as a table of slots by taxa (`n_total`).

    A slot with a scan but without any number (not detected yet, or too little of its window usable) is in the lane
    "uncounted"; one whose scan was detected without any earlier scan to compare it with, in "uncompared".
    """
    ordered = slots.assign(alone=compared_with_nothing(slots))[["slot", "state", "alone"]]
    ordered = ordered.drop_duplicates("slot").sort_values("slot", ignore_index=True)
    wide = counts.pivot_table(index="slot", columns="taxon", values="n_total", aggfunc="first", dropna=False)
    wide = wide.reindex(pd.DatetimeIndex(ordered["slot"])).astype("float64")
    counted = wide.notna().any(axis=1).to_numpy()
    seen = ordered["state"].isin(["observed", "late"]).to_numpy()
    lane = np.where(seen & ordered["alone"].to_numpy(), "uncompared", ordered["state"].to_numpy(dtype=object))
    lane = np.where(seen & ~counted, "uncounted", lane)
    told = counts.groupby("taxon")["n"].sum().sort_values(ascending=False, kind="stable")
    return Timeline(
        ordered.drop(columns="alone").assign(lane=lane), wide, tuple(str(taxon) for taxon in told.index[told > 0])
    )


def shown_taxa(line: Timeline, most: int = MOST_PANELS) -> tuple[str, ...]:
    """All animals together, then the taxa found most often; one never found, or only as the sum of others, has none."""
    if not line.reported:
        return ()
    together = tuple(taxon for taxon in (ROOT,) if taxon in line.counts)
    return (together + tuple(taxon for taxon in line.reported if taxon not in together))[:most]


def counts_figure(
    slots: pd.DataFrame,
    counts: pd.DataFrame,
    *,
    zone: str = "UTC",
    title: str = "",
    taxa: Sequence[str] | None = None,
    taxonomy: Taxonomy = SOIL,
) -> bytes:
    """PNG of one scanner's counts (`n_total`, each taxon with all that belong to it) through time.

    slots, counts: the scanner's rows of series/slots and series/counts; times are shown in `zone`. Up to MOST_SLOTS
    slots every slot is a point; longer series show the mean per counted scan of each day, then of each week.
    """
    line = timeline(slots, counts)
    names = tuple(taxa) if taxa is not None else shown_taxa(line)
    times = pd.DatetimeIndex(line.slots["slot"]).tz_convert(zone).tz_localize(None)
    step = _step(times)
    panels = max(1, len(names))
    lanes = [lane for lane in LANES if (line.slots["lane"] == lane).any()]
    heights = [1.15] * panels + [0.26 * max(2, len(lanes)) + 0.1]
    figure = Figure(figsize=(11, sum(heights) + 1.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(panels + 1, 1, sharex=True, gridspec_kw={"height_ratios": heights})
    for axes, taxon in zip(grid[:-1], names, strict=False):
        _draw_panel(axes, line, times, taxon, step, line_colour(taxon, taxonomy))
    if not names:
        _say(grid[0], "No animal was counted in this time." if len(times) else "No slot yet.")
    _draw_lanes(grid[-1], line, times, lanes, step)
    _date_axis(grid[-1], times)
    words = {"slot": "per scan", "day": "mean per scan, by day", "week": "mean per scan, by week"}[step]
    parts = [title, words, f"times are local ({zone})"]
    figure.suptitle(" · ".join(part for part in parts if part), x=0.01, ha="left", fontsize=12, color=INK)
    return _png(figure)


def _step(times: pd.DatetimeIndex) -> str:
    if len(times) <= MOST_SLOTS:
        return "slot"
    return "day" if (times[-1] - times[0]).days <= MOST_DAYS else "week"


def _draw_panel(axes: Axes, line: Timeline, times: pd.DatetimeIndex, taxon: str, step: str, colour: str) -> None:
    values = line.counts[taxon].to_numpy() if taxon in line.counts else np.full(len(times), np.nan)
    x, y = _binned(times, values, step)
    _hatch(axes, x, np.isnan(y))
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.6} if len(x) <= 120 else {}
    axes.plot(x, y, color=colour, linewidth=1.4, clip_on=False, zorder=3, **marker)
    _draw_lonely(axes, x, y, colour)
    if step == "slot":
        late = (line.slots["state"] == "late").to_numpy() & ~np.isnan(y)
        ring: dict[str, Any] = {"markersize": 6, "markerfacecolor": "white", "markeredgecolor": LANES["late"][0]}
        axes.plot(x[late], y[late], "D", clip_on=False, zorder=4, **ring)
    axes.set_ylim(bottom=0, top=max(1.0, float(np.nanmax(y, initial=0)) * 1.18))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_title(f"All animals ({ROOT})" if taxon == ROOT else taxon, loc="left", fontsize=10, color=INK, pad=3)
    _style(axes)


def _draw_lonely(axes: Axes, x: pd.DatetimeIndex, y: np.ndarray, colour: str) -> None:
    """A count between two gaps has no line to belong to: it gets a dot whatever the number of points."""
    empty = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
    lonely = ~np.isnan(y) & empty[:-2] & empty[2:]
    axes.plot(x[lonely], y[lonely], "o", markersize=3.6, color=colour, clip_on=False, zorder=3)


def _binned(times: pd.DatetimeIndex, values: np.ndarray, step: str) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Mean over the counted slots of each day or week; a bin without any is NaN, so a gap stays a gap."""
    if step == "slot":
        return times, values
    series = pd.Series(values, index=times)
    means = series.resample("1D" if step == "day" else "7D", origin="start_day").mean()
    return pd.DatetimeIndex(means.index), means.to_numpy()


def _edges(x: pd.DatetimeIndex) -> np.ndarray:
    """n + 1 borders halfway between neighbours; the outer ones half a median gap outside."""
    stamps = x.to_numpy().astype("datetime64[ms]").astype("int64")
    if not len(stamps):
        return np.array([], dtype="datetime64[ms]")
    half = int(np.median(np.diff(stamps)) / 2) if len(stamps) > 1 else 3 * 3600 * 1000
    middles = (stamps[1:] + stamps[:-1]) // 2
    return np.concatenate([[stamps[0] - half], middles, [stamps[-1] + half]]).astype("datetime64[ms]")


def _hatch(axes: Axes, x: pd.DatetimeIndex, empty: np.ndarray) -> None:
    """One hatched band per run of bins without a count."""
    edges = _edges(x)
    padded = np.concatenate([[False], empty, [False]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    for start, end in zip(starts, ends, strict=True):
        axes.axvspan(edges[start], edges[end], facecolor=GAP, edgecolor="#b9b4ac", hatch="////", linewidth=0)


def _draw_lanes(axes: Axes, line: Timeline, times: pd.DatetimeIndex, lanes: Sequence[str], step: str) -> None:
    """The strip below: one lane per state that occurs, one mark per slot."""
    size = 7 if step == "slot" and len(times) <= 120 else 4
    for row, lane in enumerate(lanes):
        colour, marker, _ = LANES[lane]
        here = times[(line.slots["lane"] == lane).to_numpy()]
        hollow: dict[str, Any] = {"markerfacecolor": "none"} if lane == "pending" else {}
        axes.plot(
            here,
            np.full(len(here), row),
            marker,
            markersize=size,
            color=colour,
            markeredgewidth=1.3,
            clip_on=False,
            **hollow,
        )
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_yticks(range(len(lanes)), [f"{LANES[lane][2]}" for lane in lanes], fontsize=8.5)
    _style(axes)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("hatched: no count for this time. A gap is not a zero.", fontsize=9, color=MUTED, loc="left")


def _date_axis(axes: Axes, times: pd.DatetimeIndex) -> None:
    if not len(times):
        axes.set_xticks([])
        return
    edges = _edges(times)
    axes.set_xlim(edges[0], edges[-1])
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    # Like matplotlib's own, but a day is never a bare number, and the corner has no more than the year.
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            formats=["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
            zero_formats=["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            offset_formats=["", "%Y", "%Y", "%Y", "%d %b %Y", "%d %b %Y"],
        )
    )
    axes.tick_params(axis="x", labelsize=9, colors=MUTED)


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_yticks([])
    _style(axes)


def _style(axes: Axes) -> None:
    for line in axes.lines:
        line.set_in_layout(False)  # unclipped marks must not move the panels
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bdc1c6")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelsize=8.5, colors=MUTED)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
