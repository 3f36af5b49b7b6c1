"""Two views of a crop, as another scan of the same animals might show it.

Geometry: a random part of the crop, enlarged or reduced to the side of a view, mirrored, turned by quarters and by a
few degrees. It is read in one go, with one bilinear interpolation. Both views hold one point of the crop in common: two
views of which one has the animal and the other only soil would teach the encoder to overlook it.

Light: brightness, contrast, saturation and hue, one linear map of the colours and therefore the same map of their
difference, as of a scan and its background under one lamp; and the contrast of the difference once more by itself. In
some views the difference is missing, as in a first scan.

What is left out on purpose, since animals of a few px live by detail and colour: Gaussian blur, greyscale and
solarisation (harmful for fine-grained pictures of nature, arXiv 2604.27538). Every pixel of the light's answer depends
on that pixel and the mean of the view alone. All channels of all crops of a batch are done at once, on the device that
holds them; what is drawn comes from one numpy generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soilpipe.pretrain.learning_recipe import PretrainRecipe

GREY = (0.299, 0.587, 0.114)  # weights of R, G, B (ITU-R BT.601)
CHROMA = ((0.596, -0.274, -0.322), (0.211, -0.523, 0.312))  # I and Q of YIQ (NTSC), in whose plane hue is an angle
ASPECT = (3 / 4, 4 / 3)  # of the part that a view shows, width to height
COMMON = (0.1, 0.9)  # of the side of a crop: where the point may lie that both views show
INNER = 0.8  # of a view's side: within that it lies
BITS = (3, 6)  # kept by posterising: from, and below


@dataclass(frozen=True)
class Views:
    """How each of n views is made of its crop.

    maps (n, 2, 3) float32: from the view's coordinates to the crop's, both -1..1, x y. colours (n, 3, 3) float32: of
    R, G, B and of their differences. offset (n,) float32: share of the view's mean grey that is added to R, G, B.
    contrast (n,) float32: of the difference, besides. dropped (n,) bool: without difference. bits (n,) int64: kept of a
    colour, 8: all.
    """

    maps: np.ndarray
    colours: np.ndarray
    offset: np.ndarray
    contrast: np.ndarray
    dropped: np.ndarray
    bits: np.ndarray


def draw_pair(count: int, recipe: PretrainRecipe, rng: np.random.Generator) -> Views:
    """Two views of each of `count` crops: first one of each, then the others, (2 count,) in all."""
    common = rng.uniform(*COMMON, (count, 2))  # x y of the point that both show, as a share of the crop
    parts = [_draw(common, recipe, rng) for _ in range(2)]
    joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Views)}
    return Views(**joined)


def _draw(common: np.ndarray, recipe: PretrainRecipe, rng: np.random.Generator) -> Views:
    count = len(common)

    def factor(strength: float) -> np.ndarray:
        return np.where(lit, rng.uniform(1 - strength, 1 + strength, count), 1.0)

    maps = _parts(common, recipe, rng)
    lit = rng.random(count) < recipe.light
    brightness, contrast = factor(recipe.brightness), factor(recipe.contrast)
    saturation = factor(recipe.saturation)
    hue = np.where(lit, rng.uniform(-recipe.hue, recipe.hue, count), 0.0)
    own = factor(recipe.contrast)
    bits = np.where(rng.random(count) < recipe.posterise, rng.integers(*BITS, count), 8)
    return Views(
        maps.astype(np.float32),
        (colour_maps(saturation, hue) * (brightness * contrast)[:, None, None]).astype(np.float32),
        (brightness * (1 - contrast)).astype(np.float32),
        own.astype(np.float32),
        rng.random(count) < recipe.without_difference,
        bits.astype(np.int64),
    )


def _parts(common: np.ndarray, recipe: PretrainRecipe, rng: np.random.Generator) -> np.ndarray:
    """(n, 2, 3): where the views lie. A part that is as wide as the crop lies in its middle."""
    count = len(common)
    area = rng.uniform(*recipe.area, count)
    aspect = np.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), count))
    size = np.sqrt(np.stack([area * aspect, area / aspect], axis=1)).clip(max=1.0)  # x y, as a share of the crop
    inner = (1 - INNER) / 2 * size  # the common point stays inside however the part is turned
    lowest, highest = np.maximum(common + inner - size, 0), np.minimum(common - inner, 1 - size)
    middle = lowest + (highest - lowest) * rng.random((count, 2)) + size / 2
    angle = np.radians(rng.uniform(-recipe.degrees, recipe.degrees, count) + 90 * rng.integers(0, 4, count))
    mirror = 1 - 2 * rng.integers(0, 2, count)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos * mirror, -sin], axis=1), np.stack([sin * mirror, cos], axis=1)], axis=1)
    return np.concatenate([size[:, :, None] * turn, (2 * middle - 1)[:, :, None]], axis=2)


def colour_maps(saturation: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """(n, 3, 3) of R, G, B that change saturation by a factor and hue by a share of a full turn; grey stays grey."""
    to_yiq = np.array([GREY, *CHROMA])
    cos, sin = np.cos(2 * np.pi * hue) * saturation, np.sin(2 * np.pi * hue) * saturation
    turned = np.zeros((len(hue), 3, 3))
    turned[:, 0, 0] = 1
    turned[:, 1, 1], turned[:, 1, 2] = cos, -sin
    turned[:, 2, 1], turned[:, 2, 2] = sin, cos
    return np.linalg.inv(to_yiq) @ turned @ to_yiq


def apply(pixels: Tensor, views: Views, side: int) -> Tensor:
    """(n, 7, s, s) uint8 to its views, (m, 7, side, side) uint8, on the same device; m is n or a multiple of it.

    Beyond the crop it is mirrored. The difference is valid where all that was read of it is.
    """
    repeats = len(views.dropped) // len(pixels)
    if not repeats or repeats * len(pixels) != len(views.dropped):
        raise ValueError(f"{len(views.dropped)} views of {len(pixels)} crops")
    shown = _read(pixels.repeat(repeats, 1, 1, 1) if repeats > 1 else pixels, views.maps, side)
    change_colours(shown, views)
    answer = shown.round_().to(torch.uint8)
    if (views.bits < 8).any():
        kept = torch.from_numpy(256 - (1 << (8 - views.bits))).to(pixels.device, torch.uint8)
        answer[:, :3] &= kept[:, None, None, None]
    return answer


def change_colours(shown: Tensor, views: Views) -> None:
    """The light of (n, 7, h, w) float32, 0..255, in place."""
    device = shown.device

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device, non_blocking=True)

    picture, difference = shown[:, :3], shown[:, 3:6]
    colours, dropped = on_device(views.colours), on_device(views.dropped)
    grey = (picture.mean(dim=(2, 3)) * picture.new_tensor(GREY)).sum(dim=1)
    offset = (on_device(views.offset) * grey)[:, None, None, None]
    unseen = (shown[:, 6:] < 254.5) | dropped[:, None, None, None]
    picture.copy_((torch.einsum("nij,njhw->nihw", colours, picture) + offset).clamp_(0, 255))
    own = on_device(views.contrast)[:, None, None]
    changed = torch.einsum("nij,njhw->nihw", colours * own, difference - 128).add_(128).clamp_(1, 255)
    difference.copy_(changed.masked_fill_(unseen, 128.0))
    shown[:, 6:] = torch.where(unseen, 0.0, 255.0)


def _read(pixels: Tensor, maps: np.ndarray, side: int) -> Tensor:
    """(n, 7, side, side) float32, read from the crops by their maps."""
    grid = functional.affine_grid(
        torch.from_numpy(maps).to(pixels.device, non_blocking=True), [len(pixels), 7, side, side], align_corners=False
    )
    return functional.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
