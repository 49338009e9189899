"""The loss of flow matching: times, points of the path to the data, targets.

The path is evo1_policy.model.flow_matching's. Everything random takes a generator; the global one
is never touched. Letters: B batch, H horizon, D action width. Must not import ROS.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evo1_policy.model.config import Prediction
from evo1_policy.model.flow_matching import sample_noise
from evo1_policy.model.preprocessing import ModelInputs

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Context, Evo1

TIME_MIN, TIME_MAX = 0.02, 0.98


def flow_loss(
    model: "Evo1",
    inputs: ModelInputs,
    actions: Tensor,
    mask: Tensor,
    generator: torch.Generator,
    *,
    draws: int = 1,
    context: "Context | None" = None,
) -> Tensor:
    """Flow-matching loss of a batch.

    Args:
        model: what is trained.
        inputs: what was seen.
        actions: (B, H, D) normalised and padded.
        mask: (B, H, D), 1 where an action counts (real dimension, not beyond the episode).
        generator: source of noise and times, on the model's device.
        draws: noises and times for each sample; the backbone, which costs most, runs once.
        context: of `inputs`, where it was encoded already.

    Returns:
        A scalar, fp32.
    """
    semantics = model.config.semantics
    real = inputs.action_mask[:, None].to(actions.dtype)  # (B, 1, D)
    real, actions, mask = (
        tensor.repeat_interleave(draws, dim=0) for tensor in (real, actions, mask)
    )  # B is the number of chunks from here on
    noise = sample_noise(tuple(actions.shape), generator) * real  # (B, H, D)
    time = sample_time(len(actions), generator)  # (B,)
    noisy = interpolate(actions * real, noise, time)  # (B, H, D)
    index = time_index(time, semantics.time_scale)  # (B,)
    if context is None:
        context = model.encode(inputs)
    predicted = model.predict(noisy, index, context)  # (B, H, D)
    target = training_target(actions * real, noise, semantics.prediction)
    return masked_loss(predicted, target, mask * real)


def sample_time(batch: int, generator: torch.Generator) -> Tensor:
    """Beta(2, 2) times in [0.02, 0.98], (B,) fp32, on the generator's device."""
    # The median of three uniform numbers is Beta(2, 2), and takes a generator.
    uniform = torch.rand((batch, 3), generator=generator, device=generator.device)  # (B, 3)
    return uniform.median(dim=1).values.clamp(TIME_MIN, TIME_MAX)  # (B,)


def interpolate(actions: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Point of the path at `time` (B,): actions and noise (B, H, D) -> (B, H, D)."""
    t = time[:, None, None]  # (B, 1, 1)
    return (1 - t) * noise + t * actions


def time_index(time: Tensor, scale: int) -> Tensor:
    """Row of the time table for `time` (B,): trunc(scale * t), (B,) int64."""
    return (time.float() * scale).long()


def training_target(actions: Tensor, noise: Tensor, prediction: Prediction) -> Tensor:
    """What the head should give (B, H, D): the velocity actions - noise, or the actions."""
    return actions - noise if prediction == "velocity" else actions


def masked_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the entries where mask (B, H, D) is 1; a scalar in fp32."""
    mask = mask.float()  # (B, H, D)
    squared = ((predicted.float() - target.float()) * mask).square()  # (B, H, D)
    return squared.sum() / (mask.sum() + 1e-8)
