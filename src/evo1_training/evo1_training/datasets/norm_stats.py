"""Norm stats of a dataset, for training and in the authors' layout. Must not import ROS or torch.

Letters: N frames, D joints.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evo1_policy.normalization import FeatureStats
from evo1_training.datasets.lerobot.schema import ACTION, STATE
from evo1_training.datasets.lerobot.statistics import Statistics, of_values
from evo1_training.datasets.lerobot.tables import read_vectors

NORM_STATS = "meta/evo1/norm_stats.json"
_LEAST_SHARE = 0.05  # of the range from min to max that q01 to q99 must cover


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


def official_norm_stats(
    statistics: Mapping[str, Statistics], *, embodiment: str, dataset: str
) -> dict[str, Any]:
    """The authors' norm_stats.json: {arm: {dataset: {feature: {min, max, ...}}}}."""
    features = {name: feature_stats(statistics[name]).to_dict() for name in (STATE, ACTION)}
    return {embodiment: {dataset: features}}


def feature_stats(item: Statistics) -> FeatureStats:
    """What a policy normalises with.

    Where q01 and q99 nearly coincide, as of a gripper that is closed in hardly a frame in a
    hundred, they are the bounds: scaled by such quantiles a joint would be sent to thousands of
    times its range, and its rare positions would never come back.
    """
    low, high = item.quantiles["q01"], item.quantiles["q99"]
    narrow = high - low < _LEAST_SHARE * (item.max - item.min)
    return FeatureStats(
        min=item.min,
        max=item.max,
        mean=item.mean,
        std=item.std,
        q01=np.where(narrow, item.min, low),
        q99=np.where(narrow, item.max, high),
    )
