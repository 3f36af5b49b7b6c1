"""`soilpipe detect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.commands.options import OptionError, opened
from deployments.commands.versions import version_called
from deployments.commands.written import write_whole

if TYPE_CHECKING:
    from soilpipe.detect.base import Detector
    from soilpipe.detect.loose import LooseResult
    from soilpipe.store import Store

Dpi = Annotated[float | None, typer.Option(help="Resolution of images that say none; 1200 if left out.")]
Threshold = Annotated[float | None, typer.Option(min=0, max=1, help="For every taxon, instead of the detector's own.")]
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
    from soilpipe.detect.thresholds import in_words
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

    typer.echo(f"From score {in_words(chosen.info, threshold)} on.", err=True)
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
    from soilpipe.detect.select import load_named_detector

    plain = wanted in ("champion", "change")
    return load_named_detector(wanted if plain else version_called(store, "detector", wanted), store)


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
