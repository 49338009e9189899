"""Samples as the tensors of one batch: normalised, padded, masked, tokenised.

The same normalisation and prompt as the policy's own. Letters: B batch, V views, S edge of an
image, T prompt tokens, H horizon, D action width. Must not import ROS.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from evo1_policy.model.config import Evo1Config
from evo1_policy.model.preprocessing import ModelInputs, PromptEncoder, normalise_images
from evo1_policy.normalization import NormStats, pad_width, width_mask
from evo1_training.datasets.reader import Sample
from evo1_training.training.augmentation import augment
from evo1_training.training.train_config import AugmentationConfig

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a sample comes from, for error messages."""

    dataset: str
    episode: int
    frame: int


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """One batch as the loader hands it out.

    Attributes:
        images: (B, V, 3, S, S) uint8 RGB; absent views are black.
        input_ids: (B, T) int64.
        image_slots: (B, T) bool.
        token_mask: (B, T) bool.
        state: (B, state width) fp32, normalised and padded.
        state_mask: (B, state width) bool, True for the numbers of the state.
        actions: (B, H, D) fp32, normalised and padded.
        action_mask: (B, D) bool, True for the robot's dimensions.
        loss_mask: (B, H, D) bool, True where an action counts.
        milestones: (B, 2, D) fp32, normalised and padded actions at the next grasp and release.
        milestone_mask: (B, 2, D) bool, True where there is one.
        origins: B.
    """

    images: Tensor
    input_ids: Tensor
    image_slots: Tensor
    token_mask: Tensor
    state: Tensor
    state_mask: Tensor
    actions: Tensor
    action_mask: Tensor
    loss_mask: Tensor
    milestones: Tensor
    milestone_mask: Tensor
    origins: tuple[Origin, ...]

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "TrainingBatch":
        """The same in page-locked memory; torch's loader calls this."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "TrainingBatch":
        changed: dict[str, Any] = {
            item.name: function(getattr(self, item.name))
            for item in dataclasses.fields(self)
            if item.name != "origins"
        }
        return dataclasses.replace(self, **changed)


class Collator:
    """Makes batches of samples, in a loader's worker or in the training process."""

    def __init__(
        self, config: Evo1Config, tokenizer: Tokenizer, stats: Mapping[str, NormStats]
    ) -> None:
        self._config = config
        self._prompts = PromptEncoder(tokenizer, config)
        self._stats = dict(stats)

    def __call__(self, samples: Sequence[Sample]) -> TrainingBatch:
        """A batch, in the order of the samples."""
        config = self._config
        prompt = self._prompts.encode(
            [sample.instruction for sample in samples],
            [int(sample.view_mask.sum()) for sample in samples],
        )
        images = np.stack([sample.images for sample in samples])  # (B, V, S, S, 3)
        real = np.stack([width_mask(s.actions.shape[1], config.action_width) for s in samples])
        counted = np.stack([self._counted(sample) for sample in samples])  # (B, H)
        return TrainingBatch(
            images=torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous(),
            input_ids=prompt.input_ids,
            image_slots=prompt.image_slots,
            token_mask=prompt.token_mask,
            state=_tensor([self._state(sample) for sample in samples]),
            state_mask=torch.from_numpy(
                np.stack([width_mask(len(s.state), config.state_width) for s in samples])
            ),
            actions=_tensor([self._actions(sample) for sample in samples]),
            action_mask=torch.from_numpy(real),
            loss_mask=torch.from_numpy(counted[:, :, None] & real[:, None]),
            milestones=_tensor([self._milestones(sample) for sample in samples]),
            milestone_mask=torch.from_numpy(
                np.stack([s.milestone_mask for s in samples])[:, :, None] & real[:, None]
            ),
            origins=tuple(
                Origin(dataset=s.dataset, episode=s.episode, frame=s.frame) for s in samples
            ),
        )

    def _state(self, sample: Sample) -> Array:
        normalised = self._stats[sample.embodiment].state_normalizer.normalise(sample.state)
        return pad_width(normalised, self._config.state_width, self._config.semantics.state_pad)

    def _actions(self, sample: Sample) -> Array:
        """(H, W): in the action space of the stats, normalised and padded."""
        stats = self._stats[sample.embodiment]
        normalised = stats.normalise_actions(sample.actions, sample.state)
        return pad_width(normalised, self._config.action_width)

    def _milestones(self, sample: Sample) -> Array:
        """(2, W): joint positions, in any action space of joints, normalised and padded."""
        stats = self._stats[sample.embodiment]
        if stats.end_effector is not None or stats.action_space == "raw":
            return np.zeros((len(sample.milestones), self._config.action_width))  # none is known
        is_joint = stats.action_space == "joint"
        normalizer = stats.action_normalizer if is_joint else stats.state_normalizer
        return pad_width(normalizer.normalise(sample.milestones), self._config.action_width)

    def _counted(self, sample: Sample) -> Array:
        """(H,) bool: which actions of the chunk the loss counts."""
        if self._config.semantics.episode_tail == "counted":
            return np.ones_like(sample.action_mask)
        return sample.action_mask


def model_inputs(batch: TrainingBatch, config: Evo1Config) -> ModelInputs:
    """What the policy would feed the model: nothing changed at random."""
    return _inputs(batch, batch.images, batch.state, config)


def augmented_inputs(
    batch: TrainingBatch,
    config: Evo1Config,
    augmentation: AugmentationConfig,
    generator: torch.Generator,
) -> ModelInputs:
    """The same with images and state changed at random.

    Args:
        batch: on the device.
        config: of the model.
        augmentation: how much.
        generator: on the device.
    """
    flat = augment(batch.images.flatten(0, 1), augmentation, generator)  # (B*V, 3, S, S)
    state = batch.state
    if augmentation.state_noise > 0:
        noise = torch.randn(state.shape, generator=generator, device=state.device)
        state = state + augmentation.state_noise * noise * batch.state_mask
    return _inputs(batch, flat.unflatten(0, batch.images.shape[:2]), state, config)


def _inputs(
    batch: TrainingBatch, images: Tensor, state: Tensor, config: Evo1Config
) -> ModelInputs:
    if config.semantics.channel_order == "bgr":
        images = images.flip(2)
    return ModelInputs(
        images=normalise_images(images, config.semantics.image_dtype),
        input_ids=batch.input_ids,
        image_slots=batch.image_slots,
        token_mask=batch.token_mask,
        state=state,
        action_mask=batch.action_mask,
    )


def _tensor(rows: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float32))
