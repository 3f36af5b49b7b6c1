"""Crops to vectors.

The vector of a crop: the spatial means of the features at strides 8, 16 and 32, each scaled to length 1, side by side,
and the whole scaled to length 1 again. The three levels count the same; the finest one knows texture and legs, the
deepest one the whole animal. Two crops are compared by the cosine of their vectors.

The means are plain ones, or weighted towards the middle of the crop, where the animal lies (`EMBEDDINGS`): which of the
two is the encoder's own, as its card tells.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soilpipe.detect.float32 import full_precision
from soilpipe.detect.network import CHANNELS, TOTAL_STRIDE, CentrePointNetwork
from soilpipe.detect.sizes import encoder_size_of
from soilpipe.encoder.trunk import widths_of

if TYPE_CHECKING:
    from soilpipe.encoder.close_look import CloseLook

log = logging.getLogger(__name__)

EMBEDDING, CENTRED = EMBEDDINGS = ("means-8-16-32", "centred-means-8-16-32")
"""Names how a vector is made of the features; stands on the card, so that another way is another encoder."""
MIDDLE = 0.25  # of a crop's side: standard deviation of the weights of centred means

CPU_BATCH, GPU_BATCH = 16, 256  # crops at once, for those of up to 256 px; of larger ones fewer, by their area
LARGE = 256


@dataclass(frozen=True)
class EncoderInfo:
    """What every vector is kept with.

    um_per_px: the scale it was trained at. size: one of `soilpipe.detect.sizes.SIZES`, None for widths of its own.
    dim: length of an animal's vector (`classify.embedding`), its close look included. uses_difference False: it never
    saw a difference, and is shown none.
    """

    name: str
    version: str
    um_per_px: float
    size: str | None
    dim: int
    uses_difference: bool = True


class Encoder:
    """A trunk with its card.

    `device`: where it computes; by default a GPU when there is one. Always in float32. On a CPU the vector of a crop is
    the same to the bit whatever it is computed together with; on a GPU it agrees with that within rounding.
    """

    def __init__(
        self,
        trunk: CentrePointNetwork,
        card: Mapping[str, Any],
        *,
        version: str = "unsaved",
        device: str | torch.device | None = None,
        close: CloseLook | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.card = dict(card)
        self._trunk = trunk
        self.close = None if close is None else close.to(self.device).eval()
        self._folded = trunk.folded().to(self.device)
        self._divided = 1  # of the size of a batch, for want of memory
        self.info = EncoderInfo(
            name=card["name"],
            version=version,
            um_per_px=float(card["um_per_px"]),
            size=encoder_size_of(trunk.architecture),
            dim=dim_of(trunk) + (0 if close is None else close.dim),
            uses_difference=bool(card.get("difference", True)),
        )

    @property
    def trunk_dim(self) -> int:
        """Length of the trunk's own vectors: of an animal's, what is not the close look's."""
        return dim_of(self._trunk)

    def embed(self, pixels: np.ndarray | Tensor) -> np.ndarray:
        """(n, 7, s, s) uint8, s a multiple of 32, to vectors of the trunk, (n, dim) float32, each of length 1.

        Memory does not grow with n beyond the answer: a mapped file may be given. Where the device has no room for a
        batch, the batches are halved from then on.
        """
        answer = np.empty((len(pixels), self.trunk_dim), np.float32)
        way = self.card.get("embedding", EMBEDDING)
        with torch.inference_mode(), exactly_alike():
            for start, part in self._parts(pixels, lambda batch, _: embedding_of(self._folded.levels(batch), way)):
                answer[start : start + len(part)] = part.cpu().numpy()
        return answer

    def look_closely(self, pixels: np.ndarray, told: np.ndarray) -> np.ndarray:
        """What `close_look.close_crops` cuts out to vectors of the close look, (n, dim) float32, each of length 1."""
        close = self.close
        if close is None:
            raise ValueError(f"the encoder {self.info.name} has no close look")
        answer = np.empty((len(pixels), close.dim), np.float32)

        def of(batch: Tensor, start: int) -> Tensor:
            beside = torch.zeros((len(batch), told.shape[1]), device=self.device)
            given = torch.from_numpy(told[start : start + len(batch)])
            beside[: len(given)] = given.to(self.device)
            found: Tensor = close(batch, beside)
            return found

        with torch.inference_mode(), exactly_alike():
            for start, part in self._parts(pixels, of):
                answer[start : start + len(part)] = part.cpu().numpy()
        return answer

    def dense(self, pixels: np.ndarray | Tensor) -> Tensor:
        """(n, 7, s, s) uint8 to the features at stride 32, (n, c, s/32, s/32) float32, on the encoder's device."""
        with torch.inference_mode(), exactly_alike():
            parts = [part.float() for _, part in self._parts(pixels, lambda batch, _: self._folded.levels(batch)[-1])]
        if parts:
            return torch.cat(parts)
        side = pixels.shape[-1] // TOTAL_STRIDE
        return torch.zeros((0, widths_of(self._trunk)[-1], side, side), device=self.device)

    def network(self) -> CentrePointNetwork:
        """A copy of the trunk to train on: not folded, on the CPU, in eval mode."""
        return copy.deepcopy(self._trunk).cpu().eval()

    def _parts(
        self, pixels: np.ndarray | Tensor, answer: Callable[[Tensor, int], Tensor]
    ) -> Iterator[tuple[int, Tensor]]:
        """Where each batch of crops begins, and what `answer`, told that too, says of it, crop by crop.

        All batches of crops of one size have one shape, the last one is filled up: what is computed for a crop then
        cannot depend on the others, since libraries choose their kernels by shape.
        """
        check_crops(pixels)
        side = max(pixels.shape[2:])
        most = GPU_BATCH if self.device.type == "cuda" else CPU_BATCH
        most = max(1, most * LARGE**2 // max(side, LARGE) ** 2)
        start = 0
        while start < len(pixels):
            size = max(1, most // self._divided)
            part = self._tried(pixels[start : start + size], size, start, answer)
            if part is None:
                self._make_room(size, side)
                continue
            yield start, part
            start += len(part)

    def _tried(
        self, given: np.ndarray | Tensor, size: int, start: int, answer: Callable[[Tensor, int], Tensor]
    ) -> Tensor | None:
        """The answer for one batch, which begins there; None where there was no memory for it, which is free again once
        this returned."""
        given = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given, order="C"))
        try:
            batch = torch.zeros((size, *given.shape[1:]), dtype=torch.uint8, device=self.device)
            batch[: len(given)] = given.to(self.device)
            if not self.info.uses_difference:
                drop_difference(batch)
            return answer(batch, start)[: len(given)]
        except torch.OutOfMemoryError:
            return None

    def _make_room(self, size: int, side: int) -> None:
        if size == 1:
            raise torch.OutOfMemoryError(
                f"the device has no memory for a single crop of {side} px. Free what others use of it, or use the CPU"
            )
        self._divided *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("the device has no memory for %d crops at once: embedding %d at a time", size, size // 2)


def dim_of(network: CentrePointNetwork) -> int:
    """Length of the vectors that a network's encoder gives."""
    return sum(widths_of(network)[1:])


def embedding_of(levels: list[Tensor], way: str = EMBEDDING) -> Tensor:
    """Features at strides 4, 8, 16 and 32, (n, c, h, w) each, to vectors (n, dim) float32 of length 1; `way` one of
    EMBEDDINGS."""
    mean = _centred_mean if way == CENTRED else _mean
    means = [functional.normalize(mean(level.float()), dim=1) for level in levels[1:]]
    return functional.normalize(torch.cat(means, dim=1), dim=1)


def _mean(features: Tensor) -> Tensor:
    return features.mean(dim=(2, 3))


def _centred_mean(features: Tensor) -> Tensor:
    """(n, c, h, w) to (n, c): a Gaussian round the middle weighs the cells."""
    weights = [_weights(side).to(features.device) for side in features.shape[2:]]
    return (features * (weights[0][:, None] * weights[1])).sum(dim=(2, 3))


def _weights(side: int) -> Tensor:
    """(side,) float32, together 1."""
    place = (torch.arange(side) + 0.5) / side - 0.5
    found = torch.exp(-(place**2) / (2 * MIDDLE**2))
    return found / found.sum()


def drop_difference(pixels: Tensor) -> None:
    """Make (n, 7, h, w) what a scan without references looks like, in place: no difference, valid nowhere."""
    pixels[:, 3:6] = 128
    pixels[:, 6] = 0


def check_crops(pixels: np.ndarray | Tensor) -> None:
    """ValueError for what is not (n, 7, s, s) uint8 with sides that are multiples of 32."""
    if pixels.ndim != 4 or pixels.shape[1] != CHANNELS or pixels.dtype not in (torch.uint8, np.uint8):
        raise ValueError(f"expected crops (n, {CHANNELS}, s, s) uint8, got {tuple(pixels.shape)} {pixels.dtype}")
    if any(side < TOTAL_STRIDE or side % TOTAL_STRIDE for side in pixels.shape[2:]):
        raise ValueError(f"crops of {tuple(pixels.shape[2:])} px: sides must be multiples of {TOTAL_STRIDE}")


@contextmanager
def exactly_alike() -> Iterator[None]:
    """Float32 means float32 within, on a GPU's convolutions too, and the same input gives the same bits."""
    cudnn = torch.backends.cudnn
    with full_precision(), cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
