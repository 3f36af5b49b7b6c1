"""Batch normalisation folded into the convolutions before it, in networks that are put together by torchvision."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAMED = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))  # in the blocks of a ResNet


def fold_norms(network: nn.Module) -> None:
    """Make one convolution of each convolution and its batch normalisation, in place; for a network in eval mode.

    Found are the pairs of ResNet blocks, and neighbours in an nn.Sequential.
    """
    for module in list(network.modules()):
        children = dict(module.named_children())
        pairs = [pair for pair in NAMED if set(pair) <= set(children)]
        if isinstance(module, nn.Sequential):
            pairs = list(itertools.pairwise(children))
        for convolution, norm in pairs:
            first, second = children[convolution], children[norm]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, convolution, fuse_conv_bn_eval(first, second))
                setattr(module, norm, nn.Identity())
