"""Which weights a stage trains, the optimiser that does, its rate, and the average of weights.

Must not import ROS.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

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


def learning_rate(step: int, stage: StageConfig) -> float:
    """The rate of update number `step` (from 0): linear rise, flat part, cosine to 0."""
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    left = max(stage.steps - stage.warmup_steps, 1)
    share = min((step - stage.warmup_steps) / left, 1.0)
    fall = max(share - stage.flat_share, 0.0) / (1 - stage.flat_share)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * fall))


class WeightAverage:
    """Follows the trained weights; the frozen ones are what they are."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {
            name: weight for name, weight in module.named_parameters() if weight.requires_grad
        }
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after update number `step` (from 0); faster in the beginning."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self._average.values()), [w.detach() for w in self._weights.values()], 1 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the average's weights inside, and its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name."""
        return dict(self._average)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            average = self._average[name]
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
