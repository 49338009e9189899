"""A controller that treats trajectories as ros2_controllers' joint_trajectory_controller does.

Modelled after version 4.42 (ROS 2 Jazzy), its kindness and its traps:

- The newest message wins; it counts from the next update on. Inactive, messages are dropped
  without a word. What has ended, is empty or ends in motion is refused.
- Where a trajectory begins after the update that takes it, the way to its first point leads in
  from the *measured* state, unless `interpolate_from_desired_state`. Where it began before, it is
  followed from its middle, with whatever step that is.
- Each update commands the trajectory one period ahead. From the first update on, time is the sum
  of the controller's periods, whatever its clock does.
- Beyond a tolerance it holds where it *measures*, and steps there.

Unlike it, numbers that are not finite and repeated joints are refused. Velocity tolerances,
velocity commands, wrapping joints and speed scaling are left out. No clock, no threads, no ROS.

Letters: D joints.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_sim.interpolation import CommandedState, Course, Knots, at_rest, lead_in
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint, check_end, read_knots

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ControllerSettings:
    """The controller's parameters, by its own names and defaults where they have one.

    Attributes:
        update_rate_hz: of the controller manager.
        interpolate_from_desired_state: lead in from what was commanded, not from the measured.
        trajectory_tolerance_rad: of the whole way, one number or one a joint; 0: none.
        goal_tolerance_rad: of the end, one number or one a joint; 0: none.
        goal_time_s: how long after the end the arm may be outside the goal's; 0: for ever.
        cmd_timeout_s: how long after the end it holds where it measures; 0: never.
        allow_partial_joints_goal: joints that a trajectory leaves out hold.
        allow_nonzero_velocity_at_trajectory_end: the last point may move.
        set_last_command_interface_value_as_state_on_activation: activated, hold what the drives
            were told last, not what is measured.
    """

    update_rate_hz: float
    interpolate_from_desired_state: bool = False
    trajectory_tolerance_rad: float | tuple[float, ...] = 0.0
    goal_tolerance_rad: float | tuple[float, ...] = 0.0
    goal_time_s: float = 0.0
    cmd_timeout_s: float = 0.0
    allow_partial_joints_goal: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False
    set_last_command_interface_value_as_state_on_activation: bool = True


def xarm6_settings(update_rate_hz: float = 150.0) -> ControllerSettings:
    """Those of xarm_ros2's xarm6_controllers.yaml."""
    return ControllerSettings(
        update_rate_hz=update_rate_hz,
        trajectory_tolerance_rad=1.0,
        goal_tolerance_rad=0.01,
        goal_time_s=0.5,
    )


@dataclass(frozen=True, kw_only=True)
class FollowedState:
    """What the controller says on its topic `controller_state`: (D,) float64.

    Attributes:
        stamp_ns: by the controller's clock [ns].
        positions: of the reference [rad].
        velocities: of the reference [rad/s].
        feedback: measured positions [rad].
        holding: whether it holds by its own decision, and follows no trajectory that it was sent.
    """

    stamp_ns: int
    positions: Array
    velocities: Array
    feedback: Array
    holding: bool


