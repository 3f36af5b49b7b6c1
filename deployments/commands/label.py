"""`soilpipe label`: what to look at next, out to a labelling tool and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.commands.options import (
    DEFAULT_PROJECT,
    AsJson,
    OptionError,
    ProjectFile,
    Scanners,
    chosen,
    opened,
)
from deployments.commands.shown import print_json, print_table

if TYPE_CHECKING:
    from soilpipe.labels.records import Draw
    from soilpipe.random_tiles import RandomTiles
    from soilpipe.store import Store

label = typer.Typer(no_args_is_help=True, help="What to label next, out to a labelling tool and back.")

Tiles = Annotated[int, typer.Option(help="How many; half of them at random, half suggested.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed, other tiles; the same one, the same tiles.")]
Size = Annotated[int, typer.Option(metavar="PX", help="The greatest side of a tile, px of the scan.")]
ToolFormat = Annotated[Literal["coco", "cvat", "label-studio"], typer.Option("--format", "-f", help="For which tool.")]
AnyFormat = Annotated[
    Literal["coco", "cvat", "label-studio"] | None,
    typer.Option("--format", "-f", help="Told from the file if left out."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")]
WhichDraw = Annotated[
    str | None, typer.Option("--draw", metavar="ID", help="First digits of a draw's id; needed when there are several.")
]
NoBoxes = Annotated[
    bool, typer.Option("--no-boxes", help="Without boxes to begin with, so that nobody is led by them.")
]
OpenOnly = Annotated[bool, typer.Option("--open", help="Only tiles that nobody has looked at.")]
AsScanned = Annotated[bool, typer.Option("--as-scanned", help="Leave dark scans as dark as they are.")]
Prefix = Annotated[str | None, typer.Option(metavar="URL", help="Label Studio: where the folder is served.")]
LabelsFile = Annotated[Path, typer.Argument(metavar="FILE", help="What the tool wrote: JSON, XML or an archive.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who labelled, where the file does not say it.")]
AllLookedAt = Annotated[
    bool, typer.Option("--all-looked-at", help="Somebody has looked at every tile of the file, also where nothing is.")
]


@label.command()
def draw(
    project: ProjectFile = DEFAULT_PROJECT,
    tiles: Tiles = 200,
    scanner: Scanners = None,
    seed: Seed = 0,
    size: Size = 1024,
    as_json: AsJson = False,
) -> None:
    """Draw tiles to label: half at random, for figures that count, half where the detector would learn most."""
    loaded, store = opened(project)
    from soilpipe.labels.draw import draw_tiles

    made, new = draw_tiles(
        loaded, store, tiles=tiles, scanners=chosen(loaded, scanner) if scanner else None, seed=seed, tile_px=size
    )
    if as_json:
        print_json({"draw": made, "new": new})
        return
    random = sum(tile.how == "random" for tile in made.tiles)
    told = "" if new else " It was there already: for other tiles, add another --seed."
    typer.echo(f"Draw {made.draw_id}: {random} random tiles, {len(made.tiles) - random} suggested.{told}")
    for reason, count in Counter(tile.reason for tile in made.tiles if tile.reason).most_common(8):
        typer.echo(f"    {count} x {reason}")
    for note in made.notes:
        typer.echo(f"    Note: {note}.")
    typer.echo(f"`soilpipe label export --draw {made.draw_id[:8]} --format cvat` writes them for a labelling tool.")


@label.command()
def export(
    project: ProjectFile = DEFAULT_PROJECT,
    format_: ToolFormat = "cvat",
    which: WhichDraw = None,
    output: Output = None,
    no_boxes: NoBoxes = False,
    open_only: OpenOnly = False,
    as_scanned: AsScanned = False,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Write a draw's tiles into a folder: pictures, the file for the labelling tool, and a README that says how."""
    loaded, store = opened(project)
    from rich.console import Console
    from rich.progress import Progress

    from soilpipe.labels.bundle import export_draw
    from soilpipe.labels.guide import size_in_words

    made = _draw(store, which)
    folder = output or Path(f"labels-{made.draw_id[:8]}-{format_}")
    with Progress(console=Console(stderr=True), disable=as_json) as progress:
        bar = progress.add_task("tiles", total=None)
        tiles = export_draw(
            loaded,
            store,
            made,
            folder,
            format_,
            boxes=not no_boxes,
            open_only=open_only,
            as_scanned=as_scanned,
            prefix=prefix,
            progress=lambda done, of: progress.update(bar, completed=done, total=of),
        )
    boxes = sum(len(tile.boxes) for tile in tiles)
    if as_json:
        print_json({"folder": folder, "draw": made.draw_id, "tiles": len(tiles), "boxes": boxes})
        return
    typer.echo(f"{folder}: {len(tiles)} tiles of {size_in_words(tiles)}, with {boxes} boxes to begin with.")
    typer.echo(f"Read {folder / 'README.md'} next.")


