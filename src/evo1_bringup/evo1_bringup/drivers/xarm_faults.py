"""What the xArm's control box reports, in words, and what a person does about it.

The codes are those of UFACTORY's manual. Must not import ROS.
"""

from dataclasses import dataclass

from evo1_bringup.drivers.servo_health import Finding

SERVO_MODE = 1  # joint servo: what ros2_control uses
ONLINE_MODE = 6  # joint online planning: targets at any time, the box plans
READY_STATES = (1, 2)  # moving, ready
GRACE_NS = 1_500_000_000  # while the box changes mode or state
SILENCE_NS = 1_000_000_000  # without a report the box is gone

_RELEASE = "release the emergency stop"
_POWER = "switch the control box off and on; if it comes back, call UFACTORY"
_LOOK = "look for what the arm ran into, and free it"
_SLOWER = "lower the velocity limits in the robot file"
_LIMITS = "move the arm by hand (manual mode) into its limits, and check those of the robot file"
_CABLE = "check the cable between control box and arm"

# code -> (what happened, what to do)
ERRORS = {
    1: ("the emergency stop button of the control box is pressed", _RELEASE),
    2: ("the emergency input of the control box is triggered", "clear that input"),
    3: ("the emergency stop of the three-position switch is pressed", _RELEASE),
    **{
        10 + joint: (
            f"the servo of joint {joint} reports an error"
            if joint
            else "a servo reports an error",
            _POWER,
        )
        for joint in range(8)
    },
    18: ("no connection to the force-torque sensor", "check its cable"),
    19: ("no connection to the end module", "check the tool's cable"),
    21: ("the kinematics have no solution", "move the arm away from its singular pose"),
    22: ("the arm would collide with itself", "move it apart by hand (manual mode)"),
    23: ("a joint is beyond its angle limit", _LIMITS),
    24: ("a joint was commanded faster than allowed", _SLOWER),
    25: ("the box could not plan the motion", "check the targets; start again"),
    26: ("the control box's real-time system failed", _POWER),
    27: ("a command was not answered", _POWER),
    28: ("no connection to the end module", "check the tool's cable"),
    29: ("the control box reports an unnamed error", _POWER),
    30: ("a joint turned faster than allowed", _SLOWER),
    31: ("a joint's current says that the arm hit something", _LOOK),
    32: ("a circle could not be computed", "check the targets"),
    33: ("the box's inputs and outputs failed", _POWER),
    34: ("a recording took too long", "stop recording on the box"),
    35: ("the arm left the safety boundary set in the box", "move it back, or widen the boundary"),
    36: ("too many commands wait in the box", "lower the rate of commands"),
    37: ("the arm moved by itself in manual mode", "check the payload set in the box"),
    38: ("a joint's angle is not credible", _POWER),
    39: ("the box's power board does not answer", _POWER),
    40: ("no inverse kinematics", "move the arm to another pose"),
    50: ("the force-torque sensor cannot be read", "check its cable"),
    51: ("the force-torque sensor does not take its mode", "check its cable"),
    52: ("the force-torque sensor cannot be zeroed", "check its cable"),
    53: ("the force-torque sensor is overloaded", _LOOK),
    110: ("the arm's base board does not answer", _CABLE),
    111: ("the device on the box's serial line does not answer", "check its cable"),
}

WARNINGS = {
    11: "the box's queue of commands is full",
    12: "the box refused a command's parameters",
    13: "the box does not know a command",
    14: "the box found no solution for a command",
    15: "the box's queue for tools is full",
}

_STATES = {3: "paused", 4: "stopped", 5: "its configuration was changed"}


@dataclass(frozen=True, kw_only=True)
class BoxReport:
    """One message of the control box, see xarm_msgs/RobotMsg."""

    state: int
    mode: int
    error: int
    warning: int


class BoxWatch:
    """Says why the box does not move the arm.

    Args:
        mode: that the box must be in to follow.
        now_ns: present time [ns].
    """

    def __init__(self, *, mode: int, now_ns: int) -> None:
        self._mode = mode
        self._heard_ns = now_ns
        self._ready_ns = now_ns
        self._report: BoxReport | None = None

    def observe(self, report: BoxReport, now_ns: int) -> None:
        """Take a report of the box."""
        self._report = report
        self._heard_ns = now_ns
        ready = report.state in READY_STATES and report.mode == self._mode
        if ready or report.error:  # after an error it has its time to get ready, too
            self._ready_ns = now_ns

    def fault(self, now_ns: int) -> Finding | None:
        """Why the arm does not move, or None."""
        if now_ns - self._heard_ns > SILENCE_NS:
            text = (
                f"nothing heard of the control box for {SILENCE_NS * 1e-9:g} s; check its power, "
                "network cable and robot_ip"
            )
            return Finding(code="box_silent", text=text)
        report = self._report
        if report is None:
            return None
        if report.error:
            return Finding(code=f"box_error_{report.error}", text=error_text(report.error))
        if now_ns - self._ready_ns <= GRACE_NS:
            return None
        if report.state not in READY_STATES:
            what = _STATES.get(report.state, f"in state {report.state}")
            text = f"the control box is not ready: {what}; look at its screen"
            return Finding(code="box_not_ready", text=text)
        text = (
            f"the control box is in mode {report.mode}, not in {self._mode}; somebody may drive "
            "it by its screen"
        )
        return Finding(code="box_mode", text=text)

    def warning(self) -> str:
        """What is not well; empty where all is."""
        if self._report is None or not self._report.warning:
            return ""
        code = self._report.warning
        return f"control box warning {code}: {WARNINGS.get(code, 'unknown')}"


def error_text(code: int) -> str:
    """An error code in words, with what to do."""
    what, todo = ERRORS.get(code, ("an error that this version does not know", "see its manual"))
    return f"control box error {code}: {what}; {todo}"
