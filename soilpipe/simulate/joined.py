"""Several seasons as one set of labels, so that a detector can be trained or judged on all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soilpipe.simulate.spec import SimulationError

LABELS = "labels.json"


def join_truths(folder: Path | str, seasons: Sequence[str]) -> Path:
    """Write `folder`/labels.json (COCO) over the truth.json of each of `seasons`, which are folders below it.

    File names are relative to `folder`; ids are numbered anew, in the order given. Returns its path. SimulationError
    when a season has no truth (it is unfinished), or was made with other categories.
    """
    folder = Path(folder)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: list[Any] = []
    generators: set[str] = set()
    for season in seasons:
        truth = _read(folder / season / "truth.json")
        if categories and truth["categories"] != categories:
            raise SimulationError(f"{folder / season}: its taxa are not those of {seasons[0]}. Simulate both anew.")
        categories = truth["categories"]
        generators.add(str(truth["info"]["generator"]))
        new_id = {image["id"]: len(images) + index for index, image in enumerate(truth["images"], start=1)}
        images += [
            {**image, "id": new_id[image["id"]], "file_name": f"{season}/{image['file_name']}"}
            for image in truth["images"]
        ]
        annotations += [
            {**annotation, "id": len(annotations) + index, "image_id": new_id[annotation["image_id"]]}
            for index, annotation in enumerate(truth["annotations"], start=1)
        ]
    joined = {
        "info": {"generator": "+".join(sorted(generators)), "simulated": True},
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    path = folder / LABELS
    path.write_text(json.dumps(joined, indent=1, sort_keys=True) + "\n")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise SimulationError(
            f"{path.parent} holds no truth.json: that season is unfinished. Simulate it anew."
        ) from None
