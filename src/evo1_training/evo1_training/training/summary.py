"""What is said before a run and after it, down to what to type next. Must not import ROS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from evo1_policy.command_line import printable
from evo1_policy.paths import write_whole
from evo1_training.next_commands import after_training, command
from evo1_training.training.run_folder import SUMMARY, RunFolder
from evo1_training.training.train_config import Stage, StageConfig, TrainConfig
from evo1_training.training.trainer import Outcome, TrainError
from evo1_training.training.training_data import TrainingData

PAPER_BATCH = 128
_MOST_SAID = 8000  # characters of a line


def describe_start(
    config: TrainConfig,
    stage: Stage,
    data: TrainingData,
    accelerator: Accelerator,
) -> list[str]:
    """What this run is, in lines for people and for the model card."""
    section, ranks = config.stage(stage), accelerator.num_processes
    batch = section.batch_size * section.accumulation * ranks
    start = config.start_from or config.backbone or "new weights"
    lines = [
        f"{stage} for {data.interface.name}, from {start}; " + _what_learns(section),
        *data.describe(),
        f"{section.steps} steps of {batch} samples ({section.batch_size} a batch x "
        f"{section.accumulation} accumulated x {ranks} {accelerator.device.type}), "
        f"{'bf16' if accelerator.mixed_precision == 'bf16' else 'fp32'}, seed {config.seed}",
    ]
    meaning = data.end_effector
    space = config.action_space if meaning is None else meaning.action_space
    if space != "joint":
        lines.append(f"action space: {space}")
    width = data.interface.widths[1]
    noise, pool = config.model.horizon * width, config.model.language.width
    if config.model.semantics.prediction == "velocity" and pool < noise:
        lines.append(
            f"a velocity holds the noise, {noise} numbers ({config.model.horizon} actions x "
            f"{width} numbers), and the head's pool has {pool}: some of it cannot get "
            "through. Take a shorter model.horizon, a wider model.language.width or "
            "model.semantics.prediction=sample"
        )
    if config.backbone and batch < PAPER_BATCH:
        needed = -(-PAPER_BATCH // (section.batch_size * ranks))
        lines.append(
            f"the paper's global batch is {PAPER_BATCH}, this one's is {batch}: smaller ones did "
            f"not reproduce its results. To match it: {stage}.accumulation={needed}"
        )
    return lines


def _what_learns(section: StageConfig) -> str:
    parts = ["head"] if section.freeze_backbone else ["backbone", "head"]
    words = [f"{p} by adapters" if p in section.lora else p for p in parts]
    frozen = ["backbone"] if section.freeze_backbone else []
    frozen += section.freeze
    return " and ".join(words) + (f"; frozen: {', '.join(frozen)}" if frozen else "")


@contextmanager
def memory_explained(config: TrainConfig, stage: Stage) -> Iterator[None]:
    """Out of memory, said in settings.

    Raises:
        TrainError: in its place.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(stage, config, str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(stage, config, str(error)) from error


def _out_of_memory(stage: Stage, config: TrainConfig, reason: str) -> TrainError:
    """Which settings to change, with the values to type."""
    section = config.stage(stage)
    advice = []
    if section.batch_size > 1:
        half = section.batch_size // 2
        advice.append(
            f"{stage}.batch_size={half} {stage}.accumulation={section.accumulation * 2} "
            "(the same global batch)"
        )
    if not section.freeze_backbone and not section.gradient_checkpointing:
        advice.append(f"{stage}.gradient_checkpointing=true")
    if config.precision != "bf16":
        advice.append("precision=bf16")
    if section.ema > 0:
        advice.append(f"{stage}.ema=0")
    if not section.freeze_backbone and not section.lora:
        advice.append(f"{stage}.lora=[backbone] (low-rank adapters, which learn less)")
    advice.append(
        "several GPUs with FSDP (accelerate launch --use_fsdp --fsdp_version 2 ..., the whole "
        "command stands in docs/training.md)"
    )
    return TrainError(
        f"out of memory at batch {section.batch_size}: {reason.splitlines()[0][:200]}\n"
        f"Try, one after the other: {'; '.join(advice)}. Other choices want --restart, or --name"
    )


def write_summary(
    folder: RunFolder,
    outcome: Outcome,
    config: TrainConfig,
    stage: Stage,
    data: TrainingData,
) -> str:
    """Say how a run ended and what to type next; also into summary.md."""
    path, section = folder.path, config.stage(stage)
    if outcome.interrupted:
        lines = [
            f"{outcome.interrupted}: saved at step {outcome.step} of {section.steps}; the same "
            f"command goes on from there. Policy so far: {path / 'last'}"
        ]
    else:
        lines = [f"{config.name}: {stage} is finished after {outcome.step} steps."]
    if outcome.error is not None:
        lines.append(outcome.error.describe())
    if outcome.best_step is not None:
        solved = outcome.best_success
        found = [f"step {outcome.best_step}"]
        found += [f"solves {solved:.0%} of the scenes"] if solved is not None else []
        found += [f"held-out error {outcome.best_error:.4f}"] if outcome.best_error else []
        lines.append(f"best: {', '.join(found)}: {path / 'best'}")
    if outcome.skipped:
        lines.append(f"{outcome.skipped} steps were left out because their loss was not finite")
    lines.append(
        f"{outcome.samples_per_s:.1f} samples/s, {outcome.data_wait:.1%} of the time waiting for "
        "data"
    )
    if outcome.data_wait > 0.2:
        lines.append(
            "the data is the bottleneck: more data.workers, or data.cache_dir=~/.cache/evo1/frames"
        )
    if not outcome.interrupted or stage != "stage1":
        title, name = "Next:", "best"
        if outcome.interrupted:
            title, name = "What it learnt so far:", "last"
        told = _next(path / name, config, stage, data)
        lines += ["", title, *(f"  {line}" for line in told)]
    text = "\n".join(printable(line, _MOST_SAID) for line in lines)
    write_whole(path / SUMMARY, text + "\n", sync=False)
    return text


def _next(policy: Path, config: TrainConfig, stage: Stage, data: TrainingData) -> list[str]:
    if stage == "stage1":
        usual = Path(TrainConfig.runs).expanduser() == Path(config.runs)
        runs = [] if usual else ["--runs", config.runs]
        return [command("train", "--stage", 2, "--name", config.name, *runs)]
    if data.robot is None:
        return [command("evaluate", "--suite", data.interface.name, "--checkpoint", policy)]
    return after_training(data.robot, policy, data.instructions)
