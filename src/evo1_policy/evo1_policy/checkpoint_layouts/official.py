"""The authors' layouts: DeepSpeed folders, and evo1-flash folders without DeepSpeed.

    mp_rank_00_model_states.pt   weights under 'module'             (DeepSpeed)
    checkpoint.pt                weights under 'model_state_dict'   (evo1-flash)
    config.json                  sizes of the head; model_config.json in the SO-100 release
    norm_stats.json              {arm: {feature: {min, max}}}                     main
                                 {arm: {dataset: {feature: {min, max, q01, ...}}}}    evo1-flash

What gives the published line away: checkpoint.pt, norm stats with a dataset below the arm, or
normalization_type in the config are evo1-flash's; all else is the main branch's. Must not import
ROS or torch.
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
    naming,
)
from evo1_policy.checkpoint_layouts.foreign import (
    added_config,
    assemble,
    embodiment_table,
    model_of,
    read_sizes,
    with_rules,
    write_sizes,
)
from evo1_policy.checkpoint_layouts.own import CONFIG, STATS, made_for, read_json, write_json
from evo1_policy.feature_stats import feature_stats
from evo1_policy.model.config import Evo1Config, preset
from evo1_policy.normalization import Mode, NormStats, NormStatsError

DEEPSPEED, FLASH = "mp_rank_00_model_states.pt", "checkpoint.pt"
SO100_CONFIG, INDEX = "model_config.json", "checkpoint.json"
DEEPSPEED_KEY, FLASH_KEY = "module", "model_state_dict"
VLM = "OpenGVLab/InternVL3-1B"
FEATURES = ("observation.state", "action")
_MODES: dict[str, Mode] = {"bounds": "bounds", "bounds_q99": "quantiles", "normal": "mean_std"}
_SIZES = {
    "image_size": "vision.image_size",
    "action_horizon": "horizon",
    "horizon": "horizon",
    "per_action_dim": "action_width",
    "state_dim": "state_width",
}
_DEFAULTS = dataclasses.replace(preset("evo1"), horizon=16, action_width=7, state_width=7)


def find_model(directory: Path, layout: Layout, wanted: Wanted) -> Weights:
    """What the files of the authors' code say of the model.

    Raises:
        CheckpointError: a file is missing or wrong.
    """
    config_path, stats_path = _small(directory)
    data = read_json(config_path)
    is_flash = (
        layout == "official_flash"
        or "normalization_type" in data
        or is_nested(read_json(stats_path))
    )
    return model_of(
        directory,
        layout,
        added_config(directory) or read_sizes(data, config_path, _SIZES, _DEFAULTS),
        wanted,
        line="evo1_flash" if is_flash else "authors_main",
        weights=directory / (FLASH if layout == "official_flash" else DEEPSPEED),
        vlm=str(data.get("vlm_name", VLM)),
        table=embodiment_table(data, config_path),
    )


def read_official(model: Weights, wanted: Wanted) -> Checkpoint:
    """Read what a folder of the authors' code says beside the model.

    Raises:
        CheckpointError: a file is missing or wrong, or nothing says what it was made for.
    """
    small = config_path, stats_path = _small(model.directory)
    subject = made_for(model.directory, wanted)
    with naming(stats_path):
        stats = choose_stats(
            read_json(stats_path),
            key=wanted.get("embodiment"),
            embodiment=subject[0].embodiment,
            mode=wanted.get("norm_mode") or _mode(read_json(config_path), config_path),
            source=str(stats_path),
        )
    return assemble(model, stats, subject, wanted, small=small)


def other_stats(model: Weights, arm: str, dataset: str | None, wanted: Wanted) -> NormStats:
    """The statistics of another embodiment of a folder, as the authors' servers choose them.

    Args:
        model: from find_model.
        arm: key of norm_stats.json.
        dataset: key below the arm; of no meaning where none stands there.
        wanted: by the caller; its norm_mode counts.

    Raises:
        CheckpointError: there are none of this name; lists those that there are.
    """
    config_path, stats_path = _small(model.directory)
    data = read_json(stats_path)
    key = arm if arm in entries(data) else f"{arm}/{dataset}"
    with naming(stats_path):
        stats = choose_stats(
            data,
            key=key,
            embodiment=key,
            mode=wanted.get("norm_mode") or _mode(read_json(config_path), config_path),
            source=str(stats_path),
        )
        return dataclasses.replace(with_rules(model, stats, wanted), action_space="raw")


def _small(directory: Path) -> tuple[Path, Path]:
    """The config and the norm stats.

    Raises:
        CheckpointError: one is missing.
    """
    config_path = directory / SO100_CONFIG
    if not config_path.is_file():
        config_path = directory / CONFIG
    for path in (config_path, directory / STATS):
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; official checkpoints need it")
    return config_path, directory / STATS


def is_nested(data: Mapping[str, Any]) -> bool:
    """Whether a dataset stands between arm and feature, as evo1-flash writes it."""
    return any(
        isinstance(value, Mapping) and not any(name in value for name in FEATURES)
        for value in data.values()
    )


def entries(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All statistics of a file: 'arm' or 'arm/dataset' -> {feature: statistics}."""
    found: dict[str, Mapping[str, Any]] = {}
    for arm, below in data.items():
        if not isinstance(below, Mapping):
            continue
        if any(name in below for name in FEATURES):
            found[str(arm)] = below
        else:
            found |= {
                f"{arm}/{key}": item for key, item in below.items() if isinstance(item, Mapping)
            }
    return found


