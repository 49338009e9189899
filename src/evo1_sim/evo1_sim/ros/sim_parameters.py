"""The parameters of the simulation node: which cell, and how it is seen."""

from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
)
from rclpy.node import Node

from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH, MAX_IMAGE

MAX_SEED = 2**31 - 1


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True)
class SimParameters:
    """The node's parameters, read once at start."""

    arm: str = ""
    robot_file: str = ""
    task: str = ""
    seed: int = 0
    camera_width: int = IMAGE_WIDTH
    camera_height: int = IMAGE_HEIGHT
    camera_rate_hz: float = 30.0
    publish_compressed: bool = False
    jpeg_quality: int = 90
    publish_clock: bool = False


_DESCRIPTIONS = {
    "arm": "Which arm to simulate: xarm6 or so100; empty: the name in the robot file.",
    "robot_file": "Path of the robot file (YAML): topics, joints, home pose. Required.",
    "task": "Task whose scene is set up; empty: the arm's first one.",
    "seed": "Seed of the start state.",
    "camera_width": "Width of both camera images [px].",
    "camera_height": "Height of both camera images [px].",
    "camera_rate_hz": "Rate of both cameras; they are always captured at the same instant [Hz].",
    "publish_compressed": "Also publish JPEG images on <camera topic>/compressed.",
    "jpeg_quality": "Quality of the JPEG images, 1 to 100 [%].",
    "publish_clock": "Publish /clock and stamp with simulation time in place of wall time.",
}
_RANGES = {
    "seed": (0, MAX_SEED),
    "camera_width": (16, MAX_IMAGE),
    "camera_height": (16, MAX_IMAGE),
    "camera_rate_hz": (0.5, 100.0),
    "jpeg_quality": (1, 100),
}


def read_parameters(node: Node) -> SimParameters:
    """Declare every parameter, read-only, with description and range; return their values.

    Raises:
        ParameterError: a value of another type or out of range, or no robot file.
    """
    values = {
        field.name: _declare(node, field.name, field.default) for field in fields(SimParameters)
    }
    parameters = SimParameters(**values)
    if not parameters.robot_file:
        raise ParameterError("parameter 'robot_file' is missing; give the path of a robot file")
    return parameters


def _declare(node: Node, name: str, default: Any) -> Any:
    descriptor = ParameterDescriptor(description=_DESCRIPTIONS[name], read_only=True)
    if name in _RANGES:
        low, high = _RANGES[name]
        if isinstance(default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        else:
            descriptor.integer_range = [
                IntegerRange(from_value=int(low), to_value=int(high), step=1)
            ]
    try:
        return node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ParameterError(str(error)) from error
