"""`soilpipe init`, `simulate` and `demo`: ways to begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from deployments.commands.options import DEFAULT_PROJECT, OptionError, ProjectFile
from deployments.commands.shown import print_json
from deployments.commands.written import cannot_write, write_whole

Force = Annotated[bool, typer.Option("--force", help="Write over a project file that is there.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the seasons go, a folder each.")]
Seasons = Annotated[int, typer.Option(min=1, help="How many seasons, each another scanner.")]
Generator = Annotated[
    Literal["loam", "varied", "peat"],
    typer.Option(help="loam is for training, varied too (another soil in each season), peat for testing only."),
]
Scans = Annotated[int, typer.Option(min=1, help="Scans a season, six hours apart.")]
Size = Annotated[int, typer.Option(min=64, help="Side of the square scans, px.")]
Dpi = Annotated[float, typer.Option(help="Resolution; animals are drawn at it.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
Density = Annotated[
    float | None, typer.Option(min=0, metavar="N", help="Animals per 100 cm²; as in the real campaign if left out.")
]
Format = Annotated[Literal["jpg", "png", "tiff", "jp2"], typer.Option("--format", "-f", help="File format.")]
Begin = Annotated[datetime, typer.Option(help="Time of the first scan, UTC.", formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d"])]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
Folder = Annotated[Path, typer.Option(metavar="DIR", help="Where the demo lives; one that is there is made anew.")]


def init(project: ProjectFile = DEFAULT_PROJECT, force: Force = False) -> None:
    """Write a commented project file to begin from."""
    from soilpipe.config import TEMPLATE

    if project.exists() and not force:
        raise OptionError(f"{project} exists. Choose another name with --project, or write over it with --force.")
    write_whole(project, TEMPLATE.encode())
    typer.echo(f"Wrote {project}. Set your scanners in it, one block each; then `soilpipe run`, or `soilpipe serve`.")


def simulate(
    output: Output,
    seasons: Seasons = 1,
    generator: Generator = "loam",
    scans: Scans = 8,
    size: Size = 1400,
    dpi: Dpi = 1200.0,
    seed: Seed = 0,
    density: Density = None,
    format_: Format = "jpg",
    begin: Begin = datetime(2024, 3, 6),  # noqa: DTZ001 (typer parses it without a zone)
    as_json: AsJson = False,
) -> None:
    """Write simulated seasons with known truth: scans, truth.json, counts.csv, and labels.json (COCO) over all."""
    from rich.console import Console
    from rich.progress import Progress

    from soilpipe.simulate import SeasonSpec, join_truths, write_season

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(output, error) from error
    first = begin.replace(tzinfo=UTC)
    times = tuple(first + number * timedelta(hours=6) for number in range(scans))
    written: list[Path] = []
    with Progress(console=Console(stderr=True), disable=as_json) as progress:
        bar = progress.add_task("scans", total=seasons * scans)
        for number in range(seasons):
            scanner_id = f"{generator}_{seed + number:03d}"
            spec = SeasonSpec(
                scanner_id=scanner_id,
                generator=generator,
                seed=seed + number,
                times=times,
                height_px=size,
                width_px=size,
                dpi=dpi,
                animals_per_100cm2=density,
            )
            written.append(
                write_season(
                    spec, output / scanner_id, extension=format_, progress=lambda done, of: progress.advance(bar)
                )
            )
    labels = join_truths(output, [path.parent.name for path in written])
    if as_json:
        print_json({"truth": written, "labels": labels})
    else:
        typer.echo(
            f"{seasons} season{'s' if seasons != 1 else ''} of {scans} scans in {output}; the truth of each is in its"
            " truth.json, that of all in"
            f" {labels}."
        )


def demo(folder: Folder = Path("demo")) -> None:
    """Three simulated scanners through the real pipeline, the counts beside the truth. Takes under three minutes."""
    from deployments.demo import run_demo

    run_demo(folder)
