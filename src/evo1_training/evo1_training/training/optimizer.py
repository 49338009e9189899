"""Which weights a stage trains, the optimiser that does, its rates, and the average of weights.

Must not import ROS.
"""

import difflib
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evo1_training.training.config_values import TrainConfigError, weighted
from evo1_training.training.lora import add_adapters
from evo1_training.training.train_config import StageConfig

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

BETAS, EPSILON = (0.9, 0.999), 1e-8


def freeze(model: "Evo1", stage: StageConfig, *, seed: int = 0) -> None:
    """Let gradients flow to what the stage trains and to nothing else.

    Args:
        model: plain; where the stage asks for adapters it has them afterwards.
        stage: what is trained.
        seed: of the adapters.

    Raises:
        TrainConfigError: a pattern matches no weight, or nothing is left to train.
    """
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
    weights = dict(model.named_parameters())
    for pattern in stage.freeze:
        for name in _matching("freeze", pattern, weights):
            weights[name].requires_grad_(False)
    if stage.lora:
        add_adapters(model, stage, seed=seed)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise TrainConfigError("freeze: nothing is left to train")


def set_modes(model: "Evo1") -> None:
    """Training mode for what is trained, eval mode (no dropout) for what is frozen in whole."""
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], stage: StageConfig
) -> list[dict[str, object]]:
    """Trained weights by rate and decay: matrices decay, norms, biases and vectors do not.

    Raises:
        TrainConfigError: a pattern of the rates matches no weight.
    """
    trained = {n.removeprefix("model."): w for n, w in named if w.requires_grad}
    rates = dict.fromkeys(trained, stage.lr)
    for text in reversed(stage.lr_scales):  # the first pattern has the last word
        pattern, factor = weighted(text)
        assert factor is not None
        rates |= dict.fromkeys(_matching("lr_scales", pattern, trained), stage.lr * factor)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for rate in sorted(set(rates.values()), reverse=True):
        groups |= {(rate, True): [], (rate, False): []}
    for name, weight in trained.items():
        groups[rates[name], _decays(name, weight)].append(weight)
    return [
        {"params": weights, "weight_decay": stage.weight_decay if decays else 0.0, "lr": rate}
        for (rate, decays), weights in groups.items()
        if weights
    ]


def _matching(key: str, pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern means.

    Raises:
        TrainConfigError: it means none; tells the nearest that there are.
    """
    known = list(names)
    found = [name for name in known if fnmatchcase(name, pattern)]
    if found:
        return found
    parts = dict.fromkeys(
        f"{name.rsplit('.', depth)[0]}.*" for name in known for depth in (1, 2, 3)
    )
    near = difflib.get_close_matches(pattern, [*parts, *known], n=3, cutoff=0.3)
    raise TrainConfigError(
        f"{key}: {pattern}: no weight has such a name (of those that learn); near it: "
        f"{', '.join(near) or ', '.join([*parts][:3])}"
    )


def new_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], stage: StageConfig, device: torch.device
) -> torch.optim.AdamW:
    """AdamW in one kernel where there is one."""
    return torch.optim.AdamW(
        parameter_groups(named, stage),
        lr=stage.lr,
        betas=BETAS,
        eps=EPSILON,
        fused=device.type in ("cpu", "cuda"),
    )


def _decays(name: str, weight: nn.Parameter) -> bool:
    return weight.ndim > 1 and "norm" not in name.lower() and not name.endswith("bias")


def learning_rate(step: int, stage: StageConfig) -> float:
    """The rate of update number `step` (from 0): linear rise, flat part, cosine to 0.

    Weights with a factor of their own have so many times that.
    """
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
