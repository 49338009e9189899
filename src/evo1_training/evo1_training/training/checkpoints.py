"""Saving a run so that it can be killed at any time, and going on from there.

What is written is read without executing anything: safetensors, JSON, and tensors that torch
loads with weights_only. Must not import ROS.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from evo1_policy.checkpoint import save_checkpoint
from evo1_policy.checkpoint_layouts.restricted_unpickler import save_plain
from evo1_policy.checkpoint_layouts.training_facts import UNKNOWN, TrainingFacts
from evo1_policy.interface import Interface
from evo1_policy.normalization import NormStats, write_norm_stats
from evo1_policy.paths import write_whole
from evo1_training.training.run_folder import STATE, RunFolder, SavedStep

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

OPTIMIZER, WEIGHTS = "optimizer.pt", "weights.safetensors"
MILESTONES, ADAPTED = "milestones.safetensors", "adapted.safetensors"
OTHER_STATS = "norm_stats"
_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, beside its tensors.

    Attributes:
        step: updates done, skipped ones included.
        position: of the order of samples, as plain JSON data.
        skipped: updates left out because the loss was not finite.
        bad_in_a_row: of them, since the last good one.
        window: losses since the last line of metrics.jsonl.
        error: held-out error of this very step; None where it was not measured.
        success: share of the scenes that this step's policy solved in simulation; None where it
            was not tried.
        best_step: step of the best checkpoint, see measured.
        best_error: its held-out error.
        best_success: its success.
    """

    step: int = 0
    position: Mapping[str, Any] | None = None
    skipped: int = 0
    bad_in_a_row: int = 0
    window: tuple[float, ...] = ()
    error: float | None = None
    success: float | None = None
    best_step: int | None = None
    best_error: float | None = None
    best_success: float | None = None

    def measured(self, *, error: float | None = None, success: float | None = None) -> "Progress":
        """With what was measured at this step, which may be the best one.

        Success decides where it was measured, then the held-out error: among checkpoints that
        solve as many scenes the smallest error is the best, and nothing that was not tried beats
        what was.
        """
        found = dataclasses.replace(
            self,
            error=self.error if error is None else error,
            success=self.success if success is None else success,
        )
        if self.best_step is not None and found._rank() <= self._best_rank():
            return found
        return dataclasses.replace(
            found, best_step=self.step, best_error=found.error, best_success=found.success
        )

    def _rank(self) -> tuple[float, float]:
        return _rank(self.success, self.error)

    def _best_rank(self) -> tuple[float, float]:
        return _rank(self.best_success, self.best_error)

    @classmethod
    def read(cls, saved: SavedStep) -> "Progress":
        """What write_progress wrote."""
        data = dict(saved.state())
        return cls(**{**data, "window": tuple(data["window"])})


@dataclass(frozen=True, kw_only=True)
class PolicyParts:
    """What a policy needs beside its weights.

    Attributes:
        interface: what it sees and answers.
        stats: norm stats by embodiment; the interface's among them.
        tokenizer: folder with the tokenizer's files and nothing else.
        card: lines of the model card; how far the run is comes with each checkpoint.
        training: where its data was recorded, and its sentences.
    """

    interface: Interface
    stats: Mapping[str, NormStats]
    tokenizer: Path
    card: tuple[str, ...] = field(default=())
    training: TrainingFacts = UNKNOWN


def full_weights(objective: nn.Module, part: str = "model") -> dict[str, Tensor]:
    """All weights of the model, or of another part, by its own names; every process must call it.

    Args:
        objective: wrapped for the devices or not.
        part: 'model', or 'milestones' for the additional loss's head (empty without one).
    """
    state: dict[str, Any] = get_model_state_dict(objective, options=_FULL)
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def load_part(module: nn.Module, saved: SavedStep, file: str) -> None:
    """Give a module those of its weights that are in MILESTONES, or in ADAPTED."""
    path = saved.trainer / file
    if path.is_file():
        module.load_state_dict(load_file(path), strict=file == MILESTONES)


