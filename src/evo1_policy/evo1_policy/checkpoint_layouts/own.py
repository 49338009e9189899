"""This package's own layout.

model.safetensors  weights
config.json        sizes and semantics of the model
norm_stats.json    normalisation of one embodiment
robot.yaml         the robot file that it was trained for; or
interface.yaml     the interface, where it was trained for no robot: a benchmark
tokenizer/         tokenizer.json
training.json      where its data was recorded, its sentences (training_facts); may be missing
README.md          model card

Must not import ROS or torch.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from evo1_policy import untrusted
from evo1_policy.checkpoint_layouts.contents import (
    Checkpoint,
    CheckpointError,
    Wanted,
    Weights,
    check_agreement,
    naming,
)
from evo1_policy.interface import INTERFACE, ROBOT, Interface, load_interface
from evo1_policy.interface import differences as interface_differences
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.variants import apply_variant
from evo1_policy.normalization import read_norm_stats
from evo1_policy.robot_config import RobotConfig, differences, load_robot

WEIGHTS, CONFIG, STATS = "model.safetensors", "config.json", "norm_stats.json"
TOKENIZER, CARD = "tokenizer", "README.md"
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
FORMAT = "evo1_ros2"
VERSION = 1
Number = TypeVar("Number", int, float)


def find_model(directory: Path, wanted: Wanted) -> Weights:
    """The model in a directory of ours.

    Raises:
        CheckpointError: a file is missing, or its content is wrong.
    """
    of_a_benchmark = (directory / INTERFACE).is_file()
    subject = INTERFACE if of_a_benchmark else ROBOT
    for name in (CONFIG, WEIGHTS, STATS, subject, TOKENIZER):
        if not (directory / name).exists():
            raise CheckpointError(
                f"{directory}: {name} is missing; a checkpoint holds {CONFIG}, {WEIGHTS}, "
                f"{STATS}, {ROBOT} (or {INTERFACE}) and {TOKENIZER}/"
            )
    return Weights(
        directory=directory,
        config=read_model_config(directory / CONFIG),
        layout="own",
        weights=directory / WEIGHTS,
        tokenizer=Path(wanted.get("tokenizer") or directory / TOKENIZER),
    )


def read_own(model: Weights, wanted: Wanted) -> Checkpoint:
    """Read what a directory of ours says beside the model.

    Raises:
        CheckpointError: a file is missing, or its content is wrong.
    """
    directory, config, semantics = model.directory, model.config, wanted.get("semantics")
    if any(wanted.get(key) for key in ("units", "action_space", "end_effector")):
        raise CheckpointError(
            f"{directory}: a checkpoint of ours says itself in which units and action space its "
            f"statistics are ({STATS}); give them only for an official or a LeRobot folder"
        )
    with naming(directory):
        stats = read_norm_stats(directory / STATS)
        if semantics:
            config, stats = apply_variant(semantics, config, stats)
    interface, robot = made_for(directory, wanted)
    check_agreement(directory, config, stats, interface)
    return Checkpoint(
        **vars(model) | {"config": config},
        stats=stats,
        interface=interface,
        robot=robot,
        sources=tuple(directory / name for name in (CONFIG, STATS, WEIGHTS)),
        overridden=semantics is not None,
    )


def made_for(directory: Path, wanted: Wanted) -> tuple[Interface, RobotConfig | None]:
    """What a checkpoint sees and answers, and the robot that it moves; None for a benchmark.

    The directory's own robot file or interface counts, or the caller's where it holds neither.

    Raises:
        CheckpointError: there is none, it cannot be read, the caller's is another one, or the
            rate of the actions is another, or not known.
    """
    ours, rate_hz = wanted.get("robot"), wanted.get("rate_hz")
    is_ours = (directory / ROBOT).is_file()
    if (directory / INTERFACE).is_file() and not is_ours:
        interface = _benchmark(directory, wanted)
        robot = None
    elif is_ours:
        with naming(directory / ROBOT):
            robot = load_robot(directory / ROBOT)
        interface = robot.interface
        if ours is not None:
            _refuse_other(directory, differences(ours, robot))
        if (told := wanted.get("interface")) is not None:
            _refuse_other(directory, interface_differences(told, interface), "expected")
    elif ours is not None:
        robot, interface = ours, ours.interface
        if rate_hz is None:
            raise CheckpointError(
                f"{directory}: nothing in it says at which rate its actions were recorded. Say it "
                "(the dataset's fps): convert-checkpoint ... --rate HZ, or checkpoint_rate_hz:=HZ "
                "of the policy's node"
            )
    elif (told := wanted.get("interface")) is not None:
        robot, interface = None, told
    else:
        raise CheckpointError(
            f"{directory}: no {ROBOT}, so this does not say which robot it moves; give a robot "
            "file (--robot FILE), or the interface of a benchmark (--interface metaworld)"
        )
    if rate_hz not in (None, interface.rate_hz):
        raise CheckpointError(
            f"{directory}: its actions are {rate_hz:g} a second, the rate_hz of {interface.name} "
            f"is {interface.rate_hz:g}; at another rate every velocity is wrong: use a file with "
            f"rate_hz: {rate_hz:g}"
        )
    return interface, robot


def _benchmark(directory: Path, wanted: Wanted) -> Interface:
    """The interface of a directory that has no robot.

    Raises:
        CheckpointError: it shall move one, or the caller's interface is another.
    """
    with naming(directory / INTERFACE):
        interface = load_interface(directory / INTERFACE)
    if (robot := wanted.get("robot")) is not None:
        raise CheckpointError(
            f"{directory}: it has no robot: it is for {interface.name} and cannot move "
            f"{robot.name}; evo1 serve, or evo1 evaluate --suite, runs it"
        )
    if (told := wanted.get("interface")) is not None:
        _refuse_other(directory, interface_differences(told, interface), "expected")
    return interface


def _refuse_other(
    directory: Path, found: list[tuple[str, str, str]], what: str = "this robot has"
) -> None:
    """Refuse a checkpoint that was made for something else than what it shall serve."""
    if found:
        details = "; ".join(
            f"{key}: {what} '{mine}', the checkpoint has '{other}'" for key, mine, other in found
        )
        raise CheckpointError(f"{directory}: made for something else: {details}")


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    with naming(path):
        data = untrusted.read_json(path, what="description of a checkpoint")
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path}: expected a mapping, got {type(data).__name__}")
    return data


def number(data: Mapping[str, Any], path: Path, key: str, default: Number) -> Number:
    """A number in a config, a whole one where the default is one.

    Raises:
        CheckpointError: it is something else.
    """
    value = data.get(key, default)
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        kind = "whole number" if whole else "number"
        raise CheckpointError(f"{path}: {key}: expected a {kind}, got {value!r}")
    found: Number = value
    return found


def mapping(data: Mapping[str, Any], path: Path, key: str) -> Mapping[str, Any]:
    """A mapping in a config, empty where it is lacking.

    Raises:
        CheckpointError: it is something else.
    """
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise CheckpointError(f"{path}: {key}: expected a mapping, got {type(value).__name__}")
    return value or {}


def write_json(path: Path, data: object) -> None:
    """Write JSON as people like to read it."""
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def model_header(config: Evo1Config) -> dict[str, Any]:
    """What read_model_config reads."""
    return {"format": FORMAT, "version": VERSION, "model": config.to_dict()}


def read_model_config(path: Path) -> Evo1Config:
    """Read config.json.

    Raises:
        CheckpointError: it is of another program or version, or a key is wrong.
    """
    data = read_json(path)
    if data.get("format") != FORMAT:
        kind = data.get("type", data.get("model_type"))
        found = f"; found type '{kind}', another program's layout" if kind else ""
        raise CheckpointError(f"{path}: format: expected '{FORMAT}'{found}")
    if data.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: version: expected {VERSION}, got {data.get('version')!r}; "
            "written by another version of this package"
        )
    with naming(path):
        return Evo1Config.from_dict(data.get("model"), path="model")


def tokenizer_files(source: Path) -> list[Path]:
    """The files of a tokenizer in a folder, and nothing else that lies there.

    Raises:
        CheckpointError: it has none.
    """
    files = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not {"tokenizer.json", "vocab.json"} & {file.name for file in files}:
        raise CheckpointError(
            f"{source}: no tokenizer; expected tokenizer.json, or vocab.json with merges.txt; "
            "give its folder (tokenizer=DIR, --tokenizer DIR)"
        )
    return files


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy tokenizer_files.

    Raises:
        CheckpointError: there are none.
    """
    files = tokenizer_files(source)
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, target / file.name)
