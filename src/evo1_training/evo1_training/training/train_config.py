"""The choices of a training run: one YAML, every key of which the command line can replace.

A new choice is one line here: name, type, default, bounds, and what it means; the command line,
the YAML, its check and --help read it from there. Architecture and semantics of the model stand
under `model` and travel in the checkpoint. Must not import ROS or torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evo1_policy.model.config import Evo1Config, Precision
from evo1_policy.normalization import Mode, action_space
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, parse_yaml, read_text
from evo1_training.training.config_values import (
    Choices,
    Data,
    TrainConfigError,
    build,
    choice,
    overlay,
    override,
    plain,
    weighted,
)

Stage = Literal["stage1", "stage2", "single"]
Part = Literal["backbone", "head"]


@dataclass(frozen=True, kw_only=True)
class StageConfig(Choices):
    """What one stage does."""

    steps: int = choice(10_000, "updates of the weights", low=1)
    batch_size: int = choice(16, "samples of one device at a time", low=1)
    accumulation: int = choice(
        1, "batches of each device in an update; batch_size x this x devices is 128 in the paper",
        low=1,
    )  # fmt: skip
    lr: float = choice(1e-5, "highest learning rate", above=0)
    lr_scales: tuple[str, ...] = choice(
        (), "PATTERN:FACTOR of weights whose rate is another, such as ['embedder.*:0.1']; the "
        "first pattern that a weight's name matches counts",
    )  # fmt: skip
    warmup_steps: int = choice(1000, "linear rise to the rate", low=0)
    flat_share: float = choice(
        0.0, "share of the steps after the rise in which the rate stays", low=0, below=1
    )
    weight_decay: float = choice(1e-3, "on matrices; norms, biases and vectors have none", low=0)
    clip: float = choice(1.0, "largest norm of the gradient", above=0)
    ema: float = choice(
        0.0, "decay of averaged weights, which are then what is evaluated and deployed; 0: none",
        low=0, below=1,
    )  # fmt: skip
    freeze_backbone: bool = choice(False, "train the head alone; the backbone is in eval mode")
    freeze: tuple[str, ...] = choice(
        (), "patterns of weights that stay as they are, such as ['embedder.model.vision_tower.*']"
    )
    lora: tuple[Part, ...] = choice(
        (), "parts, of backbone and head, that learn by low-rank adapters of their linear layers, "
        "all else in them stays; the policy that is written has them merged",
    )  # fmt: skip
    lora_rank: int = choice(16, "of the adapters; they are scaled by 2", low=1)
    gradient_checkpointing: bool = choice(
        False, "compute activations of backbone and head twice instead of keeping them"
    )
    noise_draws: int = choice(
        1, "noises and times for each sample; the backbone runs once for all of them", low=1
    )
    milestone_weight: float = choice(
        0.0, "of an additional loss, by which the context must tell the joint positions at the "
        "episode's next grasp and release; 0: none. No part of the policy",
        low=0,
    )  # fmt: skip

    @property
    def learns_milestones(self) -> bool:
        """Whether the additional loss is there, and a backbone that learns by it."""
        return self.milestone_weight > 0 and not self.freeze_backbone

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze_backbone and "backbone" in self.lora:
            raise TrainConfigError("lora: the backbone is frozen here; freeze_backbone=false")
        for text in self.lr_scales:
            if not weighted(text)[0] or weighted(text)[1] is None:
                raise TrainConfigError(f"lr_scales: expected PATTERN:FACTOR, got {text!r}")


@dataclass(frozen=True, kw_only=True)
class DataConfig(Choices):
    """What is learnt from."""

    datasets: tuple[str, ...] = choice(
        (), "folders, or hub:user/name; empty: the newest below `root`. FOLDER:0.3 shows its "
        "frames 0.3 times in an epoch, FOLDER:2 twice",
    )  # fmt: skip
    root: str = choice("~/evo1_datasets", "where converted datasets lie")
    groups: str = choice("", "the authors' dataset file (data_groups), instead of `datasets`")
    robot: str = choice("", "robot file; empty: the copy in the dataset")
    interface: str = choice(
        "", "of a benchmark, which has no robot: 'metaworld', 'libero', or a file; empty: the copy"
    )
    phrasings: str = choice(
        "", "YAML or JSON file with other words for tasks: {task: [words, words]}; each frame is "
        "shown with one of them in an epoch",
    )  # fmt: skip
    holdout: float = choice(
        0.05, "share of the episodes that is only measured with; 0: none", low=0, below=1
    )
    mask_held: bool = choice(True, "leave actions out that stand in a gap of the recording")
    intervention_weight: float = choice(
        1.0, "how often a frame comes in an epoch in which a person corrected the policy "
        "(`evo1.intervention`), times its dataset's weight",
        above=0,
    )  # fmt: skip
    policy_weight: float = choice(
        0.0, "likewise of the frames that the policy itself drove in an episode in which it was "
        "corrected; 0 leaves them out, in chunks too",
        low=0,
    )  # fmt: skip
    max_pause_s: float | None = choice(
        None, "pauses of the demonstrator inside a chunk are shortened to this [s]; null keeps "
        "them, as the paper does. A policy without a memory pauses for ever otherwise",
        low=0,
    )  # fmt: skip
    cache_dir: str = choice("", "folder of decoded frames; empty: decode every time")
    cache_kind: Literal["raw", "jpeg"] = choice(
        "raw", "0.6 GB for 1000 frames of 448 px; jpeg: about a tenth of that"
    )
    workers: int = choice(4, "processes that read ahead; 0: the training process reads", low=0)
    prefetch: int = choice(4, "batches that each of them has ready", low=1)


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig(Choices):
    """How states and actions are scaled where the stats are computed anew."""

    mode: Mode = choice(  # noqa: RUF009
        "bounds", "'bounds' maps [min, max] to [-1, 1], 'quantiles' [q01, q99]; 'mean_std'"
    )
    clamp: bool = choice(True, "cut to [-1, 1]; never in 'mean_std'")
    range_floor: float = choice(0.0, "least range [rad] that is scaled to [-1, 1]", low=0)
    stats: str = choice(
        "auto", "'auto' (the checkpoint's that is started from, else computed), 'compute', or a "
        "norm_stats.json",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig(Choices):
    """What is changed about training images, on the device."""

    probability: float = choice(0.5, "of each image", low=0, high=1)
    crop_scale: float = choice(0.95, "least share of the area that is kept", above=0, high=1)
    rotation_deg: float = choice(5.0, "largest angle to either side", low=0)
    brightness: float = choice(
        0.3, "factors from 1 - x to 1 + x; also the next two", low=0, high=1
    )
    contrast: float = choice(0.4, "about the image's mean grey", low=0, high=1)
    saturation: float = choice(0.5, "about each pixel's grey", low=0, high=1)
    hue: float = choice(0.08, "largest turn, as a share of the circle", low=0, high=0.5)
    resampling: Literal["bicubic", "bilinear"] = choice("bicubic", "of crop and rotation")
    state_noise: float = choice(0.0, "deviation of what is added to the normalised state", low=0)


@dataclass(frozen=True, kw_only=True)
class SavingConfig(Choices):
    """When checkpoints are written, and which stay."""

    every: int = choice(1000, "steps between two checkpoints", low=1)
    keep_last: int = choice(2, "how many of the newest stay; the best one always does", low=1)
    keep_every: int = choice(
        0, "those of every so many steps stay too, to be compared; 0: none", low=0
    )


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(Choices):
    """Trials in simulation while training; `best` is then the most successful checkpoint."""

    every: int = choice(0, "steps between two evaluations in simulation; 0: none", low=0)
    trials: int = choice(10, "scenes, always the same: the first of `evaluate --seed 1`", low=1)
    task: str = choice("", "empty: the robot's first")


@dataclass(frozen=True, kw_only=True)
class WatchingConfig(Choices):
    """What is measured while training."""

    log_every: int = choice(10, "steps between two lines of metrics.jsonl", low=1)
    open_loop_every: int = choice(
        1000, "steps between two measurements on the held-out episodes", low=1
    )
    open_loop_frames: int = choice(64, "how many frames of them are used", low=1)
    plots: bool = choice(True, "draw each of them")
    tensorboard: bool = choice(True, "write its files where it is installed")
    wandb: bool = choice(False, "also send to Weights & Biases")
    wandb_project: str = choice("evo1", "PROJECT there, or ENTITY/PROJECT of a team")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Choices):
    """A training run."""

    name: str = choice("evo1", "of the run; its folder is <runs>/<name>")
    runs: str = choice("~/evo1_runs", "folder of all runs")
    seed: int = choice(0, "of new weights, order, noise, augmentation and phrasings")
    precision: Precision = choice(  # noqa: RUF009
        "auto", "of the arithmetic; weights and optimiser are always fp32. 'auto' takes bf16 "
        "where the processor has it in hardware (GPUs, CPUs with AMX or AVX512-BF16)",
    )  # fmt: skip
    compile: bool = choice(
        False, "torch.compile for backbone and head: minutes at the start, then faster steps; "
        "needs a C++ compiler; not with FSDP",
    )  # fmt: skip
    device: Literal["auto", "cpu"] = choice("auto", "'auto': GPUs where there are some")
    backbone: str = choice("", "InternVL3-1B's folder")
    from_scratch: bool = choice(False, "a new backbone may stand in where none is given")
    tokenizer: str = choice("", "its folder; empty: the backbone's, or the one that ships")
    start_from: str = choice("", "a checkpoint; empty: stage 1's last in stage 2, else none")
    action_space: str = choice(
        "joint", "of recorded joints: 'joint', 'joint_relative' (chunks less their observation's "
        "state), 'ee_pose' or 'ee_delta' (the tool's, by the robot file's model) are learnt; "
        "the checkpoint says it, and its policy gives joint targets in any",
    )  # fmt: skip
    absolute_grippers: bool = choice(True, "in 'joint_relative' grippers stay as they are")
    max_bad_steps: int = choice(
        10, "steps in a row with a loss that is not finite, after which training stops", low=1
    )
    stage1: StageConfig = field(default_factory=lambda: StageConfig(freeze_backbone=True))
    stage2: StageConfig = field(default_factory=lambda: StageConfig(steps=65_000))
    single: StageConfig = field(default_factory=lambda: StageConfig(steps=65_000))
    data: DataConfig = field(default_factory=DataConfig)
    normalization: NormalizationConfig = field(default_factory=NormalizationConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    saving: SavingConfig = field(default_factory=SavingConfig)
    rollouts: RolloutConfig = field(default_factory=RolloutConfig)
    watching: WatchingConfig = field(default_factory=WatchingConfig)
    model: Evo1Config = field(default_factory=Evo1Config)

    def __post_init__(self) -> None:
        super().__post_init__()
        action_space(self.action_space)
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise TrainConfigError(f"name: expected the name of a folder, got {self.name!r}")

    def stage(self, stage: Stage) -> StageConfig:
        """The section of a stage."""
        section: StageConfig = getattr(self, stage)
        return section


def config_from(
    base: TrainConfig,
    *,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    stage: Stage = "stage1",
) -> TrainConfig:
    """The base with the values of a YAML file, then those of the command line.

    Args:
        base: a preset, or the config of an earlier run.
        file: YAML with any of its keys.
        overrides: `key=value`; keys without a dot also mean the stage's section.
        stage: that section.

    Raises:
        TrainConfigError: a key is unknown or a value wrong; names the file and the key.
    """
    data = plain(base)
    source = "command line"
    if file is not None:
        source = str(file)
        data = overlay(data, read_yaml(file), source=source)
        build(TrainConfig, data, source=source)  # an error of the file is said to be the file's
        source = f"{file} and command line" if overrides else source
    for text in overrides:
        data = override(data, text, section=stage)
    return build(TrainConfig, data, source=source)


def read_yaml(path: Path) -> Data:
    """The mapping in a YAML file.

    Raises:
        TrainConfigError: it cannot be read, is no YAML, or holds something else.
    """
    try:
        text = read_text(path, what="training config", max_bytes=MOST_YAML_BYTES)
        data = parse_yaml(text, source=str(path))
    except UntrustedError as error:
        raise TrainConfigError(str(error)) from error
    if not isinstance(data, dict | None):
        raise TrainConfigError(f"{path}: expected keys with values, got {type(data).__name__}")
    return data or {}
