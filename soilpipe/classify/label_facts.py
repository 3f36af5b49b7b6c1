"""What a label file says of its images beyond what detectors need: whose scan it is, and how it was chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImageFacts:
    """scan: its id, or the file's name. as_it_comes: not chosen for what is in it."""

    scan: str
    as_it_comes: bool


def image_facts(labels: Path | str) -> Mapping[str, ImageFacts]:
    """For each file name of a COCO file that `read_labels` has read.

    A tile that was suggested (`how: suggested`, as `soilpipe label` writes it) was chosen for what is in it, and says
    nothing of how frequent a taxon is; one that was drawn at random does, and so does an image that says nothing.
    """
    data = json.loads(Path(labels).read_text(encoding="utf-8"))
    return {
        str(entry.get("file_name")): ImageFacts(
            scan=str(entry.get("scan_id") or entry.get("file_name")),
            as_it_comes=entry.get("how", "random") == "random",
        )
        for entry in data["images"]
    }
