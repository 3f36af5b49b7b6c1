"""`soilpipe evaluate`: what a detector is worth on labels."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, opened
from deployments.commands.shown import plain, print_json, print_table
from deployments.commands.written import write_whole

if TYPE_CHECKING:
    from soilpipe.detect.base import Detector
    from soilpipe.detect.evaluation import Evaluation
    from soilpipe.store import Store

evaluate = typer.Typer(no_args_is_help=True, help="Judge a model on labels.")

Labels = Annotated[
    Path | None, typer.Option(metavar="COCO.json", help="Labels, COCO JSON; the project's own if left out.")
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="The folder of their images.")]
OnlyScanners = Annotated[
    list[str] | None, typer.Option("--scanner", "-s", metavar="ID", help="Only images of this scanner; repeatable.")
]
Version = Annotated[str, typer.Option(metavar="V", help="A version, a name, `champion`, `shipped` or `change`.")]
Threshold = Annotated[float | None, typer.Option(min=0, max=1, help="Instead of the detector's own.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of images whose label entry says none; 1200 if left out.")]
NoDifference = Annotated[bool, typer.Option("--no-difference", help="Leave out earlier images of the same scanner.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write a page with pictures, and the JSON.")
]
PAGE, FIGURES = "evaluation.html", "evaluation.json"


@evaluate.command("detector")
def evaluate_detector(
    labels: Labels = None,
    images: Images = None,
    project: ProjectFile = DEFAULT_PROJECT,
    version: Version = "champion",
    scanner: OnlyScanners = None,
    dpi: Dpi = None,
    threshold: Threshold = None,
    no_difference: NoDifference = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """What it finds, what it invents and how well it counts, with 95 % intervals.

    AP50, AP75 and AP are COCO's, at 1000 detections an image. Without --labels it is judged on the tiles of this
    project that were drawn at random and looked at, but for those that it, or one that it began from, was trained on,
    and what is within 72 h of them. With 30 of them or more, its counts are marked `local` from then on. Every
    evaluation is kept in the store.
    """
    loaded, store = opened(project)
    from rich.console import Console
    from rich.progress import Progress

    from soilpipe import judging
    from soilpipe.detect.evaluate import evaluate_detector as judge
    from soilpipe.report.judging import Gallery, judging_page

    if (labels is None) != (images is None):
        raise OptionError("Give --labels and --images together, or neither: then the project's own labels are taken.")
    detector = _from_registry(version, store)
    gallery = Gallery(taxonomy=loaded.taxonomy)
    with (
        tempfile.TemporaryDirectory(prefix="soilpipe-") as folder,
        Progress(console=Console(stderr=True), disable=as_json) as progress,
    ):
        if labels is None or images is None:
            on = judging.own_labels(loaded, store, Path(folder), detector)
        else:
            on = judging.given_labels(labels, images)
        bar = progress.add_task("images", total=None)
        found = judge(
            detector,
            on.labels,
            on.images,
            where=on.where(frozenset(scanner or ())),
            difference=not no_difference,
            dpi=dpi,
            threshold=threshold,
            taxonomy=loaded.taxonomy,
            watch=gallery if output else None,
            progress=lambda done, of: progress.update(bar, completed=done, total=of),
        )
    record = judging.keep_evaluation(store, detector, found, on, datetime.now(UTC), whole=not scanner)
    told = judging.in_words(record)
    figures = {**found.as_dict(), "sample": on.sample, "judged_on": on.told, "validation": record.validation}
    if output is not None:
        made = judging_page(found, record, gallery, on=on.told, follows=told, taxonomy=loaded.taxonomy)
        write_whole(output / PAGE, made)
        text = json.dumps(plain(figures), indent=1, ensure_ascii=False) + "\n"
        write_whole(output / FIGURES, text.encode())
    if as_json:
        print_json(figures)
        return
    _print(found, on.told)
    typer.echo(told)
    if output is not None:
        typer.echo(f"With pictures: {output / PAGE}")


def _print(found: Evaluation, on: str) -> None:
    title = f"{found.detector} {found.version} on {found.images} images of {found.labels}"
    groups = {"any taxon": found.any_taxon, "mean of taxa": found.mean_of_taxa, **found.taxa}
    groups |= {"moving animals": found.moving, "resting animals": found.resting}
    rows = [
        (name, p.animals, _share(p.ap50), _share(p.ap75), _share(p.ap), *_at_work(found, name))
        for name, p in groups.items()
    ]
    columns = ("", "animals", "AP50", "AP75", "AP", "precision", "recall", "count bias", "R²")
    print_table(title, columns, rows)
    sizes = [
        (
            f"{size.shortest:g} to {size.longest:g}" if size.longest else f"from {size.shortest:g}",
            size.animals,
            _share(size.recall),
            _between(size.recall_interval),
            _share(size.ap50),
        )
        for size in found.by_length_mm
    ]
    assumed = "; the images name no dpi, so mm are as good as the dpi assumed" if found.um_per_px_assumed else ""
    print_table(f"By length, mm{assumed}", ("length", "animals", "recall", "95 %", "AP50"), sizes)
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


def _from_registry(wanted: str, store: Store) -> Detector:
    from soilpipe import models
    from soilpipe.detect.select import load_named_detector

    plain_name = wanted in ("champion", "change")
    return load_named_detector(wanted if plain_name else models.resolve(store, "detector", wanted), store)
