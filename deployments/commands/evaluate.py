"""`soilpipe evaluate`: what a detector is worth on labels."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.evaluation_tables import Compared, print_comparison, print_evaluation, what_it_is
from deployments.commands.image_options import Dpi, NoDifference, OnlyScanners
from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, opened
from deployments.commands.shown import plain, print_json
from deployments.commands.versions import version_called
from deployments.commands.written import write_whole

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from soilpipe.detect.base import Detector
    from soilpipe.store import Store

evaluate = typer.Typer(no_args_is_help=True, help="Judge a model on labels.")

Labels = Annotated[
    Path | None, typer.Option(metavar="COCO.json", help="Labels, COCO JSON; the project's own if left out.")
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="The folder of their images.")]
Versions = Annotated[
    list[str] | None,
    typer.Option(
        "--version",
        metavar="V",
        help="A version, a name, `champion`, `shipped` or `change`; several for one table of them all. If left "
        "out, the one that runs use.",
    ),
]
Threshold = Annotated[float | None, typer.Option(min=0, max=1, help="For every taxon, instead of the detector's own.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Write a page with pictures, and the JSON; a folder for each of several."
    ),
]
PAGE, FIGURES = "evaluation.html", "evaluation.json"


@evaluate.command("detector")
def evaluate_detector(
    labels: Labels = None,
    images: Images = None,
    project: ProjectFile = DEFAULT_PROJECT,
    version: Versions = None,
    scanner: OnlyScanners = None,
    dpi: Dpi = None,
    threshold: Threshold = None,
    no_difference: NoDifference = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """What it finds, what it invents and how well it counts, with 95 % intervals; several versions in one table.

    AP50, AP75 and AP are COCO's, at 1000 detections an image. Without --labels it is judged on the tiles of this
    project that were drawn at random and looked at, but for those that it, or one that it began from, was trained on,
    and what is within 72 h of them. With 30 of them or more, its counts are marked `local` from then on. Every
    evaluation is kept in the store.
    """
    loaded, store = opened(project)
    if (labels is None) != (images is None):
        raise OptionError("Give --labels and --images together, or neither: then the project's own labels are taken.")
    from rich.console import Console
    from rich.progress import Progress

    from soilpipe import judging
    from soilpipe.detect.evaluate import evaluate_detector as judge
    from soilpipe.detect.select import detector_in_use
    from soilpipe.report.judging import Gallery, judging_page

    wanted = list(dict.fromkeys(version or [detector_in_use(loaded, store)]))
    compared: list[Compared] = []
    documents: list[dict[str, Any]] = []
    for one in wanted:
        name, detector = _from_registry(one, store)
        gallery = Gallery(taxonomy=loaded.taxonomy)
        with (
            tempfile.TemporaryDirectory(prefix="soilpipe-") as folder,
            Progress(console=Console(stderr=True), disable=as_json) as progress,
        ):
            if labels is None or images is None:
                bar = progress.add_task("earlier scans of the labelled tiles", total=None)
                on = judging.own_labels(loaded, store, Path(folder), detector, progress=_shown(progress, bar))
            else:
                on = judging.given_labels(labels, images)
            bar = progress.add_task("images" if len(wanted) == 1 else f"images, {one}", total=None)
            began = time.perf_counter()
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
                progress=_shown(progress, bar),
            )
            seconds = time.perf_counter() - began
        record = judging.keep_evaluation(store, detector, found, on, datetime.now(UTC), whole=not scanner)
        told = judging.in_words(record)
        compared.append(Compared(found, *what_it_is(found.detector, _card(store, name)), seconds))
        figures = {
            **found.as_dict(),
            "family": compared[-1].family,
            "parameters": compared[-1].parameters,
            "seconds": seconds,
            "sample": on.sample,
            "judged_on": on.told,
            "validation": record.validation,
        }
        documents.append(figures)
        place = output if output is None or len(wanted) == 1 else output / found.version
        if place is not None:
            made = judging_page(found, record, gallery, on=on.told, follows=told, taxonomy=loaded.taxonomy)
            write_whole(place / PAGE, made)
            text = json.dumps(plain(figures), indent=1, ensure_ascii=False) + "\n"
            write_whole(place / FIGURES, text.encode())
        if not as_json and len(wanted) == 1:
            print_evaluation(found, on.told)
        if not as_json:
            typer.echo(told if len(wanted) == 1 else f"{found.version}: {told}")
            if place is not None:
                typer.echo(f"With pictures: {place / PAGE}")
    if as_json:
        print_json(documents[0] if len(wanted) == 1 else documents)
    elif len(wanted) > 1:
        print_comparison(compared, on.told)


def _shown(progress: Progress, bar: TaskID) -> Callable[[int, int], None]:
    return lambda done, of: progress.update(bar, completed=done, total=of)


def _from_registry(wanted: str, store: Store) -> tuple[str, Detector]:
    """The name under which it stands in the registry, and the detector."""
    from soilpipe.detect.select import load_named_detector

    plain_name = wanted in ("champion", "change")
    named = wanted if plain_name else version_called(store, "detector", wanted)
    return named, load_named_detector(named, store)


def _card(store: Store, name: str) -> Mapping[str, Any]:
    from soilpipe import models

    if name == "change":
        return {}
    return models.card_of(store, "detector", models.champion(store, "detector") if name == "champion" else name)
