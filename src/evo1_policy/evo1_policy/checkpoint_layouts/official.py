"""The authors' layouts: DeepSpeed folders, and evo1-flash folders without DeepSpeed.

    mp_rank_00_model_states.pt   weights under 'module'             (DeepSpeed)
    checkpoint.pt                weights under 'model_state_dict'   (evo1-flash)
    config.json                  sizes of the head; model_config.json in the SO-100 release
    norm_stats.json              {arm: {feature: ...}} or {arm: {dataset: {feature: ...}}}

What gives the published line away: checkpoint.pt, norm stats with a dataset below the arm, or
normalization_type in the config are evo1-flash's; all else is the main branch's. Must not import
ROS or torch.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evo1_policy.checkpoint_layouts.contents import Checkpoint, CheckpointError, Layout, Wanted
from evo1_policy.checkpoint_layouts.foreign import (
    Found,
    added_config,
    assemble,
    embodiment_table,
    integer,
    refuse_unsupported,
)
from evo1_policy.checkpoint_layouts.official_stats import choose_stats, is_nested
from evo1_policy.checkpoint_layouts.own import CONFIG, STATS, read_json, robot_of, write_json
from evo1_policy.model.config import ConfigError, Evo1Config, preset
from evo1_policy.normalization import Mode, NormStats, NormStatsError

DEEPSPEED, FLASH = "mp_rank_00_model_states.pt", "checkpoint.pt"
SO100_CONFIG, INDEX = "model_config.json", "checkpoint.json"
DEEPSPEED_KEY, FLASH_KEY = "module", "model_state_dict"
VLM = "OpenGVLab/InternVL3-1B"
_MODES: dict[str, Mode] = {"bounds": "bounds", "bounds_q99": "quantiles", "normal": "mean_std"}


def read_official(directory: Path, layout: Layout, wanted: Wanted) -> Checkpoint:
    """Read a folder of the authors' code.

    Raises:
        CheckpointError: a file is missing or wrong, or no robot file says what it moves.
    """
    config_path = directory / SO100_CONFIG
    if not config_path.is_file():
        config_path = directory / CONFIG
    for path in (config_path, directory / STATS):
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; official checkpoints need it")
    data, stats_data = read_json(config_path), read_json(directory / STATS)
    robot = robot_of(directory, wanted)
    mode = _mode(data, config_path)
    try:
        stats = choose_stats(
            stats_data,
            key=wanted.embodiment,
            embodiment=robot.embodiment,
            mode=wanted.norm_mode or mode,
            source=str(directory / STATS),
        )
        config = added_config(directory) or model_config(data, config_path)
    except ConfigError as error:
        raise CheckpointError(f"{config_path}: {error}") from error
    except NormStatsError as error:
        raise CheckpointError(str(error)) from error
    is_flash = layout == "official_flash" or is_nested(stats_data) or "normalization_type" in data
    found = Found(
        config=config,
        stats=stats,
        variant="evo1_flash" if is_flash else "authors_main",
        steps=None,  # both servers ignore the file's
        weights=directory / (FLASH if layout == "official_flash" else DEEPSPEED),
        small=(config_path, directory / STATS),
        vlm=str(data.get("vlm_name", VLM)),
        table=embodiment_table(data, config_path),
    )
    return assemble(directory, layout, found, robot, wanted)


def model_config(data: Mapping[str, Any], path: Path) -> Evo1Config:
    """The sizes in the authors' config; what it lacks are its code's defaults.

    Raises:
        CheckpointError: a key is of another type, or a variant that our model has not.
        ConfigError: the sizes are impossible.
    """
    base = preset("evo1")
    refuse_unsupported(data, path, base.language.width)
    head = dataclasses.replace(
        base.head,
        layers=integer(data, path, "num_layers", default=8),
        heads=integer(data, path, "num_heads", default=8),
        state_hidden=integer(data, path, "state_hidden_dim", default=1024),
        output_hidden=integer(data, path, "hidden_dim", default=1024),
        dropout=float(data.get("dropout", 0.0)),
    )
    vision = dataclasses.replace(
        base.vision, image_size=integer(data, path, "image_size", default=448)
    )
    return dataclasses.replace(
        base,
        head=head,
        vision=vision,
        horizon=integer(data, path, "horizon", "action_horizon", default=16),
        action_width=integer(data, path, "per_action_dim", default=7),
        state_width=integer(data, path, "state_dim", default=7),
    )


def write_small_files(directory: Path, config: Evo1Config, stats: NormStats) -> None:
    """Write what stands beside the weights in a DeepSpeed folder."""
    head = config.head
    write_json(
        directory / CONFIG,
        {
            "action_head": "flowmatching",
            "vlm_name": VLM,
            "horizon": config.horizon,
            "action_horizon": config.horizon,
            "per_action_dim": config.action_width,
            "state_dim": config.state_width,
            "embed_dim": config.language.width,
            "hidden_dim": head.output_hidden,
            "state_hidden_dim": head.state_hidden,
            "num_heads": head.heads,
            "num_layers": head.layers,
            "num_categories": 1,
            "dropout": head.dropout,
            "num_inference_timesteps": config.num_inference_steps,
            "image_size": config.vision.image_size,
            "return_cls_only": False,
        },
    )
    write_json(
        directory / STATS,
        {
            stats.embodiment: {
                "observation.state": stats.state.to_dict(),
                "action": stats.action.to_dict(),
            }
        },
    )
    write_json(directory / INDEX, {"type": "ds_model", "version": 0.0, "checkpoints": DEEPSPEED})


def _mode(data: Mapping[str, Any], path: Path) -> Mode:
    name = str(data.get("normalization_type", "bounds"))
    if name not in _MODES:
        raise CheckpointError(
            f"{path}: normalization_type: expected one of {', '.join(_MODES)}, got '{name}'"
        )
    return _MODES[name]
