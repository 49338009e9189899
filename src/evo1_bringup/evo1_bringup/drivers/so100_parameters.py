"""The parameters of the SO-100 driver node. Must not import ROS."""

from dataclasses import dataclass

from evo1_bringup.drivers.servo_health import HealthLimits
from evo1_bringup.drivers.so100_driver import DriverSettings
from evo1_policy.node_parameters import parameter


@dataclass(frozen=True, kw_only=True)
class DriverParameters(HealthLimits):
    """The node's parameters, read once when it is configured.

    Raises:
        ParameterError: a value that cannot be used.
    """

    robot_file: str = parameter("", "Path of the robot file (YAML). Required.", required=True)
    port: str = parameter(
        "", "Serial port of the arm, such as /dev/ttyACM0. Required.", required=True
    )
    calibration: str = parameter(
        "", "LeRobot's calibration file (JSON) of this arm. Required.", required=True
    )
    port_timeout_s: float = parameter(
        0.0, "How long to wait for the port when the node is configured [s]."
    )
    reply_timeout_ms: float = parameter(
        8.0, "Longest wait for the answers to one request [ms].", span=(0.001, 60_000.0)
    )
    max_silent_cycles: int = parameter(
        10, "Cycles in a row without a servo's answer before it stops.", span=(1, 1_000_000)
    )
    write_calibration: bool = parameter(
        False, "Store the file's calibration in the servos, not check it."
    )
    auto_activate: bool = parameter(True, "Configure and activate without a lifecycle manager.")

    @property
    def reply_timeout_s(self) -> float:
        """Longest wait for the answers to one request [s]."""
        return self.reply_timeout_ms * 1e-3

    @property
    def settings(self) -> DriverSettings:
        """What the driver is told."""
        return DriverSettings(
            max_silent_cycles=self.max_silent_cycles,
            write_calibration=self.write_calibration,
            max_stall_s=max(0.1, 5 * self.reply_timeout_s),  # a cycle may wait for three answers
            health=self,
        )
