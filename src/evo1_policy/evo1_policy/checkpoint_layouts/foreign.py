"""What the layouts of others have in common: they lack what a robot needs to know.

Where we export to such a layout, we add what it has no place for: evo1_ros2.json (sizes,
semantics, rules of the normalisation), robot.yaml and tokenizer/. Other programs ignore these
files; with them a checkpoint comes back exactly. Must not import ROS or torch.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evo1_policy.checkpoint_layouts.contents import (
    Checkpoint,
    CheckpointError,
    Layout,
    Wanted,
    Weights,
    check_agreement,
    check_quantiles,
    check_units,
    gripper_indices,
    naming,
)
from evo1_policy.checkpoint_layouts.own import (
    TOKENIZER,
    mapping,
    model_header,
    number,
    read_json,
    read_model_config,
    write_json,
)
from evo1_policy.checkpoint_layouts.tensor_names import EmbodimentTable
from evo1_policy.interface import Interface
from evo1_policy.joint_units import load_units
from evo1_policy.kinematics.end_effector import KNOWN, described
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.variants import apply_variant, variant
from evo1_policy.normalization import NormStats, NormStatsError, action_space, check_rules
from evo1_policy.robot_config import RobotConfig

SIDECAR = "evo1_ros2.json"
_OVERRIDING = ("semantics", "norm_mode", "embodiment", "units", "action_space", "end_effector")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
# Their keys of the head -> ours.
_HEAD = {
    "num_layers": "head.layers",
    "num_heads": "head.heads",
    "state_hidden_dim": "head.state_hidden",
    "hidden_dim": "head.output_hidden",
    "dropout": "head.dropout",
}


def model_of(
    directory: Path,
    layout: Layout,
    config: Evo1Config,
    wanted: Wanted,
    *,
    line: str,
    weights: Path,
    vlm: str,
    table: EmbodimentTable | None,
) -> Weights:
    """The model in a folder, with the semantics that we added at an export, or of a line.

    Args:
        directory: the folder.
        layout: of it.
        config: sizes. Of LeRobot's its steps and length of a prompt count too; both servers of
            the authors' ignore the file's.
        wanted: by the caller.
        line: published line that the files give away.
        weights: file with the tensors.
        vlm: name or folder of the backbone.
        table: of embodiments, where the head has one.

    Raises:
        CheckpointError: no line has the wanted name.
    """
    named = wanted.get("semantics")
    line = named or ("" if (directory / SIDECAR).is_file() else line)
    if line:
        with naming(directory):
            published = variant(line)
        semantics, steps = published.semantics, published.num_inference_steps
        if layout == "lerobot":
            steps = config.num_inference_steps
            if not named:
                length = config.semantics.context_length
                semantics = dataclasses.replace(semantics, context_length=length)
        config = dataclasses.replace(config, semantics=semantics, num_inference_steps=steps)
    return Weights(
        directory=directory,
        config=config,
        layout=layout,
        weights=weights,
        tokenizer=_tokenizer(directory, vlm, wanted),
        table=table,
        line=line,
    )


def assemble(
    model: Weights,
    stats: NormStats,
    subject: tuple[Interface, RobotConfig | None],
    wanted: Wanted,
    *,
    small: tuple[Path, ...],
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    """Bring what was found, what we added at an export, and what is wanted together.

    Args:
        model: from model_of.
        stats: for the interface's embodiment; only their mode and numbers count.
        subject: what it was made for (own.made_for).
        wanted: by the caller.
        small: the other files that decide what the policy does.
        notes: for a user.

    Raises:
        CheckpointError: the parts do not fit together.
    """
    directory, (interface, robot) = model.directory, subject
    added = tuple(path for path in (directory / SIDECAR,) if path.is_file())
    with naming(directory):
        stats = with_rules(model, stats, wanted)
        if robot is None:
            stats = _as_they_are(stats, interface, wanted)
        else:
            if file := wanted.get("units"):
                units = load_units(Path(file), robot.joint_names)
                stats = dataclasses.replace(stats, units=units)
            stats = _in_space(stats, robot, wanted)
    check_agreement(directory, model.config, stats, interface)
    if robot is not None:
        check_units(directory, stats, robot)
    check_quantiles(directory, stats, interface)
    return Checkpoint(
        **vars(model) | {"notes": notes},
        stats=stats,
        interface=interface,
        robot=robot,
        sources=(*small, *added, model.weights),
        overridden=any(wanted.get(key) is not None for key in _OVERRIDING),
    )


def with_rules(model: Weights, stats: NormStats, wanted: Wanted) -> NormStats:
    """Statistics of a folder, used as its published line does, or as we noted at an export.

    Raises:
        CheckpointError: our note is wrong.
        NormStatsError: it is, or the statistics are not those of its action space.
    """
    if model.line:
        _, stats = apply_variant(model.line, model.config, stats)
    else:
        sidecar = model.directory / SIDECAR
        rules = mapping(read_json(sidecar), sidecar, "norm_rules")
        stats = dataclasses.replace(stats, **check_rules(rules, source=str(sidecar)))
    mode = wanted.get("norm_mode")
    return dataclasses.replace(stats, mode=mode) if mode else stats


def widths(interface: Interface, wanted: Wanted) -> tuple[int, int]:
    """How many numbers state and action have: the interface's, or what the caller says.

    Raises:
        StrictYamlError: see kinematics.end_effector.described.
    """
    tool = wanted.get("end_effector")
    return described(tool).widths(interface.widths[0]) if tool else interface.widths


def _as_they_are(stats: NormStats, interface: Interface, wanted: Wanted) -> NormStats:
    """The statistics of numbers that no arm turns into anything.

    Raises:
        NormStatsError: the caller says what they are for an arm.
    """
    if said := [key for key in ("units", "action_space", "end_effector") if wanted.get(key)]:
        raise NormStatsError(
            f"{said[0]}: of no use for {interface.name}, which has no arm: its numbers go out as "
            "they are; leave it out, or give a robot file"
        )
    return dataclasses.replace(stats, action_space=interface.action_space)


def _in_space(stats: NormStats, robot: RobotConfig, wanted: Wanted) -> NormStats:
    """The statistics in the action space that the caller says.

    Raises:
        NormStatsError: the end effector's numbers are not explained, or are others.
        StrictYamlError: see kinematics.end_effector.described.
    """
    name, tool = wanted.get("action_space"), wanted.get("end_effector")
    if tool:
        meaning = described(tool)
        if name not in (None, meaning.action_space):
            raise NormStatsError(
                f"action space {name}, but the end effector {tool} is of {meaning.action_space}; "
                "leave --action-space out"
            )
        return dataclasses.replace(stats, action_space=meaning.action_space, end_effector=meaning)
    if not name:
        return stats
    space = action_space(name)
    if space in ("ee_pose", "ee_delta") and stats.end_effector is None:
        raise NormStatsError(
            f"action space {space}: nothing says what its numbers mean; say it with "
            f"--end-effector {'|'.join(KNOWN)} or a YAML file (end_effector:= of a launch)"
        )
    return dataclasses.replace(stats, action_space=space, absolute_joints=gripper_indices(robot))


def added_config(directory: Path) -> Evo1Config | None:
    """The config that we added at an export, None in a folder of another program.

    Raises:
        CheckpointError: it is wrong.
    """
    path = directory / SIDECAR
    return read_model_config(path) if path.is_file() else None


def write_sidecar(directory: Path, config: Evo1Config, stats: NormStats) -> None:
    """Add to an export what its layout has no place for."""
    write_json(directory / SIDECAR, {**model_header(config), "norm_rules": stats.rules()})


def embodiment_table(data: Mapping[str, Any], path: Path) -> EmbodimentTable | None:
    """The table of embodiments that a config tells of; None where there is one embodiment.

    The authors' code never names an embodiment, which means row 0; LeRobot's config may.

    Raises:
        CheckpointError: a key is no whole number, or out of range.
    """
    count = number(data, path, "num_categories", 1)
    row = number(data, path, "default_embodiment_id", 0)
    if count < 1:
        raise CheckpointError(f"{path}: num_categories: expected 1 or more, got {count}")
    if not 0 <= row < count:
        raise CheckpointError(
            f"{path}: default_embodiment_id: expected 0 to {count - 1} (num_categories is "
            f"{count}), got {row}"
        )
    return EmbodimentTable(count=count, row=row) if count > 1 else None


def read_sizes(
    data: Mapping[str, Any], path: Path, keys: Mapping[str, str], base: Evo1Config
) -> Evo1Config:
    """The model that a config of others tells of.

    Args:
        data: the config.
        path: of it.
        keys: theirs -> ours, beside the head's; of two for one of ours the later wins.
        base: what holds where a key is lacking: their code's defaults.

    Raises:
        CheckpointError: a key is of another type, impossible, or says what no published
            checkpoint uses and our model has not.
    """
    for key, expected in (
        ("return_cls_only", False),
        ("action_head", "flowmatching"),
        ("embed_dim", base.language.width),
    ):
        if key in data and data[key] != expected:
            raise CheckpointError(
                f"{path}: {key}: only {expected!r} is supported, got {data[key]!r}"
            )
    tree = base.to_dict()
    for key, ours in {**_HEAD, **keys}.items():
        part, name = _place(tree, ours)
        part[name] = number(data, path, key, part[name])
    with naming(path):
        return Evo1Config.from_dict(tree)


def write_sizes(config: Evo1Config, keys: Mapping[str, str]) -> dict[str, Any]:
    """What read_sizes reads, as plain data."""
    tree = config.to_dict()
    places = {key: _place(tree, ours) for key, ours in {**_HEAD, **keys}.items()}
    return {
        **{key: part[name] for key, (part, name) in places.items()},
        "embed_dim": config.language.width,
        "return_cls_only": False,
        "num_categories": 1,
        "num_inference_timesteps": config.num_inference_steps,
    }


def _place(tree: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    """The mapping in a config in which a key stands, and its name there."""
    part, _, name = dotted.rpartition(".")
    return (tree[part] if part else tree), name


def _tokenizer(directory: Path, vlm: str, wanted: Wanted) -> Path | None:
    """The folder that was asked for, or the first that has a tokenizer."""
    if given := wanted.get("tokenizer"):
        return Path(given)
    places = [directory / TOKENIZER, directory]
    if vlm:
        places += [directory / Path(vlm).name, directory.parent / Path(vlm).name, Path(vlm)]
    for place in places:
        if any((place / name).is_file() for name in _TOKENIZER_FILES):
            return place
    return None
