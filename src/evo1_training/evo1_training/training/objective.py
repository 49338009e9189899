"""The model as one module whose forward pass is the loss, for wrappers that need a forward.

Must not import ROS.
"""

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from evo1_policy.model.preprocessing import ModelInputs

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1


class Objective(nn.Module):
    """Loss in training, denoised actions in measuring; both through forward."""

    def __init__(self, model: "Evo1") -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        inputs: ModelInputs,
        *,
        actions: Tensor | None = None,
        loss_mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """A scalar loss, or with `noise` (B, H, D) the actions (B, H, D) that it becomes."""
        if noise is not None:
            return self.model.sample_actions(inputs, noise)
        assert actions is not None
        assert loss_mask is not None
        assert generator is not None
        return self.model.loss(inputs, actions, loss_mask.float(), generator)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32 here; without hardware for it it is much slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported())


def attention_for(device: torch.device, *, bf16: bool) -> contextlib.AbstractContextManager[None]:
    """Plain softmax(QK)V for bf16 on CPUs, where the fused kernel's backward pass is slow."""
    if device.type != "cpu" or not bf16:
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context
