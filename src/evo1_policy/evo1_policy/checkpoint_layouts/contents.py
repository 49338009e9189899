"""What a checkpoint is once its small files were read, and whether its parts fit together.

Whichever layout it came in: model, norm stats and robot have to agree.
Must not import ROS or torch.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from safetensors import SafetensorError

from evo1_policy.checkpoint_layouts.tensor_names import EmbodimentTable
from evo1_policy.checkpoint_layouts.training_facts import UNKNOWN, TrainingFacts
from evo1_policy.interface import Interface, InterfaceError
from evo1_policy.joint_units import JointUnitsError
from evo1_policy.model.config import ConfigError, Evo1Config
from evo1_policy.normalization import Mode, NormStats, NormStatsError
from evo1_policy.paths import sync
from evo1_policy.robot_config import RobotConfig, RobotConfigError
from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer

Layout = Literal["own", "official_deepspeed", "official_flash", "lerobot"]
_NAMES_SHOWN = 5
_BEGUN = ".begun"  # in a folder that is being written
_SLACK = 1.0  # of a joint's range: how far data may lie beyond its limits; degrees lie further


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; names the directory, the file and the tensor or key."""


_OURS = (
    ConfigError,
    InterfaceError,
    JointUnitsError,
    NormStatsError,
    RobotConfigError,
    UntrustedError,
)


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Tell what goes wrong inside as a CheckpointError that names a file or folder."""
    try:
        yield
    except _OURS as error:
        text = str(error)
        raise CheckpointError(text if str(place) in text else f"{place}: {text}") from error


class Wanted(TypedDict, total=False):
    """What a caller adds to what a directory says by itself; None is as good as not given.

    Attributes:
        robot: that it shall move, where the directory holds no robot file; it must not contradict
            one that it does.
        interface: likewise, of what has no robot: a benchmark.
        embodiment: key of the norm stats, 'arm' or 'arm/dataset', where there are several.
        semantics: 'authors_main', 'evo1_flash' or 'lerobot' instead of what the layout implies.
        norm_mode: of the normalisation, instead of what the directory implies.
        tokenizer: folder of the tokenizer, where the directory holds none; or 'hub:user/name'.
        units: file with the units of the norm stats (joint_units), where they are not radians.
        rate_hz: of its actions; must be said where it shall move a robot and holds no robot file.
        action_space: of a folder of others, which does not say it; None is 'joint'.
        end_effector: what its numbers mean where they are the end effector's: a name that is
            known, or a YAML file; the action space follows from it.
    """

    robot: RobotConfig | None
    interface: Interface | None
    embodiment: str | None
    semantics: str | None
    norm_mode: Mode | None
    tokenizer: Path | str | None
    units: Path | str | None
    rate_hz: float | None
    action_space: str | None
    end_effector: str | None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model in a checkpoint directory, without what it was trained on: they start any robot.

    Attributes:
        directory: where it is.
        config: sizes and semantics.
        layout: how the directory is laid out.
        weights: the file with the tensors.
        tokenizer: folder of the tokenizer, None where none was found.
        table: of embodiments, where the head of the weights has one.
        line: published line whose rules the norm stats follow; '' where our own files say them.
        notes: what to tell a user about how it was read.
    """

    directory: Path
    config: Evo1Config
    layout: Layout
    weights: Path
    tokenizer: Path | None
    table: EmbodimentTable | None = None
    line: str = ""
    notes: tuple[str, ...] = ()

    @property
    def tokenizer_dir(self) -> Path:
        """The folder for model.preprocessing.load_tokenizer.

        Raises:
            CheckpointError: none was found.
        """
        if self.tokenizer is None:
            raise CheckpointError(
                f"{self.directory}: no tokenizer; {self.layout} checkpoints carry none. Copy the "
                "tokenizer files of InternVL3-1B (tokenizer.json, or vocab.json with merges.txt) "
                f"into {self.directory / 'tokenizer'}, or name them: convert with --tokenizer, "
                "train with tokenizer=, launch with tokenizer:= FOLDER or "
                "hub:OpenGVLab/InternVL3-1B"
            )
        return self.tokenizer


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Weights):
    """A checkpoint directory whose small files were read; the weights stay on disk.

    Attributes:
        stats: norm stats of the interface's embodiment.
        interface: what it sees and answers.
        robot: the robot that it moves; None for a benchmark.
        sources: the files that decide what the policy does, for the hash.
        overridden: whether the caller changed what the directory says.
        training: what is known of how it was trained.
    """

    stats: NormStats
    interface: Interface
    robot: RobotConfig | None
    sources: tuple[Path, ...]
    overridden: bool = False
    training: TrainingFacts = UNKNOWN

    def model_hash(self) -> str:
        """12 hex digits that change with the weights, the config or the norm stats.

        Raises:
            UntrustedError: one of the files is a pipe or a Git LFS pointer.
        """
        digest = hashlib.sha256()
        for path in self.sources:
            refuse_lfs_pointer(path)
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if self.overridden:
            said = [self.config.to_dict(), self.stats.to_dict()]
            digest.update(json.dumps(said, sort_keys=True).encode())
        return digest.hexdigest()[:12]


