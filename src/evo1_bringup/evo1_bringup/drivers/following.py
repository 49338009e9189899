"""How a driver follows trajectories: the newest one, on a clock that never jumps, within limits.

A stamp is taken over once, when its message comes; what the node's clock does afterwards changes
nothing. Whoever asks, goals keep the limits of the robot file. Must not import ROS.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.control.limits import CATCH_UP, GAIN, LARGEST_RAD, MARGIN_RAD, SHARE, Limits
from evo1_sim.interpolation import CommandedState
from evo1_sim.trajectory import TrajectoryError, TrajectoryFollower, TrajectoryPoint

FURTHEST_NS = 3600 * 10**9  # no trajectory begins later or takes longer: a clock is wrong
REORDERED_NS = 200_000_000  # sent earlier by more than this: the sender's clock was set back
LONGEST_STEP_S = 0.03  # that one cycle may move: after a delay the servos stand at the last goal
_SUBSTEP_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trajectory as it came; none of its numbers has been checked.

    Attributes:
        points: none at all means: come to rest.
        joint_names: order of the numbers in each point.
        stamp_ns: its start; 0 starts now [ns].
        sent_ns: when it was sent, by the sender's clock; 0 where nobody knows [ns].
    """

    points: Sequence[TrajectoryPoint]
    joint_names: Sequence[str]
    stamp_ns: int = 0
    sent_ns: int = 0


class NewestTrajectory:
    """The trajectory that one output follows. Not thread-safe.

    Args:
        joint_names: the output's joints, in the order of every (D,) array here.
        reach: how far (D,) from where it begins a trajectory that runs already may be [rad].
    """

    def __init__(self, joint_names: Sequence[str], reach: npt.ArrayLike = math.inf) -> None:
        self.stopped = False  # by a person, who alone clears it
        self._joint_names = tuple(joint_names)
        self._reach = np.broadcast_to(np.asarray(reach, dtype=np.float64), len(self._joint_names))
        self._follower: TrajectoryFollower | None = None  # None: nothing to follow
        self._sent_ns = 0

    @property
    def following(self) -> bool:
        """Whether there is something to follow, be it at its end."""
        return self._follower is not None

    def rest(self) -> None:
        """Follow nothing any more."""
        self._follower = None

    def stop(self, stopped: bool) -> None:
        """A person stops (True), or allows what comes from now on (False)."""
        self.stopped = stopped
        if stopped:
            self.rest()

    def accept(self, asked: Asked, *, now_ns: int, steady_ns: int, begin: npt.ArrayLike) -> str:
        """Follow a trajectory from now on; one that is empty or over says: come to rest.

        Args:
            asked: the trajectory.
            now_ns: present time on its stamp's clock [ns].
            steady_ns: present time on the clock of `sample` [ns].
            begin: where an output that follows nothing is commanded (D,) [rad].

        Returns:
            What people should know; empty where it is followed as asked.

        Raises:
            TrajectoryError: it cannot be followed; what is followed already is followed on,
                but for one that runs too far away: then nothing is.
        """
        if self.stopped:
            raise TrajectoryError("stopped by a person; evo1 clear-stop, or recover")
        points, sent_ns = asked.points, asked.sent_ns
        _check_numbers(asked)
        if points and sent_ns and self._sent_ns - REORDERED_NS < sent_ns < self._sent_ns:
            raise TrajectoryError("sent before the one that is followed")
        start_ns = steady_ns + (asked.stamp_ns - now_ns if asked.stamp_ns else 0)
        if start_ns - steady_ns > FURTHEST_NS:
            raise TrajectoryError(
                f"it begins {(start_ns - steady_ns) * 1e-9:.0f} s from now; check that both "
                "clocks agree"
            )
        late_ns = steady_ns - start_ns - points[-1].time_from_start_ns if points else 0
        if not points or late_ns > 0:
            self._sent_ns = max(sent_ns, self._sent_ns)
            self.rest()
            late = f"it ended {late_ns * 1e-9:.3f} s ago, so the joints come to rest now; "
            return late + "check that both clocks agree" if late_ns else ""
        follower = self._follower or TrajectoryFollower(self._joint_names, start=begin)
        follower.accept(points, asked.joint_names, stamp_ns=start_ns or 1, now_ns=steady_ns)
        self._follower, self._sent_ns = follower, sent_ns
        away = np.abs(follower.sample(steady_ns) - np.asarray(begin)) - self._reach
        if away.max() > 0:
            self.rest()
            joint = int(away.argmax())
            raise TrajectoryError(
                f"it runs too far away: joint '{self._joint_names[joint]}' is to be "
                f"{away[joint] + self._reach[joint]:.3f} rad from where it is commanded, allowed "
                f"are {self._reach[joint]:g}; the arm comes to rest"
            )
        return ""

    def sample(self, steady_ns: int) -> CommandedState | None:
        """Where the joints shall be; None where nothing is followed."""
        return None if self._follower is None else self._follower.sample_state(steady_ns)


