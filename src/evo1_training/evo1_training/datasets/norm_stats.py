"""Norm stats of a dataset, for training and in the authors' layout. Must not import ROS or torch.

Letters: N frames, D joints.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evo1_policy.normalization import FeatureStats, Mode, NormStats
from evo1_policy.robot_config import parse_robot
from evo1_training.datasets.lerobot.contents import INFO, ROBOT
from evo1_training.datasets.lerobot.schema import ACTION, STATE
from evo1_training.datasets.lerobot.statistics import Statistics, of_values
from evo1_training.datasets.lerobot.tables import read_vectors

NORM_STATS = "meta/evo1/norm_stats.json"


class NoFramesError(ValueError):
    """A dataset without frames; the message names the folder."""


def compute_statistics(root: Path) -> dict[str, Statistics]:
    """Statistics of state and action from every frame, with exact quantiles.

    Args:
        root: a LeRobot dataset of either version, by whomever.

    Raises:
        NoFramesError: it has none.
        OSError: a table cannot be read.
    """
    paths = sorted((root / "data").glob("*/*.parquet"))
    tables = [read_vectors(path, (STATE, ACTION)) for path in paths]
    if not sum(len(table[STATE]) for table in tables):
        raise NoFramesError(f"{root}: no frames below data/; expected a LeRobot dataset")
    return {
        name: of_values(np.concatenate([table[name] for table in tables]))
        for name in (STATE, ACTION)
    }


def dataset_norm_stats(
    root: Path, *, mode: Mode = "bounds", embodiment: str | None = None
) -> NormStats:
    """What a policy that trains on this dataset normalises with.

    Args:
        root: a LeRobot dataset of either version, by whomever.
        mode: of the normalisation.
        embodiment: key of the stats; by default the robot file's, else the robot_type.

    Raises:
        NoFramesError: it has no frames.
        RobotConfigError: its copy of the robot file cannot be used.
        OSError: a table cannot be read.
    """
    found = compute_statistics(root)
    return NormStats(
        embodiment=embodiment or _embodiment(root),
        state=_feature_stats(found[STATE]),
        action=_feature_stats(found[ACTION]),
        mode=mode,
    )


def official_norm_stats(
    statistics: Mapping[str, Statistics], *, embodiment: str, dataset: str
) -> dict[str, Any]:
    """The authors' norm_stats.json: {arm: {dataset: {feature: {min, max, ...}}}}."""
    features = {name: _feature_stats(statistics[name]).to_dict() for name in (STATE, ACTION)}
    return {embodiment: {dataset: features}}


def _feature_stats(item: Statistics) -> FeatureStats:
    return FeatureStats(
        min=item.min,
        max=item.max,
        mean=item.mean,
        std=item.std,
        q01=item.quantiles["q01"],
        q99=item.quantiles["q99"],
    )


def _embodiment(root: Path) -> str:
    path = root / ROBOT
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        return parse_robot(text, source=str(path)).embodiment
    info = json.loads((root / INFO).read_text(encoding="utf-8"))
    return str(info.get("robot_type") or "robot")
