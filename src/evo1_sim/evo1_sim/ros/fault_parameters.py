"""Parameters that break the simulated cell while it runs, to see what the policy does about it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from evo1_sim.ros.camera_publisher import CameraPublisher
from evo1_sim.simulated_robot import SimulatedRobot, SimulatedRobotError
from evo1_sim.tasks import DISTURBANCES, UNDISTURBED

_DESCRIPTIONS = {
    "unplugged_cameras": "Names of cameras that are silent, with commas between.",
    "disturbance": "What is unusual about the scene from the next reset on: "
    f"{', '.join(DISTURBANCES)}.",
    "inactive_controllers": "Names of controllers that are switched off, with commas between: "
    "deaf, and silent on their controller_state.",
    "command_delay_ms": "How long each trajectory is under way to its controller [ms].",
    "controller_skew_ms": "How far the controllers' clock is ahead of all others [ms].",
    "standing_error_rad": "How far from its target each joint but the gripper ends [rad].",
}
_RANGES = {
    "command_delay_ms": (0.0, 1000.0),
    "controller_skew_ms": (-1000.0, 1000.0),
    "standing_error_rad": (-0.2, 0.2),
}


class FaultParameters:
    """Declares the parameters on a node and obeys them; each can be set at any time."""

    def __init__(
        self, node: Node, simulated: SimulatedRobot, cameras: Mapping[str, CameraPublisher]
    ) -> None:
        """For a node with these cameras by name; nothing is broken at first."""
        self._simulated = simulated
        self._cameras = cameras
        self._obey: dict[str, Callable[[Any], None]] = {
            "unplugged_cameras": self._unplug,
            "disturbance": simulated.disturb,
            "inactive_controllers": lambda names: self._suffer(inactive=_names(names)),
            "command_delay_ms": lambda value: self._suffer(delay_ms=value),
            "controller_skew_ms": lambda value: self._suffer(skew_ms=value),
            "standing_error_rad": lambda value: self._suffer(standing_error_rad=value),
        }
        node.add_on_set_parameters_callback(self._set)
        for name, description in _DESCRIPTIONS.items():
            descriptor = ParameterDescriptor(description=f"{description} Can be set at any time.")
            default: str | float = UNDISTURBED.name if name == "disturbance" else ""
            if name in _RANGES:
                low, high = _RANGES[name]
                span = FloatingPointRange(from_value=low, to_value=high)
                descriptor.floating_point_range = [span]
                default = 0.0
            node.declare_parameter(name, default, descriptor)

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            for parameter in parameters:
                if parameter.name in self._obey:
                    self._obey[parameter.name](parameter.value)
        except SimulatedRobotError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _unplug(self, names: str) -> None:
        wanted = _names(names)
        for name in sorted(wanted - set(self._cameras)):
            known = ", ".join(self._cameras)
            raise SimulatedRobotError(f"no camera '{name}'; known: {known}")
        for name, camera in self._cameras.items():
            camera.plugged_in = name not in wanted

    def _suffer(self, **changes: Any) -> None:
        self._simulated.suffer(replace(self._simulated.faults, **changes))


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",")) - {""}
