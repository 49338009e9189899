"""Reading a joint trajectory, and following it exactly.

Positions alone are joined by lines, positions and velocities by cubics, and positions, velocities
and accelerations by quintics. A new trajectory replaces the running one at once, beginning at the
commanded state; after the last point the arm holds. This is what a driver of ours does; what
ros2_control does with the same trajectory is in controller.py. Must not import ROS.

Letters: N points, D joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_sim.interpolation import CommandedState, Course, Knots, at_rest, lead_in

Array = npt.NDArray[np.float64]

_REST = 1.2e-7  # rad/s; the controller's own bound for "zero" at the last point


class TrajectoryError(ValueError):
    """A trajectory that cannot be followed; the message names the joint or point."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryPoint:
    """One point, each sequence in the order of the message's joint names.

    Attributes:
        positions: (D,) [rad].
        velocities: (D,) [rad/s], or empty.
        accelerations: (D,) [rad/s^2], or empty.
        time_from_start_ns: after the trajectory's start [ns].
    """

    positions: Sequence[float]
    velocities: Sequence[float] = ()
    accelerations: Sequence[float] = ()
    time_from_start_ns: int


class TrajectoryFollower:
    """Follows the trajectories of one command output. Not thread-safe: its owner locks.

    Args:
        joint_names: the output's joints, in the order of every (D,) array here.
        start: commanded positions (D,) [rad] before the first trajectory.
    """

    def __init__(self, joint_names: Sequence[str], *, start: npt.ArrayLike | None = None) -> None:
        self.joint_names = tuple(joint_names)
        self._rest: Array | None = None
        self._course: Course | None = None
        if start is not None:
            self.hold(start)

    @property
    def end_ns(self) -> int | None:
        """When the accepted trajectory ends [ns]; None while none was accepted."""
        return None if self._course is None else self._course.end_ns

    def active(self, now_ns: int) -> bool:
        """Whether a trajectory is being executed at now_ns."""
        return self.end_ns is not None and now_ns < self.end_ns

    def hold(self, positions: npt.ArrayLike) -> None:
        """Drop the trajectory and command `positions` (D,) [rad], at rest.

        Raises:
            TrajectoryError: wrong width, or a number that is not finite.
        """
        self._rest = self._checked(positions, "the position to hold")
        self._course = None

    def accept(
        self,
        points: Sequence[TrajectoryPoint],
        joint_names: Sequence[str],
        *,
        stamp_ns: int,
        now_ns: int,
        current: npt.ArrayLike | None = None,
    ) -> None:
        """Replace the running trajectory at once; a refused one changes nothing.

        Args:
            points: the trajectory; none at all means: hold what is commanded now.
            joint_names: order of the numbers in each point; any order of the output's joints.
            stamp_ns: absolute start [ns]; 0 starts now. Points already past are not executed.
            now_ns: present time, same clock [ns].
            current: commanded positions (D,) [rad] to begin from; the default is what this
                follower commands at now_ns.

        Raises:
            TrajectoryError: unknown, missing or repeated joints, wrong lengths, NaN, times that
                do not increase, an end in the past, or a last point that moves.
        """
        before = self.sample_state(now_ns) if self._started else None
        if current is not None:
            positions = self._checked(current, "the current position")
            rest = np.zeros_like(positions)
            before = CommandedState(
                positions=positions,
                velocities=rest if before is None else before.velocities,
                accelerations=rest if before is None else before.accelerations,
            )
        if before is None:
            raise TrajectoryError("nothing to begin from: give `start` or `current`")
        if not points:
            self.hold(before.positions)
            return
        knots = read_knots(points, joint_names, self.joint_names)
        knots = knots.shifted(stamp_ns if stamp_ns else now_ns)
        check_end(int(knots.times_ns[-1]), now_ns)
        if now_ns < knots.times_ns[0]:
            knots = lead_in(before, now_ns, knots)
        self._course = Course(knots)

    def sample(self, now_ns: int) -> Array:
        """Commanded positions (D,) [rad] at now_ns."""
        return self.sample_state(now_ns).positions

    def sample_state(self, now_ns: int) -> CommandedState:
        """Commanded positions, velocities and accelerations at now_ns.

        Raises:
            TrajectoryError: neither a start nor a trajectory was given.
        """
        if self._course is None:
            if self._rest is None:
                raise TrajectoryError("nothing is commanded yet: give `start` or a trajectory")
            return at_rest(self._rest)
        state = self._course.sample(now_ns)
        return state if now_ns < self._course.end_ns else at_rest(state.positions)

    @property
    def _started(self) -> bool:
        return self._rest is not None or self._course is not None

    def _checked(self, positions: npt.ArrayLike, what: str) -> Array:
        array = np.array(positions, dtype=np.float64)
        if array.shape != (len(self.joint_names),):
            raise TrajectoryError(
                f"{what} has shape {array.shape}, expected ({len(self.joint_names)},) for "
                f"{', '.join(self.joint_names)}"
            )
        for name, value in zip(self.joint_names, array, strict=True):
            if not np.isfinite(value):
                raise TrajectoryError(f"{what}: joint '{name}' is {value}")
        return array


