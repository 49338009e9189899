"""The choices of a training run: one YAML, every key of which the command line can replace.

Architecture and semantics of the model stand under `model` and travel in the checkpoint; what a
stage does stands under its own section. Must not import ROS or torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evo1_policy.model.config import Evo1Config
from evo1_policy.normalization import Mode, action_space
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, parse_yaml, read_text
from evo1_training.training.config_values import (
    Data,
    TrainConfigError,
    build,
    overlay,
    override,
    plain,
)

Stage = Literal["stage1", "stage2", "single"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What one stage does.

    Attributes:
        steps: updates of the weights.
        batch_size: samples of one device at a time.
        accumulation: batches of each device that make one update. The global batch is
            batch_size * accumulation * devices; the paper's is 128.
        lr: highest learning rate.
        warmup_steps: linear rise to it.
        flat_share: share of the steps after the rise in which it stays there.
        weight_decay: on matrices only; norms, biases and vectors have none.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are then what is evaluated and deployed; 0 for
            none.
        freeze_backbone: train the head alone; the backbone then stands in eval mode, without
            gradients and optimiser state.
        gradient_checkpointing: compute activations of backbone and head twice instead of
            keeping them.
        noise_draws: noises and times for each sample; the backbone runs once for all of them.
        milestone_weight: of an additional loss, by which the context must tell the joint
            positions at the episode's next grasp and release; 0 for none. It is learnt from the
            demonstrations alone, and what it adds is no part of the policy.
    """

    steps: int = 10_000
    batch_size: int = 16
    accumulation: int = 1
    lr: float = 1e-5
    warmup_steps: int = 1000
    flat_share: float = 0.0
    weight_decay: float = 1e-3
    clip: float = 1.0
    ema: float = 0.0
    freeze_backbone: bool = False
    gradient_checkpointing: bool = False
    noise_draws: int = 1
    milestone_weight: float = 0.0

    @property
    def learns_milestones(self) -> bool:
        """Whether the additional loss is there, and a backbone that learns by it."""
        return self.milestone_weight > 0 and not self.freeze_backbone

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "noise_draws"):
            _at_least(name, getattr(self, name), 1)
        for name in ("lr", "clip"):
            if getattr(self, name) <= 0:
                raise TrainConfigError(f"{name}: expected more than 0, got {getattr(self, name)}")
        _at_least("warmup_steps", self.warmup_steps, 0)
        _at_least("weight_decay", self.weight_decay, 0)
        _at_least("milestone_weight", self.milestone_weight, 0)
        for name in ("ema", "flat_share"):
            if not 0 <= getattr(self, name) < 1:
                raise TrainConfigError(f"{name}: expected [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is learnt from.

    Attributes:
        datasets: folders of LeRobot datasets; empty for the newest below `root`.
        root: where converted datasets lie.
        groups: the authors' dataset file (data_groups), instead of `datasets`.
        robot: robot file; empty for the copy in the dataset.
        holdout: share of the episodes that is never trained on but measured with; at least one
            episode of each dataset, 0 for none.
        mask_held: leave actions out of the loss that stand in a gap of the recording.
        max_pause_s: pauses of the demonstrator inside a chunk are shortened to this [s]; null
            keeps them, as the paper does. A policy without a memory pauses for ever otherwise.
        cache_dir: folder of decoded frames; empty for decoding every time.
        cache_kind: 'raw' (0.6 GB for 1000 frames of 448 px), or 'jpeg' (about a tenth of that).
        workers: processes that read ahead; 0 reads in the training process.
        prefetch: batches that each of them has ready.
    """

    datasets: tuple[str, ...] = ()
    root: str = "~/evo1_datasets"
    groups: str = ""
    robot: str = ""
    holdout: float = 0.05
    mask_held: bool = True
    max_pause_s: float | None = None
    cache_dir: str = ""
    cache_kind: Literal["raw", "jpeg"] = "raw"
    workers: int = 4
    prefetch: int = 4

    def __post_init__(self) -> None:
        _at_least("workers", self.workers, 0)
        _at_least("prefetch", self.prefetch, 1)
        if not 0 <= self.holdout < 1:
            raise TrainConfigError(f"holdout: expected [0, 1), got {self.holdout}")
        if self.max_pause_s is not None:
            _at_least("max_pause_s", self.max_pause_s, 0)


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """How states and actions are scaled where the stats are computed anew.

    Attributes:
        mode: see evo1_policy.normalization.
        clamp: see evo1_policy.normalization.
        range_floor: least range [rad] that is scaled to [-1, 1].
        stats: 'auto' (those of the checkpoint that training starts from, else computed),
            'compute', or a norm_stats.json.
    """

    mode: Mode = "bounds"
    clamp: bool = True
    range_floor: float = 0.0
    stats: str = "auto"


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What is changed about training images, on the device.

    Attributes:
        probability: of each image.
        crop_scale: least share of the area that is kept.
        rotation_deg: largest angle to either side.
        brightness: factors are drawn from 1 - x to 1 + x, also for the next two.
        contrast: about the image's mean grey.
        saturation: about each pixel's grey.
        hue: largest turn, as a share of the circle.
        resampling: of crop and rotation.
        state_noise: deviation of what is added to the normalised state.
    """

    probability: float = 0.5
    crop_scale: float = 0.95
    rotation_deg: float = 5.0
    brightness: float = 0.3
    contrast: float = 0.4
    saturation: float = 0.5
    hue: float = 0.08
    resampling: Literal["bicubic", "bilinear"] = "bicubic"
    state_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale <= 1:
            raise TrainConfigError(f"crop_scale: expected (0, 1], got {self.crop_scale}")
        for name in ("probability", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainConfigError(f"{name}: expected [0, 1], got {getattr(self, name)}")
        if not 0 <= self.hue <= 0.5:
            raise TrainConfigError(f"hue: expected [0, 0.5], got {self.hue}")


@dataclass(frozen=True, kw_only=True)
class SavingConfig:
    """When checkpoints are written, and which stay.

    Attributes:
        every: steps between two.
        keep_last: how many of the newest stay; the best one always does.
    """

    every: int = 1000
    keep_last: int = 2

    def __post_init__(self) -> None:
        _at_least("every", self.every, 1)
        _at_least("keep_last", self.keep_last, 1)


@dataclass(frozen=True, kw_only=True)
class WatchingConfig:
    """What is measured while training.

    Attributes:
        log_every: steps between two lines of metrics.jsonl.
        open_loop_every: steps between two measurements on the held-out episodes.
        open_loop_frames: how many frames of them are used.
        plots: draw each of them.
        tensorboard: write its files where it is installed.
        wandb: also send to Weights & Biases.
    """

    log_every: int = 10
    open_loop_every: int = 1000
    open_loop_frames: int = 64
    plots: bool = True
    tensorboard: bool = True
    wandb: bool = False

    def __post_init__(self) -> None:
        for name in ("log_every", "open_loop_every", "open_loop_frames"):
            _at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run.

    Attributes:
        name: of the run; its folder is <runs>/<name>.
        runs: folder of all runs.
        seed: of new weights, order, noise and augmentation.
        precision: of the arithmetic; weights and optimiser are always fp32. 'auto' takes bf16
            where the processor multiplies it in hardware (GPUs, CPUs with AMX or AVX512-BF16),
            else fp32.
        device: 'auto' (GPUs where there are some) or 'cpu'.
        backbone: InternVL3-1B's folder.
        from_scratch: whether a new backbone may stand in where none is given.
        tokenizer: folder of the tokenizer; empty for the backbone's, or the one that ships.
        start_from: checkpoint to start from; empty for stage 1's in stage 2, else none.
        action_space: 'joint', or 'joint_relative': what is learnt are the actions of a chunk less
            the state of its observation. The checkpoint says it, and its policy gives joint
            targets in either.
        absolute_grippers: leave the robot file's grippers as they are in 'joint_relative'.
        max_bad_steps: steps in a row with a loss that is not finite, after which training stops.
        model: sizes and semantics.
    """

    name: str = "evo1"
    runs: str = "~/evo1_runs"
    seed: int = 0
    precision: Precision = "auto"
    device: Literal["auto", "cpu"] = "auto"
    backbone: str = ""
    from_scratch: bool = False
    tokenizer: str = ""
    start_from: str = ""
    action_space: str = "joint"
    absolute_grippers: bool = True
    max_bad_steps: int = 10
    stage1: StageConfig = field(default_factory=lambda: StageConfig(freeze_backbone=True))
    stage2: StageConfig = field(default_factory=lambda: StageConfig(steps=65_000))
    single: StageConfig = field(default_factory=lambda: StageConfig(steps=65_000))
    data: DataConfig = field(default_factory=DataConfig)
    normalization: NormalizationConfig = field(default_factory=NormalizationConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    saving: SavingConfig = field(default_factory=SavingConfig)
    watching: WatchingConfig = field(default_factory=WatchingConfig)
    model: Evo1Config = field(default_factory=Evo1Config)

    def __post_init__(self) -> None:
        _at_least("max_bad_steps", self.max_bad_steps, 1)
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
        from_data(data, source=source)  # an error of the file is said to be the file's
        source = f"{file} and command line" if overrides else source
    for text in overrides:
        data = override(data, text, section=stage)
    return from_data(data, source=source)


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


def from_data(data: Data, *, source: str) -> TrainConfig:
    """What plain gave, or a part of it.

    Raises:
        TrainConfigError: a key is unknown or a value wrong.
    """
    return build(TrainConfig, data, source=source)


def _at_least(name: str, value: float, low: float) -> None:
    if value < low:
        raise TrainConfigError(f"{name}: expected {low} or more, got {value}")
