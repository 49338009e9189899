"""The weights, norm stats and tokenizer that a stage begins with. Must not import ROS."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.checkpoint import (
    Checkpoint,
    Weights,
    load_model,
    read_checkpoint,
    read_weights,
    shipped_checkpoint,
)
from evo1_policy.checkpoint_layouts.contents import gripper_indices
from evo1_policy.checkpoint_layouts.hub import local_checkpoint
from evo1_policy.checkpoint_layouts.own import TOKENIZER_FILES
from evo1_policy.interface import ActionSpace, Interface, load_interface
from evo1_policy.interface import differences as interface_differences
from evo1_policy.kinematics.end_effector import EndEffector
from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.kinematics.model import ModelError
from evo1_policy.model.config import Evo1Config
from evo1_policy.normalization import (
    NormStats,
    NormStatsError,
    action_space,
    read_norm_stats,
)
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_policy.robot_config import differences as robot_differences
from evo1_training.training.backbone import new_model_on_backbone
from evo1_training.training.checkpoints import OTHER_STATS
from evo1_training.training.config_values import TrainConfigError, differences
from evo1_training.training.run_folder import TRAINER, SavedStep
from evo1_training.training.train_config import TrainConfig
from evo1_training.training.training_data import TrainingData, check_widths, compute_stats

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

# What a checkpoint may have learnt with in another way than it is trained on with.
_FREE = ("head.dropout", "num_inference_steps", "execute_actions", "semantics.episode_tail")


def open_start(
    config: TrainConfig, interface: Interface, robot: RobotConfig | None
) -> Weights | None:
    """The checkpoint to start from, checked; None where weights are new.

    A folder of this very robot, or benchmark, comes with its norm stats (a Checkpoint). Any other
    is its weights alone, which are padded to the same width for every robot.

    Raises:
        CheckpointError: it cannot be read.
        TrainConfigError: it has another architecture or other semantics; there is neither a
            checkpoint nor a backbone.
    """
    if not config.start_from:
        if not config.backbone and not config.from_scratch:
            raise TrainConfigError(
                "backbone: give InternVL3-1B's folder with --backbone DIR, or a checkpoint with "
                "--from DIR; from_scratch=true would start from an untrained backbone"
            )
        return None
    path = Path(config.start_from).expanduser()
    start = read_weights(path, tokenizer=config.tokenizer or None)
    check_architecture(config.model, start.config, source=path)
    theirs = start.directory / interface.file
    if not theirs.is_file():
        return start
    if robot is None:
        other = bool(interface_differences(interface, load_interface(theirs)))
    else:
        other = bool(robot_differences(robot, load_robot(theirs)))
    if other:
        return start
    tokenizer = config.tokenizer or None
    return read_checkpoint(path, robot=robot, interface=interface, tokenizer=tokenizer)


def followed_architecture(model: Evo1Config, start_from: str) -> Evo1Config:
    """The sizes and semantics of the checkpoint to start from.

    Of `model` stays how it is trained: the dropout, and what counts beyond an episode's end.

    Raises:
        CheckpointError: it cannot be read.
    """
    theirs = read_weights(Path(start_from).expanduser()).config
    return dataclasses.replace(
        theirs,
        head=dataclasses.replace(theirs.head, dropout=model.head.dropout),
        semantics=dataclasses.replace(theirs.semantics, episode_tail=model.semantics.episode_tail),
    )


def check_architecture(ours: Evo1Config, theirs: Evo1Config, *, source: Path) -> None:
    """Refuse a checkpoint that is not of the model that shall be trained.

    Raises:
        TrainConfigError: names each difference, and what to type to follow the checkpoint.
    """
    found = [
        (key, mine, other)
        for key, mine, other in differences(ours.to_dict(), theirs.to_dict())
        if key not in _FREE
    ]
    if found:
        listing = "; ".join(
            f"model.{k}: {mine!r} here, {other!r} there" for k, mine, other in found
        )
        typed = " ".join(f"model.{key}={other}" for key, _, other in found)
        raise TrainConfigError(
            f"{source}: a checkpoint of another architecture: {listing}. Choose the preset that "
            f"it was made with, or follow it: {typed}"
        )


def make_model(config: TrainConfig, start: Weights | None, resume: SavedStep | None) -> "Evo1":
    """The model with the weights to begin or to go on with; fp32, CPU.

    Raises:
        CheckpointError: weights cannot be read, or do not fit.
    """
    from evo1_policy.model.evo1 import new_model

    if resume is not None:
        model = load_model(read_weights(resume.policy))
    elif start is not None:
        model = load_model(dataclasses.replace(start, config=config.model))
    elif config.backbone:
        path = Path(config.backbone).expanduser()
        model = new_model_on_backbone(path, config.model, seed=config.seed)
    else:
        model = new_model(config.model, seed=config.seed)
    return model


def choose_stats(
    config: TrainConfig,
    data: TrainingData,
    start: Weights | None,
    resume: SavedStep | None,
) -> dict[str, NormStats]:
    """Norm stats by embodiment: those of the run, of the checkpoint, of a file, or computed.

    Raises:
        TrainConfigError: the file cannot be read.
        DatasetError: they are not of these data.
    """
    space, meaning = _action_space(config, data)
    compute = partial(compute_stats, data, config.normalization, action_space=space)
    if data.robot and space == "joint_relative" and config.absolute_grippers:
        compute = partial(compute, absolute_joints=gripper_indices(data.robot))
    wanted = config.normalization.stats
    if resume is not None:
        return _saved_stats(resume.policy)
    own = isinstance(start, Checkpoint) and _is_of(start.stats, space, meaning)
    if wanted == "auto" and isinstance(start, Checkpoint) and own:
        found = _saved_stats(start.directory) if start.layout == "own" else {}
        stats = {**found, start.stats.embodiment: start.stats}
        missing = set(data.embodiments) - set(stats)
        if missing:
            computed = compute()
            stats |= {name: computed[name] for name in missing}
        source = str(start.directory)
    elif wanted in ("auto", "compute"):
        return compute()
    else:
        try:
            read = read_norm_stats(Path(wanted).expanduser())
        except NormStatsError as error:
            raise TrainConfigError(f"normalization.stats: {error}") from error
        stats, source = {read.embodiment: read}, wanted
    check_widths(stats, data, source=source)
    if any(not _is_of(stats[name], space, meaning) for name in data.embodiments):
        raise TrainConfigError(f"{source}: norm stats of another action_space than {space}")
    return {name: stats[name] for name in data.embodiments}


def _action_space(
    config: TrainConfig, data: TrainingData
) -> tuple[ActionSpace, EndEffector | None]:
    """What is learnt: as the datasets say, else as the choices do."""
    space, meaning = action_space(config.action_space), data.end_effector
    if data.robot is None:
        if space not in ("joint", "raw"):
            raise TrainConfigError(
                f"action_space: {space}: {data.interface.name} has no arm, its numbers are learnt "
                "as they are; leave it out"
            )
        return "raw", None
    learnt = space if meaning is None else meaning.action_space
    if learnt != "joint" and data.embodiments != (data.interface.embodiment,):
        raise TrainConfigError(
            f"action_space: {learnt}: for one robot at a time; the data are of "
            f"{', '.join(data.embodiments)}"
        )
    if meaning is None:
        if space not in ("joint", "joint_relative"):
            raise TrainConfigError(
                f"action_space: {space}: the data are joints of a robot; expected joint, "
                "joint_relative, ee_pose or ee_delta"
            )
        return space, None
    if space not in ("joint", meaning.action_space):
        raise TrainConfigError(
            f"action_space: {space}: the data are of {meaning.action_space} already; leave it out"
        )
    try:
        ToolSpace(meaning, data.robot)  # said before the first step, not when it is deployed
    except ModelError as error:
        raise TrainConfigError(f"action_space: {meaning.action_space}: {error}") from error
    return meaning.action_space, meaning


def _is_of(stats: NormStats, space: ActionSpace, meaning: EndEffector | None) -> bool:
    return (stats.action_space, stats.end_effector) == (space, meaning)


def tokenizer_source(config: TrainConfig, start: Weights | None) -> Path:
    """The folder whose tokenizer a run copies."""
    if config.tokenizer:
        return local_checkpoint(Path(config.tokenizer).expanduser(), TOKENIZER_FILES)
    if start is not None and (start.tokenizer or not config.backbone):
        return start.tokenizer_dir
    if config.backbone:
        return Path(config.backbone).expanduser()
    return shipped_checkpoint("xarm6") / "tokenizer"  # the same in every policy that ships


def _saved_stats(policy: Path) -> dict[str, NormStats]:
    files: list[Path] = [policy / "norm_stats.json"]
    files += sorted((policy.resolve().parent / TRAINER / OTHER_STATS).glob("*.json"))
    found: Mapping[str, NormStats] = {s.embodiment: s for s in map(read_norm_stats, files)}
    return dict(found)