@contextmanager
def appearing(directory: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `directory` when all of it is on the disk.

    Where that fails, or the process is stopped, nothing of it stays; what a kill left of an
    earlier save is removed, but never a folder that this function did not make.

    Raises:
        CheckpointError: the directory exists, or it cannot be written: the disk is full.
    """
    if directory.exists():
        raise CheckpointError(f"{directory}: exists already; choose another or remove it")
    partial = directory.with_name(directory.name + ".partial")
    if partial.exists() and not (partial / _BEGUN).is_file():
        raise CheckpointError(
            f"{partial}: in the way, and not left by a save that was cut off; rename or remove it"
        )
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / _BEGUN).touch()
        yield partial
        for path in sorted(partial.rglob("*")):
            sync(path)
        (partial / _BEGUN).unlink()
        partial.rename(directory)
        sync(directory.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            reason = getattr(error, "strerror", None) or str(error)
            raise CheckpointError(
                f"{directory}: cannot be saved: {reason}; is the disk full? Nothing was left there"
            ) from error
        raise


def shown(names: list[str]) -> str:
    """The first few of many names, for an error message."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def check_agreement(
    directory: Path, config: Evo1Config, stats: NormStats, interface: Interface
) -> None:
    """Hold stats, interface and model sizes against each other.

    Raises:
        CheckpointError: names what does not fit.
    """
    name = interface.name
    if stats.embodiment != interface.embodiment:
        raise CheckpointError(
            f"{directory}: the norm stats are for embodiment '{stats.embodiment}', "
            f"{name} is '{interface.embodiment}'"
        )
    if (stats.action_space == "raw") != (interface.action_space == "raw"):
        raise CheckpointError(
            f"{directory}: the action space of the norm stats is {stats.action_space}, that of "
            f"{name} {interface.action_space}"
        )
    known, most = stats.widths(*interface.widths), (config.state_width, config.action_width)
    for (key, feature), width, fits in zip(stats.features.items(), known, most, strict=True):
        if feature.shape != (width,):
            raise CheckpointError(
                f"{directory}: norm stats: {key} has {feature.shape[0]} entries, {name} has "
                f"{interface.names_of(key)}; expected {width} (where they are an end "
                "effector's, say what they mean with --end-effector)"
            )
        if width > fits:
            raise CheckpointError(
                f"{directory}: {key} has {width} entries ({name}), the model takes "
                f"{config.state_width} state and {config.action_width} action entries"
            )
    if len(interface.cameras) > config.views:
        raise CheckpointError(
            f"{directory}: {name} has {len(interface.cameras)} cameras, the model {config.views} "
            "views"
        )


def gripper_indices(robot: RobotConfig) -> tuple[int, ...]:
    """The joints that stay absolute in a relative action space."""
    return tuple(robot.joint_names.index(gripper.joint) for gripper in robot.grippers)


def check_units(directory: Path, stats: NormStats, robot: RobotConfig) -> None:
    """Refuse statistics that cannot be these joints in their units, radians where none are given.

    Raises:
        CheckpointError: names the joint, its statistics and its limits.
    """
    slack = _SLACK * (robot.position_max - robot.position_min)
    ee = stats.end_effector
    for name, feature in stats.features.items():
        is_joint = stats.action_space == "joint" if name == "action" else not (ee and ee.state)
        form = None if ee is None else ee.action if name == "action" else ee.state
        if form is not None and (problem := form.misfit(feature.min, feature.max)):
            raise CheckpointError(f"{directory}: norm stats: {name}: {problem}")
        if not is_joint:
            continue  # differences and poses have no limits
        ends = np.array([feature.min, feature.max])
        ends = np.sort(ends if stats.units is None else stats.units.to_rad(ends), axis=0)
        below = ends[0] < robot.position_min - slack
        above = ends[1] > robot.position_max + slack
        wrong = np.flatnonzero(below | above)
        if wrong.size:
            k = int(wrong[0])
            joint = robot.joints[k]
            raise CheckpointError(
                f"{directory}: norm stats: {name}[{k}] spans [{ends[0, k]:g}, "
                f"{ends[1, k]:g}], but joint {joint.name} of the robot file moves in "
                f"[{joint.position_min:g}, {joint.position_max:g}] rad; is this checkpoint in "
                "other units (degrees and percent want a file of units, what an end effector's "
                "numbers mean is said with --end-effector) or for another robot?"
            )


def check_quantiles(directory: Path, stats: NormStats, interface: Interface) -> None:
    """Refuse a foreign policy whose quantiles coincide where a number moves: it cannot say it.

    Raises:
        CheckpointError: names the joint, or other number, and its statistics.
    """
    if stats.mode != "quantiles":
        return
    for name, feature in stats.features.items():
        for k in feature.collapsed():
            assert feature.q01 is not None
            names = interface.action if name == "action" else interface.state
            tool = stats.end_effector is not None
            what = "the end effector's number" if tool else f"{names[k]} of {interface.name}"
            raise CheckpointError(
                f"{directory}: norm stats: {name}[{k}]: q01 and q99 are both about "
                f"{feature.q01[k]:g} while {what} moves in "
                f"[{feature.min[k]:g}, {feature.max[k]:g}]: a policy that was trained with these "
                "quantiles cannot say where it goes"
            )
