"""The parameters of the SO-100 driver node."""

from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from evo1_bringup.drivers.servo_health import HealthLimits
from evo1_bringup.drivers.so100_driver import DriverSettings

# name -> (default, description)
_PARAMETERS: dict[str, tuple[Any, str]] = {
    "robot_file": ("", "Path of the robot file (YAML). Required."),
    "port": ("", "Serial port of the arm, such as /dev/ttyACM0. Required."),
    "calibration": ("", "LeRobot's calibration file (JSON) of this arm. Required."),
    "port_timeout_s": (0.0, "How long to wait for the port when the node is configured [s]."),
    "reply_timeout_ms": (8.0, "Longest wait for the answers to one request [ms]."),
    "max_silent_cycles": (10, "Cycles in a row without a servo's answer before it stops."),
    "write_calibration": (False, "Store the file's calibration in the servos, not check it."),
    "temperature_warn": (HealthLimits.temperature_warn, "Warn from here on [deg C]."),
    "temperature_stop": (HealthLimits.temperature_stop, "Stop from here on [deg C]."),
    "load_warn": (HealthLimits.load_warn, "Warn from this share of the stall torque on."),
    "load_stop": (HealthLimits.load_stop, "Stop from this share on, where it lasts load_stop_s."),
    "load_stop_s": (HealthLimits.load_stop_s, "See load_stop [s]."),
    "auto_activate": (True, "Configure and activate without a lifecycle manager."),
}


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True)
class DriverParameters:
    """What a start needs: paths, waits, and what the driver is told."""

    robot_file: str
    port: str
    calibration: str
    port_timeout_s: float
    reply_timeout_s: float
    settings: DriverSettings


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description and default."""
    for name, (default, description) in _PARAMETERS.items():
        node.declare_parameter(name, default, ParameterDescriptor(description=description))


def read_parameters(node: Node) -> DriverParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used.
    """
    value = {name: node.get_parameter(name).value for name in _PARAMETERS}
    for name in ("robot_file", "port", "calibration"):
        if not value[name]:
            raise ParameterError(f"{name}: missing; {_PARAMETERS[name][1]}")
    for name in ("reply_timeout_ms", "max_silent_cycles"):
        if value[name] <= 0:
            raise ParameterError(f"{name}: expected more than 0, got {value[name]}")
    if value["temperature_stop"] > 70:
        raise ParameterError(
            f"temperature_stop: {value['temperature_stop']:g} deg C; expected at most 70, where "
            "the servos' firmware lets go"
        )
    reply_timeout_s = value["reply_timeout_ms"] * 1e-3
    return DriverParameters(
        **{name: value[name] for name in ("robot_file", "port", "calibration", "port_timeout_s")},
        reply_timeout_s=reply_timeout_s,
        settings=DriverSettings(
            max_silent_cycles=value["max_silent_cycles"],
            write_calibration=value["write_calibration"],
            max_stall_s=max(0.1, 5 * reply_timeout_s),  # a cycle may wait for three answers
            health=HealthLimits(**{item.name: value[item.name] for item in fields(HealthLimits)}),
        ),
    )
