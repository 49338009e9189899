"""The micro model's config with a real prompt's room, and norm stats around a robot's home."""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from evo1_policy.model.config import Evo1Config, Semantics
from evo1_policy.normalization import FeatureStats, NormStats

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from micro import MICRO

CONFIG = dataclasses.replace(
    Evo1Config.from_dict(MICRO.to_dict() | {"action_width": 8, "state_width": 8}),
    semantics=Semantics(context_length=100, state_pad=-1.0, episode_tail="counted"),
)
OFFICIAL_CONFIG = {"horizon": 5, "per_action_dim": 8, "state_dim": 8, "num_layers": 2}


def spread_evenly(low, high):
    """Stats of values between low and high (D,), with every statistic that a layout may hold."""
    width = high - low
    return FeatureStats(
        min=low,
        max=high,
        mean=(low + high) / 2,
        std=width / 12**0.5,
        q01=low + 0.01 * width,
        q99=high - 0.01 * width,
    )


def stats_of(robot, width=None):
    home = np.array(robot.home)[:width]
    stats = spread_evenly(home - 0.5, home + 0.5)
    return NormStats(embodiment=robot.embodiment, state=stats, action=stats)