def plain_objective(objective: nn.Module) -> Any:
    """What is within whatever is wrapped around it for the devices."""
    return getattr(objective, "module", objective)


def plain_model(objective: nn.Module) -> "Evo1":
    """The model within."""
    model: Evo1 = plain_objective(objective).model
    return model


def optimizer_state(objective: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's tensors by the names of the weights; every process must call this."""
    return dict(get_optimizer_state_dict(objective, optimizer, options=_FULL))


def load_optimizer_state(
    objective: nn.Module, optimizer: torch.optim.Optimizer, saved: SavedStep
) -> None:
    """Give the optimiser what optimizer_state took."""
    state = torch.load(saved.trainer / OPTIMIZER, map_location="cpu", weights_only=True)
    set_optimizer_state_dict(
        objective,
        optimizer,
        optim_state_dict=state,
        options=StateDictOptions(full_state_dict=True),
    )


def load_trained_weights(model: "Evo1", saved: SavedStep) -> None:
    """Replace averaged weights by those that were trained, where the two are apart."""
    path = saved.trainer / WEIGHTS
    if path.is_file():
        weights = load_file(path)
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in weights.items():
                own[name].copy_(tensor)


def write_step(
    folder: RunFolder,
    progress: Progress,
    *,
    model: "Evo1",
    parts: PolicyParts,
    optimizer: Mapping[str, Any],
    trained: Mapping[str, Tensor] | None,
    others: Mapping[str, Mapping[str, Tensor]],
) -> SavedStep:
    """Write one checkpoint; it is there in full or not at all.

    Args:
        folder: of the stage.
        progress: how far the run is.
        model: what is deployed; with averaging, the average.
        parts: what a policy needs beside its weights.
        optimizer: from optimizer_state.
        trained: weights that training goes on from, where `model` is the average.
        others: further weights by the name of their file, from full_weights.
    """
    with folder.appearing(progress.step) as partial:
        embodiment = parts.interface.embodiment
        save_checkpoint(
            partial.policy,
            model=model,
            stats=parts.stats[embodiment],
            interface=parts.interface,
            tokenizer_dir=parts.tokenizer,
            card=_card(parts, progress),
            training=parts.training,
        )
        for name, stats in parts.stats.items():
            if name != embodiment:
                place = partial.trainer / OTHER_STATS
                place.mkdir(exist_ok=True)
                write_norm_stats(stats, place / f"{len(list(place.iterdir())):03d}.json")
        save_plain(optimizer, partial.trainer / OPTIMIZER)
        if trained is not None:
            save_file({k: v.contiguous() for k, v in trained.items()}, partial.trainer / WEIGHTS)
        for name, weights in others.items():
            if weights:
                save_file({k: v.contiguous() for k, v in weights.items()}, partial.trainer / name)
        write_progress(partial, progress)
    return SavedStep(path=folder.checkpoints / f"step_{progress.step:06d}", step=progress.step)


def write_progress(saved: SavedStep, progress: Progress) -> None:
    """Write how far a step is; also again, when more was measured of it."""
    state = json.dumps(dataclasses.asdict(progress), indent=1)
    write_whole(saved.trainer / STATE, state + "\n", sync=False)


def _rank(success: float | None, error: float | None) -> tuple[float, float]:
    return (-1.0 if success is None else success, -math.inf if error is None else -error)


def _card(parts: PolicyParts, progress: Progress) -> str:
    lines = [f"# Evo-1 for {parts.interface.name}", "", f"- Steps done: {progress.step}"]
    if progress.best_error is not None:
        lines.append(
            f"- Held-out open-loop error of the best step so far, {progress.best_step}: "
            f"{progress.best_error:.4f} of the normalised range"
        )
    if progress.best_success is not None:
        lines.append(
            f"- Most success in simulation before this step: {progress.best_success:.0%}, at step "
            f"{progress.best_step}"
        )
    closing = ["", "Success of the task was not measured here: evaluate it before use.", ""]
    return "\n".join([*lines, *parts.card, *closing])
