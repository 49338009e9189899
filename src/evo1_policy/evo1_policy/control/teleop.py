"""From a demonstrator's targets to checked trajectories for the controllers. No ROS, no torch.

Each message is followed as closely as the limits allow, and each trajectory ends at rest, so an
arm whose demonstrator falls silent comes to rest by itself. Where a demonstration begins far from
the arm, or jumps, the arm goes there slowly first. Letters: N points, K named joints, D joints.
"""

import enum
from dataclasses import replace

import numpy as np

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.execution import first_tick_after, plan_path
from evo1_policy.control.limits import Limits
from evo1_policy.control.motion import Motion
from evo1_policy.control.safety import FurtherOn
from evo1_policy.control.signals import HeldState, SafeTrajectory, StopReason
from evo1_policy.control.teleop_target import TIMEOUT_NS, TargetCurve, target_problem
from evo1_policy.control.teleop_target import RefusedTarget as RefusedTarget
from evo1_policy.control.teleop_target import TeleopSettings as TeleopSettings
from evo1_policy.control.teleop_target import TeleopTarget as TeleopTarget
from evo1_policy.control.watchdog import Watchdog
from evo1_policy.observation import JointSample
from evo1_policy.robot_config import RobotConfig

LEAD_NS = 15_000_000  # how far ahead of now a trajectory changes: time for the message to arrive
MAX_EXTRAPOLATION_NS = 80_000_000  # a target is carried on at its speed without a look ahead
APPROACH_SHARE = 0.2  # of the velocity limits, while the arm goes to where targets are
CLOSE_RAD = 0.05  # nearer than this, an approach is over
OUTSIDE_RAD = 0.05  # how far beyond its position limits an arm may be to start, inwards
REMEMBERED_NS = 1_000_000_000  # of the target curve
AHEAD_TICKS = 6  # grid points that are planned at least after the splice, before braking
SPEED_WINDOW_NS = 60_000_000  # over which a demonstrator's speed is measured
CLOCK_SLACK_NS = 50_000_000  # a clock set back by less keeps its plans
TURN_RAD = 0.3  # nearer to a whole turn, a jump is an encoder's that wraps
REST_TICKS = 9  # rest sent after the end; a controller refuses what ended before it arrived


class TeleopState(enum.Enum):
    """What the follower does."""

    WAITING = "waiting"  # nobody demonstrates
    FOLLOWING = "following"
    APPROACHING = "approaching"  # slowly, to where the demonstrator is
    HOLDING = "holding"  # at rest for a reason


