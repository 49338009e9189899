"""The model as one module whose forward pass is the loss, for wrappers that need a forward.

Must not import ROS.
"""

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from evo1_policy.model.preprocessing import ModelInputs
from evo1_training.training.batch import TrainingBatch
from evo1_training.training.flow_loss import flow_loss
from evo1_training.training.milestone_head import MilestoneHead
from evo1_training.training.train_config import StageConfig

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1


class Objective(nn.Module):
    """Loss in training, denoised actions in measuring; both through forward.

    Args:
        model: what is trained.
        stage: how the loss is made up.
        milestones: the head of the additional loss, where the stage has one.
    """

    def __init__(
        self, model: "Evo1", stage: StageConfig, milestones: MilestoneHead | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.milestones = milestones
        self._stage = stage

    def forward(
        self,
        inputs: ModelInputs,
        *,
        batch: TrainingBatch | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """A scalar loss, or with `noise` (B, H, D) the actions (B, H, D) that it becomes."""
        if noise is not None:
            return self.model.sample_actions(inputs, noise)
        assert batch is not None
        assert generator is not None
        context = self.model.encode(inputs)
        loss = flow_loss(
            self.model,
            inputs,
            batch.actions,
            batch.loss_mask.float(),
            generator,
            draws=self._stage.noise_draws,
            context=context,
        )
        if self.milestones is None:
            return loss
        keys = context.keys if context.keys.ndim == 3 else context.keys[-1]
        told = self.milestones.loss(
            keys[:, :-1], inputs.token_mask, batch.milestones, batch.milestone_mask
        )  # without the state's token: the eyes must tell
        return loss + self._stage.milestone_weight * told


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32 here; without hardware for it it is much slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def attention_for(device: torch.device, *, bf16: bool) -> contextlib.AbstractContextManager[None]:
    """Plain softmax(QK)V for bf16 on CPUs, where the fused kernel's backward pass is slow."""
    if device.type != "cpu" or not bf16:
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context
