"""Action chunks and the trajectories made of them. Must not import ROS or torch.

Letters: H horizon, D joints, N points.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]  # shapes and units stand in docstrings
# How far joint targets may leave the tool from where an end-effector policy wants it.
MOST_OFF_M, MOST_OFF_RAD = 0.01, 0.1


@dataclass(frozen=True, kw_only=True)
class ToolError:
    """How far the joint targets of a chunk leave the tool from where its actions want it.

    Attributes:
        position_m: the largest of the chunk's distances [m].
        rotation_rad: the largest of its angles [rad].
    """

    position_m: float
    rotation_rad: float

    @property
    def problem(self) -> str:
        """Why the chunk cannot be executed; '' where it is near enough."""
        if self.position_m <= MOST_OFF_M and self.rotation_rad <= MOST_OFF_RAD:
            return ""
        return (
            "no joint positions within the limits put the tool where the chunk wants it: they "
            f"leave it {1e3 * self.position_m:.1f} mm and {1e3 * self.rotation_rad:.0f} mrad off, "
            f"allowed {1e3 * MOST_OFF_M:g} mm and {1e3 * MOST_OFF_RAD:g} mrad; bring the arm to "
            "where the task starts, then resume"
        )


@dataclass(frozen=True, kw_only=True)
class ActionChunk:
    """What the policy wants: absolute joint targets, anchored to the clock.

    The k-th action is due at start_ns + k * step_ns. A chunk inferred from an observation
    captured at t starts at t + step_ns.

    Attributes:
        actions: (H, D) float64 [rad], in the robot file's joint order.
        start_ns: when actions[0] is due [ns].
        step_ns: time between two actions [ns].
        observation_stamp_ns: capture time of the observation [ns].
        instruction: what it was made for.
        tool_error: of a policy whose actions are the end effector's.
    """

    actions: Floats
    start_ns: int
    step_ns: int
    observation_stamp_ns: int
    instruction: str
    tool_error: ToolError | None = None

    @property
    def horizon(self) -> int:
        """H, the number of actions."""
        return int(self.actions.shape[0])

    @property
    def tool_problem(self) -> str:
        """Why the joint targets are not what the policy wants; '' where they are."""
        return "" if self.tool_error is None else self.tool_error.problem

    @property
    def end_ns(self) -> int:
        """When the last action is due [ns]."""
        return self.start_ns + (self.horizon - 1) * self.step_ns

    def times_ns(self) -> npt.NDArray[np.int64]:
        """When each action is due (H,) [ns]."""
        return self.start_ns + np.arange(self.horizon, dtype=np.int64) * self.step_ns


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What a chunk shall begin with, because the arm is commanded it already.

    Attributes:
        actions: (K, D) float64 [rad], what was sent at the times of the chunk's first K actions.
        weights: (K,) how firmly each is kept: 1 frozen, 0 free.
    """

    actions: Floats
    weights: Floats


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A C1 joint trajectory on an absolute clock grid: cubic Hermite between its points.

    This is how joint_trajectory_controller interpolates points with velocities. Points lie at
    (first_tick + k) * step_ns of the clock, so two trajectories of one robot share their knots
    and splicing them copies points. Before the first point and after the last the trajectory
    stands still there.

    Attributes:
        first_tick: index of the first point on the grid.
        step_ns: grid step [ns].
        positions: (N, D) float64 [rad].
        velocities: (N, D) float64 [rad/s].
    """

    first_tick: int
    step_ns: int
    positions: Floats
    velocities: Floats

    @property
    def start_ns(self) -> int:
        """Time of the first point [ns]."""
        return self.first_tick * self.step_ns

    @property
    def last_tick(self) -> int:
        """Grid index of the last point."""
        return self.first_tick + len(self.positions) - 1

    @property
    def end_ns(self) -> int:
        """Time of the last point [ns]."""
        return self.last_tick * self.step_ns

    def times_ns(self) -> npt.NDArray[np.int64]:
        """Time of each point (N,) [ns]."""
        return (self.first_tick + np.arange(len(self.positions), dtype=np.int64)) * self.step_ns

    @classmethod
    def resting(cls, position: Floats, *, tick: int, step_ns: int) -> "Trajectory":
        """An arm that stands still at `position` (D,) [rad]."""
        positions = np.array(position, dtype=np.float64)[np.newaxis]
        return cls(
            first_tick=tick,
            step_ns=step_ns,
            positions=positions,
            velocities=np.zeros_like(positions),
        )

    def knots(self, first_tick: int, last_tick: int) -> "Trajectory":
        """The points from first_tick to last_tick, exact copies; standing still outside."""
        if self.first_tick <= first_tick and last_tick <= self.last_tick:  # the usual case
            inside = slice(first_tick - self.first_tick, last_tick - self.first_tick + 1)
            return replace(
                self,
                first_tick=first_tick,
                positions=self.positions[inside].copy(),
                velocities=self.velocities[inside].copy(),
            )
        ticks = np.arange(first_tick, last_tick + 1)
        index = np.minimum(np.maximum(ticks - self.first_tick, 0), len(self.positions) - 1)
        velocities = self.velocities[index]
        velocities[(ticks < self.first_tick) | (ticks > self.last_tick)] = 0.0
        return replace(
            self, first_tick=first_tick, positions=self.positions[index], velocities=velocities
        )

    def extended(self, positions: Floats, velocities: Floats) -> "Trajectory":
        """This trajectory with points (M, D) appended."""
        return replace(
            self,
            positions=np.concatenate([self.positions, positions]),
            velocities=np.concatenate([self.velocities, velocities]),
        )

    def shifted(self, ticks: int) -> "Trajectory":
        """The same motion, `ticks` grid steps later."""
        return replace(self, first_tick=self.first_tick + ticks)

    def sample(self, time_ns: int) -> tuple[Floats, Floats]:
        """Position (D,) [rad] and velocity (D,) [rad/s] at any time of the clock [ns]."""
        if time_ns <= self.start_ns:
            still = np.zeros(self.positions.shape[1])
            return self.positions[0].copy(), (
                self.velocities[0].copy() if time_ns == self.start_ns else still
            )
        if time_ns >= self.end_ns:
            return self.positions[-1].copy(), np.zeros(self.positions.shape[1])
        at_s = np.array([(time_ns - self.start_ns) / 1e9])
        positions, velocities = interpolate(
            self.positions, self.velocities, self.step_ns / 1e9, at_s
        )
        return positions[0], velocities[0]


def interpolate(
    positions: Floats,
    velocities: Floats,
    step_s: float,
    at_s: Floats,
) -> tuple[Floats, Floats]:
    """Cubic Hermite through evenly spaced points, continued straight beyond both ends.

    Args:
        positions: (N, D) [rad].
        velocities: (N, D) [rad/s].
        step_s: time between two points [s].
        at_s: (K,) times since the first point [s].

    Returns:
        Positions (K, D) [rad] and velocities (K, D) [rad/s].
    """
    # np.clip takes several times as long as these on so few numbers.
    inside = np.minimum(np.maximum(at_s, 0.0), (len(positions) - 1) * step_s)
    segment = np.minimum((inside / step_s).astype(np.int64), max(len(positions) - 2, 0))
    following = np.minimum(segment + 1, len(positions) - 1)
    u = (inside / step_s - segment)[:, np.newaxis]
    p0, p1 = positions[segment], positions[following]
    v0, v1 = velocities[segment] * step_s, velocities[following] * step_s
    rise = p1 - p0
    c2, c3 = 3.0 * rise - 2.0 * v0 - v1, v0 + v1 - 2.0 * rise
    speed = (v0 + u * (2.0 * c2 + 3.0 * u * c3)) / step_s
    position = p0 + u * (v0 + u * (c2 + u * c3))
    return position + (at_s - inside)[:, np.newaxis] * speed, speed
