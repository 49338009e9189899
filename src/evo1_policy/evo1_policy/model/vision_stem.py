"""Patches out of pixels by small convolutions, for vision towers that learn from scratch.

Letters: n images, S edge of an image, G patches along an edge, C width. Must not import ROS.
"""

import torch
from torch import Tensor, nn

from evo1_policy.model.config import VisionConfig

KERNEL = 3
GROUP = 8  # channels that are normalised together


class ConvolutionalStem(nn.Module):
    """Stands where InternVL projects patches: the same grid and width come out.

    Each convolution halves the image and the last has the tower's width; those before have half
    as many channels each, so that all cost about the same. Norms in between keep what differs
    from what is the same everywhere: without them a plain table drowns the things on it.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        halvings = config.patch_size.bit_length() - 1
        widths = [3] + [max(config.width >> (halvings - k), GROUP) for k in range(1, halvings + 1)]
        layers: list[nn.Module] = []
        for k in range(halvings):
            layers += [
                nn.Conv2d(widths[k], widths[k + 1], KERNEL, stride=2, padding=1, bias=False),
                nn.GroupNorm(widths[k + 1] // GROUP, widths[k + 1]),
                nn.GELU(),
            ]
        layers.append(nn.Conv2d(config.width, config.width, 1))
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised images (n, 3, S, S) -> patches (n, G*G, C) in row-major order."""
        dtype = next(self.parameters()).dtype
        # Convolutions of few channels are several times faster with the channels last.
        pixels = pixels.to(dtype, memory_format=torch.channels_last)
        patches: Tensor = self.layers(pixels)  # (n, C, G, G)
        return patches.flatten(2).transpose(1, 2)
