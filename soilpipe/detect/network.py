"""The centre-point network: a heatmap of animals, their taxon, and the distances from the centre to the box's sides.

Method: "Objects as Points" (Zhou et al. 2019), but one heatmap for animals of all taxa and the taxon beside it: whether
something is an animal is learned from all of them, and an animal between two taxa is one peak. Boxes by distances to
the sides as in "Training-Time-Friendly Network" (Liu et al. 2020). A stride-2 stem, one residual block a level down to
stride 32, an additive top-down path back to stride 4, and two heads on that shared trunk: `fine` is used on the scan at
the model's um/px and finds short animals (at half that scale somewhat longer ones, `soilpipe.detect.passes`), `coarse`
on the same scan at a quarter of that scale, where a long animal fits the receptive field.

Pixels come as uint8 and are normalised in here, so that whoever calls cannot get it wrong.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from soilpipe.detect.bf16 import cpu_multiplies_bf16, round_convolutions
from soilpipe.detect.receptive_field import Ladder, halo_of, reach

CHANNELS = 7  # R, G, B, 128 + difference of each, valid
STRIDE = 4  # px per heatmap cell
TOTAL_STRIDE = 32  # px per cell of the deepest level: window origins and sizes are multiples of it
SMALLEST_INPUT = 384  # px: no window is smaller, whatever the network; part of what an analysis rests on
KERNEL_FROM = (
    20_480  # values in: for one picture with fewer, PyTorch takes another kernel for a 3 x 3, with other last bits
)
SCALE = 1 / 64  # of the bytes that go in, once 128 is taken away
FUSED: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if torch.backends.mkldnn.is_available() else None
ANSWERS = 5  # of a cell, before those for each taxon: animal or not, and four sides
PRIOR = 0.01  # what a fresh network answers everywhere: most cells hold no animal

Head = Literal["fine", "coarse"]
HEADS: tuple[Head, Head] = ("fine", "coarse")
Widths = tuple[int, int, int, int]


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, and, where wanted, ReLU. `fold` makes one convolution of it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        if self.relu and isinstance(self.norm, nn.Identity) and one_kernel_does(x):
            return convolve_and_clip(self.conv, x)
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
    An encoder of another kind replaces `make_encoder`, `finest` and `deeper` (`soilpipe.detect.resnet`).

    architecture: JSON-able, all that is needed to build it again. ladder: what decides how far it sees.
    second: the second stage that judges what this one finds, where there is one (`soilpipe.detect.second_stage`).
    smallest_input: px; windows of this side or larger give the same bits on a CPU wherever they are cut.
    """

    ladder = Ladder(stem=((3, 2),), levels=(((3, 2), (3, 1)),) * 4)

    def __init__(self, taxa: int, *, stem: int = 24, widths: Widths = (32, 64, 128, 176), pyramid: int = 64) -> None:
        super().__init__()
        if taxa < 1:
            raise ValueError(f"a detector needs at least one taxon, not {taxa}")
        self.taxa = taxa
        self.architecture: dict[str, Any] = {"taxa": taxa, "stem": stem, "widths": list(widths), "pyramid": pyramid}
        self.make_encoder(stem, widths)
        self.smallest_input = smallest_input((stem, *self.inner_widths(widths)), pyramid)
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths)
        self.smooth = nn.ModuleList(ConvUnit(pyramid, pyramid, 3) for _ in widths[1:-1])
        self.fine = PredictionHead(pyramid, taxa)
        self.coarse = PredictionHead(pyramid, taxa)
        self.second: nn.Module | None = None

    def take_second(self, second: nn.Module | None) -> None:
        """Have this second stage from now on, or none; it goes with the weights and into the architecture."""
        self.second = second
        self.architecture.pop("second", None)
        if second is not None:
            self.architecture["second"] = second.architecture

    def make_encoder(self, stem: int, widths: Widths) -> None:
        """Add the layers from pixels down to stride 32; `widths` are the channels at strides 4, 8, 16 and 32."""
        self.stem = ConvUnit(CHANNELS, stem, 3, stride=2)
        self.scale_in_weights = False
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in zip((stem, *widths[:-1]), widths, strict=True))

    def inner_widths(self, widths: Widths) -> Widths:
        """Channels that the 3 x 3 convolutions of the encoder read at strides 4, 8, 16 and 32."""
        return widths

    def finest(self, pixels: Tensor) -> Tensor:
        """(n, 7, H, W) uint8 to the encoder's features at stride 4."""
        kind = pixels.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.stem.conv.weight.dtype
        x = centred(pixels, dtype) if self.scale_in_weights else normalise(pixels, dtype)
        features: Tensor = self.down[0](self.stem(x))
        return features

    def deeper(self, finest: Tensor) -> list[Tensor]:
        """The encoder's features at stride 4 to those at strides 8, 16 and 32."""
        x, levels = finest, []
        for level in (1, 2, 3):
            x = self.deepen(level, x)
            levels.append(x)
        return levels

    def deepen(self, level: int, features: Tensor) -> Tensor:
        """The encoder's features of the level before to those of level 1, 2 or 3 (strides 8, 16, 32)."""
        deeper: Tensor = self.down[level](features)
        return deeper

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """(n, 7, H, W) uint8 to the encoder's features at strides 4, 8, 16 and 32."""
        finest = self.finest(pixels)
        return [finest, *self.deeper(finest)]

    def top_down(self, deeper: list[Tensor]) -> Tensor:
        """The encoder's features at strides 8, 16 and 32 to shared ones (n, pyramid, H/8, W/8)."""
        x = self.lateral[-1](deeper[-1])
        for level in range(len(deeper) - 1, 0, -1):
            x = self.smooth[level - 1](add_doubled(self.lateral[level](deeper[level - 1]), x))
        return x

    def join_finest(self, finest: Tensor, shared: Tensor) -> Tensor:
        """The encoder's features at stride 4 and the shared ones at stride 8 to the shared features at stride 4."""
        return add_doubled(self.lateral[0](finest), shared)

    def features(self, pixels: Tensor) -> Tensor:
        """(n, 7, H, W) uint8 to the shared features (n, pyramid, H/4, W/4)."""
        check_pixels(pixels)
        finest, *deeper = self.levels(pixels)
        return self.join_finest(finest, self.top_down(deeper))

    def forward(self, pixels: Tensor, head: Head = "fine") -> Answer:
        answer: Answer = self.head(head)(self.features(pixels))
        return answer

    def head(self, name: Head) -> PredictionHead:
        """The head of that name."""
        return self.fine if name == "fine" else self.coarse

    def folded(self) -> CentrePointNetwork:
        """A copy for prediction: batch normalisation folded into the convolutions, channels last, no gradients."""
        network = copy.deepcopy(self).eval()
        network.fold()
        network.requires_grad_(False)
        network.take_scale()
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def take_scale(self) -> None:
        """The first convolution divides by 64 in place of `normalise`: a power of two, so the bits are the same."""
        self.stem.conv.weight.mul_(SCALE)
        self.scale_in_weights = True

    def in_bf16(self) -> CentrePointNetwork:
        """A copy of a folded network whose trunk computes in bfloat16; what answers for the cells stays float32, and
        so does the second stage."""
        network = copy.deepcopy(self).to(torch.bfloat16)
        round_convolutions(network)
        network.fine.out, network.coarse.out = copy.deepcopy((self.fine.out, self.coarse.out))
        network.second = copy.deepcopy(self.second)
        return network

    def fold(self) -> None:
        """Make one convolution of each convolution and its batch normalisation; for a network in eval mode."""
        for module in list(self.modules()):
            if isinstance(module, ConvUnit):
                module.fold()

    def reach(self, cells: tuple[int, int]) -> tuple[int, int]:
        """The input rows (or columns) that heatmap cells `first..last` can see, px, all inclusive."""
        return reach(cells, self.ladder)

    @property
    def halo(self) -> int:
        """Px of context that a tile's core needs on every side for answers that do not depend on the tile."""
        return halo_of(self.ladder, stride=STRIDE, total_stride=TOTAL_STRIDE)

    @property
    def parameter_count(self) -> int:
        """Trainable numbers in it."""
        return sum(parameter.numel() for parameter in self.parameters())