def _check_numbers(asked: Asked) -> None:
    """Refuse numbers that are none, and those that no joint could mean."""
    for i, point in enumerate(asked.points):
        for field in ("positions", "velocities", "accelerations"):
            numbers = np.asarray(getattr(point, field), dtype=np.float64)
            wrong = np.flatnonzero(~(np.abs(numbers) <= LARGEST_RAD))
            if wrong.size:
                joint = [*asked.joint_names, "?"][min(int(wrong[0]), len(asked.joint_names))]
                raise TrajectoryError(
                    f"points[{i}].{field}: joint '{joint}' is {numbers[wrong[0]]:g}; expected at "
                    f"most {LARGEST_RAD:g} either way: no joint means more"
                )
        if not 0 <= point.time_from_start_ns <= FURTHEST_NS:
            raise TrajectoryError(
                f"points[{i}].time_from_start is {point.time_from_start_ns * 1e-9:g} s; expected "
                f"0 to {FURTHEST_NS * 1e-9:g}"
            )


class Goals:
    """What the joints are told, cycle by cycle, within limits of velocity and acceleration.

    The limiter's rule (evo1_policy.control.limits) for steps as long as they really were.

    Args:
        limits: of the robot.
        max_stall_s: after a longer delay nothing is caught up [s].
    """

    def __init__(self, limits: Limits, *, max_stall_s: float) -> None:
        self.positions: Floats = np.zeros(limits.width)
        self.velocities: Floats = np.zeros(limits.width)
        self._speed = limits.velocity_max * SHARE
        self._acceleration = limits.acceleration_max * SHARE
        self._lower = limits.position_min + MARGIN_RAD
        self._upper = limits.position_max - MARGIN_RAD
        self._max_stall_ns = round(max_stall_s * 1e9)
        self._steady_ns = 0

    @property
    def at_rest(self) -> bool:
        """Whether no goal moves."""
        return not self.velocities.any()

    def hold(self, positions: npt.ArrayLike, steady_ns: int) -> None:
        """Begin at `positions` (D,) [rad], at rest."""
        self.positions = np.array(positions, dtype=np.float64)
        self.velocities = np.zeros_like(self.positions)
        self._steady_ns = steady_ns

    def stalled(self, steady_ns: int) -> bool:
        """Whether so much time has passed that the ground is lost; begins anew from now, if so.

        The servos have stood at the last goals meanwhile.
        """
        elapsed_ns = steady_ns - self._steady_ns
        if elapsed_ns <= self._max_stall_ns:
            return False
        lost = self._acceleration * elapsed_ns * 1e-9
        self.velocities -= np.clip(self.velocities, -lost, lost)
        self._steady_ns = steady_ns
        return True

    def advance(self, steady_ns: int, target: Callable[[int], CommandedState | None]) -> Floats:
        """Move on to steady_ns: towards the target at each instant, or to rest where it is None.

        Returns:
            Goals (D,) [rad].
        """
        step_s = min((steady_ns - self._steady_ns) * 1e-9, LONGEST_STEP_S)
        self._steady_ns = max(steady_ns, self._steady_ns)
        count = math.ceil(step_s / _SUBSTEP_S)
        for k in range(1, count + 1):
            wanted = target(steady_ns - round((count - k) * step_s / count * 1e9))
            if wanted is None:
                self._brake(step_s / count)
            else:
                self._approach(wanted, step_s / count)
        return self.positions

    def _brake(self, step_s: float) -> None:
        v, most = self.velocities, self._acceleration
        rests = np.abs(v) <= most * step_s
        after = np.where(rests, 0.0, v - np.copysign(most * step_s, v))
        way = np.where(rests, v * np.abs(v) / (2.0 * most), (v + after) * step_s / 2.0)
        self.positions, self.velocities = self.positions + way, after

    def _approach(self, wanted: CommandedState, step_s: float) -> None:
        q, v, half, most = self.positions, self.velocities, step_s / 2.0, self._acceleration
        off = wanted.positions - q - half * (v + wanted.velocities)
        far = np.copysign(np.sqrt(2.0 * CATCH_UP * most * np.abs(off)), off)
        near = np.abs(off) < 2.0 * CATCH_UP * most / GAIN**2
        wish = wanted.velocities + np.where(near, GAIN * off, far)
        highest = np.minimum(self._speed, self._stoppable(self._upper - q - half * v))
        lowest = np.maximum(-self._speed, -self._stoppable(q + half * v - self._lower))
        # Acceleration comes last: braking that is possible now was made sure of one step before.
        wish = np.maximum(np.minimum(wish, highest), lowest)
        after = np.clip(wish, v - most * step_s, v + most * step_s)
        self.positions, self.velocities = q + half * (v + after), after

    def _stoppable(self, room: Floats) -> Floats:
        """Largest velocity (D,) [rad/s] from which one can stop within `room` (D,) [rad]."""
        most, step_s = self._acceleration, _SUBSTEP_S  # the longest that the next step may be
        return np.asarray(
            most * (np.sqrt(np.maximum(step_s**2 + 2.0 * room / most, 0.0)) - step_s)
        )
