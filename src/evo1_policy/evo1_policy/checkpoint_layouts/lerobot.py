"""LeRobot's layout of an evo1 policy.

    model.safetensors            weights, our names under 'model.'
    config.json                  type evo1, sizes
    policy_preprocessor.json     its steps; the normaliser's statistics in a .safetensors beside it
    policy_postprocessor.json    its steps, likewise

The layout means LeRobot's own semantics, though checkpoints converted from the authors' weights
exist in it too: nothing in their files tells, so those need `--semantics authors_main`. Must not
import ROS or torch.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from evo1_policy.checkpoint_layouts.contents import Checkpoint, CheckpointError, Wanted
from evo1_policy.checkpoint_layouts.foreign import (
    Found,
    added_config,
    assemble,
    embodiment_table,
    head_entries,
    model_of,
    published_sizes,
)
from evo1_policy.checkpoint_layouts.lerobot_processors import (
    ACTION,
    ACTION_STEP,
    BATCH,
    DEVICE,
    EPS,
    MODES,
    NORMALIZER,
    PAD_ACTION,
    PAD_STATE,
    POSTPROCESSOR,
    PREPROCESSOR,
    RENAME,
    STATE,
    UNNORMALIZER,
    check_features,
    read_processors,
)
from evo1_policy.checkpoint_layouts.own import (
    CONFIG,
    WEIGHTS,
    integer,
    read_json,
    robot_of,
    write_json,
)
from evo1_policy.feature_stats import feature_stats
from evo1_policy.model.config import ConfigError, Evo1Config
from evo1_policy.normalization import (
    FeatureStats,
    NormStats,
    NormStatsError,
)
from evo1_policy.robot_config import RobotConfig
from evo1_policy.untrusted import refuse_lfs_pointer

VLM = "OpenGVLab/InternVL3-1B-hf"
_NEUTRAL = {"min": -1.0, "max": 1.0, "mean": 0.0, "std": 1.0, "q01": -1.0, "q99": 1.0}
Array = npt.NDArray[np.float64]


def find_model(directory: Path) -> Found:
    """What a folder of LeRobot's says of the model.

    Raises:
        CheckpointError: a file is missing or wrong.
    """
    path = directory / CONFIG
    data = read_json(path)
    if not (directory / WEIGHTS).is_file():
        raise CheckpointError(f"{directory / WEIGHTS}: missing; LeRobot checkpoints need it")
    return Found(
        config=added_config(directory) or model_config(data, path),
        variant="lerobot",
        steps=integer(data, path, "num_inference_timesteps", default=32),
        weights=directory / WEIGHTS,
        vlm=str(data.get("vlm_model_name", VLM)),
        table=embodiment_table(data, path),
        context_length=integer(data, path, "max_text_length", default=1024),
    )


def read_lerobot(directory: Path, wanted: Wanted) -> Checkpoint:
    """Read a folder of LeRobot's (its `pretrained_model`).

    Raises:
        CheckpointError: a file is missing or wrong, or no robot file says what it moves.
    """
    path = directory / CONFIG
    data = read_json(path)
    for name in (WEIGHTS, PREPROCESSOR, POSTPROCESSOR):
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory / name}: missing; LeRobot checkpoints need it")
    robot = robot_of(directory, wanted)
    found = find_model(directory)
    processing = read_processors(directory, data)
    state_said, action_said, notes = check_features(data, path, robot, processing)
    try:
        stats = NormStats(
            embodiment=robot.embodiment,
            state=_read_feature(processing.state_file, STATE, robot, said=state_said),
            action=_read_feature(processing.action_file, ACTION, robot, said=action_said),
            mode=processing.mode,
            clamp=False,
            zero_guard="if_zero",
        )
    except NormStatsError as error:
        raise CheckpointError(f"{directory}: {error}") from error
    model = model_of(directory, "lerobot", found, wanted)
    small = (path, processing.state_file, processing.action_file)
    return assemble(model, found, stats, robot, wanted, small=small, notes=notes)


def model_config(data: Mapping[str, Any], path: Path) -> Evo1Config:
    """The sizes in LeRobot's config.

    Raises:
        CheckpointError: a key is of another type, or a variant that our model has not.
    """
    size = data.get("image_resolution", [448, 448])
    if not isinstance(size, list) or len(size) != 2 or size[0] != size[1]:
        raise CheckpointError(f"{path}: image_resolution: expected [S, S], got {size!r}")
    if integer(data, path, "n_obs_steps", default=1) != 1:
        raise CheckpointError(f"{path}: n_obs_steps: only 1 is supported: one observation")
    try:
        base = published_sizes(
            data,
            path,
            integer({"image_resolution": size[0]}, path, "image_resolution", default=448),
        )
        return dataclasses.replace(
            base,
            language=dataclasses.replace(
                base.language, layers=integer(data, path, "vlm_num_layers", default=14)
            ),
            views=integer(data, path, "max_views", default=3),
            horizon=integer(data, path, "chunk_size", default=50),
            execute_actions=_executed(data, path),
            action_width=integer(data, path, "max_action_dim", default=24),
            state_width=integer(data, path, "max_state_dim", default=24),
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _executed(data: Mapping[str, Any], path: Path) -> int:
    """LeRobot's `n_action_steps`; 0, our own choice, where it is its default: the whole chunk."""
    horizon = integer(data, path, "chunk_size", default=50)
    executed = integer(data, path, "n_action_steps", default=horizon)
    if not 1 <= executed <= horizon:
        raise CheckpointError(
            f"{path}: n_action_steps: expected 1 to {horizon} (chunk_size), got {executed}"
        )
    return 0 if executed == horizon else executed


