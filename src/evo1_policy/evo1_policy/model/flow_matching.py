"""Flow matching: the noise, and the Euler integration that makes actions of it.

A chunk goes from noise at t = 0 to actions at t = 1 along x_t = (1 - t) * noise + t * actions;
training draws from that path in evo1_training.training.flow_loss.
Everything random takes a generator; the global one is never touched.
Letters: B batch, H horizon, D action width. Must not import ROS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from evo1_policy.model.config import Prediction

MAX_GAIN = 10.0  # of the guidance by a prefix; the published value


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """What the denoised chunk shall begin with (real-time chunking).

    Attributes:
        actions: (B, H, D) fp32 normalised; anything where the weight is 0.
        weights: (B, H) fp32, 1 where it is kept, 0 where the chunk is free.
    """

    actions: Tensor
    weights: Tensor


def sample_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform(-1, 1) noise, fp32, on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device) * 2 - 1


def euler_time_index(step: int, steps: int, scale: int) -> int:
    """Row of the time table at Euler step `step` of `steps`: trunc(scale * step / steps)."""
    return step * scale // steps


def integrate_euler(
    predict: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    action_mask: Tensor,
    *,
    steps: int,
    scale: int,
    prediction: Prediction,
    prefix: Prefix | None = None,
) -> Tensor:
    """Walk from noise to actions in equal explicit Euler steps.

    Args:
        predict: (masked chunk (B, H, D), row of the time table) -> velocity or clean chunk.
        noise: (B, H, D) fp32, the start.
        action_mask: (B, D), 1 for real dimensions.
        steps: N.
        scale: time scale of the table.
        prediction: what `predict` gives.
        prefix: what the chunk is guided to begin with; None: nothing.

    Returns:
        (B, H, D) fp32; masked dimensions are 0.
    """
    mask = action_mask[:, None].to(noise.dtype)  # (B, 1, D)
    x = noise  # (B, H, D)
    for step in range(steps):
        output = predict(x * mask, euler_time_index(step, steps, scale)).to(x.dtype)  # (B, H, D)
        if prediction == "sample":
            remaining = 1 - step / steps
            output = (output - x) / remaining  # velocity towards the predicted chunk
        if prefix is not None:
            clean = x + (1 - step / steps) * output  # (B, H, D) where this velocity leads
            pull = prefix.weights[..., None] * (prefix.actions - clean)  # (B, H, D)
            output = output + guidance_gain(step, steps) * pull
        x = x + output / steps  # (B, H, D)
    return x * mask


def guidance_gain(step: int, steps: int) -> float:
    """How strongly Euler step `step` of `steps` pulls towards the prefix.

    The published weight of real-time chunking, (t^2 + (1 - t)^2) / (t (1 - t)), clamped; also to
    the number of steps, beyond which one step would overshoot the prefix.
    """
    limit = min(MAX_GAIN, float(steps))
    t = step / steps
    if t == 0.0:
        return limit
    return min(limit, (t * t + (1 - t) * (1 - t)) / (t * (1 - t)))
