"""What training changes about images, batched, on the device that the model is on.

As the authors' PIL chain (crop, rotation, colour), with three differences: crop and rotation are
one resampling instead of two, colours change in a fixed order, and values are not rounded to 8
bits in between. Letters: N images, S edge. Must not import ROS.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from evo1_training.training.train_config import AugmentationConfig

GREY = (0.299, 0.587, 0.114)  # of R, G, B


def augment(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Crop, rotate and recolour a share of the images.

    Args:
        images: (N, 3, S, S) uint8 RGB.
        config: how much.
        generator: on the images' device.

    Returns:
        (N, 3, S, S) fp32 in 0 .. 255. Black images stay black.
    """
    original = images.float()  # (N, 3, S, S)
    chosen = _uniform(original, generator, 0, 1) < config.probability  # (N, 1, 1, 1)
    changed = original
    if config.crop_scale < 1 or config.rotation_deg > 0:
        changed = _resampled(changed, config, generator)
    changed = _recoloured(changed, config, generator)
    return torch.where(chosen, changed, original)


def _uniform(like: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """(N, 1, 1, 1) numbers."""
    drawn = torch.rand((len(like), 1, 1, 1), generator=generator, device=like.device)
    return low + (high - low) * drawn


def _resampled(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    area = _uniform(images, generator, config.crop_scale, 1).flatten()  # (N,)
    # Both edges must stay within the image.
    aspect = area.log() * _uniform(images, generator, -1, 1).flatten()  # (N,) log of w / h
    aspect = aspect.clamp(-math.log(4 / 3), math.log(4 / 3))
    width = (area * aspect.exp()).sqrt().clamp(max=1)  # (N,) of the image's
    height = (area * (-aspect).exp()).sqrt().clamp(max=1)
    shift_x = (1 - width) * _uniform(images, generator, -1, 1).flatten()  # (N,) of half the image
    shift_y = (1 - height) * _uniform(images, generator, -1, 1).flatten()
    limit = math.radians(config.rotation_deg)
    angle = _uniform(images, generator, -limit, limit).flatten()  # (N,) rad
    cosine, sine = angle.cos(), angle.sin()
    rows = (width * cosine, -width * sine, shift_x, height * sine, height * cosine, shift_y)
    maps = torch.stack(rows, dim=1).unflatten(1, (2, 3))  # (N, 2, 3): output -> input places
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)  # (N, S, S, 2)
    sampled = F.grid_sample(
        images, grid, mode=config.resampling, padding_mode="zeros", align_corners=False
    )
    return sampled.clamp(0, 255)


def _recoloured(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    if config.brightness > 0:
        factor = _uniform(images, generator, 1 - config.brightness, 1 + config.brightness)
        images = (images * factor).clamp(0, 255)
    if config.contrast > 0:
        factor = _uniform(images, generator, 1 - config.contrast, 1 + config.contrast)
        mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
        images = (mean + (images - mean) * factor).clamp(0, 255)
    if config.saturation > 0:
        factor = _uniform(images, generator, 1 - config.saturation, 1 + config.saturation)
        grey = _grey(images)  # (N, 1, S, S)
        images = (grey + (images - grey) * factor).clamp(0, 255)
    if config.hue > 0:
        turn = _uniform(images, generator, -config.hue, config.hue)
        images = turn_hue(images, turn)
    return images


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(GREY, device=images.device)[:, None, None]  # (3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue in HSV space.

    Args:
        images: (N, 3, S, S) fp32 in 0 .. 255.
        turn: (N, 1, 1, 1) shares of the circle.

    Returns:
        (N, 3, S, S) fp32; saturation and value stay.
    """
    value, _ = images.max(dim=1, keepdim=True)  # (N, 1, S, S)
    chroma = value - images.min(dim=1, keepdim=True).values
    safe = chroma.clamp(min=1e-6)
    red, green, blue = images.split(1, dim=1)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sixth + 6 * turn  # (N, 1, S, S) in sixths of the circle
    offsets = torch.tensor((5.0, 3.0, 1.0), device=images.device)[:, None, None]  # R, G, B
    k = (offsets + hue) % 6  # (N, 3, S, S)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)
