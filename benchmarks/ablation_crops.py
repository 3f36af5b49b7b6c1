"""Crops that are the same for all variants of `ablation.py`, each in a light that suits what stands in its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from soilpipe.detect.crops import faint_of
from soilpipe.detect.dataset import Sample
from soilpipe.detect.light import Lighting, change_light
from soilpipe.detect.network import Head

PACE = 0.25  # sd of log: how much stronger motion becomes; as a lamp's gain and a difference's contrast have together


def drawn_alike(samples: Sequence[Sample], differences: Sequence[Sample]) -> list[Sample]:
    """The samples of one variant, drawn from as those of `difference`, which are of the same images in the same order.

    Which animals are drawn more often is told by the difference. By its own channels each variant would tell something
    else, `rgb` and `mie` that all are as faint, and learn from other crops.
    """
    if [sample.image.file_name for sample in samples] != [sample.image.file_name for sample in differences]:
        raise ValueError("the samples of two variants are not of the same images")
    alike = []
    for sample, shown in zip(samples, differences, strict=True):
        faint: dict[Head, np.ndarray] = {
            head: faint_of(torch.from_numpy(whole.pixels), shown.image.boxes / np.float32(whole.factor))
            for head, whole in shown.passes.items()
        }
        alike.append(replace(sample, faint=faint))
    return alike


def lighting_of(variant: str) -> Lighting:
    """What changes the light of a variant's crops."""
    return change_enhanced_light if variant == "mie" else change_light


def change_enhanced_light(pixels: torch.Tensor, rng: np.random.Generator, strength: float) -> None:
    """As `change_light`, for crops of motion-informed enhancement, (n, 7, h, w) float32: R is motion, no colour.

    Where nothing moved, motion stays 0 whatever the light; where something did, it becomes stronger or weaker as a
    difference does. It is empty in the crops that come without a difference in other variants, as it is in a scan
    without its neighbours. As much is drawn from `rng` as by `change_light`, so the crops that follow are the same.
    """
    motion = pixels[:, 0].clone()
    aside = np.random.Generator(rng.bit_generator.jumped())  # type: ignore[attr-defined]
    pace = torch.from_numpy(np.exp(aside.normal(0, PACE * strength, len(pixels))).astype(np.float32))
    pixels[:, 0] = pixels[:, 2]  # B is the mean of red and blue: with it for both, grey is what it was
    pixels[:, 3:6], pixels[:, 6] = 128, 255  # a difference everywhere, so that is told where it is taken away
    change_light(pixels, rng, strength)
    kept = pixels[:, 6] > 0
    pixels[:, 0] = (motion * pace.to(pixels.device)[:, None, None]).clamp_(0, 255) * kept
    pixels[:, 3:6], pixels[:, 6] = 128, 0
