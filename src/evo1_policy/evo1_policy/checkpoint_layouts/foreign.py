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
)
from evo1_policy.checkpoint_layouts.own import (
    TOKENIZER,
    integer,
    mapping,
    model_header,
    read_json,
    read_model_config,
    write_json,
)
from evo1_policy.checkpoint_layouts.tensor_names import EmbodimentTable
from evo1_policy.joint_units import JointUnitsError, load_units
from evo1_policy.model.config import ConfigError, Evo1Config, preset
from evo1_policy.model.variants import apply_variant, variant
from evo1_policy.normalization import NormStats, NormStatsError, action_space, check_rules
from evo1_policy.robot_config import RobotConfig

SIDECAR = "evo1_ros2.json"
_OVERRIDING = ("semantics", "norm_mode", "embodiment", "units", "action_space")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a reader took of the model from the files of its layout.

    Attributes:
        config: sizes; its semantics count only where we added them.
        variant: the published line that the files give away.
        steps: Euler steps where the layout's own config decides them.
        weights: file with the tensors.
        vlm: name or folder of the backbone.
        table: of embodiments, where the head has one.
        context_length: most tokens of a prompt, where the layout's own config says it.
    """

    config: Evo1Config
    variant: str
    steps: int | None
    weights: Path
    vlm: str
    table: EmbodimentTable | None
    context_length: int | None = None


def model_of(directory: Path, layout: Layout, found: Found, wanted: Wanted) -> Weights:
    """The model that was found, with the semantics that we added at an export, or wanted ones.

    Raises:
        CheckpointError: no line has the wanted name.
    """
    config = found.config
    if wanted.semantics is not None or not (directory / SIDECAR).is_file():
        try:
            line = variant(wanted.semantics or found.variant)
        except ConfigError as error:
            raise CheckpointError(f"{directory}: {error}") from error
        semantics, steps = line.semantics, found.steps or line.num_inference_steps
        if found.context_length is not None and wanted.semantics is None:
            semantics = dataclasses.replace(semantics, context_length=found.context_length)
        config = dataclasses.replace(config, semantics=semantics, num_inference_steps=steps)
    return Weights(
        directory=directory,
        config=config,
        layout=layout,
        weights=found.weights,
        tokenizer=_tokenizer(directory, found.vlm, wanted),
        table=found.table,
    )


def assemble(
    model: Weights,
    found: Found,
    stats: NormStats,
    robot: RobotConfig,
    wanted: Wanted,
    *,
    small: tuple[Path, ...],
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    """Bring what was found, what we added at an export, and what is wanted together.

    Args:
        model: from model_of.
        found: that it was made of.
        stats: for the robot's embodiment; only their mode and numbers count.
        robot: that it moves.
        wanted: by the caller.
        small: the other files that decide what the policy does.
        notes: for a user.

    Raises:
        CheckpointError: the parts do not fit together.
    """
    directory, sidecar = model.directory, model.directory / SIDECAR
    added = (sidecar,) if sidecar.is_file() else ()
    try:
        if added and wanted.semantics is None:
            rules = check_rules(
                mapping(read_json(sidecar), sidecar, "norm_rules"), source=str(sidecar)
            )
            stats = dataclasses.replace(stats, **rules)
        else:
            _, stats = apply_variant(wanted.semantics or found.variant, model.config, stats)
        if wanted.norm_mode:
            stats = dataclasses.replace(stats, mode=wanted.norm_mode)
        if wanted.units:
            units = load_units(wanted.units, robot.joint_names)
            stats = dataclasses.replace(stats, units=units)
        if wanted.action_space:
            space = action_space(wanted.action_space)
            stats = dataclasses.replace(
                stats, action_space=space, absolute_joints=gripper_indices(robot)
            )
    except JointUnitsError as error:
        raise CheckpointError(str(error)) from error
    except (ConfigError, NormStatsError) as error:
        raise CheckpointError(f"{directory}: {error}") from error
    check_agreement(directory, model.config, stats, robot)
    check_units(directory, stats, robot)
    check_quantiles(directory, stats, robot)
    return Checkpoint(
        **vars(model) | {"notes": notes},
        stats=stats,
        robot=robot,
        sources=(*small, *added, model.weights),
        overridden=any(getattr(wanted, key) is not None for key in _OVERRIDING),
    )


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
    count = integer(data, path, "num_categories", default=1)
    row = integer(data, path, "default_embodiment_id", default=0)
    if count < 1:
        raise CheckpointError(f"{path}: num_categories: expected 1 or more, got {count}")
    if not 0 <= row < count:
        raise CheckpointError(
            f"{path}: default_embodiment_id: expected 0 to {count - 1} (num_categories is "
            f"{count}), got {row}"
        )
    return EmbodimentTable(count=count, row=row) if count > 1 else None


def published_sizes(data: Mapping[str, Any], path: Path, image_size: int) -> Evo1Config:
    """The paper's model with the head that a config tells of; what it lacks are the defaults.

    Raises:
        CheckpointError: a key is of another type, or says what no published checkpoint uses and
            our model has not.
        ConfigError: the sizes are impossible.
    """
    base = preset("evo1")
    for key, expected in (
        ("return_cls_only", False),
        ("action_head", "flowmatching"),
        ("embed_dim", base.language.width),
    ):
        if key in data and data[key] != expected:
            raise CheckpointError(
                f"{path}: {key}: only {expected!r} is supported, got {data[key]!r}"
            )
    head = dataclasses.replace(
        base.head,
        layers=integer(data, path, "num_layers", default=8),
        heads=integer(data, path, "num_heads", default=8),
        state_hidden=integer(data, path, "state_hidden_dim", default=1024),
        output_hidden=integer(data, path, "hidden_dim", default=1024),
        dropout=_dropout(data, path),
    )
    vision = dataclasses.replace(base.vision, image_size=image_size)
    return dataclasses.replace(base, head=head, vision=vision)


def _dropout(data: Mapping[str, Any], path: Path) -> float:
    value = data.get("dropout", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"{path}: dropout: expected a number, got {value!r}")
    return float(value)


def head_entries(config: Evo1Config) -> dict[str, Any]:
    """What published_sizes reads of the head, as both configs write it."""
    head = config.head
    return {
        "embed_dim": config.language.width,
        "hidden_dim": head.output_hidden,
        "state_hidden_dim": head.state_hidden,
        "num_heads": head.heads,
        "num_layers": head.layers,
        "num_categories": 1,
        "dropout": head.dropout,
        "num_inference_timesteps": config.num_inference_steps,
        "return_cls_only": False,
    }


def _tokenizer(directory: Path, vlm: str, wanted: Wanted) -> Path | None:
    """The folder that was asked for, or the first that has a tokenizer."""
    if wanted.tokenizer:
        return wanted.tokenizer
    places = [directory / TOKENIZER, directory]
    if vlm:
        places += [directory / Path(vlm).name, directory.parent / Path(vlm).name, Path(vlm)]
    for place in places:
        if any((place / name).is_file() for name in _TOKENIZER_FILES):
            return place
    return None