class TeleopFollower:
    """Follows a demonstrator's targets. Deterministic: no clock, no threads.

    Args:
        robot: whose limits hold.
        settings: choices.
        motion: of the arm; one of its own where not given.

    Attributes:
        motion: the truth of what is commanded.
        held: what the controllers hold, where the motion is its own.
        cut: why the last target is not followed to its end; empty where it is.
    """

    def __init__(
        self,
        robot: RobotConfig,
        settings: TeleopSettings | None = None,
        motion: Motion | None = None,
    ) -> None:
        self.motion = motion or Motion(robot)
        self.held: HeldState | None = None  # of its own motion, as its owner hears it
        self.cut = ""
        self._owns_motion = motion is None
        self._robot = robot
        self._watchdog = Watchdog(robot)
        self._settings = settings or TeleopSettings()
        self._limits = Limits.of(robot)
        slow = self._limits.velocity_max * APPROACH_SHARE
        self._slow = replace(self._limits, velocity_max=slow)
        self._curve = TargetCurve(robot.width)
        self._lowest, self._highest = np.empty(0), np.empty(0)  # of all that was asked for, (D,)
        self._heard_ns: int | None = None  # the last message that could be used
        self._joined = False  # whether the next message goes on from the last
        self._approaching = False
        self._fault = ""  # needs a person
        self._passing = ""  # goes away by itself
        self._now_ns = 0

    @property
    def fault(self) -> str:
        """Why the arm is held until a person resumes; empty otherwise."""
        return self._fault

    @property
    def driving(self) -> bool:
        """Whether the arm executes what a message asked for, and the next goes on from it."""
        return self._joined

    @property
    def reason(self) -> str:
        """Why the arm is held; empty otherwise."""
        return self._fault or self._passing

    def state(self, now_ns: int) -> TeleopState:
        """What the follower does at `now_ns` [ns]."""
        if self.reason:
            return TeleopState.HOLDING
        if self._silent(now_ns):
            return TeleopState.WAITING
        return TeleopState.APPROACHING if self._approaching else TeleopState.FOLLOWING

    def begin(self) -> None:
        """Begin anew on an arm that somebody else moved; its motion is continued, not cut."""
        self._heard_ns = None
        self._joined = self._approaching = False
        self._fault = self._passing = ""
        self._curve.clear()

    def take(
        self, target: TeleopTarget, measured: JointSample | None, now_ns: int
    ) -> SafeTrajectory | RefusedTarget:
        """Follow a message.

        Args:
            target: the message.
            measured: newest joint sample; None where there is none.
            now_ns: the clock [ns].

        Returns:
            What to send, or why nothing is sent.
        """
        self._follow_clock(now_ns)
        self._look(measured, now_ns)
        stamp_ns = target.stamp_ns or now_ns
        problem = (
            target_problem(target, self._limits.joint_names, self._settings, now_ns=now_ns)
            or self._fault
        )
        if not problem and self.motion.unheard(now_ns):
            problem = "the arm's controller has fallen silent, so what it holds is not known"
        if problem:
            return RefusedTarget(reason=problem)
        begins = not self._joined or self._silent(now_ns)
        self._heard_ns = now_ns
        self._passing = self._blind(measured, now_ns)
        if self._passing or measured is None:
            return RefusedTarget(reason=self._passing)
        if begins:
            self._curve.clear()
        elif astray := self.motion.astray(measured):  # before a motion that begins where it is
            self._fault = astray.message
            return RefusedTarget(reason=self._fault)
        origin = self.motion.origin(measured, now_ns, anew=begins and self._settings.dry_run)
        if isinstance(origin, StopReason):
            self._passing = origin.message
        else:
            here, _ = origin.sample(now_ns)
            self._passing = self.motion.limits.outside(here, OUTSIDE_RAD)
        if self._passing or isinstance(origin, StopReason):
            return RefusedTarget(reason=self._passing)
        self._learn(target, stamp_ns, now_ns, origin, begins=begins)
        return self._command(origin, measured, now_ns)

    def watch(self, measured: JointSample | None, now_ns: int) -> SafeTrajectory | None:
        """Look after the arm between messages; return a stop to send, or None.

        Args:
            measured: newest joint sample.
            now_ns: the clock [ns].
        """
        self._follow_clock(now_ns)
        self._look(measured, now_ns)
        if self._silent(now_ns):
            self._joined, self._passing = False, ""
        if not self._joined:
            return self.motion.repeat_stop(now_ns) if self._owns_motion else None
        self._passing = self._blind(measured, now_ns)
        astray = None if self._passing else self.motion.astray(measured)
        if astray is not None:
            self._fault = self._fault or astray.message
        return self._stop(now_ns) if self.reason else None

    def pause(self, now_ns: int) -> SafeTrajectory | None:
        """Hold the arm until `resume`; return the stop to send."""
        self._follow_clock(now_ns)
        self._fault = "paused by request; resume to go on"
        return self._stop(now_ns)

    def resume(self) -> None:
        """Follow again, slowly to where the demonstrator is."""
        self._fault = ""

    # -- looking at messages -----------------------------------------------------------------

    def _learn(
        self,
        target: TeleopTarget,
        stamp_ns: int,
        now_ns: int,
        origin: Trajectory,
        *,
        begins: bool,
    ) -> None:
        """Add a message to the target curve; notice where it begins far away, or jumps."""
        columns = [self._limits.joint_names.index(name) for name in target.joint_names]
        offsets = np.array(target.offsets_ns, dtype=np.int64)
        times = stamp_ns + offsets
        here, _ = origin.sample(now_ns)
        before = here if begins else self._curve.sample(times[:1] - offsets[0], here)[0]
        positions = _without_turns(target.positions, before[columns])
        self._curve.add(columns, times.tolist(), positions, stamp_ns=stamp_ns)
        self._curve.forget_before(now_ns - REMEMBERED_NS)
        if begins:
            self._approaching = False
            self._lowest, self._highest = here, here
        asked = self._curve.sample(times, here)
        self._lowest = np.minimum(self._lowest, asked.min(axis=0))
        self._highest = np.maximum(self._highest, asked.max(axis=0))
        # What the arm could reach by then at its fastest is a motion, the rest a jump.
        reach = self._limits.velocity_max * (offsets / 1e9)[:, np.newaxis]
        jump = (np.abs(asked - before) - reach) / self._limits.per_radian
        if jump[:, self._limits.is_arm].max() > self._limits.max_start_error_rad:
            self._approaching = True
        self._joined = True

    # -- looking at the arm ------------------------------------------------------------------

    def _look(self, measured: JointSample | None, now_ns: int) -> None:
        if self._owns_motion:
            left = self.motion.look(measured, self.held, now_ns)
            self._fault = self._fault or (f"{left}; resume to go on" if left else "")

    def _blind(self, measured: JointSample | None, now_ns: int) -> str:
        problem = self._watchdog.blind(measured, now_ns)
        return problem.message if problem else ""

    # -- moving --------------------------------------------------------------------------------

    def _command(
        self, origin: Trajectory, measured: JointSample, now_ns: int
    ) -> SafeTrajectory | RefusedTarget:
        step_ns = self._limits.step_ns
        lead_ns = max(LEAD_NS, self.motion.lead_ns)
        splice_tick = first_tick_after(now_ns + lead_ns, step_ns)
        here = origin.knots(splice_tick, splice_tick).positions[0]
        path = self._reference(splice_tick, here)
        if self._approaching:
            there, _ = self._limits.furthest(here, path[0][0])
            self._approaching = there > CLOSE_RAD
        plan = plan_path(
            path,
            origin,
            now_ns=now_ns,
            splice_tick=splice_tick,
            limits=self._limits,
            pace=self._within_what_was_asked(self._slow if self._approaching else self._limits),
            rest_ticks=REST_TICKS,
        )
        sent = self.motion.send(plan, origin, measured, now_ns)
        # Where nothing is sent, what is being executed ends at rest by itself.
        if isinstance(sent, FurtherOn):
            self._passing = sent.message  # until the demonstrator leads elsewhere
            return RefusedTarget(reason=self._passing)
        if isinstance(sent, StopReason):
            self._fault = f"{sent.message}; resume to go on"
            return RefusedTarget(reason=self._fault)
        self.cut = sent[1].cut
        return sent[0]

    def _within_what_was_asked(self, pace: Limits) -> Limits:
        """Limits that keep the arm between where it began and all targets since.

        Beyond lies only the way that a joint needs to brake from its highest velocity: a target
        that moves at that velocity is followed up to where it ends.
        """
        room = pace.velocity_max**2 / (2.0 * pace.acceleration_max)
        return replace(
            pace,
            position_min=np.maximum(pace.position_min, self._lowest - room),
            position_max=np.minimum(pace.position_max, self._highest + room),
        )

    def _reference(self, splice_tick: int, here: Floats) -> tuple[Floats, Floats]:
        """Targets and their speeds (M, D) at the grid points after the splice."""
        step_ns, last_ns = self._limits.step_ns, self._curve.last_ns or 0
        ticks = max(AHEAD_TICKS, last_ns // step_ns - splice_tick)
        times = (splice_tick + np.arange(0, ticks + 2, dtype=np.int64)) * step_ns
        wanted = self._curve.sample(times, here)
        # Targets that do not look ahead of the splice are carried on for as long as they lag.
        short_ns = int(times[2]) - last_ns
        carried_ns = min(max(short_ns, 0), MAX_EXTRAPOLATION_NS)
        if carried_ns:
            ends = np.array([last_ns - SPEED_WINDOW_NS, last_ns])
            before, after = self._curve.sample(ends, here)
            fastest_ns = self._limits.velocity_max / 1e9
            speed = np.clip((after - before) / SPEED_WINDOW_NS, -fastest_ns, fastest_ns)
            wanted += speed * np.clip(times - last_ns, 0, carried_ns)[:, np.newaxis]
        wanted = self._limits.clip(wanted)
        speeds = (wanted[2:] - wanted[:-2]) / (2.0 * self._limits.step_s)
        fastest = self._limits.velocity_max
        return wanted[1:-1], np.clip(speeds, -fastest, fastest)

    def _stop(self, now_ns: int) -> SafeTrajectory | None:
        """Brake from the commanded state; None where the arm stands or stops already."""
        self._joined = False
        return self.motion.stop(now_ns)

    def _silent(self, now_ns: int) -> bool:
        return self._heard_ns is None or now_ns - self._heard_ns > TIMEOUT_NS

    def _follow_clock(self, now_ns: int) -> None:
        """A clock that jumped back leaves no planned time that means anything."""
        if now_ns < self._now_ns - CLOCK_SLACK_NS:
            if self._owns_motion:
                self.motion = Motion(self._robot)
            self._heard_ns = None
            self._joined = False
        self._now_ns = now_ns


def _without_turns(positions: Floats, before: Floats) -> Floats:
    """Targets (N, K) [rad] that go on from `before` (K,), where an encoder wraps on the way."""
    rows = []
    for row in positions:
        turns = np.round((row - before) / (2.0 * np.pi))
        unwrapped = row - turns * 2.0 * np.pi
        before = np.where(np.abs(unwrapped - before) <= TURN_RAD, unwrapped, row)
        rows.append(before)
    return np.array(rows)
