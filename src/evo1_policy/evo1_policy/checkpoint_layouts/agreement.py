"""Whether the parts of a checkpoint fit together: model, norm stats and robot.

Must not import ROS or torch.
"""

from pathlib import Path

import numpy as np

from evo1_policy.checkpoint_layouts.contents import CheckpointError
from evo1_policy.model.config import Evo1Config
from evo1_policy.normalization import NormStats
from evo1_policy.robot_config import RobotConfig

_SLACK = 1.0  # of a joint's range: how far data may lie beyond its limits; degrees lie further


def check_agreement(
    directory: Path, config: Evo1Config, stats: NormStats, robot: RobotConfig
) -> None:
    """Hold stats, robot and model sizes against each other.

    Raises:
        CheckpointError: names what does not fit.
    """
    if stats.embodiment != robot.embodiment:
        raise CheckpointError(
            f"{directory}: the norm stats are for embodiment '{stats.embodiment}', "
            f"the robot file for '{robot.embodiment}'"
        )
    for name, feature in (("observation.state", stats.state), ("action", stats.action)):
        if feature.shape != (robot.width,):
            raise CheckpointError(
                f"{directory}: norm stats: {name} has {feature.shape[0]} entries, the robot file "
                f"has {robot.width} joints ({', '.join(robot.joint_names)})"
            )
    if robot.width > min(config.action_width, config.state_width):
        raise CheckpointError(
            f"{directory}: the robot file has {robot.width} joints, the model takes "
            f"{config.state_width} state and {config.action_width} action entries"
        )
    if len(robot.cameras) > config.views:
        raise CheckpointError(
            f"{directory}: the robot file has {len(robot.cameras)} cameras, "
            f"the model {config.views} views"
        )


def check_units(directory: Path, stats: NormStats, robot: RobotConfig) -> None:
    """Refuse statistics that cannot be these joints in their units, radians where none are given.

    Raises:
        CheckpointError: names the joint, its statistics and its limits.
    """
    slack = _SLACK * (robot.position_max - robot.position_min)
    for name, feature in (("observation.state", stats.state), ("action", stats.action)):
        ends = np.array([feature.min, feature.max])
        ends = np.sort(ends if stats.units is None else stats.units.to_rad(ends), axis=0)
        below = ends[0] < robot.position_min - slack
        above = ends[1] > robot.position_max + slack
        wrong = np.flatnonzero(below | above)
        if wrong.size:
            k = int(wrong[0])
            joint = robot.joints[k]
            raise CheckpointError(
                f"{directory}: norm stats: {name}[{k}] spans [{ends[0, k]:g}, "
                f"{ends[1, k]:g}], but joint {joint.name} of the robot file moves in "
                f"[{joint.position_min:g}, {joint.position_max:g}] rad; is this checkpoint in "
                "other units (degrees and percent want a file of units, end-effector poses cannot "
                "be used) or for another robot?"
            )
