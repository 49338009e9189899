"""A person drives: targets in, checked commands out, on the loop's own motion. No ROS, no torch.

The logic of following is teleop.TeleopFollower's, the same as in the relay of a demonstrator. Here
stands only who is in charge, from when, until when, and what comes afterwards.
"""

from dataclasses import dataclass

from evo1_policy.control.motion import Motion
from evo1_policy.control.signals import (
    LoopInput,
    LoopSettings,
    LoopState,
    SafeTrajectory,
    StopCode,
    StopReason,
    TakeoverMode,
)
from evo1_policy.control.teleop import RefusedTarget, TeleopFollower, TeleopState
from evo1_policy.control.teleop_target import TeleopSettings, TeleopTarget
from evo1_policy.control.watchdog import Watchdog
from evo1_policy.robot_config import RobotConfig

ACTIVE = (LoopState.RUNNING, LoopState.HOLDING)


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What came of a person's targets in one step.

    Attributes:
        command: to send, or None.
        begins: whether the person takes over with it.
        refused: why a target is not followed; empty where all are.
        ends: why the person cannot drive on, or None.
        silent: whether the person's silence hands back.
    """

    command: SafeTrajectory | None = None
    begins: bool = False
    refused: str = ""
    ends: StopReason | None = None
    silent: bool = False


class Takeover:
    """The person at the arm.

    Args:
        robot: the arm.
        settings: who may take over, and what silence means.
        motion: of the loop, the only truth of what is commanded.
        watchdog: says what keeps anybody from moving the arm.

    Attributes:
        count: times that a person took over.
    """

    def __init__(
        self, robot: RobotConfig, settings: LoopSettings, motion: Motion, watchdog: Watchdog
    ) -> None:
        self.count = 0
        self._robot = robot
        self._settings = settings
        self._motion = motion
        self._watchdog = watchdog
        self._follower = TeleopFollower(robot, TeleopSettings(dry_run=settings.dry_run), motion)
        self._requested = False  # who takes over on request hands back on request
        self._deaf = False  # after a hand-back, until the targets have been silent
        self._heard_ns: int | None = None
        self._before = LoopState.IDLE
        self._goes_on = False  # whether the policy does afterwards, by itself

    def ask(self, now_ns: int) -> SafeTrajectory | None:
        """A person asks for the arm; return the stop to send, targets come later."""
        self._requested = True
        self._follower.begin()
        return self._motion.stop(now_ns)

    def begin(self, before: LoopState, *, held: bool) -> None:
        """The person is in charge from now on.

        Args:
            before: the state of the loop until now.
            held: whether it waited for a person then; it does so again afterwards.
        """
        self.count += 1
        self._deaf = False
        self._before = before
        self._goes_on = self._settings.takeover_resumes and before in ACTIVE and not held

    def end(self) -> None:
        """The person is no longer in charge, and not heard before a silence."""
        self._requested = False
        self._deaf = self._heard_ns is not None

    def hand_back(self, *, resume: bool | None, why: str) -> tuple[LoopState, StopReason | None]:
        """The person is done; return the state that follows once the arm rests, and its reason.

        Args:
            resume: whether the policy shall go on; None: as the settings say.
            why: by request or by silence.
        """
        self.end()
        if self._before is LoopState.IDLE and not resume:
            return LoopState.IDLE, None
        code, then = StopCode.HANDED_BACK, "resume to let the policy go on"
        if self._goes_on if resume is None else resume:
            code, then = StopCode.HANDING_BACK, "at rest, the next chunk goes on from there"
        message = f"the person handed back {why}; {then}"
        return LoopState.HOLDING, StopReason(code=code, message=message)

    def step(self, inputs: LoopInput, state: LoopState) -> Driven:
        """Follow the targets of one step, or let the first one take over.

        Args:
            inputs: of the step.
            state: of the loop; the person drives in TAKEOVER.
        """
        if inputs.teleop:  # in every state: who streams on is not silent
            self._listen(inputs.now_ns)
        out = self._watchdog.arm_problem(inputs)
        if out is not None:  # what then streams on from a leader arm does not restart it
            refused = out.message if inputs.teleop else ""
            self._deaf |= bool(inputs.teleop)
            return Driven(refused=refused, ends=out if state is LoopState.TAKEOVER else None)
        if state is not LoopState.TAKEOVER:
            return self._hear(inputs, state)
        command, refused = self._follow(inputs)
        return self._look(inputs, command, refused)

    def leave_clock(self) -> None:
        """The clock jumped back: earlier times mean nothing."""
        self._heard_ns = None

    def reason(self, now_ns: int) -> StopReason:
        """Who drives, in words."""
        topic, state = self._robot.teleop_topic, self._follower.state(now_ns)
        if state is TeleopState.HOLDING:
            return StopCode.JOINTS_STALE.because(self._follower.reason)
        messages = {
            TeleopState.FOLLOWING: f"a person drives, by '{topic}'",
            TeleopState.APPROACHING: f"a person drives, by '{topic}'; the arm goes slowly to "
            "where that is",
        }
        waiting = f"a person is in charge; the arm rests until targets come on '{topic}'"
        return StopCode.TAKEOVER.because(messages.get(state, waiting))

    def _hear(self, inputs: LoopInput, state: LoopState) -> Driven:
        """Targets while nobody drives; a command means that the person does now."""
        refused = ""
        for target in inputs.teleop:
            if state not in ACTIVE or self._motion.lost:
                return Driven(refused=f"a person's target is not followed in {state.name}")
            if self._deaf or self._settings.takeover is not TakeoverMode.TOPIC:
                continue
            self._follower.begin()
            verdict = self._take(target, inputs)
            if not isinstance(verdict, RefusedTarget):
                self._requested = False
                return Driven(command=verdict, begins=True)
            refused = verdict.reason
        return Driven(refused=refused)

    def _follow(self, inputs: LoopInput) -> tuple[SafeTrajectory | None, str]:
        """The command that the newest target became, and why one was not followed."""
        command: SafeTrajectory | None = None
        refused = ""
        for target in inputs.teleop:
            verdict = self._take(target, inputs)
            if isinstance(verdict, RefusedTarget):
                refused = verdict.reason
            else:
                command, refused = verdict, self._follower.cut
        return command, refused

    def _look(self, inputs: LoopInput, command: SafeTrajectory | None, refused: str) -> Driven:
        """See whether the arm follows, and whether the person is done."""
        now_ns = inputs.now_ns
        driving = self._follower.driving
        astray = self._motion.astray(inputs.measured) if driving else None
        if astray is None:
            command = self._follower.watch(inputs.measured, now_ns) or command
            if self._follower.fault:
                astray = StopCode.CHUNK_BREAKS_LIMITS.because(self._follower.fault)
        silent = (
            not self._requested
            and self._heard_ns is not None
            and now_ns - self._heard_ns > self._settings.takeover_silence_ns
            and self._motion.at_rest(now_ns)
        )
        return Driven(command=command, refused=refused, ends=astray, silent=silent)

    def _listen(self, now_ns: int) -> None:
        before, self._heard_ns = self._heard_ns, now_ns
        if before is None or now_ns - before > self._settings.takeover_silence_ns:
            self._deaf = False

    def _take(self, target: TeleopTarget, inputs: LoopInput) -> SafeTrajectory | RefusedTarget:
        return self._follower.take(target, inputs.measured, inputs.now_ns)
