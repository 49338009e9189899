"""Checkpoints: a directory that holds all that a policy needs, and nothing that executes.

    model.safetensors   weights
    config.json         sizes and semantics of the model
    norm_stats.json     normalisation of one embodiment
    robot.yaml          the robot file that it was trained for
    tokenizer/          tokenizer.json
    README.md           model card

Must not import ROS; transformers is imported only when a model is loaded.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from evo1_policy.model.config import ConfigError, Evo1Config
from evo1_policy.normalization import (
    NormStats,
    NormStatsError,
    read_norm_stats,
    write_norm_stats,
)
from evo1_policy.robot_config import RobotConfig, RobotConfigError, load_robot, parse_robot

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

WEIGHTS, CONFIG, STATS, ROBOT = "model.safetensors", "config.json", "norm_stats.json", "robot.yaml"
TOKENIZER, CARD = "tokenizer", "README.md"
FORMAT = "evo1_ros2"
VERSION = 1

_FOREIGN = {  # a file that gives another layout away -> what it is
    "mp_rank_00_model_states.pt": "an official Evo-1 (DeepSpeed) checkpoint",
    "checkpoint.pt": "an official Evo-1 (flash) checkpoint",
    "checkpoint.json": "an official Evo-1 checkpoint",
    "model_config.json": "an official Evo-1 (SO100) checkpoint",
    "policy_preprocessor.json": "a LeRobot checkpoint",
    "train_config.json": "a LeRobot checkpoint",
}
_NAMES_SHOWN = 5


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; names the directory, the file and the tensor or key."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint directory whose small files were read; the weights stay on disk."""

    directory: Path
    config: Evo1Config
    stats: NormStats
    robot: RobotConfig

    @property
    def tokenizer_dir(self) -> Path:
        """The folder for model.preprocessing.load_tokenizer."""
        return self.directory / TOKENIZER

    def model_hash(self) -> str:
        """12 hex digits that change with the weights, the config or the norm stats."""
        digest = hashlib.sha256()
        for name in (CONFIG, STATS, WEIGHTS):
            with (self.directory / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:12]


def read_checkpoint(directory: Path | str) -> Checkpoint:
    """Read and check everything but the weights.

    Raises:
        CheckpointError: not a directory of ours, a file is missing, or its content is wrong.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    _refuse_foreign(directory)
    for name in (CONFIG, WEIGHTS, STATS, ROBOT, TOKENIZER):
        if not (directory / name).exists():
            raise CheckpointError(
                f"{directory}: {name} is missing; a checkpoint holds {CONFIG}, {WEIGHTS}, "
                f"{STATS}, {ROBOT} and {TOKENIZER}/"
            )
    config = _read_config(directory / CONFIG)
    try:
        stats = read_norm_stats(directory / STATS)
        robot = load_robot(directory / ROBOT)
    except (NormStatsError, RobotConfigError) as error:
        raise CheckpointError(str(error)) from error
    checkpoint = Checkpoint(directory=directory, config=config, stats=stats, robot=robot)
    _check_agreement(checkpoint)
    return checkpoint


def load_model(checkpoint: Checkpoint, *, dtype: torch.dtype | None = torch.float32) -> "Evo1":
    """Build the model and fill it, holding the weights once in memory; CPU, eval mode.

    Args:
        checkpoint: from read_checkpoint.
        dtype: of the parameters; None keeps the file's.

    Raises:
        CheckpointError: tensors are missing, surplus, of a wrong shape or not finite, or the
            file is damaged.
    """
    from evo1_policy.model.evo1 import empty_model  # lazily: imports transformers

    model = empty_model(checkpoint.config)
    path = checkpoint.directory / WEIGHTS
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors = _read_tensors(path, expected, dtype)
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(True)
    return model.eval()


def save_checkpoint(
    directory: Path | str,
    *,
    model: "Evo1",
    stats: NormStats,
    robot_text: str,
    tokenizer_dir: Path | str,
    card: str,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint; the directory appears complete or not at all.

    Args:
        directory: must not exist yet.
        model: its config is written beside its weights.
        stats: for the robot's embodiment.
        robot_text: text of the robot file.
        tokenizer_dir: folder to copy the tokenizer from.
        card: Markdown that says what this is, how it was made and what it cannot do.
        dtype: of the floating-point parameters on disk; None keeps the model's.

    Raises:
        CheckpointError: the directory exists, or the parts do not fit together.
    """
    directory = Path(directory)
    if directory.exists():
        raise CheckpointError(f"{directory}: exists already; choose another or remove it")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _check_agreement(
        Checkpoint(
            directory=directory,
            config=model.config,
            stats=stats,
            robot=parse_robot(robot_text, source=ROBOT),
        )
    )
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    save_file(tensors, partial / WEIGHTS, metadata={"format": FORMAT})
    (partial / WEIGHTS).chmod(0o644)  # safetensors writes it for the owner only
    header = {"format": FORMAT, "version": VERSION, "model": model.config.to_dict()}
    (partial / CONFIG).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    write_norm_stats(stats, partial / STATS)
    (partial / ROBOT).write_text(robot_text, encoding="utf-8")
    (partial / CARD).write_text(card, encoding="utf-8")
    (partial / TOKENIZER).mkdir()
    for file in sorted(Path(tokenizer_dir).iterdir()):
        if file.is_file():
            shutil.copyfile(file, partial / TOKENIZER / file.name)
    partial.rename(directory)


