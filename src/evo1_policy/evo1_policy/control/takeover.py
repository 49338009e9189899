"""A person drives: targets in, checked commands out, on the loop's own motion. No ROS, no torch.

The logic of following is teleop.TeleopFollower's, the same as in the relay of a demonstrator. Here
stands only who is in charge, from when, and until when.
"""

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control.motion import Motion
from evo1_policy.control.signals import (
    LoopSettings,
    SafeTrajectory,
    StopCode,
    StopReason,
    TakeoverMode,
)
from evo1_policy.control.teleop import Refused, TeleopFollower, TeleopState
from evo1_policy.control.teleop_target import TeleopSettings, TeleopTarget
from evo1_policy.observation import JointSample
from evo1_policy.robot_config import RobotConfig


class Takeover:
    """The person at the arm.

    Attributes:
        count: times that a person took over.
    """

    def __init__(self, robot: RobotConfig, settings: LoopSettings, motion: Motion) -> None:
        """On the `motion` of the loop, which stays the only truth of what is commanded."""
        self.count = 0
        self._robot = robot
        self._settings = settings
        self._motion = motion
        self._follower = TeleopFollower(robot, TeleopSettings(dry_run=settings.dry_run))
        self._requested = False  # who takes over on request hands back on request
        self._deaf = False  # after a hand-back, until the targets have been silent
        self._heard_ns: int | None = None

    @property
    def fault(self) -> str:
        """What ends the take-over; empty where nothing does."""
        return self._follower.fault

    def ask(self, now_ns: int) -> SafeTrajectory | None:
        """A person is in charge from now on; return the stop to send, targets come later."""
        stop = self._motion.brake(now_ns)
        self._begin(requested=True)
        return stop

    def hear(
        self, target: TeleopTarget, measured: JointSample | None, now_ns: int
    ) -> SafeTrajectory | Refused | None:
        """A target while the policy runs; a command means that the person drives now.

        Returns:
            What to send, why the target cannot be followed, or None where it is not meant to be.
        """
        self._listen(now_ns)
        if self._deaf or self._settings.takeover is not TakeoverMode.TOPIC:
            return None
        self._follower.continue_from(self._continued())
        command = self._take(target, measured, now_ns)
        if not isinstance(command, Refused):
            self._begin(requested=False)
        return command

    def follow(
        self, target: TeleopTarget, measured: JointSample | None, now_ns: int
    ) -> SafeTrajectory | Refused:
        """A target while the person drives."""
        self._listen(now_ns)
        return self._take(target, measured, now_ns)

    def watch(self, measured: JointSample | None, now_ns: int) -> SafeTrajectory | None:
        """Look after the arm between targets; return a stop to send, or None."""
        return self._adopt(self._follower.watch(measured, now_ns))

    def block(self, now_ns: int) -> SafeTrajectory | None:
        """The arm cannot be moved; return the stop to send. The next target begins anew."""
        stop = self._motion.brake(now_ns)
        self._follower.continue_from(self._continued())
        return stop

    def over(self, now_ns: int) -> bool:
        """Whether the person's silence hands back."""
        if self._requested or self._heard_ns is None:
            return False
        silent_ns = now_ns - self._heard_ns
        return silent_ns > self._settings.takeover_silence_ns and self._motion.at_rest(now_ns)

    def end(self, *, deaf: bool) -> None:
        """The person is no longer in charge; `deaf` to targets until they have been silent."""
        self._deaf = deaf and self._heard_ns is not None

    def leave_clock(self) -> None:
        """The clock jumped back: earlier times mean nothing."""
        self._heard_ns = None

    def reason(self, now_ns: int) -> StopReason:
        """Who drives, in words."""
        topic, state = self._robot.teleop_topic, self._follower.state(now_ns)
        if state is TeleopState.HOLDING:
            return StopReason(code=StopCode.JOINTS_STALE, message=self._follower.reason)
        messages = {
            TeleopState.FOLLOWING: f"a person drives, by '{topic}'",
            TeleopState.APPROACHING: f"a person drives, by '{topic}'; the arm goes slowly to "
            "where that is",
        }
        waiting = f"a person is in charge; the arm rests until targets come on '{topic}'"
        return StopReason(code=StopCode.TAKEOVER, message=messages.get(state, waiting))

    def _begin(self, *, requested: bool) -> None:
        self.count += 1
        self._requested, self._deaf = requested, False
        if requested:
            self._follower.continue_from(self._continued())

    def _continued(self) -> Trajectory | None:
        """What a person goes on from: in a dry run the arm itself, which executes nothing."""
        return None if self._settings.dry_run else self._motion.executing

    def _listen(self, now_ns: int) -> None:
        before, self._heard_ns = self._heard_ns, now_ns
        if before is None or now_ns - before > self._settings.takeover_silence_ns:
            self._deaf = False

    def _take(
        self, target: TeleopTarget, measured: JointSample | None, now_ns: int
    ) -> SafeTrajectory | Refused:
        verdict = self._follower.take(target, measured, now_ns)
        if not isinstance(verdict, Refused):
            self._adopt(verdict)
        return verdict

    def _adopt(self, command: SafeTrajectory | None) -> SafeTrajectory | None:
        commanded = self._follower.commanded
        if command is not None and commanded is not None:
            self._motion.adopt(commanded)
        return command
