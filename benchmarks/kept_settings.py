"""What a folder keeps from an earlier run: used again where it was made with the same settings, refused elsewhere.

A benchmark that trains or simulates for hours takes up what lies in its folder. Figures printed beside settings that
did not make them are worse than none: so whoever asks for other ones is told which, and gives another folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect.base import evens_contrast
from soilpipe.detect.coco import LabelSet
from soilpipe.detect.model_files import CARD
from soilpipe.detect.pictures import um_per_px_of
from soilpipe.detect.recipe import Recipe
from soilpipe.detect.sizes import encoder_size_of
from soilpipe.detect.weights import read_card

SETTINGS = "settings.json"


def check_seasons(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Keep the settings of simulated seasons beside them, or stop where seasons of other ones lie there.

    What a folder with seasons does not tell of its settings is of an earlier release, and taken for the defaults. How
    many seasons there are is no setting: more may be added.
    """
    path = folder / SETTINGS
    if any(folder.glob("*/truth.json")):
        kept = {**defaults, **(json.loads(path.read_text()) if path.exists() else {})}
        if told := differing(kept, settings):
            raise SystemExit(f"The seasons in {folder} were simulated with {told}. Give the same, or another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(settings), indent=1) + "\n")


def kept_card(
    folder: Path, recipe: Recipe, *, labels_taken: str, um_per_px: float, size: str, even: bool = False
) -> dict[str, Any] | None:
    """The card of a detector that was trained in a folder, or None; stops where it was trained otherwise than asked."""
    if not (folder / CARD).exists():
        return None
    card, _ = read_card(folder)
    asked = {
        **asdict(recipe),
        "ema": recipe.decay,
        "size": size,
        "um_per_px": um_per_px,
        "even_contrast": even,
        "labels_taken": labels_taken,
    }
    kept = {
        **asdict(Recipe()),  # what cards of earlier releases do not tell was not there, or as a plain recipe has it
        **card["recipe"],
        "size": encoder_size_of(card["architecture"]),
        "um_per_px": card["um_per_px"],
        "even_contrast": evens_contrast(card),
        "labels_taken": card.get("labels_taken", labels_taken),
    }
    told = differing(kept, asked)
    if told:
        raise SystemExit(f"The detector in {folder} was trained with {told}. Give the same, or another --folder")
    return card


def um_per_px_at(labels: LabelSet, scale: float) -> float:
    """The um per px at which a training with that scale reads these labels' images, as it rounds it."""
    return round(float(np.median([um_per_px_of(image, None) for image in labels.labelled])) / scale, 3)


def differing(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Which settings are asked for otherwise than kept, in words; empty where none is."""
    return ", ".join(
        f"{name} {kept.get(name)} (now {value})" for name, value in asked.items() if kept.get(name) != value
    )