def shipped_checkpoint(embodiment: str) -> Path:
    """The small policy that comes with the workspace for this embodiment.

    Raises:
        CheckpointError: none ships for it; names the places looked at.
    """
    name = f"{embodiment}_tiny"
    places = _shipped_places()
    for place in places:
        if (place / name / CONFIG).is_file():
            return place / name
    known = sorted({path.parent.name for place in places for path in place.glob(f"*/{CONFIG}")})
    raise CheckpointError(
        f"no policy ships for embodiment '{embodiment}' (known: {', '.join(known) or 'none'}); "
        f"looked for {name} in {', '.join(map(str, places))}; give a checkpoint"
    )


def _shipped_places() -> list[Path]:
    """Beside the source, then in the share folders of colcon and pip installs."""
    here = Path(__file__).resolve()
    share = Path("share") / "evo1_policy" / "checkpoints"
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    if len(here.parents) > 4:  # <prefix>/lib/python3.x/site-packages/evo1_policy/checkpoint.py
        prefixes.append(here.parents[4])
    prefixes.append(Path(sys.prefix))
    return [here.parents[1] / "checkpoints", *(prefix / share for prefix in prefixes)]


def _refuse_foreign(directory: Path) -> None:
    for name, kind in _FOREIGN.items():
        if (directory / name).exists():
            raise CheckpointError(
                f"{directory}: {name} found, so this is {kind}; only this package's own layout "
                f"can be read ({CONFIG}, {WEIGHTS}, {STATS}, {ROBOT}, {TOKENIZER}/)"
            )


def _read_config(path: Path) -> Evo1Config:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        kind = data.get("type", data.get("model_type")) if isinstance(data, Mapping) else None
        found = f"; found type '{kind}', another program's layout" if kind else ""
        raise CheckpointError(f"{path}: format: expected '{FORMAT}'{found}")
    if data.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: version: expected {VERSION}, got {data.get('version')!r}; "
            "written by another version of this package"
        )
    try:
        return Evo1Config.from_dict(data.get("model"))
    except ConfigError as error:
        raise CheckpointError(f"{path}: model: {error}") from error


def _check_agreement(checkpoint: Checkpoint) -> None:
    """Hold stats, robot and model sizes against each other."""
    where, stats = checkpoint.directory, checkpoint.stats
    robot, config = checkpoint.robot, checkpoint.config
    if stats.embodiment != robot.embodiment:
        raise CheckpointError(
            f"{where}: {STATS} is for embodiment '{stats.embodiment}', "
            f"{ROBOT} for '{robot.embodiment}'"
        )
    for name, feature in (("observation.state", stats.state), ("action", stats.action)):
        if feature.shape != (robot.width,):
            raise CheckpointError(
                f"{where}: {STATS}: {name} has {feature.shape[0]} entries, "
                f"{ROBOT} has {robot.width} joints"
            )
    if robot.width > min(config.action_width, config.state_width):
        raise CheckpointError(
            f"{where}: {ROBOT} has {robot.width} joints, the model takes "
            f"{config.state_width} state and {config.action_width} action entries"
        )
    if len(robot.cameras) > config.views:
        raise CheckpointError(
            f"{where}: {ROBOT} has {len(robot.cameras)} cameras, the model {config.views} views"
        )


def _read_tensors(
    path: Path, expected: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            _compare_shapes(path, expected, found)
            return {name: _usable(path, name, file.get_tensor(name), dtype) for name in expected}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or truncated: {error}") from error


def _compare_shapes(
    path: Path, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Name what is missing, surplus or of a wrong shape."""
    problems = []
    for kind, names in (
        ("missing", [name for name in expected if name not in found]),
        ("surplus", [name for name in found if name not in expected]),
    ):
        if names:
            problems.append(f"{len(names)} {kind} tensors: {_shown(names)}")
    wrong = [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if wrong:
        problems.append(f"{len(wrong)} of a wrong shape: {_shown(wrong)}")
    if problems:
        raise CheckpointError(f"{path}: does not fit {CONFIG}: {'; '.join(problems)}")


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _usable(path: Path, name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor in its dtype, on memory of its own, if it is finite."""
    if not torch.isfinite(tensor).all():
        index = int((~torch.isfinite(tensor)).flatten().int().argmax())
        raise CheckpointError(f"{path}: {name} is not finite at flat index {index}")
    return tensor.to(dtype, copy=True) if dtype is not None else tensor.clone()


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor as it goes to disk. Sinusoid tables stay fp32: rounding them moves actions."""
    keep = dtype is None or not tensor.is_floating_point() or name.endswith(".pe")
    return tensor.detach().to("cpu", None if keep else dtype).contiguous()
