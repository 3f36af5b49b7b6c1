"""The centre-point network: a heatmap of animals, their taxon, and the distances from the centre to the box's sides.

Method: "Objects as Points" (Zhou et al. 2019), but one heatmap for animals of all taxa and the taxon beside it: whether
something is an animal is learned from all of them, and an animal between two taxa is one peak. Boxes by distances to
the sides as in "Training-Time-Friendly Network" (Liu et al. 2020). A stride-2 stem, one residual block a level down to
stride 32, an additive top-down path back to stride 4, and two heads on that shared trunk: `fine` is used on the scan at
the model's um/px and finds short animals, `coarse` on the same scan at a quarter of that scale, where a long animal
fits the receptive field.

Pixels come as uint8 and are normalised in here, so that whoever calls cannot get it wrong.
"""

from __future__ import annotations

import copy
import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHANNELS = 7  # R, G, B, 128 + difference of each, valid
STRIDE = 4  # px per heatmap cell
TOTAL_STRIDE = 32  # px per cell of the deepest level: window origins and sizes are multiples of it
SMALLEST_INPUT = 384  # px: below it PyTorch takes other kernels for the deepest layers, whose last bits differ
ANSWERS = 5  # of a cell, before those for each taxon: animal or not, and four sides
PRIOR = 0.01  # what a fresh network answers everywhere: most cells hold no animal

Head = Literal["fine", "coarse"]
HEADS: tuple[Head, Head] = ("fine", "coarse")


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, and, where wanted, ReLU. `fold` makes one convolution of it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return functional.relu(x, inplace=True) if self.relu else x

    def fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class DownBlock(nn.Module):
    """A residual block that halves the resolution; the short cut averages 2 x 2, so that it drops no pixel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvUnit(inputs, outputs, 3, stride=2)
        self.second = ConvUnit(outputs, outputs, 3, relu=False)
        self.shortcut = ConvUnit(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        y += self.shortcut(functional.avg_pool2d(x, 2))
        return functional.relu(y, inplace=True)


class Answer(NamedTuple):
    """What the network says for each cell, float32.

    heat   (n, 1, h, w)     logits: is here the centre of an animal
    sides  (n, 4, h, w)     raw left, top, right, bottom; `decode.sides_px` makes px of them
    taxon  (n, taxa, h, w)  logits: of which taxon, if it is one
    """

    heat: Tensor
    sides: Tensor
    taxon: Tensor


class PredictionHead(nn.Module):
    """(n, pyramid, h, w) to an Answer."""

    def __init__(self, inputs: int, taxa: int) -> None:
        super().__init__()
        self.taxa = taxa
        self.trunk = ConvUnit(inputs, inputs, 3)
        self.out = nn.Conv2d(inputs, ANSWERS + taxa, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        bias = torch.zeros(ANSWERS + taxa)
        bias[0] = -math.log((1 - PRIOR) / PRIOR)
        self.out.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Answer:
        x = self.trunk(x)
        # The answer itself is float32 even under autocast: bf16 makes neighbouring peaks equal, and so doubles.
        with torch.autocast(x.device.type, enabled=False):
            y = self.out(x.float())
        return Answer(y[:, :1], y[:, 1:ANSWERS], y[:, ANSWERS:])


class CentrePointNetwork(nn.Module):
    """The trunk and its two heads, for `taxa` classes.

    forward(pixels, head): pixels (n, 7, H, W) uint8 with H and W multiples of 32, to an Answer of H/4 x W/4 cells.
    """

    def __init__(
        self, taxa: int, *, stem: int = 24, widths: tuple[int, int, int, int] = (32, 64, 128, 176), pyramid: int = 64
    ) -> None:
        super().__init__()
        if taxa < 1:
            raise ValueError(f"a detector needs at least one taxon, not {taxa}")
        self.taxa = taxa
        self.architecture = {"taxa": taxa, "stem": stem, "widths": list(widths), "pyramid": pyramid}
        self.stem = ConvUnit(CHANNELS, stem, 3, stride=2)
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in zip((stem, *widths[:-1]), widths, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths)
        self.smooth = nn.ModuleList(ConvUnit(pyramid, pyramid, 3) for _ in widths[1:-1])
        self.fine = PredictionHead(pyramid, taxa)
        self.coarse = PredictionHead(pyramid, taxa)

    def features(self, pixels: Tensor) -> Tensor:
        """(n, 7, H, W) uint8 to the shared features (n, pyramid, H/4, W/4)."""
        if pixels.dtype != torch.uint8 or pixels.shape[1] != CHANNELS:
            raise ValueError(f"expected (n, {CHANNELS}, H, W) uint8, got {tuple(pixels.shape)} {pixels.dtype}")
        if pixels.shape[2] % TOTAL_STRIDE or pixels.shape[3] % TOTAL_STRIDE:
            raise ValueError(f"{tuple(pixels.shape[2:])} px: height and width must be multiples of {TOTAL_STRIDE}")
        x = self.stem(normalise(pixels, self.stem.conv.weight.dtype))
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        x = self.lateral[-1](levels[-1])
        for level in range(len(levels) - 2, -1, -1):
            x = functional.interpolate(x, scale_factor=2, mode="nearest") + self.lateral[level](levels[level])
            if level:
                x = self.smooth[level - 1](x)
        return x

    def forward(self, pixels: Tensor, head: Head = "fine") -> Answer:
        answer: Answer = self.head(head)(self.features(pixels))
        return answer

    def head(self, name: Head) -> PredictionHead:
        """The head of that name."""
        return self.fine if name == "fine" else self.coarse

    def folded(self) -> CentrePointNetwork:
        """A copy for prediction: batch normalisation folded into the convolutions, channels last, no gradients."""
        network = copy.deepcopy(self).eval()
        for module in list(network.modules()):
            if isinstance(module, ConvUnit):
                module.fold()
        network.requires_grad_(False)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def parameter_count(self) -> int:
        """Trainable numbers in it."""
        return sum(parameter.numel() for parameter in self.parameters())


def normalise(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 to about -2..2, channels last; mid-grey and "no difference" become 0, with which the convolutions pad."""
    return pixels.to(dtype, memory_format=torch.channels_last).sub_(128).mul_(1 / 64)


