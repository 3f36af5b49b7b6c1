"""How far labelling has come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from soilpipe.labels.records import newest_labels, read_draws
from soilpipe.labels.taken import newest_by_place, random_tiles_looked_at
from soilpipe.store import Store


@dataclass(frozen=True)
class DrawProgress:
    """Tiles of one draw, and how many of them somebody has looked at; `by` whom."""

    draw_id: str
    random: int
    random_looked_at: int
    suggested: int
    suggested_looked_at: int
    by: tuple[str, ...]


@dataclass(frozen=True)
class LabelProgress:
    """`taxa`: (name, boxes, tiles) of the newest label of each place, most first; `empty`: places with nothing in
    them; `random_places`: those of random tiles that somebody has looked at."""

    draws: tuple[DrawProgress, ...]
    taxa: tuple[tuple[str, int, int], ...]
    empty: int
    random_places: int


def progress_of(store: Store) -> LabelProgress:
    """What has been looked at in a store, and what was found."""
    draws = read_draws(store)
    labels = newest_labels(store)
    looked: dict[str, set[str]] = {}
    for tile_id, by in labels:
        looked.setdefault(tile_id, set()).add(by)
    told = []
    for draw in draws.values():
        seen = [tile for tile in draw.tiles if tile.tile_id in looked]
        told.append(
            DrawProgress(
                draw_id=draw.draw_id,
                random=sum(tile.how == "random" for tile in draw.tiles),
                random_looked_at=sum(tile.how == "random" for tile in seen),
                suggested=sum(tile.how == "suggested" for tile in draw.tiles),
                suggested_looked_at=sum(tile.how == "suggested" for tile in seen),
                by=tuple(sorted({by for tile in seen for by in looked[tile.tile_id]})),
            )
        )
    newest = [label for _, label in newest_by_place(store)]
    boxes = Counter("crowd" if box.crowd else box.name for label in newest for box in label.boxes)
    tiles = Counter(name for label in newest for name in {"crowd" if b.crowd else b.name for b in label.boxes})
    return LabelProgress(
        draws=tuple(told),
        taxa=tuple((name, count, tiles[name]) for name, count in sorted(boxes.items(), key=lambda i: (-i[1], i[0]))),
        empty=sum(not label.boxes for label in newest),
        random_places=random_tiles_looked_at(store),
    )
