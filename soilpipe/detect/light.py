"""The light of training crops: other lamps, sensors, soils and focus than those of the scans at hand.

Of a crop the picture and its difference are known, so the background is as well. One tone curve, one change of colour
and one focus are laid on both, as another scanner would see both. On top of that the scan and its background each get
tone, gain, offset and focus of their own, as scans of one scanner differ by day, and the scan gets noise; then the
difference is taken again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

DROPPED = 0.15  # share of crops without difference: first scans, and animals that rest
REFOCUSED = 0.4  # share of batches that are blurred or sharpened
FOGGED = 0.2  # share of batches in which the scan or its background alone is blurred
OWN_GAMMA, OWN_GAIN, OWN_OFFSET = 0.02, 0.015, 1.4  # sd of what a scan and its background each have of their own
GREY = (0.299, 0.587, 0.114)  # weights of R, G, B (ITU-R BT.601)

Lighting = Callable[[Tensor, np.random.Generator, float], None]
"""Changes the light of crops in place, as `change_light` does: crops, what to draw from, strength."""


def change_light(pixels: Tensor, rng: np.random.Generator, strength: float = 1.0) -> None:
    """Change (n, 7, h, w) float32 crops, 0..255, in place. What is drawn comes from `rng` alone.

    `strength`: 1 for scanners and soils never seen; less where training shows what is to come; 0 leaves the light.
    """
    count, device = len(pixels), pixels.device

    def drawn(values: np.ndarray) -> Tensor:
        """(n,) or (n, 3) to (n, 1 or 3, 1, 1) on the device."""
        return torch.from_numpy(values.astype(np.float32).reshape(len(values), -1)).to(device)[:, :, None, None]

    gamma = drawn(np.exp(rng.normal(0, 0.25 * strength, count)))
    gain = drawn(np.exp(rng.normal(0, 0.2 * strength, (count, 1))) * np.exp(rng.normal(0, 0.08 * strength, (count, 3))))
    offset = drawn(rng.normal(0, 8 * strength, (count, 1)) + rng.normal(0, 2 * strength, (count, 3)))
    colour = drawn(1 + strength * (rng.uniform(0.1, 1.5, count) - 1))
    grain = rng.uniform(0, 5 * strength, count) * (rng.random(count) < 0.5)
    noise = drawn(grain)
    contrast = drawn(np.exp(rng.normal(0, 0.15 * strength, count)))
    own_gamma = drawn(np.exp(rng.normal(0, OWN_GAMMA * strength, 2 * count)))
    own_gain = drawn(np.exp(rng.normal(0, OWN_GAIN * strength, (2 * count, 3))))
    own_offset = drawn(rng.normal(0, OWN_OFFSET * strength, (2 * count, 3)))
    dropped = drawn(rng.random(count) < DROPPED) > 0
    focus = strength * rng.uniform(-0.8, 0.8) if rng.random() < REFOCUSED else 0.0
    fog = strength * rng.uniform(0, 0.5) if rng.random() < FOGGED else 0.0
    fogged = int(rng.integers(2))  # which of the two is blurred alone: the scan, or its background
    start = int(rng.integers(_NOISE.numel()))
    own = torch.stack([own_gamma.expand(-1, 3, -1, -1), own_gain, own_offset]).view(3, 2, count, 3, 1, 1)
    at_once = count if device.type == "cuda" else 1  # on a CPU one crop after the other stays in its cache
    for one in range(0, count, at_once):
        some = slice(one, one + at_once)
        picture, difference, valid = pixels[some, :3], pixels[some, 3:6], pixels[some, 6:]
        seen = (valid > 254.5) & ~dropped[some]
        if bool(seen.any()):
            both = torch.stack([picture, picture - (difference - 128)]).clamp_(0, 255)  # the scan, then its background
        else:
            both = picture[None].clone()
        if focus:
            both += focus * (_smooth(both) - both)
        if fog and fogged < len(both):
            both[fogged] += fog * (_smooth(both[fogged]) - both[fogged])
        grey = (both * both.new_tensor(GREY)[:, None, None]).sum(dim=2, keepdim=True)
        both = torch.lerp(grey, both, colour[some]).clamp_(0, 255)
        its_gamma, its_gain, its_offset = own[:, : len(both), some]
        # x**g as exp(g log x): with an exponent for each crop pow_ takes fifteen times as long (0: log -inf, exp 0).
        both = both.div_(255).log_().mul_(gamma[some] * its_gamma).exp_()
        both = both.mul_(255 * gain[some] * its_gain).add_(offset[some] + its_offset)
        scan = both[0]
        if grain[some].any():
            scan += noise[some] * _noise(scan, start + one * scan[0].numel())
        if len(both) > 1:
            difference.copy_(torch.where(seen, ((scan - both[1]) * contrast[some] + 128).clamp_(1, 255), 128.0))
        else:
            difference.fill_(128.0)
        picture.copy_(scan.clamp_(0, 255))
        valid.copy_(seen * 255.0)


_NOISE = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))


def _noise(like: Tensor, start: int) -> Tensor:
    """Normal noise of the shape of `like`, read from a fixed pool: drawing it anew takes as long as a training step."""
    wanted, start = like.numel(), start % _NOISE.numel()
    pool = _NOISE
    if start + wanted > len(pool):
        pool, start = torch.cat([pool[start:], pool.repeat(wanted // len(pool) + 1)]), 0
    return pool[start : start + wanted].view(like.shape).to(like.device)


def _smooth(x: Tensor) -> Tensor:
    """A 3 x 3 binomial blur of each channel: by rows, then by columns, since small convolutions are slow on CPUs."""
    x = functional.pad(x.flatten(0, -4), (1, 1, 1, 1), mode="replicate").view(
        *x.shape[:-2], x.shape[-2] + 2, x.shape[-1] + 2
    )
    x = torch.add(x[..., :-2, :], x[..., 2:, :]).mul_(0.25).add_(x[..., 1:-1, :], alpha=0.5)
    return torch.add(x[..., :-2], x[..., 2:]).mul_(0.25).add_(x[..., 1:-1], alpha=0.5)
