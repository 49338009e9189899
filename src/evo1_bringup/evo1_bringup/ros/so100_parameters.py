"""The parameters of the SO-100 driver node."""

from dataclasses import dataclass, fields

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from evo1_bringup.drivers.servo_health import HealthLimits
from evo1_bringup.drivers.so100_driver import DriverSettings


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True)
class DriverParameters:
    """The node's parameters, read once when it is configured."""

    robot_file: str = ""
    port: str = ""
    calibration: str = ""
    port_timeout_s: float = 0.0
    reply_timeout_ms: float = 8.0
    max_silent_cycles: int = 10
    write_calibration: bool = False
    temperature_warn: float = HealthLimits.temperature_warn
    temperature_stop: float = HealthLimits.temperature_stop
    load_warn: float = HealthLimits.load_warn
    load_stop: float = HealthLimits.load_stop
    load_stop_s: float = HealthLimits.load_stop_s
    auto_activate: bool = True

    @property
    def settings(self) -> DriverSettings:
        """For the driver."""
        return DriverSettings(
            max_silent_cycles=self.max_silent_cycles,
            write_calibration=self.write_calibration,
            max_stall_s=max(0.1, 5 * self.reply_timeout_ms * 1e-3),  # a cycle may wait for three
            health=HealthLimits(
                temperature_warn=self.temperature_warn,
                temperature_stop=self.temperature_stop,
                load_warn=self.load_warn,
                load_stop=self.load_stop,
                load_stop_s=self.load_stop_s,
            ),
        )


_DESCRIPTIONS = {
    "robot_file": "Path of the robot file (YAML). Required.",
    "port": "Serial port of the arm, such as /dev/ttyACM0. Required.",
    "calibration": "LeRobot's calibration file (JSON) of this arm. Required.",
    "port_timeout_s": "How long to wait for the port to appear when the node is configured [s].",
    "reply_timeout_ms": "Longest wait for the answers to one request [ms].",
    "max_silent_cycles": "Cycles in a row without a credible answer of a servo before it stops.",
    "write_calibration": "Store the file's calibration in the servos in place of checking it.",
    "temperature_warn": "Warn from here on [deg C].",
    "temperature_stop": "Stop from here on [deg C].",
    "load_warn": "Warn from this share of the stall torque on.",
    "load_stop": "Stop from this share of the stall torque on, where it lasts load_stop_s.",
    "load_stop_s": "See load_stop [s].",
    "auto_activate": "Configure and activate without a lifecycle manager.",
}


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description and default."""
    for field in fields(DriverParameters):
        descriptor = ParameterDescriptor(description=_DESCRIPTIONS[field.name])
        node.declare_parameter(field.name, field.default, descriptor)


def read_parameters(node: Node) -> DriverParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used.
    """
    names = [field.name for field in fields(DriverParameters)]
    parameters = DriverParameters(**{name: node.get_parameter(name).value for name in names})
    for name in ("robot_file", "port", "calibration"):
        if not getattr(parameters, name):
            raise ParameterError(f"{name}: missing; {_DESCRIPTIONS[name]}")
    for name in ("reply_timeout_ms", "max_silent_cycles"):
        if getattr(parameters, name) <= 0:
            raise ParameterError(f"{name}: expected more than 0, got {getattr(parameters, name)}")
    if parameters.temperature_stop > 70:
        raise ParameterError(
            f"temperature_stop: {parameters.temperature_stop:g} deg C; expected at most 70, where "
            "the servos' firmware lets go"
        )
    return parameters
