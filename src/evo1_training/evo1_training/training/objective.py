"""The model as one module whose forward pass is the loss, for wrappers that need a forward.

Letters: B batch, T prompt tokens, E width, H horizon, D action width. Must not import ROS.
"""

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from evo1_policy.model.action_expert import CrossAttention
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.preprocessing import ModelInputs
from evo1_training.datasets.reader.demonstrations import COUNT
from evo1_training.training.batch import TrainingBatch
from evo1_training.training.flow_loss import flow_loss, masked_loss
from evo1_training.training.train_config import StageConfig

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1


class MilestoneHead(nn.Module):
    """Reads the milestones out of the context: one query each, attention, and a small MLP.

    Its additional loss: the context must tell where the episode is heading. A small policy learns
    slowly where things are, because the chunk's loss reaches its eyes through the whole action
    expert. The joint positions at the next grasp and release say it directly, and every
    demonstration contains them. The head is dropped after training.
    """

    def __init__(self, config: Evo1Config) -> None:
        super().__init__()
        width = config.language.width
        self.queries = nn.Parameter(torch.randn(COUNT, width) * width**-0.5)
        self.attention = CrossAttention(width, config.head.heads, dropout=0.0)
        self.output = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, config.action_width),
        )

    def forward(self, context: Tensor, token_mask: Tensor) -> Tensor:
        """Context (B, T, E) with its mask (B, T) bool -> milestones (B, 2, D), normalised."""
        queries = self.queries.expand(len(context), -1, -1)  # (B, 2, E)
        found: Tensor = self.output(self.attention(queries, context, token_mask))
        return found

    def loss(
        self, context: Tensor, token_mask: Tensor, milestones: Tensor, mask: Tensor
    ) -> Tensor:
        """Mean squared error over those that there are; a scalar in fp32."""
        return masked_loss(self(context, token_mask), milestones, mask)


def new_milestone_head(config: Evo1Config, *, seed: int) -> MilestoneHead:
    """A head with fresh weights from `seed`; the global RNG stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MilestoneHead(config)


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
