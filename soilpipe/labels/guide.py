"""The page that goes with an export: what to do, in the words of the tool at hand."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from soilpipe.labels.interchange import CROWD, LOOKED_AT, TileToLabel
from soilpipe.labels.records import Draw, Format

_COMMON = """# {count} tiles to label

Draw {draw_id}: {random} drawn at random, {suggested} suggested, tiles of {size}.

A tile is a window of one scan at full resolution. Beside it is its difference from the scans before, twice as strong:
what is grey has not changed, what is brighter or darker than it was stands out, and what has gone leaves its negative.
Roots grow and water moves too, and an animal that rests shows no difference at all, so decide by the scan. Where there
are no earlier scans to compare with, the difference is grey all over and says so. Dark scans are shown brighter, each
by one curve that lets no detail go (`--as-scanned` leaves them dark); detectors are trained on the scans themselves.

## What to mark

- One box around each animal, as tight as you can see it, antennae and legs included.
- Also animals cut by the edge of the tile: the part you see.
- The finest taxon you are sure of: `Collembola` is better than a wrong `Pseudosinella`, and an animal of no name is
  the first label of the list. A stage goes in brackets behind the name, `Diptera (larva)`: add such a label if you
  need one. What only looks like an animal may be marked as `root`, `hyphae` or `organic matter`: it counts as none.
- `{crowd}`: one box around animals too many or too blurred to tell apart. It counts neither way.
- Exuviae, and animals that are clearly dead, are a decision of your project: be the same throughout.

Boxes that are there already come from {sources}.
They are a start, not an answer: move them, rename them, delete them, and look for what they miss. Whoever begins with a
detector's boxes agrees with it more than whoever begins with none: for figures that you will publish, export the draw
with `--no-boxes`.

## Looked at

"Looked at, nothing there" and "not looked at yet" are different, and only you know which it is.
{looked_at}

## How

{how}
Pictures may be looked at in any brightness, but must keep their names and sizes: the name says which tile it is.
A colleague's labels of the same tiles are kept beside yours: each imports under an own name.

## What the random tiles are for

{design}

{estimator}
"""

_LOOKED_AT = {
    "cvat": """CVAT has no box for that, so the first label is a tag, `{mark}`: set it on **every** picture that you
have finished, also where nothing is. (In the tag panel, or with its shortcut, then on to the next picture.) A picture
without the tag is taken as not looked at, whatever boxes are on it.""",
    "coco": """COCO has no field for that, so there are two ways to say it, for **every** picture that you have
finished, also where nothing is: put one box of the category `{mark}` anywhere in the picture (it is not taken for an
animal), or set `"looked_at": true` in its entry under `images`, where your tool or a text editor can. A picture
without either is taken as not looked at, whatever boxes are on it.""",
    "label-studio": """**Submit** a task when you have finished it, also where nothing is: an empty annotation that was
submitted means "nothing there". A task that you skip, or leave as a draft, counts as not looked at.""",
}

_HOW = {
    "cvat": """1. New task; under Labels, "Raw", paste `labels.json`; upload `images.zip` as it is. The difference shows
   as the context image of each picture.
2. In the task's menu, "Upload annotations", format "CVAT 1.1", file `annotations.xml`.
3. When done: "Export task dataset", format "CVAT for images 1.1", without images; then

       soilpipe label import THE_FILE.zip --by "Your Name"

   If you have looked at every picture of the task and set no tags, `--all-looked-at` says so for all of them.
""",
    "coco": """1. Open `annotations.json` with the pictures in `images/`; the differences are in `difference/`, under
   the same names.
2. When done, export COCO JSON (detection); then

       soilpipe label import THE_FILE.json --by "Your Name"

   If you have looked at every picture in the file, `--all-looked-at` says so for all of them.
""",
    "label-studio": """1. Let Label Studio serve the pictures: start it with
   `LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true` and `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT` set to the folder in
   which this folder lies (its name, `{folder}`, stands in the tasks: keep it). In the project's settings, under
   Cloud Storage, add a source storage "Local files" with the path of this folder, and do not sync it: it only allows
   the pictures to be shown. (For pictures on a web server of your own, export again with `--prefix URL/`.)
2. Settings, Labeling Interface, Code: paste `interface.xml`. Import `tasks.json`. In Settings, Annotation, choose to
   show predictions, so that you begin with the boxes.
3. When done: Export, "JSON" (not JSON-MIN); then

       soilpipe label import THE_FILE.json

   Who and when is in the file; `--by "Your Name"` gives a name instead of the number or address that it has.
""",
}


def guide(format_: Format, draw: Draw, tiles: Sequence[TileToLabel], folder: str) -> str:
    """README.md of an export."""
    random = sum(tile.how == "random" for tile in tiles)
    sources = sorted({tile.boxes_from for tile in tiles if tile.boxes}) or ["nobody: there are none"]
    told = ", ".join(sources[:3]) + (f" and {len(sources) - 3} others" if len(sources) > 3 else "")
    return _COMMON.format(
        count=len(tiles),
        draw_id=draw.draw_id,
        random=random,
        suggested=len(tiles) - random,
        size=size_in_words(tiles),
        crowd=CROWD,
        sources=told,
        looked_at=_LOOKED_AT[format_].format(mark=LOOKED_AT),
        how=_HOW[format_].format(folder=folder),
        design=fill(draw.design, 120),
        estimator=fill(draw.estimator, 120),
    )


def size_in_words(tiles: Sequence[TileToLabel]) -> str:
    """ "at most 992 x 1003 px (21.0 x 21.2 mm at 1200 dpi)", one for each resolution there is."""
    told = []
    for dpi in sorted({tile.dpi for tile in tiles}, key=lambda dpi: dpi or 0.0):
        alike = [tile for tile in tiles if tile.dpi == dpi]
        width, height = max(tile.width for tile in alike), max(tile.height for tile in alike)
        mm = f"{25.4 * width / dpi:.1f} x {25.4 * height / dpi:.1f} mm at {dpi:g} dpi" if dpi else "resolution unknown"
        told.append(f"at most {width} x {height} px ({mm})")
    return "; ".join(told)
