"""The training loop: batches in, checkpoints out, and nothing random that is not derived.

Noise, augmentation and dropout of a step come from (seed, step, batch, rank), so that no random
state has to be saved: a run that was killed and resumed is the run that was not. Must not import
ROS.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from evo1_policy.model.preprocessing import ModelInputs
from evo1_training.training.batch import Origin, augmented_inputs
from evo1_training.training.checkpoints import PolicyParts, Progress, plain_model, write_progress
from evo1_training.training.loading import BatchStream
from evo1_training.training.objective import Objective, attention_for
from evo1_training.training.open_loop import OpenLoopError, OpenLoopMeter
from evo1_training.training.optimizer import WeightAverage, learning_rate, set_modes
from evo1_training.training.rollouts import Rollouts
from evo1_training.training.run_folder import RunFolder, SavedStep
from evo1_training.training.saving import Saver
from evo1_training.training.train_config import Stage, TrainConfig
from evo1_training.training.watching import Interrupted, Interruption, Watcher

_NOT_TRIED, _CUT_OFF = -1.0, -2.0  # in place of a success


class TrainError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: that it stands at.
        interrupted: name of the signal that ended it, empty if it came to its end.
        skipped: updates that were left out.
        error: last held-out error, if it was measured.
        best_step: step of the best checkpoint, see Progress.measured.
        best_error: its held-out error.
        best_success: share of the scenes that it solved, where that was tried.
        data_wait: share of the time that was spent waiting for data.
        samples_per_s: over the whole session.
    """

    step: int
    interrupted: str
    skipped: int
    error: OpenLoopError | None
    best_step: int | None
    best_error: float | None
    best_success: float | None
    data_wait: float
    samples_per_s: float


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All that a trainer works with, made and checked before the first step."""

    config: TrainConfig
    stage: Stage
    folder: RunFolder
    accelerator: Accelerator
    objective: Objective
    optimizer: torch.optim.Optimizer
    factors: tuple[float, ...]  # of the rate, one for each of the optimiser's groups
    average: WeightAverage | None
    stream: BatchStream
    meter: OpenLoopMeter
    rollouts: Rollouts
    policy: PolicyParts
    progress: Progress
    watcher: Watcher


class Trainer:
    """Runs one stage from wherever it stands to its end."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._config, self._stage = parts.config, parts.config.stage(parts.stage)
        self._accelerator, self._objective = parts.accelerator, parts.objective
        self._model_config = parts.config.model
        self._progress = parts.progress
        self._device = parts.accelerator.device
        self._weights = [w for group in parts.optimizer.param_groups for w in group["params"]]
        self._error: OpenLoopError | None = None
        self._logged_at = time.perf_counter()
        self._logged_step = parts.progress.step
        self._waited_at_log = 0.0
        self._saver = Saver(
            parts.folder,
            parts.accelerator,
            parts.config.saving,
            parts.policy,
            parts.watcher,
            config=parts.config.model,
            adapted=bool(self._stage.lora),
        )
        self._interruption = Interruption()

    def run(self) -> Outcome:
        """Train until the last step or a signal, with checkpoints on the way.

        Raises:
            TrainError: the loss is not finite again and again.
        """
        start, first = time.perf_counter(), self._progress.step
        interrupted = ""
        set_modes(plain_model(self._objective))
        with self._interruption as interruption:
            # A run that was cut off within its trials makes them first.
            stopped = self._progress.success is None and self._try_in_simulation()
            while not stopped and self._progress.step < self._stage.steps:
                self._step()
                stopped = self._agreed(bool(interruption.signal_name)) or self._measure_and_save()
            if stopped:
                interrupted = interruption.signal_name or "a signal to another process"
            if self._saver.newest() != self._progress.step > first:
                if interrupted:
                    self._saver.announce(interrupted, self._progress.step)
                self._save()
        seconds = time.perf_counter() - start
        done = self._progress.step - first
        return Outcome(
            step=self._progress.step,
            interrupted=interrupted,
            skipped=self._progress.skipped,
            error=self._error,
            best_step=self._progress.best_step,
            best_error=self._progress.best_error,
            best_success=self._progress.best_success,
            data_wait=self._parts.stream.waited_s / max(seconds, 1e-9),
            samples_per_s=done * self._samples_per_step() / max(seconds, 1e-9),
        )

    def _step(self) -> None:
        step = self._progress.step
        lr = learning_rate(step, self._stage)
        groups = self._parts.optimizer.param_groups
        for group, factor in zip(groups, self._parts.factors, strict=True):
            group["lr"] = lr * factor
        loss, blamed = self._gradients(step)
        norm = self._clipped_norm()
        good = math.isfinite(loss) and math.isfinite(norm)
        if good:
            self._parts.optimizer.step()
            if self._parts.average is not None:
                self._parts.average.update(step)
        self._parts.optimizer.zero_grad()
        self._progress = replace(
            self._progress,
            step=step + 1,
            position=self._parts.stream.state_dict(),
            window=(*self._progress.window, loss) if good else self._progress.window,
            skipped=self._progress.skipped + (not good),
            bad_in_a_row=0 if good else self._progress.bad_in_a_row + 1,
            error=None,
            success=None,
        )
        if not good:
            self._skipped(step, loss, norm, blamed)
        self._log(lr, norm)

    def _gradients(self, step: int) -> tuple[float, tuple[Origin, ...]]:
        """Mean loss over all batches and devices, and what came into it here."""
        count = self._stage.accumulation
        total = torch.zeros((), device=self._device)
        origins: tuple[Origin, ...] = ()
        for number in range(count):
            batch = next(self._parts.stream).to(self._device)
            generator = self._generator(step, number)
            inputs = augmented_inputs(
                batch, self._model_config, self._config.augmentation, generator
            )
            last = number == count - 1
            with self._unsynchronised(not last), self._attention():
                loss: Tensor = self._objective(inputs, batch=batch, generator=generator)
                self._accelerator.backward(loss / count)
            total += loss.detach() / count
            origins += batch.origins
        return float(self._accelerator.reduce(total, "mean")), origins

    def _clipped_norm(self) -> float:
        """Norm of the whole gradient before it was clipped."""
        # Not accelerate's: with FSDP it compares lists of sharded weights, which has no answer.
        norm: Any = torch.nn.utils.clip_grad_norm_(self._weights, self._stage.clip)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)  # FSDP

    def _generator(self, step: int, number: int) -> torch.Generator:
        """All randomness of one batch; also seeds torch's own, for dropout."""
        text = f"{self._config.seed}/{step}/{number}/{self._accelerator.process_index}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        torch.manual_seed(seed)
        return torch.Generator(self._device).manual_seed(seed)

    def _attention(self) -> contextlib.AbstractContextManager[None]:
        return attention_for(self._device, bf16=self._accelerator.mixed_precision == "bf16")

    def _unsynchronised(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        if not wanted:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[None] = self._accelerator.no_sync(
            self._objective
        )
        return context

    def _agreed(self, wish: bool) -> bool:
        """Whether any process wishes so."""
        if self._accelerator.num_processes == 1:
            return wish
        flag = torch.tensor(float(wish), device=self._device)
        return bool(self._accelerator.reduce(flag, "sum").item() > 0)

    def _skipped(self, step: int, loss: float, norm: float, origins: tuple[Origin, ...]) -> None:
        what = f"loss {loss}" if not math.isfinite(loss) else f"norm of the gradient {norm}"
        names = ", ".join(f"{o.dataset} episode {o.episode} frame {o.frame}" for o in origins[:8])
        more = f" and {len(origins) - 8} more" if len(origins) > 8 else ""
        text = f"step {step}: {what}; left out. The batch: {names}{more}"
        self._parts.watcher.say(text)
        in_a_row = self._progress.bad_in_a_row
        if in_a_row >= self._config.max_bad_steps:
            raise TrainError(
                f"{text}. {in_a_row} steps in a row were not finite: lower {self._parts.stage}.lr "
                f"(now {self._stage.lr:g}), use precision=fp32, or look at these frames. The last "
                "checkpoint is kept; the same command goes on from there"
            )

    def _log(self, lr: float, norm: float) -> None:
        progress, watcher = self._progress, self._parts.watcher
        now = time.perf_counter()
        losses = progress.window
        seconds = max(now - self._logged_at, 1e-9)
        rate = (progress.step - self._logged_step) * self._samples_per_step() / seconds
        watcher.step(losses[-1] if losses else math.nan, lr, rate)
        if progress.step % self._config.watching.log_every:
            return
        waited = self._parts.stream.waited_s - self._waited_at_log
        values = {
            "loss": sum(losses) / len(losses) if losses else None,
            "lr": lr,
            "grad_norm": norm if math.isfinite(norm) else None,
            "skipped": progress.skipped,
            "epoch": self._parts.stream.position.epoch,
            "samples_per_s": rate,
            "data_wait": waited / seconds,
        }
        watcher.record(progress.step, {k: v for k, v in values.items() if v is not None})
        self._progress = replace(progress, window=())
        self._logged_at, self._logged_step = now, progress.step
        self._waited_at_log = self._parts.stream.waited_s

    def _measure_and_save(self) -> bool:
        """What is due after this step; whether a signal cut it off."""
        step, saving = self._progress.step, self._config.saving
        last = step == self._stage.steps
        tried = self._parts.rollouts.due(step, self._stage.steps)
        began = time.perf_counter()
        if self._parts.meter.available and (
            last or tried or step % self._config.watching.open_loop_every == 0
        ):
            self._measure()
        kept = saving.keep_every and step % saving.keep_every == 0
        best = self._progress.best_step == step
        if last or tried or kept or best or step % saving.every == 0:
            self._save()
        stopped = self._try_in_simulation()
        self._logged_at += time.perf_counter() - began
        return stopped

    def _measure(self) -> None:
        """Held-out error; every process does the same, which any kind of sharding needs."""
        meter, step = self._parts.meter, self._progress.step
        with self._deployed():
            self._error = meter.measure(self._predict, self._device)
            plots = self._config.watching.plots
            chunks = meter.follow(self._predict, self._device) if plots else []
        if chunks and self._accelerator.is_main_process:
            meter.plot(chunks, self._parts.folder.path / "open_loop" / f"step_{step:06d}.png")
        watcher = self._parts.watcher
        watcher.say(f"step {step}: {self._error.describe()}")
        errors = {f"open_loop/{name}": value for name, value in self._error.joints.items()}
        watcher.record(step, {"open_loop/normalised": self._error.normalised, **errors})
        self._progress = self._progress.measured(error=self._error.normalised)

    def _try_in_simulation(self) -> bool:
        """Success of the policy that was just saved, where it is due; whether a signal came."""
        step, parts = self._progress.step, self._parts
        saved = parts.folder.newest()
        if saved is None or not parts.rollouts.due(step, self._stage.steps):
            return False
        success = self._success(saved) if self._accelerator.is_main_process else 0.0
        if self._accelerator.num_processes > 1:  # the others wait for the main one
            told = torch.tensor(success, device=self._device, dtype=torch.float64)
            success = float(torch.as_tensor(broadcast(told)))
        if success < 0:
            return success == _CUT_OFF
        self._progress = self._progress.measured(success=success)
        if self._accelerator.is_main_process:
            write_progress(saved, self._progress)
            self._saver.point_and_prune(self._progress)
        parts.watcher.say(f"step {step}: solves {success:.0%} of the scenes")
        parts.watcher.record(step, {"rollouts/success": success})
        return False

    def _success(self, saved: SavedStep) -> float:
        """Share of the scenes that a saved policy solves, or _CUT_OFF, or _NOT_TRIED."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # the trials want some of it
        try:
            return self._parts.rollouts.success(saved.policy, self._interruption.check)
        except Interrupted:
            return _CUT_OFF
        except Exception as error:  # noqa: BLE001  a measurement must not end a training
            self._parts.watcher.say(f"{saved.path.name}: could not be tried: {error}")
            return _NOT_TRIED

    def _predict(self, inputs: ModelInputs, noise: Tensor) -> Tensor:
        with self._attention():
            actions: Tensor = self._objective(inputs, noise=noise)
        return actions

    @contextlib.contextmanager
    def _deployed(self) -> Iterator[None]:
        """Eval mode, and the averaged weights where there are some."""
        average = self._parts.average
        self._objective.eval()
        try:
            with average.applied() if average is not None else contextlib.nullcontext():
                yield
        finally:
            # Without a backward pass FSDP leaves weights gathered, unknown to the optimiser.
            for module in self._objective.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()
            set_modes(plain_model(self._objective))

    def _save(self) -> None:
        parts = self._parts
        self._saver.save(
            self._progress, self._objective, parts.optimizer, parts.average, self._deployed
        )

    def _samples_per_step(self) -> int:
        stage = self._stage
        ranks: int = self._accelerator.num_processes
        return stage.batch_size * stage.accumulation * ranks
