"""From a demonstrator's targets to checked trajectories for the controllers. No ROS, no torch.

Each message is followed as closely as the limits allow, and each trajectory ends at rest, so an
arm whose demonstrator falls silent comes to rest by itself. Where a demonstration begins far from
the arm, or jumps, the arm goes there slowly first. Letters: N points, K named joints, D joints.
"""

import enum
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control import safety
from evo1_policy.control.execution import first_tick_after, plan_hold, plan_path
from evo1_policy.control.limits import Limits
from evo1_policy.control.signals import SafeTrajectory
from evo1_policy.control.target_curve import TargetCurve
from evo1_policy.control.teleop_target import Refused as Refused
from evo1_policy.control.teleop_target import TeleopSettings as TeleopSettings
from evo1_policy.control.teleop_target import TeleopTarget as TeleopTarget
from evo1_policy.control.teleop_target import target_problem
from evo1_policy.observation import JointSample
from evo1_policy.robot_config import RobotConfig

REMEMBERED_NS = 1_000_000_000  # of the target curve
AHEAD_TICKS = 6  # grid points that are planned at least after the splice, before braking
SPEED_WINDOW_NS = 60_000_000  # over which a demonstrator's speed is measured
CLOCK_SLACK_NS = 50_000_000  # a clock set back by less keeps its plans
NOISE_RAD = 0.002  # of encoders
SETTLE_NS = 300_000_000  # after a trajectory's end, until the arm must be where it ended
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
    """

    def __init__(self, robot: RobotConfig, settings: TeleopSettings | None = None) -> None:
        self._robot = robot
        self._settings = settings or TeleopSettings()
        self._limits = Limits.of(robot)
        slow = self._limits.velocity_max * self._settings.approach_share
        self._slow = replace(self._limits, velocity_max=slow)
        self._curve = TargetCurve(robot.width)
        self._executing: Trajectory | None = None
        self._heard_ns: int | None = None  # the last message that could be used
        self._joined = False  # whether the next message goes on from the last
        self._approaching = False
        self._fault = ""  # needs a person
        self._passing = ""  # goes away by itself
        self._now_ns = 0

    @property
    def commanded(self) -> Trajectory | None:
        """What the arm is commanded; None before the first target."""
        return self._executing

    @property
    def fault(self) -> str:
        """Why the arm is held until a person resumes; empty otherwise."""
        return self._fault

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

    def continue_from(self, commanded: Trajectory | None) -> None:
        """Begin anew on an arm that somebody else moved; its motion is continued, not cut.

        Args:
            commanded: what the arm executes; None: it rests where it will be measured.
        """
        self._executing, self._heard_ns = commanded, None
        self._joined = self._approaching = False
        self._fault = self._passing = ""
        self._curve.clear()

    def take(
        self, target: TeleopTarget, measured: JointSample | None, now_ns: int
    ) -> SafeTrajectory | Refused:
        """Follow a message.

        Args:
            target: the message.
            measured: newest joint sample; None where there is none.
            now_ns: the clock [ns].

        Returns:
            What to send, or why nothing is sent.
        """
        self._follow_clock(now_ns)
        stamp_ns = target.stamp_ns or now_ns
        problem = (
            target_problem(target, self._limits.joint_names, self._settings, now_ns=now_ns)
            or self._fault
        )
        if problem:
            return Refused(reason=problem)
        begins = not self._joined or self._silent(now_ns)
        self._heard_ns = now_ns
        self._passing = self._blind(measured, now_ns)
        if self._passing or measured is None:
            return Refused(reason=self._passing)
        if begins:
            self._curve.clear()
        origin = self._origin(measured, now_ns, begins=begins)
        outside = self._outside(origin, now_ns)
        if outside:
            self._passing = outside
            return Refused(reason=outside)
        self._learn(target, stamp_ns, now_ns, origin, begins=begins)
        return self._command(origin, measured, now_ns)

    def watch(self, measured: JointSample | None, now_ns: int) -> SafeTrajectory | None:
        """Look after the arm between messages; return a stop to send, or None.

        Args:
            measured: newest joint sample.
            now_ns: the clock [ns].
        """
        self._follow_clock(now_ns)
        if self._silent(now_ns):
            self._joined, self._passing = False, ""
        if not self._joined:
            return None
        self._passing = self._blind(measured, now_ns)
        if not self._passing and measured is not None:
            self._fault = self._fault or self._astray(measured)
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
        self._curve.add(columns, times.tolist(), target.positions, stamp_ns=stamp_ns)
        self._curve.forget_before(now_ns - REMEMBERED_NS)
        if begins:
            self._approaching = False
        # What the arm could reach by then at its fastest is a motion, the rest a jump.
        reach = self._limits.velocity_max * (offsets / 1e9)[:, np.newaxis]
        jump = np.abs(self._curve.sample(times, here) - before) - reach
        if jump[:, self._limits.is_arm].max() > self._limits.max_start_error_rad:
            self._approaching = True
        self._joined = True

    # -- looking at the arm ------------------------------------------------------------------

    def _blind(self, measured: JointSample | None, now_ns: int) -> str:
        state = self._robot.state
        if measured is None:
            return f"no joint positions yet on '{state.topic}'; is the arm's driver running?"
        age_ms = (now_ns - measured.stamp_ns) / 1e6
        if age_ms <= state.max_age_ms:
            return ""
        return (
            f"joint positions on '{state.topic}' are {age_ms:.0f} ms old, allowed are "
            f"{state.max_age_ms:.0f} ms (state.max_age_ms); is the arm's driver running?"
        )

    def _astray(self, measured: JointSample) -> str:
        """Whether the arm is far from where it was commanded when it was measured."""
        if self._executing is None or self._settings.dry_run:
            return ""
        wanted, _ = self._executing.sample(measured.stamp_ns)
        error, joint = self._limits.furthest(measured.positions, wanted)
        allowed = self._robot.safety.max_tracking_error_rad
        if error <= allowed:
            return ""
        return (
            f"joint '{self._limits.joint_names[joint]}' is measured {error:.3f} rad from where "
            f"it was commanded, allowed {allowed:g} (safety.max_tracking_error_rad); look for a "
            "collision or a controller that does not follow, then resume"
        )

    def _outside(self, origin: Trajectory, now_ns: int) -> str:
        """A joint that rests beyond its position limits: nothing may be planned from there."""
        position, _ = origin.sample(now_ns)
        beyond = np.maximum(
            position - self._limits.position_max, self._limits.position_min - position
        )
        joint = int(np.argmax(beyond))
        if beyond[joint] <= self._settings.rest_drift_rad:
            return ""
        config = self._robot.joints[joint]
        return (
            f"joint '{config.name}' is at {position[joint]:.3f} rad, outside its position limits "
            f"[{config.position_min:g}, {config.position_max:g}]; move it back by hand"
        )

    def _origin(self, measured: JointSample, now_ns: int, *, begins: bool) -> Trajectory:
        """What a new trajectory continues: the executed one, or an arm at rest where it is."""
        executing = self._executing
        if executing is not None and not begins:
            return executing
        position = measured.positions.copy()
        if executing is not None:
            drift, _ = self._limits.furthest(executing.sample(now_ns)[0], position)
            allowed = self._settings.rest_drift_rad
            if now_ns < executing.end_ns + SETTLE_NS:  # it lags behind what moves it
                allowed = self._robot.safety.max_tracking_error_rad
            if drift <= allowed:
                return executing
            position = np.where(
                self._grips(executing, position), executing.positions[-1], position
            )
        position = self._inside(position)
        step_ns = self._limits.step_ns
        return Trajectory.resting(position, tick=now_ns // step_ns, step_ns=step_ns)

    def _inside(self, position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The same, within the limits where only the encoders' noise lies beyond them."""
        clipped = self._limits.clip(position)
        return np.where(np.abs(clipped - position) <= NOISE_RAD, clipped, position)

    def _grips(
        self, executing: Trajectory, measured: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """(D,) where a gripper is commanded beyond what it holds, and has to keep that."""
        closing = np.zeros(self._limits.width)  # which way each gripper closes; 0: no gripper
        for gripper in self._robot.grippers:
            place = self._limits.joint_names.index(gripper.joint)
            closing[place] = 1.0 if gripper.closed > gripper.open else -1.0
        grips: npt.NDArray[np.bool_] = closing * (executing.positions[-1] - measured) > 0.0
        return grips

    # -- moving --------------------------------------------------------------------------------

    def _command(
        self, origin: Trajectory, measured: JointSample, now_ns: int
    ) -> SafeTrajectory | Refused:
        step_ns = self._limits.step_ns
        splice_tick = first_tick_after(now_ns + self._settings.lead_ns, step_ns)
        here = origin.knots(splice_tick, splice_tick).positions[0]
        path = self._reference(splice_tick, here)
        if self._approaching:
            there, _ = self._limits.furthest(here, path[0][0])
            self._approaching = there > self._settings.close_rad
        plan = plan_path(
            path,
            origin,
            now_ns=now_ns,
            splice_tick=splice_tick,
            limits=self._limits,
            pace=self._slow if self._approaching else self._limits,
            rest_ticks=REST_TICKS,
        )
        fresh = origin is not self._executing
        verdict = safety.check(
            plan.sent,
            self._limits,
            executing=origin,
            splice_tick=splice_tick,
            measured=measured.positions if fresh else None,
        )
        if isinstance(verdict, safety.Rejected):
            # What is being executed ends at rest by itself.
            self._fault = f"{verdict.reason.message}; resume to go on"
            return Refused(reason=self._fault)
        self._executing = plan.trajectory
        return verdict

    def _reference(
        self, splice_tick: int, here: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Targets and their speeds (M, D) at the grid points after the splice."""
        step_ns, last_ns = self._limits.step_ns, self._curve.last_ns or 0
        ticks = max(AHEAD_TICKS, last_ns // step_ns - splice_tick)
        times = (splice_tick + np.arange(0, ticks + 2, dtype=np.int64)) * step_ns
        wanted = self._curve.sample(times, here)
        # Targets that do not look ahead of the splice are carried on for as long as they lag.
        short_ns = int(times[2]) - last_ns
        carried_ns = min(max(short_ns, 0), self._settings.max_extrapolation_ns)
        if carried_ns:
            ends = np.array([last_ns - SPEED_WINDOW_NS, last_ns])
            before, after = self._curve.sample(ends, here)
            fastest = self._limits.velocity_max / 1e9
            speed = np.clip((after - before) / SPEED_WINDOW_NS, -fastest, fastest)
            wanted += speed * np.clip(times - last_ns, 0, carried_ns)[:, np.newaxis]
        wanted = self._limits.clip(wanted)
        speeds = (wanted[2:] - wanted[:-2]) / (2.0 * self._limits.step_s)
        return wanted[1:-1], speeds

    def _stop(self, now_ns: int) -> SafeTrajectory | None:
        """Brake from the commanded state; None where the arm stands or stops already."""
        executing, self._joined = self._executing, False
        if executing is None or not executing.sample(now_ns)[1].any():
            return None
        plan = plan_hold(executing, now_ns=now_ns, limits=self._limits)
        verdict = safety.check(
            plan.sent, self._limits, executing=executing, splice_tick=plan.splice_tick
        )
        if isinstance(verdict, safety.Rejected):
            return None  # what is being executed ends at rest by itself
        self._executing = plan.trajectory
        return verdict

    def _silent(self, now_ns: int) -> bool:
        return self._heard_ns is None or now_ns - self._heard_ns > self._settings.timeout_ns

    def _follow_clock(self, now_ns: int) -> None:
        """A clock that jumped back leaves no planned time that means anything."""
        if now_ns < self._now_ns - CLOCK_SLACK_NS:
            self._executing = self._heard_ns = None
            self._joined = False
        self._now_ns = now_ns
