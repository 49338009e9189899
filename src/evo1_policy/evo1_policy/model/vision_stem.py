"""What a vision tower that learns from scratch starts with: a stem, and places of patches.

Letters: n images, S edge of an image, G patches along an edge, C width. Must not import ROS.
"""

import math

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


def grid_positions(edge: int, width: int) -> Tensor:
    """Sines and cosines of each patch's row and column, waves of 4 to 4G patches.

    New towers start from them: about as large as the patches, so that a place is told from its
    content from the first step. (InternVL's own are learnt, and start small.)

    Args:
        edge: G.
        width: C, a multiple of 4.

    Returns:
        (G*G, C) fp32 in row-major order.
    """
    waves = width // 4
    lengths = 4.0 * edge ** (torch.arange(waves) / max(waves - 1, 1))  # (waves,) [patches]
    angles = 2 * math.pi * torch.arange(edge)[:, None] / lengths  # (G, waves)
    waved = torch.cat([angles.sin(), angles.cos()], dim=1)  # (G, C/2)
    rows, columns = waved[:, None], waved[None]
    shape = (edge, edge, width // 2)
    return torch.cat([rows.expand(shape), columns.expand(shape)], dim=2).flatten(0, 1)
