"""Action chunks and the trajectories made of them. Must not import ROS or torch.

Letters: H horizon, D joints, N points.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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
    """

    actions: npt.NDArray[np.float64]
    start_ns: int
    step_ns: int
    observation_stamp_ns: int
    instruction: str

    @property
    def horizon(self) -> int:
        """H, the number of actions."""
        return int(self.actions.shape[0])

    @property
    def end_ns(self) -> int:
        """When the last action is due [ns]."""
        return self.start_ns + (self.horizon - 1) * self.step_ns

    def times_ns(self) -> npt.NDArray[np.int64]:
        """When each action is due (H,) [ns]."""
        return self.start_ns + np.arange(self.horizon, dtype=np.int64) * self.step_ns


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
    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64]

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
