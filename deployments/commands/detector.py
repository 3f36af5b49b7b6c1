"""`train detector` and `detect`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, opened
from deployments.commands.shown import print_json
from deployments.commands.written import write_whole

if TYPE_CHECKING:
    from soilpipe.detect.base import Detector
    from soilpipe.detect.loose import LooseResult
    from soilpipe.store import Store

train = typer.Typer(no_args_is_help=True, help="Train a model on labels.")

Labels = Annotated[Path, typer.Option(metavar="COCO.json", help="Labels, COCO JSON.")]
Images = Annotated[Path, typer.Option(metavar="DIR", help="The folder of their images.")]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="What to call it; the labels' name if left out.")]
SingleClass = Annotated[bool, typer.Option("--single-class", help="Learn animals, not their taxa.")]
Scale = Annotated[float | None, typer.Option(metavar="F", help="Work at this part of the images' resolution.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of images whose label entry says none; 1200 if left out.")]
NoDifference = Annotated[bool, typer.Option("--no-difference", help="Leave out earlier images of the same scanner.")]
Validate = Annotated[
    list[str] | None,
    typer.Option(
        "--validate",
        metavar="SCANNER",
        help="Kept for the threshold; the last tenth if left out. `none`: train on all, and the threshold is 0.3.",
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps; 2500 if left out.")]
From = Annotated[str | None, typer.Option("--from", metavar="VERSION", help="Begin from this version's weights.")]

OnlyScanners = Annotated[
    list[str] | None, typer.Option("--scanner", "-s", metavar="ID", help="Only images of this scanner; repeatable.")
]
Threshold = Annotated[float | None, typer.Option(min=0, max=1, help="Instead of the detector's own.")]
Files = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")]
Format = Annotated[Literal["coco", "csv"], typer.Option("--format", "-f", help="How to write the detections.")]
Overlay = Annotated[Path | None, typer.Option(metavar="DIR", help="Also write each picture with its boxes, as PNG.")]
WhichDetector = Annotated[
    str, typer.Option("--detector", metavar="D", help="`shipped`, a model's folder, or a version of --project's store.")
]
OptionalProject = Annotated[
    Path | None, typer.Option("--project", "-p", metavar="FILE", help="Needed only for a version of its store.")
]


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
    scanner: OnlyScanners = None,
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
    from soilpipe.detect.curves import keep_curves
    from soilpipe.detect.fitting import Recipe
    from soilpipe.detect.training import train_detector as train_on

    recipe = Recipe() if steps is None else replace(Recipe(), steps=steps)
    start = None
    if begin_from is not None:
        start = models.model_path(store, "detector", models.resolve(store, "detector", begin_from))
    with (
        tempfile.TemporaryDirectory(prefix="soilpipe-") as folder,
        # A step on a slow processor takes seconds: the time left is judged by the last ten minutes.
        Progress(console=Console(stderr=True), disable=as_json, speed_estimate_period=600) as progress,
    ):
        bars: dict[str, TaskID] = {}

        def told(stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=of)
            progress.update(bars[stage], completed=done, total=of)

        card = train_on(
            labels,
            images,
            Path(folder) / "model",
            name=name or labels.stem,
            taxonomy=loaded.taxonomy,
            single_class=single_class,
            scale=scale,
            dpi=dpi,
            difference=not no_difference,
            where=_of_scanners(scanner),
            val_scanners=() if validate == ["none"] else validate,
            recipe=recipe,
            warm_start=start,
            progress=told,
        )
        version = models.register(store, "detector", Path(folder) / "model")
        curves = keep_curves(store, version, Path(folder) / "model")
    if as_json:
        print_json({"version": version, "card": card, "curves": curves})
        return
    typer.echo(f"{card['name']} is version {version}: {len(card['taxa'])} taxa, threshold {card['threshold']:.2f}.")
    typer.echo(f"Its card: `soilpipe models show {version}`. How the loss fell: {curves or 'not drawn'}")
    typer.echo(
        f"Use it with `detector: {version}` in the project file, or make it the champion with"
        f" `soilpipe models promote {version}`; that takes --force and a --reason while no figures speak for it."
    )


def detect(
    images: Files,
    output: Output = None,
    format_: Format = "coco",
    overlay: Overlay = None,
    detector: WhichDetector = "shipped",
    project: OptionalProject = None,
    dpi: Dpi = None,
    threshold: Threshold = None,
) -> None:
    """Detections for loose images, by what they look like alone: no project needed, no earlier scans used."""
    from soilpipe.detect.loose import coco_text, csv_text, detect_file
    from soilpipe.errors import SoilpipeError

    if detector == "change":
        raise OptionError(
            "The change detector compares a scan with earlier ones of its scanner, and loose images have none. Put them"
            " into a scanner's inbox and use `soilpipe run`, or choose another detector."
        )
    chosen = _loose_detector(detector, project)
    drawn = _overlay_files(images, overlay)
    results: list[LooseResult] = []
    refused: list[str] = []
    for path in images:
        try:
            result = detect_file(chosen, path, dpi=dpi, threshold=threshold)
        except SoilpipeError as error:
            refused.append(str(error))
            typer.echo(f"soilpipe: {error}", err=True)
            continue
        if path in drawn:
            _write_overlay(result, drawn[path])
        results.append(_without_picture(result))
        typer.echo(f"{path.name}: {len(result.detections)} found, at {result.dpi:g} dpi ({result.dpi_from})", err=True)
    text = (csv_text if format_ == "csv" else coco_text)(results, chosen.info)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(output, text.encode())
    from soilpipe.counts.query import VALIDATION_IN_WORDS

    typer.echo(f"Validation {chosen.info.validation}: {VALIDATION_IN_WORDS[chosen.info.validation]}.", err=True)
    if refused:
        raise typer.Exit(1)


def _loose_detector(wanted: str, project: Path | None) -> Detector:
    if project is not None:
        return _from_registry(wanted, opened(project)[1])
    from soilpipe.detect.weights import SHIPPED, load_detector

    folder = SHIPPED if wanted == "shipped" else Path(wanted)
    if not folder.is_dir():
        raise OptionError(
            f"{wanted} is no folder with a model. For a version of a project's store, add --project FILE."
        )
    return load_detector(folder)


def _from_registry(wanted: str, store: Store) -> Detector:
    from soilpipe import models
    from soilpipe.detect.select import load_named_detector

    plain = wanted in ("champion", "change")
    return load_named_detector(wanted if plain else models.resolve(store, "detector", wanted), store)


def _overlay_files(images: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """Where the picture of each image goes: by its name, numbered where several images have the same."""
    files: dict[Path, Path] = {}
    for image in dict.fromkeys(images) if folder is not None else ():
        assert folder is not None
        name, number = f"{image.stem}.png", 1
        while folder / name in files.values():
            number += 1
            name = f"{image.stem}-{number}.png"
        files[image] = folder / name
    return files


def _write_overlay(result: LooseResult, file: Path) -> None:
    from soilpipe.report.overlay import overlay_picture

    picture = overlay_picture(result.picture, result.detections, um_per_px=25_400 / result.dpi, title=result.path.name)
    write_whole(file, picture)


def _without_picture(result: LooseResult) -> LooseResult:
    """The same with a picture of its size that takes no memory, so that a thousand results can be kept."""
    from dataclasses import replace

    import numpy as np

    return replace(result, picture=np.broadcast_to(np.uint8(0), result.picture.shape))


def _of_scanners(ids: list[str] | None) -> Any:
    """Which labelled images count: those of these scanners; all when none is named."""
    wanted = set(ids or ())
    return None if not wanted else lambda image: image.scanner_id in wanted
