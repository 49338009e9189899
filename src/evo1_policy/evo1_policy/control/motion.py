"""What one arm is commanded, and what its controllers say that they follow. No ROS, no torch.

The policy's chunks (chunks.py), a person's targets (teleop.py) and parking move one arm through
one Motion. Every motion begins at its origin, and every stop at what is executed; both are what
the controllers hold, where these say so (<controller>/controller_state), and never memory alone.
A controller that was switched off, that gave up a tolerance or that somebody else commands holds
something else, and what goes on from our own memory makes the arm jump there.
"""

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.execution import HISTORY_TICKS, Plan, first_tick_after, plan_hold
from evo1_policy.control.held import Encoders, HeldState, Mask
from evo1_policy.control.limits import Limits
from evo1_policy.control.safety import Gate
from evo1_policy.control.signals import SafeTrajectory, StopCode, StopReason
from evo1_policy.kinematics.collision import workspace_of
from evo1_policy.observation import JointSample
from evo1_policy.perception.buffers import MAX_OFFSET_NS
from evo1_policy.robot_config import RobotConfig

SETTLE_NS = 500_000_000  # after a trajectory's end, until the arm must be where it ended
PERIODS = 2  # of the slowest controller, before which no command can be followed
LEAST_TRANSPORT_NS = 20_000_000  # of commands: what comes back may be faster than what goes out
MAX_TRANSPORT_NS = 250_000_000
REPEAT_NS = 100_000_000  # a stop that is not followed after this was lost
UNHEARD_NS = 100_000_000  # a busy machine reads what a controller says so late at times
FOLLOWED_LATE_NS = 200_000_000  # so long after a command the one before may still be followed
NOISE_RAD = 0.002  # of encoders
LATE_RAD = 1e-3  # nearer to the new trajectory than this nobody can tell it from the old one
LED_RAD = 0.01  # further from where it was sent to rest, an arm that moves is moved by others
REORIGIN_RAD = 1e-4  # nearer to what is executed, a controller at rest holds just that


