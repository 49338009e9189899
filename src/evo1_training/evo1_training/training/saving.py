"""Writing checkpoints: what goes into one, which ones stay, and how long a signal must wait.

Every process calls this: where weights are sharded all of them gather. Must not import ROS.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from evo1_policy.model.config import Evo1Config
from evo1_training.training.checkpoints import (
    ADAPTED,
    MILESTONES,
    PolicyParts,
    Progress,
    full_weights,
    optimizer_state,
    plain_model,
    plain_objective,
    write_step,
)
from evo1_training.training.lora import adapted_weights, merged_weights
from evo1_training.training.objective import Objective
from evo1_training.training.optimizer import WeightAverage
from evo1_training.training.run_folder import RunFolder
from evo1_training.training.train_config import SavingConfig
from evo1_training.training.watching import Watcher

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

AGENT_WAITS_S = 30  # torchrun, from the SIGTERM that it passes on to its SIGKILL


class Saver:
    """Writes the checkpoints of a run.

    Args:
        folder: of the run.
        accelerator: of its processes.
        choices: which checkpoints stay.
        policy: what a policy needs beside its weights.
        watcher: told what people should know.
        config: of the model.
        adapted: whether the model learns by adapters.
    """

    def __init__(
        self,
        folder: RunFolder,
        accelerator: Accelerator,
        choices: SavingConfig,
        policy: PolicyParts,
        watcher: Watcher,
        *,
        config: Evo1Config,
        adapted: bool,
    ) -> None:
        self._folder, self._accelerator, self._choices = folder, accelerator, choices
        self._policy, self._watcher = policy, watcher
        self._config, self._adapted = config, adapted
        self._took_s = 0.0  # the last save

    def save(
        self,
        progress: Progress,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None,
        deployed: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        """Write a checkpoint; `deployed` gives the model the weights that a policy has."""
        began = time.perf_counter()
        known = optimizer_state(objective, optimizer)
        others: dict[str, dict[str, Tensor]] = {}
        if plain_objective(objective).milestones is not None:
            others[MILESTONES] = full_weights(objective, "milestones")
        with deployed():
            model, others[ADAPTED] = self._whole_model(objective)
            if self._accelerator.is_main_process:
                write_step(
                    self._folder,
                    progress,
                    model=model,
                    parts=self._policy,
                    optimizer=known,
                    trained=average.state_dict() if average is not None else None,
                    others=others,
                )
        if self._accelerator.is_main_process:
            self.point_and_prune(progress)
        self._accelerator.wait_for_everyone()
        took_s = time.perf_counter() - began
        agent = "TORCHELASTIC_RUN_ID" in os.environ
        if agent and took_s > AGENT_WAITS_S / 2 >= self._took_s:
            self._watcher.say(
                f"a save takes {took_s:.0f} s, and torchrun kills {AGENT_WAITS_S} s after a "
                f"SIGTERM: start it with --shutdown-timeout {math.ceil(4 * took_s)}"
            )
        self._took_s = took_s

    def point_and_prune(self, progress: Progress) -> None:
        """Let `last` and `best` mean what they are, and remove what is neither, nor to be kept."""
        folder, choices = self._folder, self._choices
        folder.point("last", progress.step)
        best = progress.best_step if progress.best_step is not None else progress.step
        if (folder.checkpoints / f"step_{best:06d}").is_dir():
            folder.point("best", best)
        folder.prune(keep_last=choices.keep_last, keep_every=choices.keep_every, best=best)

    def newest(self) -> int | None:
        """Step of the newest checkpoint."""
        newest = self._folder.newest()
        return newest.step if newest is not None else None

    def announce(self, interrupted: str, step: int) -> None:
        """Say before the save after a signal what is at stake."""
        took = f", which took {self._took_s:.0f} s the last time" if self._took_s else ""
        before = self.newest()
        kept = f"from step {before}" if before is not None else "from the beginning"
        self._watcher.say(
            f"{interrupted}: saving step {step}{took}; killed before that is done, the run goes "
            f"on {kept}"
        )

    def _whole_model(self, objective: Objective) -> tuple["Evo1", dict[str, Tensor]]:
        """The model with all its weights, gathered and merged; and what was merged."""
        if not sharded(self._accelerator) and not self._adapted:
            return plain_model(objective), {}
        from evo1_policy.model.evo1 import empty_model

        whole, weights = empty_model(self._config), full_weights(objective)
        if weights:  # they arrive on the main process only
            whole.load_state_dict(merged_weights(weights), assign=True)
        return whole, adapted_weights(weights)


def sharded(accelerator: Accelerator) -> bool:
    """Whether weights are spread over the devices (FSDP)."""
    return str(accelerator.distributed_type).endswith("FSDP")