def reach(cells: tuple[int, int]) -> tuple[int, int]:
    """The input rows (or columns) that heatmap cells `first..last` can see, as `first..last` px, both inclusive.

    Followed backwards through the network, layer by layer, as intervals: a 3 x 3 convolution widens by one on either
    side; one with stride 2 reads 2a-1..2b+1; doubling by nearest neighbour reads a//2..b//2. What the lateral and
    short-cut paths read lies within (2 x 2 averages read 2a..2b+1).
    """
    first, last = cells[0] - 1, cells[1] + 1  # the head's 3 x 3, on stride 4
    seen: list[tuple[int, int]] = []
    for level in range(4):  # strides 4, 8, 16, 32: what of each level's block the output reads
        if level:
            first, last = first // 2, last // 2
        if level in (1, 2):
            first, last = first - 1, last + 1  # smoothing
        a, b = first, last
        for _ in range(level + 1):  # down the blocks of this level and all above it
            a, b = a - 1, b + 1  # second convolution
            a, b = 2 * a - 1, 2 * b + 1  # first, stride 2
        seen.append((2 * a - 1, 2 * b + 1))  # the stem
    return min(a for a, _ in seen), max(b for _, b in seen)


def receptive_halo(extra_cells: int = 1) -> int:
    """Px of context, a multiple of the total stride, that a core on the grid of the total stride needs on every side.

    `extra_cells` heatmap cells around the core are exact as well: finding local maxima looks one cell further.
    """
    period = TOTAL_STRIDE // STRIDE
    first, last = reach((-extra_cells, period - 1 + extra_cells))
    return -(-max(-first, last - (TOTAL_STRIDE - 1)) // TOTAL_STRIDE) * TOTAL_STRIDE