class Motion:
    """The commanded trajectory of one arm on the clock. Deterministic: no clock, no threads.

    Args:
        robot: whose limits and bounds hold.
        dry_run: commands are not executed; every motion begins at the measured arm.

    Attributes:
        executing: what the arm is commanded; None before the first command, and after a clock
            jump until the arm was measured.
        limits: of the robot.
        late_ns: how late the last trajectory was followed, as far as that can be told [ns].
    """

    def __init__(self, robot: RobotConfig, *, dry_run: bool = False) -> None:
        self.executing: Trajectory | None = None
        self.limits = Limits.of(robot)
        self.late_ns = 0
        self._robot = robot
        self._dry_run = dry_run
        self._period_ns = round(1e9 / min(command.rate_hz for command in robot.command))
        self._learnt_ns = 0  # of transport that controllers' stamps do not show
        self._before: Trajectory | None = None  # what was executed before the last command
        self._sent_ns = self._splice_ns = 0
        self._heard_ns = 0  # when all of the arm's controllers had spoken last; 0: never
        self._stop_again: SafeTrajectory | None = None
        self._rest_wanted = False  # a stop was asked for while what was sent stood ...
        self._stop_due = False  # ... and that was lost: the arm still moves
        self._held: HeldState | None = None
        self._from_dead_clock: Trajectory | None = None
        self._encoders = Encoders(self.limits)
        self._gate = Gate(self.limits, workspace_of(robot))

    @property
    def lost(self) -> bool:
        """Whether the clock jumped back and the arm has not been measured since."""
        return self._from_dead_clock is not None

    @property
    def lead_ns(self) -> int:
        """How far ahead of now a command can change what is executed [ns]."""
        transport_ns = max(self._learnt_ns, LEAST_TRANSPORT_NS)
        if self._held is not None:  # a clock ahead of ours makes every command late
            ahead_ns = LEAST_TRANSPORT_NS - self._held.delay_ns
            transport_ns = max(transport_ns, self._held.delay_ns, ahead_ns)
        return PERIODS * self._period_ns + min(transport_ns, MAX_TRANSPORT_NS)

    @property
    def _told(self) -> bool:
        """Whether controllers say what they hold, of every joint of the arm."""
        return self._held is not None and bool(self._held.known[self.limits.is_arm].all())

    def unheard(self, now_ns: int) -> bool:
        """Whether a controller that spoke has fallen silent: what it holds is not known."""
        allowed_ns = max(2 * PERIODS * self._period_ns + LEAST_TRANSPORT_NS, UNHEARD_NS)
        return not self._dry_run and 0 < self._heard_ns < now_ns - allowed_ns

    def at_rest(self, now_ns: int) -> bool:
        """Whether the commanded trajectory is over."""
        return self.executing is None or now_ns >= self.executing.end_ns

    def settled(self, now_ns: int) -> bool:
        """Whether the arm rests, and its controllers have heard of it."""
        return self._stop_again is None and self.at_rest(now_ns)

    # -- looking at the arm ------------------------------------------------------------------

    def look(self, measured: JointSample | None, held: HeldState | None, now_ns: int) -> str:
        """Take in where the arm is and what its controllers hold.

        Returns:
            Where a controller follows something else than was sent, in words; what is executed
            is then what its controllers do. Empty otherwise.
        """
        self._encoders.look(measured)
        news, self._held = held is not self._held, held
        if self._told and held is not None:
            self._heard_ns = int(held.stamps_ns[self.limits.is_arm].min()) + held.delay_ns
        if held is None or not news or self._dry_run or self.executing is None:
            return ""
        executing = self.executing
        self._measure_lateness(held, executing)
        wrong = ~held.follows(executing)
        lately = now_ns - self._sent_ns < FOLLOWED_LATE_NS
        if self._before is not None and (lately or self._stop_again is not None):
            wrong &= ~held.follows(self._before)
        if now_ns >= executing.end_ns:
            if held.moving.any() and self._lost(held, executing):
                if not lately:
                    self._go_on_as_held(held, executing, wrong, now_ns)
                return ""
            self._hold_as_held(held, executing, now_ns)
            led = held.moving & (np.abs(held.positions - executing.positions[-1]) > LED_RAD)
            if led.any():  # by somebody else: a stop has to begin there
                self._go_on_as_held(held, executing, led, now_ns)
        if not wrong.any() or not (held.moves_in(executing) or (held.moving & wrong).any()):
            return ""
        joint = int(np.argmax(wrong))
        wanted, _ = held.of(executing)
        why = held.parting(executing, FOLLOWED_LATE_NS)
        self._go_on_as_held(held, executing, wrong, now_ns)
        return (
            f"the controller of joint '{self.limits.joint_names[joint]}' does not follow what "
            f"was sent: it is at {held.positions[joint]:.3f} rad and {held.velocities[joint]:.3f} "
            f"rad/s, sent was {wanted[joint]:.3f} rad; {why}"
        )

    def astray(self, measured: JointSample | None) -> StopReason | None:
        """Whether the arm is far from where it was commanded when it was measured."""
        if measured is None or self.executing is None or self._dry_run:
            return None
        wanted, _ = self.executing.sample(measured.stamp_ns)
        error, joint = self.limits.furthest(measured.positions, wanted)
        allowed = self._robot.safety.max_tracking_error_rad
        if error <= allowed:
            return None
        unit = self.limits.units[joint]
        return StopCode.TRACKING_ERROR.because(
            f"joint '{self.limits.joint_names[joint]}' is measured at "
            f"{measured.positions[joint]:.3f} {unit} but was commanded to "
            f"{wanted[joint]:.3f} {unit}, {self.limits.told(error, joint)} apart, allowed "
            f"{self.limits.told(allowed, joint)} (safety.max_tracking_error_rad); look for a "
            "collision or a controller that does not follow, then resume",
        )

    def origin(
        self, measured: JointSample | None, now_ns: int, *, anew: bool = False
    ) -> Trajectory | StopReason:
        """What a motion continues: what is executed, or an arm at rest where it is.

        Args:
            measured: newest joint sample.
            now_ns: the clock [ns].
            anew: nothing is executed (a dry run): where the arm is.
        """
        executing = self.executing
        goes_on = self._told or measured is None or self._is_in_place(measured, now_ns)
        if executing is not None and not anew and goes_on:
            return executing
        if measured is None:
            return StopCode.JOINTS_STALE.because(
                f"no joint positions yet on '{self._robot.state.topic}', so the arm's "
                "place is unknown",
            )
        broken = np.flatnonzero(~np.isfinite(measured.positions))
        if len(broken):
            name = self._robot.joint_names[broken[0]]
            return StopCode.JOINT_MISSING.because(
                f"joint '{name}' on '{self._robot.state.topic}' is no number; look at its "
                "encoder and at the arm's driver",
            )
        if not self.knows_arm(measured):
            return StopCode.JOINTS_STALE.because(
                f"the joint positions on '{self._robot.state.topic}' jump, or are 0 for "
                "every joint: the arm's driver has not measured it yet",
            )
        return self._resting(self._inside(self._present(measured, executing)), now_ns)

    def knows_arm(self, measured: JointSample | None) -> bool:
        """Whether it is sure enough where the arm is to begin a motion there."""
        known = self._told or self.executing is not None
        return known or (measured is not None and self._encoders.steady(measured))

    # -- moving ------------------------------------------------------------------------------

    def send(
        self, plan: Plan, origin: Trajectory, measured: JointSample | None, now_ns: int
    ) -> tuple[SafeTrajectory, Plan] | StopReason:
        """Check a plan; what passes counts as commanded from now on.

        A plan that would touch something is cut where the arm still comes to rest before.

        Args:
            plan: that continues `origin`.
            origin: as self.origin gave it.
            measured: where the arm is; an origin that was not executed has to be near it.
            now_ns: the clock [ns].

        Returns:
            What to send, and the plan of it, or why nothing is sent.
        """
        fresh = origin is not self.executing and measured is not None
        verdict = self._gate.admit(
            plan,
            origin,
            now_ns=now_ns,
            measured=measured.positions if fresh and measured is not None else None,
        )
        if isinstance(verdict, StopReason):
            return verdict
        self._command(verdict[1], origin, now_ns)
        self._stop_again = None
        return verdict

    def stop(self, now_ns: int) -> SafeTrajectory | None:
        """Brake from what is executed; None where the arm stands, or stops already."""
        executing = self.executing
        if executing is None or self._stop_again is not None:
            return None
        tick = min(now_ns // executing.step_ns, executing.last_tick)
        left = executing.knots(tick, executing.last_tick)
        if not left.velocities.any() and not np.ptp(left.positions, axis=0).any():
            self._rest_wanted = True
            return None  # a controller that comes back meanwhile may hold another place
        return self._brake(executing, now_ns)

    def stop_where_measured(self, measured: JointSample, now_ns: int) -> SafeTrajectory | None:
        """Stop an arm that went astray.

        Controllers that say what they follow brake from there. One that says nothing may hold
        anything: then the arm stops where it is, since that leads it nowhere else.
        """
        if self._told or self.executing is None:
            return self.stop(now_ns)
        position = self._present(measured, self.executing)
        return self._brake(self._resting(position, now_ns), now_ns)

    def repeat_stop(self, now_ns: int) -> SafeTrajectory | None:
        """The last stop once more, while it may have been lost on its way.

        A controller that hears it late would be followed to its middle with a jump. So what comes
        after its splice is planned anew, from what the controller says that it still follows.
        """
        if self._stop_due:
            return self.stop(now_ns)
        stop, executing, held = self._stop_again, self.executing, self._held
        if stop is None or executing is None:
            return None
        passed = now_ns >= executing.end_ns + FOLLOWED_LATE_NS
        if held is None or not self._told or passed or held.rests_since(executing.end_ns):
            self._stop_again = None
            return None
        if now_ns < self._splice_ns:
            return stop
        before = self._before
        if before is None or now_ns - self._sent_ns < REPEAT_NS:
            return None
        return self._brake(before, now_ns) if self._lost(held, executing) else None

    def leave_clock(self, before_ns: int, now_ns: int) -> None:
        """The clock jumped back: every planned time lies on a dead clock."""
        commanded = self.executing or self._from_dead_clock
        if commanded is not None and before_ns < commanded.end_ns:
            ticks = first_tick_after(now_ns - before_ns, self.limits.step_ns)
            self._from_dead_clock = commanded.shifted(ticks)
        self.executing = self._before = self._held = self._stop_again = None
        self._rest_wanted = self._stop_due = False
        self._encoders, self._heard_ns = Encoders(self.limits), 0

    def find_arm(self, measured: JointSample | None, now_ns: int) -> SafeTrajectory | None:
        """Once measured on the new clock, stop where the arm is, whatever the jump meant."""
        commanded = self._from_dead_clock
        if commanded is None or measured is None or measured.stamp_ns > now_ns + MAX_OFFSET_NS:
            return None
        self._from_dead_clock = None
        position, _ = commanded.sample(measured.stamp_ns)
        error, _ = self.limits.furthest(position, measured.positions)
        if error > self._robot.safety.max_tracking_error_rad:  # a simulation that was reset
            commanded = self._resting(measured.positions, now_ns)
        return self._brake(commanded, now_ns)

    def _brake(self, executing: Trajectory, now_ns: int) -> SafeTrajectory | None:
        verdict = self._gate.admit_stop(executing, now_ns=now_ns, lead_ns=self.lead_ns)
        if verdict is None:
            return None  # what is being executed ends at rest by itself
        self._stop_again, plan = verdict
        self._command(plan, executing, now_ns)
        return self._stop_again

    def _command(self, plan: Plan, before: Trajectory, now_ns: int) -> None:
        self._before, self.executing = before, plan.trajectory
        self._sent_ns, self.late_ns = now_ns, 0
        self._rest_wanted = self._stop_due = False
        self._splice_ns = plan.splice_tick * self.limits.step_ns

    # -- what controllers hold ---------------------------------------------------------------

    def _measure_lateness(self, held: HeldState, executing: Trajectory) -> None:
        """Learn how late a command arrives from what is followed after its splice."""
        before = self._before
        newest_ns = int(held.stamps_ns[held.known].max(initial=0))
        late_ns = newest_ns - self._splice_ns
        if before is None or not 0 < late_ns < FOLLOWED_LATE_NS:
            return
        ours, theirs = held.distance(executing), held.distance(before)
        if theirs < ours and ours > LATE_RAD:
            self.late_ns = late_ns
        elif self.late_ns and ours < theirs:  # followed now, so it was late and not lost
            needed_ns = self._splice_ns - self._sent_ns + self.late_ns + self._period_ns
            self._learnt_ns = max(self._learnt_ns, needed_ns - PERIODS * self._period_ns)

    def _hold_as_held(self, held: HeldState, executing: Trajectory, now_ns: int) -> None:
        """At rest, a controller that holds something else is right: go on from there."""
        apart = np.abs(held.positions - executing.positions[-1])
        spoke_since = int(held.stamps_ns[held.known].min(initial=now_ns)) >= executing.end_ns
        if spoke_since and (apart[held.known] > REORIGIN_RAD).any():
            position = np.where(held.known, held.positions, executing.positions[-1])
            self._before, self._stop_again = None, None
            self.executing = self._resting(position, now_ns)

    def _lost(self, held: HeldState, executing: Trajectory) -> bool:
        """Whether controllers are nearer to what was executed before the last command."""
        before, apart = self._before, held.distance(executing)
        return before is not None and held.distance(before) + REORIGIN_RAD < apart

    def _go_on_as_held(
        self, held: HeldState, executing: Trajectory, wrong: Mask, now_ns: int
    ) -> None:
        """What is executed is what controllers do; what still moves has to be stopped there."""
        before, self._before, self._stop_again = self._before, None, None
        if before and held.moves_in(before) and held.follows(before).all():
            self.executing, self._stop_due = before, self._rest_wanted  # the last one was lost
            return
        for output in self._robot.command:  # a controller follows with all of its joints, or none
            columns = [self.limits.joint_names.index(name) for name in output.joints]
            wrong[columns] |= wrong[columns].any()
        last = first_tick_after(now_ns + self.lead_ns, self.limits.step_ns)
        first = last - HISTORY_TICKS
        path = held.goes_on(executing, wrong & held.known, first_tick=first, last_tick=last)
        self.executing = self._resting(path.positions[-1], now_ns)
        if path.velocities[-1].any():
            plan = plan_hold(path, now_ns=now_ns, lead_ns=self.lead_ns, limits=self.limits)
            self.executing = plan.trajectory

    def _resting(self, position: Floats, now_ns: int) -> Trajectory:
        step_ns = self.limits.step_ns
        return Trajectory.resting(position, tick=now_ns // step_ns, step_ns=step_ns)

    # -- where the arm is --------------------------------------------------------------------

    def _present(self, measured: JointSample, executing: Trajectory | None) -> Floats:
        """Where the next motion begins (D,): held, else measured; a gripper keeps its grip."""
        position = measured.positions.copy()
        if executing is not None and not self._dry_run:
            grips = self._grips(executing, position)
            position = np.where(grips, executing.positions[-1], position)
        if self._held is not None and not self._dry_run:
            position = np.where(self._held.known, self._held.positions, position)
        return position

    def _is_in_place(self, measured: JointSample, now_ns: int) -> bool:
        """Whether the arm moves as commanded, or rests near where it was commanded."""
        executing = self.executing
        if executing is None or now_ns < executing.end_ns + SETTLE_NS:  # it lags behind
            return self.astray(measured) is None
        drift, _ = self.limits.furthest(executing.positions[-1], measured.positions)
        return drift <= self._robot.safety.max_rest_error_rad

    def _inside(self, position: Floats) -> Floats:
        """The same, within the limits where only the encoders' noise lies beyond them."""
        clipped = self.limits.clip(position)
        return np.where(np.abs(clipped - position) <= NOISE_RAD, clipped, position)

    def _grips(self, executing: Trajectory, measured: Floats) -> npt.NDArray[np.bool_]:
        """(D,) where a gripper is commanded beyond what it holds, and has to keep that."""
        closing = np.zeros(self.limits.width)  # which way each gripper closes; 0: no gripper
        for gripper in self._robot.grippers:
            place = self.limits.joint_names.index(gripper.joint)
            closing[place] = 1.0 if gripper.closed > gripper.open else -1.0
        return np.asarray(closing * (executing.positions[-1] - measured) > 0.0)
