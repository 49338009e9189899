"""What must be true while the arm moves, and the reason when it is not. No ROS, no torch."""

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control.limits import Limits
from evo1_policy.control.signals import LoopInput, StopCode, StopReason
from evo1_policy.observation import JointSample, Missing, Observation
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig


class Watchdog:
    """Looks at the inputs of every step."""

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot
        self._limits = Limits.of(robot)
        # One lost frame leaves one observation askew; it lasts as long as a lost frame may.
        self._skew_grace_ns = round(max(camera.max_age_ms for camera in robot.cameras) * 1e6)
        self._observed_ns: int | None = None

    def forget(self) -> None:
        """The clock jumped: no earlier time means anything."""
        self._observed_ns = None

    def problem(self, inputs: LoopInput) -> StopReason | None:
        """Why the arm must not run on these inputs, or None."""
        return (
            _arm_fault(inputs.arm_fault)  # first: it is why the joints fall silent
            or self._observation_problem(inputs)
            or _controller_problem(inputs.controller_problem)
            or self._measured_problem(inputs.measured)
            or _dead_man_problem(inputs.dead_man)  # last: what is wrong shows before it
        )

    def arm_problem(self, inputs: LoopInput) -> StopReason | None:
        """Why nobody can move the arm, a person included, or None."""
        return _arm_fault(inputs.arm_fault) or _controller_problem(inputs.controller_problem)

    def _observation_problem(self, inputs: LoopInput) -> StopReason | None:
        observation = inputs.observation
        if isinstance(observation, Observation):
            self._observed_ns = inputs.now_ns
            return None
        if observation.code == "pending":
            return None
        if observation.code == "skew" and self._observed_ns is not None:
            askew_ns = inputs.now_ns - self._observed_ns
            if askew_ns <= self._skew_grace_ns:
                return None
        return StopReason(code=_stop_code(observation), message=observation.message)

    def _measured_problem(self, measured: JointSample | None) -> StopReason | None:
        if measured is not None:
            return None
        return StopReason(
            code=StopCode.JOINTS_STALE,
            message=f"no joint positions yet on '{self._robot.state.topic}'; "
            "is the arm's driver running?",
        )

    def tracking_problem(self, measured: JointSample, commanded: Trajectory) -> StopReason | None:
        """Whether the arm is far from where it was commanded when it was measured."""
        wanted, _ = commanded.sample(measured.stamp_ns)
        error, joint = self._limits.furthest(measured.positions, wanted)
        allowed = self._robot.safety.max_tracking_error_rad
        if error <= allowed:
            return None
        name = self._limits.joint_names[joint]
        return StopReason(
            code=StopCode.TRACKING_ERROR,
            message=f"joint '{name}' is measured at {measured.positions[joint]:.3f} rad but was "
            f"commanded to {wanted[joint]:.3f} rad, {error:.3f} rad apart, allowed {allowed:g} "
            "(safety.max_tracking_error_rad); look for a collision or a controller that does "
            "not follow, then resume",
        )


def _arm_fault(fault: str | None) -> StopReason | None:
    if fault is None:
        return None
    return StopReason(code=StopCode.ARM_FAULT, message=fault)


def _controller_problem(problem: str | None) -> StopReason | None:
    if problem is None:
        return None
    return StopReason(code=StopCode.CONTROLLER_GONE, message=problem)


def _dead_man_problem(problem: str | None) -> StopReason | None:
    if problem is None:
        return None
    return StopReason(code=StopCode.DEAD_MAN, message=problem)


def _stop_code(missing: Missing) -> StopCode:
    if missing.code == "joint":
        return StopCode.JOINT_MISSING
    if missing.code == "skew":
        return StopCode.SKEW
    if missing.code == "clock":
        return StopCode.CLOCK_OFFSET
    return StopCode.JOINTS_STALE if missing.stream == JOINT_STREAM else StopCode.CAMERA_STALE