@label.command("import")
def import_(
    file: LabelsFile,
    project: ProjectFile = DEFAULT_PROJECT,
    format_: AnyFormat = None,
    by: By = None,
    all_looked_at: AllLookedAt = False,
    as_json: AsJson = False,
) -> None:
    """Take back what people marked. Everything is checked first; a file with an error changes nothing."""
    loaded, store = opened(project)
    from soilpipe.labels.taking import take_labels

    now = datetime.now(UTC).replace(microsecond=0)
    taken = take_labels(loaded, store, file, now, format_=format_, by=by, all_looked_at=all_looked_at)
    if as_json:
        print_json(taken)
        return
    who = f" by {', '.join(taken.by)}" if taken.by else ""
    typer.echo(f"{taken.taken} tiles taken{who}: {taken.boxes} boxes; in {taken.empty} of them is nothing.")
    if taken.unchanged:
        typer.echo(f"{taken.unchanged} tiles say what they said before.")
    if taken.older:
        typer.echo(
            f"{taken.older} tiles left out: the same person has labelled them later than this file says, or than it "
            "was first imported."
        )
    if taken.not_looked_at:
        typer.echo(f"{taken.not_looked_at} tiles left out: nobody says to have looked at them.")
    if taken.with_boxes:
        typer.echo(
            f"{taken.with_boxes} of these hold boxes. If you have looked at every tile of the file, import it again"
            " with --all-looked-at."
        )


@label.command()
def status(project: ProjectFile = DEFAULT_PROJECT, as_json: AsJson = False) -> None:
    """How many tiles of each draw have been looked at, by whom, what was found, and what figures need."""
    loaded, store = opened(project)
    from soilpipe.decisions import champion
    from soilpipe.detect.select import CHANGE, detector_in_use
    from soilpipe.labels.progress import progress_of
    from soilpipe.models import card_of
    from soilpipe.random_tiles import random_tiles

    told = progress_of(store)
    used = detector_in_use(loaded, store)
    card = {"name": CHANGE} if used == CHANGE else card_of(store, "detector", used)
    random = random_tiles(loaded, store, card)
    if as_json:
        reigns = card_of(store, "detector", champion(store))["name"]
        print_json({**asdict(told), "champion": reigns, "detector": card["name"], "random_tiles": random})
        return
    if not told.draws:
        typer.echo("No tiles have been drawn yet: `soilpipe label draw`.")
        return
    rows: list[tuple[Any, ...]] = [
        (one.draw_id[:8], one.random, one.random_looked_at, one.suggested, one.suggested_looked_at, ", ".join(one.by))
        for one in told.draws
    ]
    print_table("Draws", ("draw", "random", "looked at", "suggested", "looked at", "by"), rows)
    if told.taxa:
        print_table("Labels, the newest of each tile", ("taxon", "boxes", "tiles"), told.taxa)
    typer.echo(f"{told.empty} tiles were looked at and have nothing in them.")
    for line in _what_figures_need(random, card["name"]):
        typer.echo(line)


def _what_figures_need(random: RandomTiles, detector: str) -> Iterator[str]:
    """For how many tiles a judgement counts, of the detector in use and of one that is trained on these labels."""
    from soilpipe.evaluations import ENOUGH_TILES, NEIGHBOURING_HOURS

    yield (
        f"Random tiles looked at: {random.looked_at}, of them {random.hold_out} in the hold-out, which no detector is "
        "trained on."
    )
    familiar = random.looked_at - random.fit
    words = f"For {detector}, the detector in use, {random.fit} of them count"
    if familiar:
        words += (
            f" ({familiar} show what it, or one that it began from, was trained on, or are within {NEIGHBOURING_HOURS} "
            "h of that)"
        )
    since = f" of scans taken after {random.unfamiliar_from:%Y-%m-%d}" if random.unfamiliar_from and familiar else ""
    yield f"{words}. " + (
        "Its counts are marked `local` from `soilpipe evaluate detector` on."
        if random.fit >= ENOUGH_TILES
        else f"Its counts can be marked `local` from {ENOUGH_TILES} on: {ENOUGH_TILES - random.fit} are missing{since}."
    )
    lacking = ENOUGH_TILES - random.hold_out
    yield "One that you train on these labels is judged on the hold-out" + (
        "."
        if lacking <= 0
        else f": {lacking} more random tiles there are needed for a promotion. Labels of later scans add to it, about "
        "a fifth of them, and from three scanners on one is held out whole. For `local`, random tiles that you label "
        f"after its training, of scans more than {NEIGHBOURING_HOURS} h from what it was trained on, count too."
    )


def _draw(store: Store, which: str | None) -> Draw:
    """The draw that is meant; the only one when none is named."""
    from soilpipe.labels.records import read_draws

    draws = list(read_draws(store).values())
    found = [one for one in draws if one.draw_id.startswith(which or "")]
    if len(found) == 1:
        return found[0]
    if not draws:
        raise OptionError("No tiles have been drawn yet: `soilpipe label draw` first.")
    there = ", ".join(one.draw_id[:8] for one in draws)
    raise OptionError(f"--draw {which or 'is missing'}: the store has the draws {there}. Name one of them.")
