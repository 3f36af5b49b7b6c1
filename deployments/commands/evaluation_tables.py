"""Tables of `soilpipe evaluate`: one detector's figures, and several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from deployments.commands.shown import print_table

if TYPE_CHECKING:
    from soilpipe.detect.evaluation import Evaluation
    from soilpipe.detect.figures import SizeFigures

COMPARED = (
    *("version", "family", "parameters", "images", "animals", "threshold", "AP50", "AP75", "AP"),
    *("precision", "recall", "F1", "centre F1", "count error", "seconds"),
)


@dataclass(frozen=True)
class Compared:
    """One of several detectors judged on the same labels.

    family: torchvision's name, or the size of the centre-point network; parameters: of the network, None where there
    is none; seconds: of reading and detecting all images.
    """

    found: Evaluation
    family: str
    parameters: int | None
    seconds: float


def what_it_is(name: str, card: Mapping[str, Any]) -> tuple[str, int | None]:
    """Family with size, and parameters, from a card; `name` where there is none."""
    if "architecture" not in card:
        return name, None
    family = card.get("family") or f"centre-point {card.get('size', 'medium')}"
    return str(family), card.get("parameters")


def print_comparison(compared: Sequence[Compared], on: str) -> None:
    """A row a detector. A count error is the mean absolute difference per image."""
    rows = [
        (
            one.found.version,
            one.family,
            one.parameters,
            one.found.images,
            one.found.any_taxon.animals,
            f"{one.found.threshold:.2f}",
            _share(one.found.any_taxon.ap50),
            _share(one.found.any_taxon.ap75),
            _share(one.found.any_taxon.ap),
            _share(one.found.precision),
            _share(one.found.recall),
            _share(one.found.f1),
            _share(one.found.centre_f1),
            f"{one.found.count_error:.2f}",
            f"{one.seconds:.1f}",
        )
        for one in compared
    ]
    print_table("Any taxon", COMPARED, rows)
    typer.echo(f"Judged on {on}. Count error: animals an image. Seconds: reading and detecting, on this machine.")
    if len({one.found.labels_sha256 for one in compared}) > 1:
        typer.echo(
            "They were not judged on the same tiles, since none is judged on what it was trained on: compare rows only "
            "where the images are the same. Give --labels and --images to judge all of them on one set."
        )


def print_evaluation(found: Evaluation, on: str) -> None:
    """What it finds, what it invents and how well it counts."""
    title = f"{found.detector} {found.version} on {found.images} images of {found.labels}"
    groups = {"any taxon": found.any_taxon, "mean of taxa": found.mean_of_taxa, **found.taxa}
    groups |= {"moving animals": found.moving, "resting animals": found.resting}
    rows = [
        (name, p.animals, _share(p.ap50), _share(p.ap75), _share(p.ap), *_at_work(found, name))
        for name, p in groups.items()
    ]
    columns = ("", "animals", "AP50", "AP75", "AP", "precision", "recall", "count bias", "R²")
    print_table(title, columns, rows)
    assumed = "; the images name no dpi, so mm are as good as the dpi assumed" if found.um_per_px_assumed else ""
    _print_sizes(f"By length, mm{assumed}", found.by_length_mm)
    _print_sizes("By length, px", found.by_length_px)
    if found.by_dpi:
        _print_by_dpi(found.by_dpi)
    typer.echo(f"Judged on {on}.")
    own = f", {len(found.thresholds)} taxa with their own" if found.thresholds else ""
    typer.echo(
        f"At threshold {found.threshold:.2f}{own}, any taxon: precision {found.precision:.3f}"
        f" {_between(found.intervals.get('precision'))}, recall {found.recall:.3f}"
        f" {_between(found.intervals.get('recall'))}, F1 {found.f1:.3f} (by centres {found.centre_f1:.3f}, with the"
        f" right taxon {found.f1_with_taxon:.3f}); {found.detections} detections, count error {found.count_error:.2f}"
        f" an image. {found.images_with_difference} images had earlier ones to compare. Intervals: 95 %, by drawing the"
        f" {found.unit_count} {found.units}s again."
    )
    if found.population is not None:
        whole = found.population
        typer.echo(
            "Each weighted by the chance that it had to be drawn, so for all tiles of these scans: precision"
            f" {_share(whole.precision) or '-'} {_between(whole.intervals['precision'])}, recall"
            f" {_share(whole.recall) or '-'} {_between(whole.intervals['recall'])}, count bias"
            f" {_share(whole.count_bias, sign=True) or '-'} {_between(whole.intervals['count_bias'])}."
        )


def _print_sizes(title: str, sizes: Sequence[SizeFigures]) -> None:
    rows = [
        (
            _length(size.shortest, size.longest),
            size.animals,
            _share(size.recall),
            _between(size.recall_interval),
            _share(size.ap50),
            _share(size.ap75),
            _share(size.ap),
        )
        for size in sizes
    ]
    print_table(title, ("length", "animals", "recall", "95 %", "AP50", "AP75", "AP"), rows)


def _print_by_dpi(by_dpi: Mapping[str, Sequence[SizeFigures]]) -> None:
    """Recall and number of animals, a row a class of length, a pair of columns a dpi."""
    classes = sorted({(size.shortest, size.longest or 0.0) for sizes in by_dpi.values() for size in sizes})
    rows = []
    for shortest, longest in classes:
        row: list[Any] = [_length(shortest, longest)]
        for sizes in by_dpi.values():
            there = next((size for size in sizes if size.shortest == shortest), None)
            row += [None, 0] if there is None else [_share(there.recall), there.animals]
        rows.append(row)
    columns = [part for dpi in by_dpi for part in (f"recall, {dpi} dpi", "animals")]
    print_table("By length, mm, and dpi", ("length", *columns), rows)


def _length(shortest: float, longest: float | None) -> str:
    return f"{shortest:g} to {longest:g}" if longest else f"from {shortest:g}"


def _at_work(found: Evaluation, name: str) -> tuple[Any, ...]:
    if name == "any taxon":
        counts = found.counts
        return _share(found.precision), _share(found.recall), _share(counts.bias, sign=True), _share(counts.r2)
    if name in found.by_taxon:
        one = found.by_taxon[name]
        return _share(one.precision), _share(one.recall), _share(one.counts.bias, sign=True), _share(one.counts.r2)
    return None, None, None, None


def _share(value: float | None, *, sign: bool = False) -> str | None:
    return None if value is None else f"{value:{'+' if sign else ''}.3f}"


def _between(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"({bounds[0]:.3f} to {bounds[1]:.3f})"