def write_small_files(
    directory: Path, config: Evo1Config, stats: NormStats, robot: RobotConfig
) -> None:
    """Write what stands beside the weights."""
    modes = {mode: name for name, mode in MODES.items()}
    norm_map = {"VISUAL": "IDENTITY", "STATE": modes[stats.mode], "ACTION": modes[stats.mode]}
    write_json(directory / CONFIG, _config(config, robot, norm_map))
    padded = {
        f"{name}.{key}": _padded(values, key, width)
        for name, feature, width in (
            (STATE, stats.state, config.state_width),
            (ACTION, stats.action, config.action_width),
        )
        for key, values in feature.to_dict().items()
    }
    features = {
        STATE: {"type": "STATE", "shape": [config.state_width]},
        ACTION: {"type": "ACTION", "shape": [config.action_width]},
    }
    normaliser = {"eps": EPS, "features": features, "norm_map": norm_map}
    _write_processor(
        directory / PREPROCESSOR,
        [
            (RENAME, {"rename_map": {}}),
            (BATCH, {}),
            (PAD_STATE, {"max_state_dim": config.state_width}),
            (PAD_ACTION, {"max_action_dim": config.action_width}),
            (NORMALIZER, normaliser),
            (DEVICE, {"device": "cpu", "float_dtype": None}),
        ],
        padded,
    )
    _write_processor(
        directory / POSTPROCESSOR,
        [
            (UNNORMALIZER, normaliser | {"features": {ACTION: features[ACTION]}}),
            (ACTION_STEP, {"action_dim": robot.width}),
            (DEVICE, {"device": "cpu", "float_dtype": "float32"}),
        ],
        padded,
    )


def _config(config: Evo1Config, robot: RobotConfig, norm_map: dict[str, str]) -> dict[str, Any]:
    size = config.vision.image_size
    cameras = {
        f"observation.images.{camera.name}": {"type": "VISUAL", "shape": [3, size, size]}
        for camera in robot.cameras
    }
    return {
        "type": "evo1",
        "n_obs_steps": 1,
        "input_features": {STATE: {"type": "STATE", "shape": [robot.width]}, **cameras},
        "output_features": {ACTION: {"type": "ACTION", "shape": [robot.width]}},
        "chunk_size": config.horizon,
        "n_action_steps": min(config.execute_actions or config.horizon, config.horizon),
        "max_state_dim": config.state_width,
        "max_action_dim": config.action_width,
        "max_views": config.views,
        "image_resolution": [size, size],
        "normalization_mapping": norm_map,
        "vlm_model_name": VLM,
        "vlm_num_layers": config.language.layers,
        "max_text_length": config.semantics.context_length,
        **head_entries(config),
    }


def _write_processor(
    path: Path, steps: list[tuple[str, dict[str, Any]]], stats: dict[str, Array]
) -> None:
    entries: list[dict[str, Any]] = []
    for number, (name, config) in enumerate(steps):
        entry: dict[str, Any] = {"registry_name": name, "config": config}
        if name in (NORMALIZER, UNNORMALIZER):
            file = path.with_name(f"{path.stem}_step_{number}_{name}.safetensors")
            save_file(stats, file)
            file.chmod(0o644)  # safetensors writes it for the owner only
            entry["state_file"] = file.name
        entries.append(entry)
    write_json(path, {"name": path.stem, "steps": entries})


def _read_feature(path: Path, name: str, robot: RobotConfig, *, said: bool) -> FeatureStats:
    """Statistics of one feature, without the neutral values that pad it to the model's width.

    Where the width is not said, the last joint's must not be such values either.
    """
    try:
        refuse_lfs_pointer(path)
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged or truncated: {error}") from error
    found = {
        key: np.asarray(tensors[f"{name}.{key}"], np.float64)
        for key in _NEUTRAL
        if f"{name}.{key}" in tensors
    }
    width = robot.width
    for key, values in found.items():
        if values.ndim != 1 or (values[width:] != _NEUTRAL[key]).any():
            raise CheckpointError(
                f"{path}: {name}.{key} has {values.shape} entries with data beyond the {width} "
                "joints of the robot file"
            )
    last = {key: values[width - 1] for key, values in found.items() if len(values) > width}
    if not said and last and all(value == _NEUTRAL[key] for key, value in last.items()):
        raise CheckpointError(
            f"{path}: {name}: entry {width - 1} is padding: this policy has fewer than the "
            f"{width} joints of the robot file ({', '.join(robot.joint_names)})"
        )
    cut = {key: values[:width] for key, values in found.items()}
    return feature_stats(cut, source=str(path), path=name)


def _padded(values: list[float], key: str, width: int) -> Array:
    return np.array(values + [_NEUTRAL[key]] * (width - len(values)))