def read_knots(
    points: Sequence[TrajectoryPoint],
    names: Sequence[str],
    joints: Sequence[str],
    *,
    left_out: Array | None = None,
    allow_end_velocity: bool = False,
) -> Knots:
    """Return a message's points in the order of `joints`, times from its start.

    Args:
        points: at least one.
        names: the message's joints, in any order.
        joints: the output's joints, D of them.
        left_out: where joints that the message leaves out hold (D,) [rad]; None: none may be.
        allow_end_velocity: whether the last point may move; the controller's default is no.

    Raises:
        TrajectoryError: unknown, missing or repeated joints, wrong lengths, NaN, times that do
            not increase, or a last point that moves.
    """
    columns = _columns(names, joints, partial=left_out is not None)
    times = np.array([point.time_from_start_ns for point in points], dtype=np.int64)
    _check_times(times)
    values = np.zeros((len(points), 3, len(joints)))
    if left_out is not None:
        values[:, 0] = left_out
    order = _fill(values, points, names, columns)
    moving = np.flatnonzero(np.abs(values[-1, 1]) > _REST)
    if moving.size and not allow_end_velocity:
        raise TrajectoryError(
            f"the last point moves: joint '{joints[int(moving[0])]}' at "
            f"{values[-1, 1, moving[0]]:.6g} rad/s; end the trajectory with velocity 0"
        )
    return Knots(times_ns=times, values=values, order=order)


def check_end(end_ns: int, now_ns: int) -> None:
    """Refuse a trajectory that is over.

    Raises:
        TrajectoryError: it ended before now_ns, by how much.
    """
    if now_ns > end_ns:
        raise TrajectoryError(
            f"the trajectory ended {(now_ns - end_ns) * 1e-9:.3f} s ago; check its header stamp "
            "and that both clocks agree, or use stamp 0 to start at once"
        )


def _columns(names: Sequence[str], joints: Sequence[str], *, partial: bool) -> list[int]:
    known = ", ".join(joints)
    for name in names:
        if name not in joints:
            raise TrajectoryError(f"unknown joint '{name}'; this output drives {known}")
        if list(names).count(name) > 1:
            raise TrajectoryError(f"joint '{name}' appears more than once")
    missing = [name for name in joints if name not in names]
    if missing and (not partial or not names):
        raise TrajectoryError(
            f"joint '{missing[0]}' is missing; give all of this output's joints: {known}"
        )
    return [joints.index(name) for name in names]


def _fill(
    values: Array, points: Sequence[TrajectoryPoint], names: Sequence[str], columns: list[int]
) -> npt.NDArray[np.int64]:
    """Write the points into values (N, 3, D); return the highest derivative of each (N,)."""
    order = np.full(len(points), 2, dtype=np.int64)
    for k, field in enumerate(("positions", "velocities", "accelerations")):
        given: list[int] = []
        rows: list[Sequence[float]] = []
        for i, point in enumerate(points):
            numbers: Sequence[float] = getattr(point, field)
            if len(numbers) == 0 and k > 0:
                order[i] = min(order[i], k - 1)
                continue
            if len(numbers) != len(names):
                raise TrajectoryError(
                    f"points[{i}].{field} has {len(numbers)} numbers for {len(names)} joints"
                )
            given.append(i)
            rows.append(numbers)
        if rows:
            array = np.array(rows, dtype=np.float64)
            _check_finite(array, given, names, field)
            values[np.ix_(given, [k], columns)] = array[:, None]
    return order


def _check_finite(array: Array, points: list[int], names: Sequence[str], field: str) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        row, column = bad[0]
        raise TrajectoryError(
            f"points[{points[row]}].{field}: joint '{names[column]}' is {array[row, column]}"
        )


def _check_times(times_ns: npt.NDArray[np.int64]) -> None:
    if times_ns[0] < 0:
        raise TrajectoryError(
            f"points[0].time_from_start is {times_ns[0] * 1e-9} s; expected >= 0"
        )
    late = np.flatnonzero(np.diff(times_ns) <= 0)
    if late.size:
        i = int(late[0])
        raise TrajectoryError(
            f"times do not increase: points[{i}] at {times_ns[i] * 1e-9:.6f} s, "
            f"points[{i + 1}] at {times_ns[i + 1] * 1e-9:.6f} s"
        )