class TrajectoryController:
    """One controller and what its drives were told last. Not thread-safe: its owner locks.

    Attributes:
        joint_names: in the order of every (D,) array here.
        delay_ns: how long messages to it are under way [ns]; may be set at any time.
    """

    def __init__(self, joint_names: Sequence[str], settings: ControllerSettings) -> None:
        """Inactive at first, its drives told nothing."""
        self.joint_names = tuple(joint_names)
        self.delay_ns = 0
        self._settings = settings
        self._period_ns = int(1e9 / settings.update_rate_hz)
        self._on_the_way = _tolerances(settings.trajectory_tolerance_rad)
        self._at_goal = _tolerances(settings.goal_tolerance_rad)
        self._wire: deque[tuple[int, Knots, int]] = deque()  # due, points, stamp
        self._taken: tuple[Knots, int] | None = None  # for the next update
        self._active = False
        self._holding = True
        self._course = Course(_resting(np.zeros(len(self.joint_names))))
        self._course_ns = self._ahead_ns = 0  # on the course: the last update, one period later
        self._ahead = self._course.sample(0)
        self._told: CommandedState | None = None  # the drives, for one period after the update
        self._told_ns: int | None = None  # the update that told it; None: none since activation
        self._state: FollowedState | None = None

    @property
    def active(self) -> bool:
        """Whether it follows trajectories."""
        return self._active

    @property
    def state(self) -> FollowedState | None:
        """What it published last; None while it is inactive."""
        return self._state

    def activate(self, measured: npt.ArrayLike) -> None:
        """Hold: what the drives were told last, or `measured` positions (D,) [rad]."""
        positions = np.array(measured, dtype=np.float64)
        if (
            self._told is not None
            and self._settings.set_last_command_interface_value_as_state_on_activation
        ):
            positions = self._told.positions
        self._told, self._told_ns = at_rest(positions), None
        self._active = True
        self._wire.clear()
        self._hold(positions)

    def deactivate(self) -> None:
        """Forget the trajectory and say nothing any more; the drives keep what they were told."""
        self._active = False
        self._taken = self._state = None
        self._wire.clear()

    def receive(
        self,
        points: Sequence[TrajectoryPoint],
        names: Sequence[str],
        *,
        stamp_ns: int,
        now_ns: int,
    ) -> None:
        """Take a message from the topic; the newest counts at the next update.

        Args:
            points: the trajectory, at least one.
            names: order of the numbers in each point; any order of the joints.
            stamp_ns: absolute start [ns]; 0: at the update that takes it.
            now_ns: present time by the controller's clock [ns].

        Raises:
            TrajectoryError: it is refused, and nothing changes; see trajectory.read_knots.
        """
        if not points:
            raise TrajectoryError("the trajectory is empty; send at least one point")
        partial = self._settings.allow_partial_joints_goal
        knots = read_knots(
            points,
            names,
            self.joint_names,
            left_out=self._told.positions if partial and self._told else None,
            allow_end_velocity=self._settings.allow_nonzero_velocity_at_trajectory_end,
        )
        due_ns = now_ns + self.delay_ns
        if stamp_ns:
            check_end(stamp_ns + int(knots.times_ns[-1]), due_ns)
        if self._active and self.delay_ns:
            self._wire.append((due_ns, knots, stamp_ns))
        elif self._active:
            self._take(knots, stamp_ns)

    def update(
        self,
        time_ns: int,
        period_ns: int,
        positions: Array,
        velocities: Array | None = None,
    ) -> Array:
        """Run one cycle.

        Args:
            time_ns: present time by the controller's clock [ns].
            period_ns: since the last update [ns].
            positions: measured (D,) [rad].
            velocities: measured (D,) [rad/s]; None where the drives do not say.

        Returns:
            What the drives are told (D,) [rad], for one period from now.
        """
        if self._told is None:
            return positions.copy()
        if not self._active:
            return self._told.positions
        while self._wire and self._wire[0][0] <= time_ns:
            self._take(*self._wire.popleft()[1:])
        first = self._taken is not None
        if self._taken is not None:
            self._course = self._begin(*self._taken, time_ns, positions, velocities)
            self._course_ns, self._taken = time_ns, None
        else:
            self._course_ns += period_ns
        if first or self._course_ns != self._ahead_ns:
            self._ahead = self._course.sample(self._course_ns)
        desired, self._ahead_ns = self._ahead, self._course_ns + self._period_ns
        self._ahead = self._course.sample(self._ahead_ns)
        if not self._gives_up(desired, positions, first=first):
            self._told, self._told_ns = self._ahead, time_ns
        self._state = FollowedState(
            stamp_ns=time_ns,
            positions=desired.positions,
            velocities=desired.velocities,
            feedback=positions,
            holding=self._holding,
        )
        return self._told.positions

    def _take(self, knots: Knots, stamp_ns: int) -> None:
        self._taken, self._holding = (knots, stamp_ns), False

    def _begin(
        self,
        knots: Knots,
        stamp_ns: int,
        time_ns: int,
        positions: Array,
        velocities: Array | None,
    ) -> Course:
        """Put a trajectory on the clock, with the way to its first point."""
        before_ns = time_ns
        rest = np.zeros_like(positions)
        before = CommandedState(
            positions=positions,
            velocities=rest if velocities is None else velocities,
            accelerations=rest,
        )
        if self._settings.interpolate_from_desired_state and self._told is not None:
            before = self._told  # of one period later than before_ns, as the controller has it
            before_ns = time_ns if self._told_ns is None else self._told_ns
        knots = knots.shifted(stamp_ns or time_ns)
        late = time_ns >= knots.times_ns[0]
        return Course(knots if late else lead_in(before, before_ns, knots))

    def _gives_up(self, desired: CommandedState, measured: Array, *, first: bool) -> bool:
        """Whether a tolerance is broken; then it tells the drives nothing new, and holds next."""
        if self._holding:
            return False
        error = np.abs(desired.positions - measured)
        over_ns = self._course_ns - self._course.end_ns
        moving = self._ahead_ns < self._course.end_ns
        settings = self._settings
        if settings.goal_time_s * 1e9 < settings.cmd_timeout_s * 1e9 < over_ns:
            self._hold(measured)  # this update still tells the drives the end of the course
            return False
        astray = (moving or first) and bool((error > self._on_the_way).any())
        waited = settings.goal_time_s > 0 and over_ns > settings.goal_time_s * 1e9
        missed = not moving and waited and bool((error > self._at_goal).any())
        if astray or missed:
            self._hold(measured)
        return astray or missed

    def _hold(self, positions: Array) -> None:
        """From the next update on, hold positions (D,) [rad], where no newer message comes."""
        self._taken, self._holding = (_resting(positions), 0), True


def _resting(positions: Array) -> Knots:
    """Return one point at rest, at once."""
    values = np.zeros((1, 3, len(positions)))
    values[0, 0] = positions
    zero = np.zeros(1, dtype=np.int64)
    return Knots(times_ns=zero, values=values, order=zero + 1)


def _tolerances(numbers: float | tuple[float, ...]) -> Array:
    """Return bounds, broadcast to the joints later; none where a number is 0."""
    bounds = np.asarray(numbers, dtype=np.float64)
    return np.where(bounds > 0, bounds, np.inf)
