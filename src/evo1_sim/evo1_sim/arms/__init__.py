"""The arms that can be simulated: those of this folder by name, any other by its URDF."""

import pkgutil
from importlib import import_module

from evo1_policy.robot_config import RobotConfig
from evo1_sim.arms.arm import Arm, Joint
from evo1_sim.arms.kinematic import kinematic_arm

ARMS: dict[str, Arm] = {
    arm.name: arm
    for module in pkgutil.iter_modules(__path__)
    for arm in vars(import_module(f"{__name__}.{module.name}")).values()
    if isinstance(arm, Arm)
}

__all__ = ["ARMS", "Arm", "Joint", "find_arm"]


def find_arm(name: str, robot: RobotConfig) -> Arm:
    """The arm of this folder with the robot's joints; else one made from the robot's URDF.

    Args:
        name: of the arm; most often the robot's.
        robot: the robot file.

    Raises:
        UrdfError: its URDF cannot be used.
        ValueError: it has none, and no arm of that name is here.
    """
    known = ARMS.get(name)
    if robot.urdf and (known is None or known.joint_names != robot.joint_names):
        return kinematic_arm(robot)
    if known is None:
        raise ValueError(
            f"no arm '{name}' (known: {', '.join(ARMS)}), and the robot file names no urdf"
        )
    return known
