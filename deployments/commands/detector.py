"""`train detector`, `evaluate detector` and `detect`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, ProjectFile, opened
from deployments.commands.shown import print_json

train = typer.Typer(no_args_is_help=True, help="Train a model on labels.")
evaluate = typer.Typer(no_args_is_help=True, help="Judge a model on labels.")

Labels = Annotated[Path, typer.Option(metavar="COCO.json", help="Labels, COCO JSON.")]
Images = Annotated[Path, typer.Option(metavar="DIR", help="The folder of their images.")]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="What to call it; the labels' name if left out.")]
SingleClass = Annotated[bool, typer.Option("--single-class", help="Learn animals, not their taxa.")]
Scale = Annotated[float | None, typer.Option(metavar="F", help="Work at this part of the images' resolution.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of images whose label entry says none; 1200 if left out.")]
NoDifference = Annotated[bool, typer.Option("--no-difference", help="Leave out earlier images of the same scanner.")]
Validate = Annotated[list[str] | None, typer.Option("--validate", metavar="SCANNER", help="Kept for the threshold.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps; as many as suit the labels if left out.")]
From = Annotated[str | None, typer.Option("--from", metavar="VERSION", help="Begin from this version's weights.")]


@train.command("detector")
def train_detector(
    labels: Labels,
    images: Images,
    project: ProjectFile = DEFAULT_PROJECT,
    name: Name = None,
    single_class: SingleClass = False,
    scale: Scale = None,
    dpi: Dpi = None,
    no_difference: NoDifference = False,
    validate: Validate = None,
    steps: Steps = None,
    begin_from: From = None,
    as_json: AsJson = False,
) -> None:
    """Train a detector and put it into the registry as a new version. It is used once it is promoted."""
    loaded, store = opened(project)
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from soilpipe import models
    from soilpipe.detect.fitting import Recipe
    from soilpipe.detect.training import train_detector as train_on

    recipe = Recipe() if steps is None else replace(Recipe(), steps=steps)
    start = None
    if begin_from is not None:
        start = models.model_path(store, "detector", models.resolve(store, "detector", begin_from))
    with (
        tempfile.TemporaryDirectory(prefix="soilpipe-") as folder,
        Progress(console=Console(stderr=True), disable=as_json) as progress,
    ):
        bars: dict[str, TaskID] = {}

        def told(stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=of)
            progress.update(bars[stage], completed=done, total=of)

        card = train_on(
            labels,
            images,
            Path(folder) / (name or labels.stem),
            name=name or labels.stem,
            taxonomy=loaded.taxonomy,
            single_class=single_class,
            scale=scale,
            dpi=dpi,
            difference=not no_difference,
            val_scanners=validate,
            recipe=recipe,
            warm_start=start,
            progress=told,
        )
        version = models.register(store, "detector", Path(folder) / (name or labels.stem))
    if as_json:
        print_json({"version": version, "card": card})
        return
    typer.echo(f"{card['name']} is version {version}: {len(card['taxa'])} taxa, threshold {card['threshold']:.2f}.")
    typer.echo(f"Use it with `soilpipe models promote {version}`, or set `detector: {version}` in the project file.")
