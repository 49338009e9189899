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

from evo1_policy.checkpoint_layouts.contents import (
    Checkpoint,
    CheckpointError,
    Wanted,
    Weights,
    naming,
)
from evo1_policy.checkpoint_layouts.foreign import (
    added_config,
    assemble,
    embodiment_table,
    model_of,
    read_sizes,
    widths,
    write_sizes,
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
    made_for,
    number,
    read_json,
    write_json,
)
from evo1_policy.feature_stats import FeatureStats, feature_stats
from evo1_policy.interface import Interface
from evo1_policy.model.config import Evo1Config, preset
from evo1_policy.normalization import NormStats
from evo1_policy.untrusted import refuse_lfs_pointer

VLM = "OpenGVLab/InternVL3-1B-hf"
_NEUTRAL = {"min": -1.0, "max": 1.0, "mean": 0.0, "std": 1.0, "q01": -1.0, "q99": 1.0}
Array = npt.NDArray[np.float64]


_SIZES = {
    "vlm_num_layers": "language.layers",
    "max_views": "views",
    "chunk_size": "horizon",
    "max_action_dim": "action_width",
    "max_state_dim": "state_width",
    "max_text_length": "semantics.context_length",
    "num_inference_timesteps": "num_inference_steps",
}


def find_model(directory: Path, wanted: Wanted) -> Weights:
    """What a folder of LeRobot's says of the model.

    Raises:
        CheckpointError: a file is missing or wrong.
    """
    path = directory / CONFIG
    data = read_json(path)
    _check_files(directory, WEIGHTS)
    return model_of(
        directory,
        "lerobot",
        added_config(directory) or model_config(data, path),
        wanted,
        line="lerobot",
        weights=directory / WEIGHTS,
        vlm=str(data.get("vlm_model_name", VLM)),
        table=embodiment_table(data, path),
    )


def read_lerobot(model: Weights, wanted: Wanted) -> Checkpoint:
    """Read what a folder of LeRobot's (its `pretrained_model`) says beside the model.

    Raises:
        CheckpointError: a file is missing or wrong, or nothing says what it was made for.
    """
    directory, path = model.directory, model.directory / CONFIG
    data = read_json(path)
    _check_files(directory, PREPROCESSOR, POSTPROCESSOR)
    interface, robot = made_for(directory, wanted)
    processing = read_processors(directory, data)
    with naming(directory):
        known = widths(interface, wanted)
    state_said, action_said, notes = check_features(data, path, interface, processing, known)
    with naming(directory):
        stats = NormStats(
            embodiment=interface.embodiment,
            state=_read_feature(
                processing.state_file, STATE, interface, known[0], said=state_said
            ),
            action=_read_feature(
                processing.action_file, ACTION, interface, known[1], said=action_said
            ),
            mode=processing.mode,
            clamp=False,
            zero_guard="if_zero",
        )
    small = (path, processing.state_file, processing.action_file)
    return assemble(model, stats, (interface, robot), wanted, small=small, notes=notes)


def _check_files(directory: Path, *names: str) -> None:
    for name in names:
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory / name}: missing; LeRobot checkpoints need it")


def model_config(data: Mapping[str, Any], path: Path) -> Evo1Config:
    """The sizes in LeRobot's config.

    Raises:
        CheckpointError: a key is of another type, or a variant that our model has not.
    """
    size = data.get("image_resolution", [448, 448])
    if not isinstance(size, list) or len(size) != 2 or size[0] != size[1]:
        raise CheckpointError(f"{path}: image_resolution: expected [S, S], got {size!r}")
    if number(data, path, "n_obs_steps", 1) != 1:
        raise CheckpointError(f"{path}: n_obs_steps: only 1 is supported: one observation")
    keys = _SIZES | {"image_resolution": "vision.image_size"}
    sizes = read_sizes({**data, "image_resolution": size[0]}, path, keys, preset("evo1"))
    return dataclasses.replace(sizes, execute_actions=_executed(data, path))


def _executed(data: Mapping[str, Any], path: Path) -> int:
    """LeRobot's `n_action_steps`; 0, our own choice, where it is its default: the whole chunk."""
    horizon = number(data, path, "chunk_size", 50)
    executed = number(data, path, "n_action_steps", horizon)
    if not 1 <= executed <= horizon:
        raise CheckpointError(
            f"{path}: n_action_steps: expected 1 to {horizon} (chunk_size), got {executed}"
        )
    return 0 if executed == horizon else executed


def write_small_files(
    directory: Path, config: Evo1Config, stats: NormStats, interface: Interface
) -> None:
    """Write what stands beside the weights."""
    modes = {mode: name for name, mode in MODES.items()}
    norm_map = {"VISUAL": "IDENTITY", "STATE": modes[stats.mode], "ACTION": modes[stats.mode]}
    write_json(directory / CONFIG, _config(config, interface, norm_map))
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
            (ACTION_STEP, {"action_dim": interface.widths[1]}),
            (DEVICE, {"device": "cpu", "float_dtype": "float32"}),
        ],
        padded,
    )


def _config(config: Evo1Config, interface: Interface, norm_map: dict[str, str]) -> dict[str, Any]:
    size, (state, action) = config.vision.image_size, interface.widths
    cameras = {
        f"observation.images.{camera}": {"type": "VISUAL", "shape": [3, size, size]}
        for camera in interface.cameras
    }
    return {
        "type": "evo1",
        "n_obs_steps": 1,
        "input_features": {STATE: {"type": "STATE", "shape": [state]}, **cameras},
        "output_features": {ACTION: {"type": "ACTION", "shape": [action]}},
        "n_action_steps": min(config.execute_actions or config.horizon, config.horizon),
        "image_resolution": [size, size],
        "normalization_mapping": norm_map,
        "vlm_model_name": VLM,
        **write_sizes(config, _SIZES),
    }


def _write_processor(
    path: Path, steps: list[tuple[str, dict[str, Any]]], stats: dict[str, Array]
) -> None:
    entries: list[dict[str, Any]] = []
    for place, (name, config) in enumerate(steps):
        entry: dict[str, Any] = {"registry_name": name, "config": config}
        if name in (NORMALIZER, UNNORMALIZER):
            file = path.with_name(f"{path.stem}_step_{place}_{name}.safetensors")
            save_file(stats, file)
            file.chmod(0o644)  # safetensors writes it for the owner only
            entry["state_file"] = file.name
        entries.append(entry)
    write_json(path, {"name": path.stem, "steps": entries})


def _read_feature(
    path: Path, name: str, interface: Interface, width: int, *, said: bool
) -> FeatureStats:
    """Statistics of one feature, without the neutral values that pad it to the model's width.

    Where the width is not said, the last number's must not be such values either.
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
    for key, values in found.items():
        if values.ndim != 1 or (values[width:] != _NEUTRAL[key]).any():
            raise CheckpointError(
                f"{path}: {name}.{key} has {values.shape} entries with data beyond the {width} "
                f"of {interface.name} (where they are an end effector's, say what they mean "
                "with --end-effector)"
            )
    last = {key: values[width - 1] for key, values in found.items() if len(values) > width}
    if not said and last and all(value == _NEUTRAL[key] for key, value in last.items()):
        raise CheckpointError(
            f"{path}: {name}: entry {width - 1} is padding: this policy has fewer than "
            f"{interface.name}, which has {interface.names_of(name)}"
        )
    cut = {key: values[:width] for key, values in found.items()}
    return feature_stats(cut, source=str(path), path=name)


def _padded(values: list[float], key: str, width: int) -> Array:
    return np.array(values + [_NEUTRAL[key]] * (width - len(values)))
