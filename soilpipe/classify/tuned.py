"""Vectors of labelled crops by encoders that are tuned on some of them: each fold's without what the fold holds out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.embedding import SIDES, with_close
from soilpipe.classify.examples import Examples
from soilpipe.classify.tuning import Look, TrunkLook, Tuning, tune
from soilpipe.detect.ancestry import KEPT
from soilpipe.encoder.close_look import CloseLook
from soilpipe.encoder.encoder import CENTRED, EMBEDDING, Encoder
from soilpipe.encoder.weights import load_encoder, save_encoder

AT_ONCE = 256  # crops read at a time

Progress = Callable[[str, int, int, Mapping[str, float]], None]


class TunedVectors:
    """What `fit_classifier` asks for vectors where the encoder is tuned: calls tune a copy of its close look, or of its
    trunk where it has none, on the crops that are named, once for each choice of crops, and embed all.

    examples: with `rows` of their pixels.
    """

    def __init__(
        self,
        encoder: Encoder,
        examples: Examples,
        pixels: CropPixels,
        tuning: Tuning,
        progress: Progress | None = None,
    ) -> None:
        if examples.rows is None:
            raise ValueError("the pixels of these crops were not kept")
        self._encoder, self._examples, self._rows, self._pixels = encoder, examples, examples.rows, pixels
        self._tuning, self._progress = tuning, progress
        self._done: dict[bytes, tuple[Look, np.ndarray]] = {}
        self._begin: Look = encoder.close or TrunkLook(encoder.network())
        self._last = self._begin

    def __call__(self, learned: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """learned (n,) bool: crops to learn from, whose labels (n,) are >= 0 -> vectors of all crops, (n, d) float32,
        which are not to be changed."""
        key = np.packbits(learned).tobytes()
        if key not in self._done:
            part = len(self._done) + 1
            rows = np.flatnonzero(learned)

            def told(done: int, of: int, loss: float) -> None:
                if self._progress:
                    self._progress(f"tuning the encoder, part {part}", done, of, {"loss": loss})

            look = tune(
                self._begin,
                self._pixels,
                self._rows[rows],
                self._examples.sizes_mm[rows],
                labels[rows],
                self._tuning,
                difference=self._encoder.info.uses_difference,
                device=self._encoder.device,
                progress=told,
            )
            self._done[key] = look, self._embedded(look, self._examples)
        self._last, vectors = self._done[key]  # also of crops that were asked for before
        return vectors

    @property
    def last(self) -> Look:
        """What was tuned last: that of the classifier, on all crops that it is fitted on."""
        return self._last

    def embedded_as_last(self, examples: Examples) -> np.ndarray:
        """Vectors of any crops whose pixels are kept, (n, d) float32, by what was tuned last."""
        return self._embedded(self._last, examples)

    def _embedded(self, look: Look, examples: Examples) -> np.ndarray:
        assert examples.rows is not None
        rows, sides = examples.rows, self._pixels.sides(examples.rows)
        encoder = tuned_encoder(self._encoder, look)
        found = np.zeros((len(rows), look.dim), np.float32)
        for side in SIDES:
            some = np.flatnonzero(sides == side)
            for part in np.split(some, range(AT_ONCE, len(some), AT_ONCE)):
                if len(part):
                    pixels = self._pixels.read(rows[part], side)
                    close = encoder.close is not None
                    told = self._pixels.told(rows[part])
                    found[part] = encoder.look_closely(pixels, told) if close else encoder.embed(pixels)
        return found if encoder.close is None else with_close(examples.embeddings, found)


def tuned_encoder(encoder: Encoder, look: Look) -> Encoder:
    """The encoder with what was tuned of it."""
    if isinstance(look, CloseLook):
        return Encoder(encoder.network(), encoder.card, device=encoder.device, close=copy.deepcopy(look))
    return Encoder(look.trunk, {**encoder.card, "embedding": CENTRED}, device=encoder.device)


def save_tuned(
    folder: Path | str, encoder: Encoder, look: Look, tuning: Tuning, training: Mapping[str, Any]
) -> Encoder:
    """Write the encoder that was made of another by tuning; `training`: what of, as the classifier's card tells it.

    Its `ancestors` begin with these labels, so that they judge nothing that is begun from it.
    """
    info, tuned = encoder.info, tuned_encoder(encoder, look)
    kept = {key: training[key] for key in KEPT if key in training}
    card = {
        "name": info.name,
        "um_per_px": info.um_per_px,
        "difference": info.uses_difference,
        "validation": "none",
        "embedding": tuned.card.get("embedding", EMBEDDING),
        "begun_from": info.version,
        "tuned": {
            "steps": tuning.steps,
            "seed": tuning.seed,
            "scanners": training["scanners"],
            "crops": training["crops"],
        },
        "ancestors": [
            {"name": f"labelled crops of {training['labels']}", "version": None, "trained_on": kept, "served": {}},
            *(encoder.card.get("ancestors") or ()),
        ],
    }
    save_encoder(folder, tuned.network(), card, tuned.close)
    return load_encoder(folder, encoder.device)
