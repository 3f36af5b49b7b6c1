"""The centre-point network with a ResNet as encoder, for weights that were learned elsewhere.

torchvision's ResNet 18 and 50 (He et al. 2016; the stride of a bottleneck in its 3 x 3), without their classifier. The
first convolution is widened from 3 channels to 7; R, G and B are normalised as ImageNet models expect them, so that
with the added channels at zero it answers as the given weights do on the picture alone.
"""

from __future__ import annotations

from torch import Tensor, nn

from soilpipe.detect.folding import fold_norms
from soilpipe.detect.network import CHANNELS, CentrePointNetwork, Widths, normalise
from soilpipe.detect.receptive_field import Ladder
from soilpipe.detect.torchvision_here import import_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of R, G, B from 0 to 1
PYRAMID = 64  # channels of the top-down path, as in `medium`

ENCODERS: dict[str, Widths] = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}
"""Channels at strides 4, 8, 16 and 32."""

_STEM = ((7, 2), (3, 2))  # convolution, maximum
_LADDERS = {  # the layers wider than 1 x 1 on the main path
    "resnet18": Ladder(_STEM, (((3, 1),) * 4, *[((3, 2), *((3, 1),) * 3)] * 3)),
    "resnet50": Ladder(_STEM, (((3, 1),) * 3, *[((3, 2), *((3, 1),) * (blocks - 1)) for blocks in (4, 6, 3)])),
}


class ResNetNetwork(CentrePointNetwork):
    """As `CentrePointNetwork`, with `encoder` (resnet18 or resnet50) from pixels to stride 32.

    TorchvisionError where torchvision cannot be imported.
    """

    def __init__(self, taxa: int, *, encoder: str, pyramid: int = PYRAMID) -> None:
        if encoder not in ENCODERS:
            raise ValueError(f"{encoder!r} is no encoder; there are {', '.join(ENCODERS)}")
        self.encoder_name = encoder
        super().__init__(taxa, stem=64, widths=ENCODERS[encoder], pyramid=pyramid)
        self.ladder = _LADDERS[encoder]
        self.architecture = {"taxa": taxa, "encoder": encoder, "pyramid": pyramid}

    def make_encoder(self, stem: int, widths: Widths) -> None:
        """torchvision's layers under its names, in `encoder`, with fresh weights."""
        resnet = getattr(import_torchvision().models, self.encoder_name)(weights=None)
        del resnet.fc, resnet.avgpool
        narrow = resnet.conv1
        resnet.conv1 = nn.Conv2d(CHANNELS, narrow.out_channels, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.encoder = resnet

    def inner_widths(self, widths: Widths) -> Widths:
        """As in `CentrePointNetwork`: the bottlenecks of ResNet 50 are as narrow as the blocks of ResNet 18."""
        return ENCODERS["resnet18"]

    def finest(self, pixels: Tensor) -> Tensor:
        """(n, 7, H, W) uint8 to the encoder's features at stride 4."""
        x = self._normalise(pixels)
        x = self.encoder.maxpool(self.encoder.relu(self.encoder.bn1(self.encoder.conv1(x))))
        features: Tensor = self.encoder.layer1(x)
        return features

    def deepen(self, level: int, features: Tensor) -> Tensor:
        """The encoder's features of the level before to those of level 1, 2 or 3 (strides 8, 16, 32)."""
        deeper: Tensor = (self.encoder.layer2, self.encoder.layer3, self.encoder.layer4)[level - 1](features)
        return deeper

    def _normalise(self, pixels: Tensor) -> Tensor:
        """R, G, B by ImageNet's mean and deviation; the other channels as everywhere."""
        x = normalise(pixels)
        mean = x.new_tensor(IMAGENET_MEAN)[:, None, None]
        std = x.new_tensor(IMAGENET_STD)[:, None, None]
        x[:, :3] = (pixels[:, :3].to(x.dtype) / 255 - mean) / std
        return x.to(self.encoder.conv1.weight.dtype)

    def take_scale(self) -> None:
        """Nothing: its colours are normalised otherwise."""

    def fold(self) -> None:
        """As `CentrePointNetwork.fold`, and the same for the encoder."""
        super().fold()
        fold_norms(self.encoder)
