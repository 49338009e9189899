"""The parameters of the SO-100 driver and its node. Must not import ROS."""

from dataclasses import dataclass

from evo1_bringup.drivers.servo_health import HealthLimits
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
        0.0,
        "How long to wait for the port when the node is configured [s].",
        span=(0.0, 600.0),
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
    def max_stall_s(self) -> float:
        """After a longer delay the arm rests where it is [s].

        Ten cycles: a bus that is asked thrice takes three, a loaded machine some more.
        """
        return max(0.1, 5 * self.reply_timeout_s)  # a cycle may wait for three answers