def check_pixels(pixels: Tensor) -> None:
    """ValueError for what no network can look at."""
    if pixels.dtype != torch.uint8 or pixels.shape[1] != CHANNELS:
        raise ValueError(f"expected (n, {CHANNELS}, H, W) uint8, got {tuple(pixels.shape)} {pixels.dtype}")
    if pixels.shape[2] % TOTAL_STRIDE or pixels.shape[3] % TOTAL_STRIDE:
        raise ValueError(f"{tuple(pixels.shape[2:])} px: height and width must be multiples of {TOTAL_STRIDE}")


def add_doubled(fine: Tensor, coarse: Tensor) -> Tensor:
    """`fine` (n, c, 2h, 2w), which is changed, with `coarse` (n, c, h, w) added at twice its size (nearest)."""
    if torch.is_grad_enabled():  # the way back through the view below takes six times as long
        fine += functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return fine
    n, channels, height, width = coarse.shape
    quads = fine.view(n, channels, height, 2, width, 2)
    quads += coarse[:, :, :, None, :, None]
    return fine


def normalise(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 to about -2..2, channels last; mid-grey and "no difference" become 0, with which the convolutions pad."""
    return centred(pixels, dtype).mul_(SCALE)


def centred(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 less 128, channels last: on bytes as long as possible."""
    channels_last = pixels.contiguous(memory_format=torch.channels_last)
    return (channels_last ^ 128).view(torch.int8).to(dtype)  # with its highest bit turned a byte is itself less 128


def one_kernel_does(x: Tensor) -> bool:
    """Whether `convolve_and_clip` can be used on this: a CPU with oneDNN, no gradients, no autocast."""
    return (
        FUSED is not None
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and (x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and cpu_multiplies_bf16()))
        and x.numel() > KERNEL_FROM
    )


def convolve_and_clip(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """ReLU of a convolution in one pass over memory; the same bits as one after the other."""
    assert FUSED is not None
    clipped: Tensor = FUSED(
        x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups, "relu", [], ""
    )
    return clipped


def smallest_input(widths: tuple[int, ...], pyramid: int) -> int:
    """Px, a multiple of the total stride, from which on a square window is computed by the same kernels as any larger.

    `widths`: channels that 3 x 3 convolutions read at strides 2, 4, 8, 16, 32. Found for torch 2.10 to 2.13 on CPUs.
    """
    read = [*zip(widths, (2, 4, 8, 16, 32), strict=True), (pyramid, 16)]
    side = max(stride * math.sqrt((KERNEL_FROM + 1) / channels) for channels, stride in read)
    return max(SMALLEST_INPUT, math.ceil(side / TOTAL_STRIDE) * TOTAL_STRIDE)
