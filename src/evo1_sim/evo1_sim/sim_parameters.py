"""The parameters of the simulation node: which cell, and how it is seen. Must not import ROS."""

from dataclasses import dataclass

from evo1_policy.node_parameters import ParameterTable, parameter
from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH, MAX_IMAGE

MAX_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class SimParameters(ParameterTable):
    """The node's parameters, read once at start.

    Raises:
        ParameterError: a value that cannot be used.
    """

    arm: str = parameter(
        "",
        "Which arm to simulate; empty: the name in the robot file. One that is not known here is "
        "made from the robot file's urdf.",
    )
    robot_file: str = parameter(
        "", "Path of the robot file (YAML): topics, joints, home pose. Required.", required=True
    )
    task: str = parameter("", "Task whose scene is set up; empty: the arm's first one.")
    seed: int = parameter(0, "Seed of the start state.", span=(0, MAX_SEED))
    camera_width: int = parameter(
        IMAGE_WIDTH, "Width of both camera images [px].", span=(16, MAX_IMAGE)
    )
    camera_height: int = parameter(
        IMAGE_HEIGHT, "Height of both camera images [px].", span=(16, MAX_IMAGE)
    )
    camera_rate_hz: float = parameter(
        30.0,
        "Rate of both cameras; they are always captured at the same instant [Hz].",
        span=(0.5, 100.0),
    )
    publish_compressed: bool = parameter(
        False, "Also publish JPEG images on <camera topic>/compressed."
    )
    jpeg_quality: int = parameter(90, "Quality of the JPEG images, 1 to 100 [%].", span=(1, 100))
    publish_clock: bool = parameter(
        False, "Publish /clock and stamp with simulation time in place of wall time."
    )
