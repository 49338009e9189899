"""Why the arm does not run: what must be true while it moves, a held button included; the hold.

Nothing restarts an arm but a person. Only a gap in a stream that is over soon resumes by itself;
what a device, a fault or a person stopped waits for `resume`, also once its cause is gone. No ROS,
no torch.
"""

from collections.abc import Sequence
from dataclasses import replace

from evo1_policy.control.signals import LoopInput, StopCode, StopReason
from evo1_policy.observation import JointSample, Missing, Observation
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig


class Watchdog:
    """Looks at the inputs of every step."""

    def __init__(self, robot: RobotConfig) -> None:
        self._robot = robot
        # One lost frame leaves one observation askew; it lasts as long as a lost frame may.
        self._skew_grace_ns = round(max(camera.max_age_ms for camera in robot.cameras) * 1e6)
        self._observed_ns: int | None = None

    def forget(self) -> None:
        """The clock jumped: no earlier time means anything."""
        self._observed_ns = None

    def problem(self, inputs: LoopInput) -> StopReason | None:
        """Why the arm must not run on these inputs, or None."""
        return (
            _because(StopCode.ARM_FAULT, inputs.arm_fault)  # first: why the joints fall silent
            or _because(StopCode.SECOND_SOURCE, inputs.second_source)
            or self._observation_problem(inputs)
            or _because(StopCode.CONTROLLER_GONE, inputs.controller_problem)
            or self._measured_problem(inputs.measured)
            or _because(StopCode.DEAD_MAN, inputs.dead_man)  # last: what is wrong shows before it
        )

    def arm_problem(self, inputs: LoopInput) -> StopReason | None:
        """Why nobody can move the arm, a person included, or None."""
        return (
            _because(StopCode.ARM_FAULT, inputs.arm_fault)
            or _because(StopCode.SECOND_SOURCE, inputs.second_source)
            or _because(StopCode.CONTROLLER_GONE, inputs.controller_problem)
        )

    def blind(self, measured: JointSample | None, now_ns: int) -> StopReason | None:
        """Why it is not known where the arm is, or None."""
        state = self._robot.state
        age_ms = 0.0 if measured is None else (now_ns - measured.stamp_ns) / 1e6
        if age_ms <= state.max_age_ms:
            return self._measured_problem(measured)
        return StopCode.JOINTS_STALE.because(
            f"joint positions on '{state.topic}' are {age_ms:.0f} ms old, allowed are "
            f"{state.max_age_ms:.0f} ms (state.max_age_ms); is the arm's driver running?",
        )

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
        return StopCode.JOINTS_STALE.because(
            f"no joint positions yet on '{self._robot.state.topic}'; is the arm's driver running?",
        )


def _because(code: StopCode, problem: str | None) -> StopReason | None:
    return None if problem is None else StopReason(code=code, message=problem)


def _stop_code(missing: Missing) -> StopCode:
    if missing.code == "joint":
        return StopCode.JOINT_MISSING
    if missing.code == "skew":
        return StopCode.SKEW
    if missing.code == "clock":
        return StopCode.CLOCK_OFFSET
    return StopCode.JOINTS_STALE if missing.stream == JOINT_STREAM else StopCode.CAMERA_STALE


class DeadMan:
    """Whether the button is held, by its last message.

    Args:
        topic: where the buttons come from, for messages.
        button: index of the button.
        max_age_ns: an older message says nothing [ns].
    """

    def __init__(self, *, topic: str, button: int, max_age_ns: int) -> None:
        self._topic = topic
        self._button = button
        self._max_age_ns = max_age_ns
        self._pressed = False
        self._count = 0  # buttons of the last message
        self._heard_ns: int | None = None

    def hear(self, buttons: Sequence[int], now_ns: int) -> None:
        """Take in a message; `now_ns` is of a clock that never stands still [ns]."""
        self._count, self._heard_ns = len(buttons), now_ns
        self._pressed = self._button < len(buttons) and bool(buttons[self._button])

    def problem(self, now_ns: int) -> str | None:
        """Why no chunk may run now; None while the button is held."""
        if self._heard_ns is None:
            return (
                f"dead-man button: nothing came on '{self._topic}' yet; is the gamepad's driver "
                f"running? Hold button {self._button} to let the policy run"
            )
        age_ns = now_ns - self._heard_ns
        if age_ns > self._max_age_ns:
            return (
                f"dead-man button: the last message on '{self._topic}' is {age_ns / 1e6:.0f} ms "
                f"old, allowed are {self._max_age_ns / 1e6:.0f} ms (dead_man_max_age_s); let the "
                "gamepad's driver repeat itself (autorepeat_rate)"
            )
        if self._button >= self._count:
            return (
                f"dead-man button: '{self._topic}' has {self._count} buttons and dead_man_button "
                f"is {self._button}; correct the parameter"
            )
        if self._pressed:
            return None
        return f"dead-man button {self._button} of '{self._topic}' is released; hold it to go on"


_RESUME = "; resume to go on"


class Hold:
    """The reason that people see, from one step to the next.

    Args:
        resume_within_ns: a gap that lasts longer waits for a person [ns].

    Attributes:
        reason: in words for people; None where nothing keeps the arm.
        count: how often a hold began.
    """

    def __init__(self, resume_within_ns: int) -> None:
        self.reason: StopReason | None = None
        self._cause: StopReason | None = None  # in the words of who found it
        self.count = 0
        self._resume_within_ns = resume_within_ns
        self._since_ns = 0
        self._patient = False
        self._overstayed = False

    @property
    def recovers(self) -> bool:
        """Whether the arm goes on by itself once the cause is gone."""
        reason = self.reason
        if reason is None or (self._patient and reason.code is StopCode.CONTROLLER_GONE):
            return True  # before the first chunk it may not have been discovered yet
        return reason.code.recovers and not self._overstayed

    def wait_patiently(self, *, patient: bool) -> None:
        """Whether the first observation and the controllers may take however long: a start."""
        self._patient = patient

    def begin(self, reason: StopReason | None, now_ns: int) -> None:
        """A hold begins, or what a person asked for waits for `reason`."""
        self.reason = self._cause = reason
        self._since_ns, self._overstayed = now_ns, False

    def wait_for_a_person(self) -> None:
        """Whatever the reason, the arm does not go on by itself."""
        self._overstayed = True

    def add(self, reason: StopReason) -> None:
        """Another reason: the first that needs a person stays, but for what it came of.

        Whatever takes its place, a hold that needs a person goes on needing one.
        """
        present, waits = self.reason, not self.recovers
        because = present is not None and present.code in reason.code.consequences
        if present is None or present.code is reason.code or not waits or because:
            self.reason = self._cause = reason
            if waits:
                self._patient, self._overstayed = False, True

    def follow(self, problem: StopReason | None, now_ns: int) -> None:
        """See whether a gap lasts too long; say what is over, and what waits for a person.

        Args:
            problem: what is wrong with the inputs now.
            now_ns: the clock [ns].
        """
        cause = self._cause
        if cause is None:
            return
        late = cause.code is StopCode.INFERENCE_LATE  # that lasts until a chunk comes
        if (problem is not None or late) and cause.code.is_gap and not self._patient:
            self._overstayed |= now_ns - self._since_ns > self._resume_within_ns
        if self.recovers or not cause.code.is_external:
            return
        state = " (that is over)" if problem is None and not late else ""
        if problem is not None and problem.code is not cause.code:
            state = f"; now {problem.message.removesuffix(_RESUME)}"
        words = cause.message.removesuffix(_RESUME)
        self.reason = replace(cause, message=f"{words}{state}{_RESUME}")
