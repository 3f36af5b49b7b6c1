"""The curves of an evaluation, as PNGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.figures import FOUND, SizeFigures
from soilpipe.report.plots import GRID, INK, MUTED

LINE, MARK, BAND = "#0072b2", "#d55e00", "#b9d6ea"
SIZE = (5.4, 3.9)
FAR = 30  # times the false alarms in use: further right nobody would go


def precision_recall_plot(found: Evaluation) -> bytes:
    """Precision against recall over all scores, with the working point and its intervals."""
    figure, axes = _figure()
    axes.plot(found.curve["recall"], found.curve["precision"], color=LINE, linewidth=1.6)
    x, y = _bars(found.recall, found.intervals.get("recall")), _bars(found.precision, found.intervals.get("precision"))
    axes.errorbar([found.recall], [found.precision], xerr=x, yerr=y, fmt="o", color=MARK, capsize=3, zorder=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("recall: share of the animals that is found", color=MUTED)
    axes.set_ylabel("precision: share of the boxes\nthat are animals", color=MUTED)
    return _png(figure)


def froc_plot(found: Evaluation) -> bytes:
    """Recall against false alarms per 100 cm² and per image, with the working point."""
    figure, axes = _figure()
    curve = found.froc
    least = 100 / found.area_cm2 / 2  # half a false alarm on everything: where none stands on a logarithmic axis
    axes.plot(np.maximum(curve.per_100cm2, least), curve.recall, color=LINE, linewidth=1.6)
    at = max(found.false_alarms / found.area_cm2 * 100, least)
    axes.plot([at], [found.recall], "o", color=MARK, zorder=4)
    axes.set_xscale("log")
    most = max([one for one in curve.per_100cm2 if one <= FAR * at] + [2 * least, at])
    axes.set(ylim=(0, 1.02), xlim=(least, most))
    axes.set_xlabel("false alarms per 100 cm²", color=MUTED)
    images = found.area_cm2 / found.images / 100  # 100 cm² in an image

    def per_image(rate: Any) -> Any:
        return rate * images

    def per_area(rate: Any) -> Any:
        return rate / images

    above = axes.secondary_xaxis("top", functions=(per_image, per_area))
    above.set_xlabel("per image", color=MUTED)
    for axis in (axes.xaxis, above.xaxis):  # between the powers of ten there is no room for words
        axis.set_minor_formatter(NullFormatter())
    above.tick_params(labelsize=9, colors=MUTED)
    above.spines["top"].set_color("#bdc1c6")
    axes.set_ylabel("recall: share of the animals\nthat is found", color=MUTED)
    return _png(figure)


def size_plot(sizes: Sequence[SizeFigures], unit: str) -> bytes:
    """Recall by length, a bar a class with its interval and its number of animals; half found is marked."""
    figure, axes = _figure()
    places = np.arange(len(sizes))
    recalls = np.array([size.recall or 0.0 for size in sizes])
    axes.bar(places, recalls, color=BAND, edgecolor=LINE, width=0.78)
    for place, size in zip(places, sizes, strict=True):
        if size.recall_interval is not None:
            bars = _bars(size.recall or 0.0, size.recall_interval)
            axes.errorbar([place], [size.recall or 0.0], yerr=bars, fmt="none", ecolor=INK, capsize=3)
        axes.text(float(place), 1.04, f"{size.animals}", ha="center", fontsize=8.5, color=MUTED)
    axes.axhline(FOUND, color=MARK, linewidth=1, linestyle="--")
    axes.set(ylim=(0, 1.12))
    axes.set_xticks(places, [_class(size) for size in sizes], fontsize=8.5)
    axes.set_xlabel(f"longer side of the box, {unit} (numbers above: animals)", color=MUTED)
    axes.set_ylabel("recall: share that is found", color=MUTED)
    return _png(figure)


def _class(size: SizeFigures) -> str:
    return f"{size.shortest:g}–{size.longest:g}" if size.longest else f"≥ {size.shortest:g}"


def count_plot(found: Evaluation) -> bytes:
    """What was counted against what people counted, a dot a unit; on the line both are equal."""
    figure, axes = _figure()
    labelled, counted = np.array(found.counts.labelled, float), np.array(found.counts.found, float)
    top = max(1.0, labelled.max(initial=0), counted.max(initial=0)) * 1.06
    axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle="--")
    places, often = np.unique(np.stack([labelled, counted], axis=1), axis=0, return_counts=True)
    axes.scatter(places[:, 0], places[:, 1], s=16 + 10 * np.minimum(often, 30), color=LINE, alpha=0.65, linewidth=0)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.set_xlabel(f"animals marked, per {found.units}", color=MUTED)
    axes.set_ylabel(f"animals counted, per {found.units}", color=MUTED)
    return _png(figure)


def calibration_plot(found: Evaluation) -> bytes:
    """The share that is right among detections of about equal score; on the line a score is a probability."""
    figure, axes = _figure()
    bins = found.calibration.bins
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    axes.plot([b.mean_score for b in bins], [b.share_right for b in bins], color=LINE, linewidth=1, zorder=2)
    sizes = [14 + 60 * np.sqrt(b.detections / max(one.detections for one in bins)) for b in bins]
    axes.scatter([b.mean_score for b in bins], [b.share_right for b in bins], s=sizes, color=LINE, zorder=3)
    axes.axvline(found.threshold, color=MARK, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("score; the red line is the threshold from which boxes are counted", color=MUTED)
    axes.set_ylabel("share that are animals", color=MUTED)
    return _png(figure)


def _bars(value: float, bounds: tuple[float, float] | None) -> list[list[float]] | None:
    return None if bounds is None else [[max(0.0, value - bounds[0])], [max(0.0, bounds[1] - value)]]


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bdc1c6")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=MUTED)
    return figure, axes


def _png(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()
