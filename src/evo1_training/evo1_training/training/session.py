"""From choices to a finished stage: everything is made and checked before the first step.

Must not import ROS.
"""

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from evo1_policy.checkpoint import Checkpoint, Weights
from evo1_policy.checkpoint_layouts.own import copy_tokenizer, tokenizer_files
from evo1_policy.model.preprocessing import load_tokenizer
from evo1_policy.normalization import action_space
from evo1_training.training.batch import Collator
from evo1_training.training.checkpoints import (
    ADAPTED,
    MILESTONES,
    PolicyParts,
    Progress,
    load_optimizer_state,
    load_part,
    load_trained_weights,
    plain_model,
)
from evo1_training.training.config_values import TrainConfigError, plain
from evo1_training.training.data_selection import (
    mappings,
    open_data,
    resolved,
    selected_subject,
)
from evo1_training.training.loading import BatchStream
from evo1_training.training.objective import Objective, has_fast_bf16, new_milestone_head
from evo1_training.training.open_loop import OpenLoopMeter
from evo1_training.training.optimizer import WeightAverage, freeze, new_optimizer
from evo1_training.training.rollouts import Rollouts
from evo1_training.training.run_folder import CONFIG, RunFolder, SavedStep
from evo1_training.training.saving import sharded
from evo1_training.training.starting_point import (
    choose_stats,
    make_model,
    open_start,
    tokenizer_source,
)
from evo1_training.training.summary import describe_start, memory_explained, write_summary
from evo1_training.training.train_config import Stage, StageConfig, TrainConfig
from evo1_training.training.trainer import Outcome, Parts, Trainer
from evo1_training.training.training_data import TrainingData
from evo1_training.training.watching import DecodingBar, Watcher

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that is not going on: its folder, how it ended, and what to say about it."""

    folder: RunFolder
    outcome: Outcome | None
    summary: str


def train(config: TrainConfig, stage: Stage, *, restart: bool = False) -> Finished:
    """Run one stage, or go on with it where a run of this name stands.

    Args:
        config: all choices; `start_from` says where stage 2 begins.
        stage: which section of it.
        restart: set an earlier run of this name aside instead of going on with it.

    Raises:
        TrainConfigError: the choices do not fit the run of this name or the checkpoint.
        DatasetError: the data cannot be used.
        CheckpointError: the checkpoint cannot be used.
        TrainError: training cannot go on.
    """
    config = _with_resolved_paths(config)
    folder = RunFolder(Path(config.runs) / config.name / stage)
    accelerator = _accelerator(config)
    if restart and accelerator.is_main_process and (aside := folder.set_aside()) is not None:
        _LOG.warning("the earlier run is now %s", aside)
    accelerator.wait_for_everyone()
    read_as = mappings(config.data)
    if (folder.path / CONFIG).is_file():  # also of a run that was killed before its first save
        folder.check_same(config, stage, read_as)
    resume = folder.newest()
    if resume is not None and accelerator.is_main_process:
        folder.point("last", resume.step)  # a kill may have come before the link
    subject, start = selected_subject(config.data), None
    rollouts, steps = Rollouts(config, subject[1]), config.stage(stage).steps
    progress = Progress.read(resume) if resume is not None else Progress()
    if progress.step >= steps and (progress.success is not None or not rollouts.due(steps, steps)):
        return _finished(folder, stage, progress.step)
    if resume is None:  # what is wrong with it is said before minutes of decoding
        start = open_start(config, *subject)
        tokenizer_files(tokenizer_source(config, start))
    data = _opened(config, accelerator)
    known = _Session(config, stage, folder, accelerator, data, start, resume, progress)
    parts = known.parts(read_as, rollouts)
    try:
        with memory_explained(config, stage):
            outcome = Trainer(parts).run()
    finally:
        parts.watcher.close()
        parts.stream.close()
        data.close()
        folder.end()
    summary = ""
    if accelerator.is_main_process:
        summary = write_summary(folder, outcome, config, stage, data)
    accelerator.end_training()
    return Finished(folder=folder, outcome=outcome, summary=summary)


def _opened(config: TrainConfig, accelerator: Accelerator) -> TrainingData:
    """All that the run learns from, with a bar while frames are decoded."""
    bar = DecodingBar(enabled=accelerator.is_main_process)
    data = open_data(
        config.data,
        config.model,
        seed=config.seed,
        mode=config.normalization.mode,
        action_space=action_space(config.action_space),
        progress=bar,
    )
    bar.close()
    return data


@dataclass(frozen=True)
class _Session:
    """What is known once the data are open; makes all that a trainer works with."""

    config: TrainConfig
    stage: Stage
    folder: RunFolder
    accelerator: Accelerator
    data: TrainingData
    start: Weights | None
    resume: SavedStep | None
    progress: Progress

    @property
    def section(self) -> StageConfig:
        return self.config.stage(self.stage)

    def parts(self, read_as: Mapping[str, str], rollouts: Rollouts) -> Parts:
        """Everything, in the order in which it takes memory."""
        config, folder, interface = self.config, self.folder, self.data.interface
        stats = choose_stats(config, self.data, self.start, self.resume)
        tokenizer_dir = folder.path / "tokenizer"
        if self.accelerator.is_main_process:
            folder.begin(config, read_as)
            if self.resume is None:
                copy_tokenizer(tokenizer_source(config, self.start), tokenizer_dir)
            else:
                folder.keep_metrics_until(self.resume.step)
        self.accelerator.wait_for_everyone()
        collator = Collator(config.model, load_tokenizer(tokenizer_dir), stats)
        # Before the model takes memory and the GPU: the readers are forked from this process.
        stream = self._stream(collator)
        model = make_model(config, self.start, self.resume)
        lines = self._lines()
        watcher = self._watcher(lines)
        with memory_explained(config, self.stage):
            average, objective, optimizer, factors = self._prepared(model)
        return Parts(
            config=config,
            stage=self.stage,
            folder=folder,
            accelerator=self.accelerator,
            objective=objective,
            optimizer=optimizer,
            factors=factors,
            average=average,
            stream=stream,
            meter=OpenLoopMeter(
                self.data,
                collator,
                stats[interface.embodiment],
                config.model,
                frames=config.watching.open_loop_frames,
                batch_size=self.section.batch_size,
            ),
            rollouts=rollouts,
            policy=PolicyParts(
                interface=interface,
                stats=stats,
                tokenizer=tokenizer_dir,
                card=tuple(f"- {line}" for line in lines),
                training=self.data.facts,
            ),
            progress=self.progress,
            watcher=watcher,
        )

    def _stream(self, collator: Collator) -> BatchStream:
        position = self.progress.position
        try:
            return BatchStream(
                self.data,
                collator,
                self.config.data,
                batch_size=self.section.batch_size,
                rank=self.accelerator.process_index,
                ranks=self.accelerator.num_processes,
                pin=self.accelerator.device.type == "cuda",
                state=dict(position) if position else None,
            )
        except ValueError as error:  # the data changed since
            raise TrainConfigError(f"{self.config.name}: {error}") from error

    def _lines(self) -> list[str]:
        """What this run is, for people and for the model card."""
        lines = describe_start(self.config, self.stage, self.data, self.accelerator)
        if self.start is not None:
            lines[1:1] = self.start.notes
            if not isinstance(self.start, Checkpoint):
                alone = "its weights alone: it is for another robot, or says none; stats are new"
                lines.insert(1, alone)
        return lines

    def _watcher(self, lines: list[str]) -> Watcher:
        step = self.progress.step
        watcher = Watcher(
            self.folder.path,
            self.config.watching,
            title=f"{self.config.name} {self.stage}",
            steps=self.section.steps,
            start=step,
            choices=plain(self.config),
            enabled=self.accelerator.is_main_process,
        )
        for line in [*([f"going on from step {step}"] if step else []), *lines]:
            watcher.say(line)
        return watcher

    def _prepared(
        self, model: "Evo1"
    ) -> tuple[WeightAverage | None, Objective, torch.optim.Optimizer, tuple[float, ...]]:
        """Freeze, average, wrap for the devices, and give the optimiser what it knew.

        The last is the factor of the rate of each of its groups.
        """
        config, section, resume = self.config, self.section, self.resume
        if section.ema > 0 and sharded(self.accelerator):
            raise TrainConfigError(
                f"ema: {section.ema}: averaged weights are not kept with FSDP; train with ema=0, "
                "or with DDP"
            )
        if config.compile and sharded(self.accelerator):
            raise TrainConfigError("compile: was never tried with FSDP; compile=false")
        freeze(model, section, seed=config.seed)
        if resume is not None and section.lora:
            load_part(model, resume, ADAPTED)
        if config.compile:
            model.embedder.compile()
            model.action_head.compile()
        head = None
        if section.learns_milestones:
            head = new_milestone_head(model.config, seed=config.seed)
            if resume is not None:
                load_part(head, resume, MILESTONES)
        objective = Objective(model, section, head)
        optimizer = new_optimizer(objective.named_parameters(), section, self.accelerator.device)
        factors = tuple(float(group["lr"]) / section.lr for group in optimizer.param_groups)
        objective, prepared = self.accelerator.prepare(objective, optimizer)
        average = None
        if section.ema > 0:
            average = WeightAverage(plain_model(objective), section.ema)  # of what was loaded
        raw: torch.optim.Optimizer = prepared.optimizer
        if resume is not None:
            load_trained_weights(plain_model(objective), resume)  # where they are not the average
            load_optimizer_state(objective, raw, resume)
        return average, objective, raw, factors


def _finished(folder: RunFolder, stage: Stage, step: int) -> Finished:
    summary = (
        f"{folder.path}: {stage} is finished (step {step}); its policy: {folder.path / 'best'}. "
        "For a new run: --name NAME, or --restart"
    )
    return Finished(folder=folder, outcome=None, summary=summary)


def _accelerator(config: TrainConfig) -> Accelerator:
    warnings.filterwarnings("ignore", message=".*find_unused_parameters.*")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader processes are forked
    cpu = config.device == "cpu" or not torch.cuda.is_available()
    fast = has_fast_bf16(torch.device("cpu" if cpu else "cuda"))
    bf16 = config.precision == "bf16" or (config.precision == "auto" and fast)
    # The others wait while the main process makes trials, which takes longer than NCCL's 10 min.
    patience = [InitProcessGroupKwargs(timeout=timedelta(hours=6))] * bool(config.rollouts.every)
    accelerator = Accelerator(
        mixed_precision="bf16" if bf16 else "no", cpu=cpu, kwargs_handlers=patience
    )
    if sharded(accelerator) and not accelerator.is_fsdp2:
        raise TrainConfigError(
            "FSDP: only its second version keeps weights and optimiser by name, as a run is "
            "saved here; add --fsdp_version 2 to accelerate launch"
        )
    return accelerator


def _with_resolved_paths(config: TrainConfig) -> TrainConfig:
    """The newest dataset and its name written out, so that a run goes on with what it began."""
    runs = str(Path(config.runs).expanduser())
    return replace(config, runs=runs, data=resolved(config.data))
