"""Trajectories as targets for what plans by itself: the xArm's mode 6, and grippers by action.

In mode 6 (online planning) the box takes a new target at any time and plans its own smooth way
there; so we ask, at most 30 times a second, for where the trajectory will be a moment later. A
gripper takes goals, not streams, so somebody decides when it gets a new one. Must not import ROS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers.following import NewestTrajectory
from evo1_policy.action_chunk import Floats
from evo1_policy.robot_config import RobotConfig

PERIOD_NS = 33_333_333
LOOKAHEAD_NS = 100_000_000  # the box needs some way ahead, or it would brake for each target
DEAD_BAND_RAD = 5e-4  # a nearer target is no new one
LAG_RAD = 0.02  # further behind, the same target is asked again, faster
MIN_SPEED = 0.05  # rad/s; the last bit of a way shall not take for ever
SPEED_MARGIN = 1.2


@dataclass(frozen=True, kw_only=True)
class Move:
    """One request to the box.

    Attributes:
        angles: of the arm's joints, in their order [rad].
        speed: of the fastest joint [rad/s].
        acceleration: [rad/s^2].
    """

    angles: tuple[float, ...]
    speed: float
    acceleration: float


class OnlinePlanning:
    """Follows the trajectories of the arm's output, by the clock.

    Args:
        robot: the robot file.
        joints: of the arm's command output.
    """

    def __init__(self, robot: RobotConfig, joints: Sequence[str]) -> None:
        columns = [robot.joint_names.index(name) for name in joints]
        self._lower, self._upper = robot.position_min[columns], robot.position_max[columns]
        self._fastest = float(robot.velocity_max[columns].min())
        self._acceleration = float(robot.acceleration_max[columns].min())
        self.newest = NewestTrajectory(joints)
        self._sent: Floats | None = None
        self._sent_ns = 0

    def stop(self) -> None:
        """Follow nothing any more: the box has stopped the arm."""
        self.newest.rest()
        self._sent = None

    def commanded(self, now_ns: int, measured: Floats) -> tuple[Floats, Floats]:
        """Where the arm is told to be now (D,) [rad], and how fast it is told to go [rad/s]."""
        now = self.newest.sample(now_ns)
        if now is None:
            return (measured if self._sent is None else self._sent), np.zeros(len(measured))
        return np.clip(now.positions, self._lower, self._upper), now.velocities

    def step(self, now_ns: int, measured: npt.ArrayLike) -> Move | None:
        """What to ask of the box now, or None.

        Args:
            now_ns: present time [ns].
            measured: where the arm is (D,) [rad]; the further behind, the faster it is asked.
        """
        now, ahead = self.newest.sample(now_ns), self.newest.sample(now_ns + LOOKAHEAD_NS)
        if now is None or ahead is None or now_ns - self._sent_ns < PERIOD_NS:
            return None
        target = np.clip(ahead.positions, self._lower, self._upper)
        behind = target - np.asarray(measured, dtype=np.float64)
        new = self._sent is None or np.abs(target - self._sent).max() >= DEAD_BAND_RAD
        if not new and np.abs(behind).max() < LAG_RAD:
            return None
        speeds = (now.velocities, ahead.velocities, behind / LOOKAHEAD_NS * 1e9)
        wanted = SPEED_MARGIN * max(float(np.abs(speed).max()) for speed in speeds)
        self._sent, self._sent_ns = target, now_ns
        return Move(
            angles=tuple(float(angle) for angle in target),
            speed=min(max(wanted, MIN_SPEED), self._fastest),
            acceleration=self._acceleration,
        )


MOVED = 0.15  # of the stroke; a target so far from the last goal is sent while it still moves
SAME = 0.02  # of the stroke; nearer targets are one
SETTLED_NS = 150_000_000  # so long within SAME, a target has settled
RETRY_NS = 1_000_000_000  # after a goal that was refused
LONGEST_NS = 5_000_000_000  # a goal without a result counts as ended; its server may be gone


class GripperGate:
    """Passes a target on when it has settled or moved far, and never while a goal runs.

    For each goal the xArm's gripper is checked, enabled, driven and asked for its place again and
    again, on the connection that streams the arm's targets.

    Args:
        stroke: from open to closed, in the gripper's own unit.
    """

    def __init__(self, stroke: float) -> None:
        self._moved, self._same = MOVED * stroke, SAME * stroke
        self._sent: float | None = None
        self._running_until_ns = self._not_before_ns = 0
        self._resting, self._since_ns = 0.0, 0  # near which target it has been since when

    def offer(self, target: float, now_ns: int) -> float | None:
        """The goal to send now, or None. Call it again and again.

        Args:
            target: wanted now, in the gripper's own unit.
            now_ns: present time, on a clock that never jumps [ns].
        """
        if abs(target - self._resting) > self._same:
            self._resting, self._since_ns = target, now_ns
        if now_ns < max(self._running_until_ns, self._not_before_ns):
            return None
        if self._sent is not None:
            way = abs(target - self._sent)
            settled = now_ns - self._since_ns >= SETTLED_NS
            if way <= self._same or not (settled or way > self._moved):
                return None
        self._sent, self._running_until_ns = target, now_ns + LONGEST_NS
        return target

    def ended(self) -> None:
        """The goal that ran has ended, wherever the gripper is: an object may be in it."""
        self._running_until_ns = 0

    def refused(self, now_ns: int) -> None:
        """The goal was not taken: the same target may be sent again, but not at once."""
        self._sent, self._running_until_ns, self._not_before_ns = None, 0, now_ns + RETRY_NS
