"""torchvision's detectors as networks of this package: made without any weights from elsewhere, fed as ours are.

Faster R-CNN (Ren et al. 2015, in the version of Li et al. 2021) and FCOS (Tian et al. 2019), both on a ResNet 50 with
a feature pyramid. They see R, G and B at the scale that the card says, unscaled; no difference. Trainable parameters
for 12 taxa: fasterrcnn_resnet50_fpn_v2 43.3 M, fcos_resnet50_fpn 32.1 M.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from soilpipe.detect.folding import fold_norms
from soilpipe.detect.network import CHANNELS
from soilpipe.detect.torchvision_here import import_torchvision
from soilpipe.errors import SoilpipeError

FAMILIES = ("fasterrcnn_resnet50_fpn_v2", "fcos_resnet50_fpn")
ANCHORS = (16, 32, 64, 128, 256)  # px, of Faster R-CNN: half of torchvision's, which are for enlarged photographs
REGIONS = 128  # of a crop that Faster R-CNN learns from; torchvision's 512 are for photographs 16 times as large
MOST_IN_A_WINDOW = 1000  # detections; torchvision's 100 are less than a plate of springtails holds


class FamilyError(SoilpipeError):
    """A family of detectors that there is not."""


class TorchvisionNetwork(nn.Module):
    """One of FAMILIES for `taxa` classes, fresh; `model` is torchvision's own.

    forward(pixels, targets): pixels (n, 7, H, W) uint8, of which R, G, B are used. In training mode it gives the losses
    by name, and `targets` are a dict for each picture: boxes (k, 4) float32 px, labels (k,) int64, the first taxon
    being `first_label`. In eval mode it gives such a dict for each picture, with scores (k,), best first, at most 1000.

    architecture: JSON-able, all that is needed to build it again.
    """

    def __init__(self, family: str, taxa: int) -> None:
        super().__init__()
        if family not in FAMILIES:
            raise FamilyError(f"{family!r} is no family of detectors; torchvision's are {', '.join(FAMILIES)}")
        if taxa < 1:
            raise ValueError(f"a detector needs at least one taxon, not {taxa}")
        self.family, self.taxa = family, taxa
        self.architecture: dict[str, Any] = {"family": family, "taxa": taxa}
        detection = import_torchvision().models.detection
        settings: dict[str, Any] = {
            "weights": None,
            "weights_backbone": None,
            "num_classes": self.first_label + taxa,
        }
        if self.two_stages:
            settings |= {"box_detections_per_img": MOST_IN_A_WINDOW, "box_batch_size_per_image": REGIONS}
        else:
            settings["detections_per_img"] = MOST_IN_A_WINDOW
        self.model: Any = getattr(detection, family)(**settings)
        self.model.transform.resize = _as_it_is  # else every window is enlarged to 800 px
        if self.two_stages:
            ratios = ((0.5, 1.0, 2.0),) * len(ANCHORS)
            self.model.rpn.anchor_generator = detection.anchor_utils.AnchorGenerator(
                tuple((side,) for side in ANCHORS), ratios
            )
            self.architecture["anchors"] = list(ANCHORS)

    @property
    def two_stages(self) -> bool:
        """Whether it proposes regions first."""
        return self.family.startswith("fasterrcnn")

    @property
    def first_label(self) -> int:
        """How the first taxon is numbered: 1 where class 0 is the background, which FCOS does not have."""
        return 1 if self.two_stages else 0

    @property
    def encoder(self) -> nn.Module:
        """The ResNet 50 within, under torchvision's names: what `load_backbone` fills."""
        encoder: nn.Module = self.model.backbone.body
        return encoder

    @property
    def parameter_count(self) -> int:
        """Trainable numbers in it."""
        return sum(parameter.numel() for parameter in self.parameters())

    def answer_from(self, threshold: float) -> None:
        """Leave out detections below this score, 0..1."""
        (self.model.roi_heads if self.two_stages else self.model).score_thresh = threshold

    def folded(self) -> TorchvisionNetwork:
        """A copy for prediction: batch normalisation folded into the convolutions, channels last, no gradients."""
        network = copy.deepcopy(self).eval()
        fold_norms(network)
        network.requires_grad_(False)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor, targets: list[dict[str, Tensor]] | None = None) -> Any:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != CHANNELS:
            raise ValueError(f"expected (n, {CHANNELS}, H, W) uint8, got {tuple(pixels.shape)} {pixels.dtype}")
        pictures = pixels[:, :3].to(torch.float32, memory_format=torch.channels_last) / 255
        return self.model(list(pictures), targets)


def _as_it_is(image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
    return image, target


def make_family(family: str, taxa: int) -> TorchvisionNetwork:
    """A fresh network of one of FAMILIES, weights from torch's global generator.

    FamilyError for any other name; TorchvisionError where torchvision cannot be imported.
    """
    return TorchvisionNetwork(family, taxa)
