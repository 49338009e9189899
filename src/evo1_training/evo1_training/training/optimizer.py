"""Which weights a stage trains, and the optimiser that does. Must not import ROS."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from evo1_training.training.train_config import StageConfig

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

BETAS, EPSILON = (0.9, 0.999), 1e-8


def freeze(model: "Evo1", stage: StageConfig) -> None:
    """Let gradients flow to what the stage trains and to nothing else."""
    model.requires_grad_(True)
    model.action_head.gradient_checkpointing = stage.gradient_checkpointing
    if stage.freeze_backbone:
        model.embedder.requires_grad_(False)
    elif stage.gradient_checkpointing:
        backbone = model.embedder.model
        with warnings.catch_warnings():  # of a new name that older versions do not have
            warnings.simplefilter("ignore", FutureWarning)
            backbone.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )


def set_modes(model: "Evo1", stage: StageConfig) -> None:
    """Training mode for what is trained, eval mode (no dropout) for what is frozen."""
    model.train()
    if stage.freeze_backbone:
        model.embedder.eval()


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, object]]:
    """Trained weights in two groups: matrices decay, norms, biases and vectors do not."""
    trained = [(name, weight) for name, weight in named if weight.requires_grad]
    decaying = [weight for name, weight in trained if _decays(name, weight)]
    others = [weight for name, weight in trained if not _decays(name, weight)]
    groups: list[dict[str, object]] = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def new_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], stage: StageConfig, device: torch.device
) -> torch.optim.AdamW:
    """AdamW in one kernel where there is one."""
    return torch.optim.AdamW(
        parameter_groups(named, stage.weight_decay),
        lr=stage.lr,
        betas=BETAS,
        eps=EPSILON,
        fused=device.type in ("cpu", "cuda"),
    )


def _decays(name: str, weight: nn.Parameter) -> bool:
    return weight.ndim > 1 and "norm" not in name.lower() and not name.endswith("bias")