def choose_stats(
    data: Mapping[str, Any], *, key: str | None, embodiment: str, mode: Mode, source: str
) -> NormStats:
    """The statistics of one embodiment.

    Args:
        data: content of norm_stats.json.
        key: 'arm', 'dataset' or 'arm/dataset'; None takes the embodiment's. The only one of a
            file is not taken under another name: it may be another robot's.
        embodiment: of the interface; the result carries it.
        mode: of the normalisation. Where the file lacks q01 and q99, 'bounds' stands in.
        source: stands in error messages.

    Raises:
        NormStatsError: none or several match; lists the keys that there are.
    """
    found = entries(data)
    asked = key or embodiment
    matching = [name for name in found if asked in (name, *name.split("/", 1))]
    if len(matching) != 1:
        problem = f"several match '{asked}'" if matching else f"none is for '{asked}'"
        raise NormStatsError(
            f"{source}: {problem}; choose one (--embodiment KEY) of: {', '.join(found) or 'none'}"
        )
    name = matching[0]
    for feature in FEATURES:
        if feature not in found[name]:
            raise NormStatsError(f"{source}: {name}: missing key '{feature}'")
    state, action = (
        feature_stats(found[name][feature], source=source, path=f"{name}.{feature}")
        for feature in FEATURES
    )
    if mode == "quantiles" and any(
        item.q01 is None or item.q99 is None for item in (state, action)
    ):
        mode = "bounds"  # as evo1-flash does
    return NormStats(embodiment=embodiment, state=state, action=action, mode=mode)


def write_small_files(directory: Path, config: Evo1Config, stats: NormStats) -> None:
    """Write what stands beside the weights in a DeepSpeed folder."""
    sizes = write_sizes(config, _SIZES)
    write_json(directory / CONFIG, {"action_head": "flowmatching", "vlm_name": VLM, **sizes})
    features = (stats.state.to_dict(), stats.action.to_dict())
    write_json(directory / STATS, {stats.embodiment: dict(zip(FEATURES, features, strict=True))})
    write_json(directory / INDEX, {"type": "ds_model", "version": 0.0, "checkpoints": DEEPSPEED})


def _mode(data: Mapping[str, Any], path: Path) -> Mode:
    name = str(data.get("normalization_type", "bounds"))
    if name not in _MODES:
        raise CheckpointError(
            f"{path}: normalization_type: expected one of {', '.join(_MODES)}, got '{name}'"
        )
    return _MODES[name]
