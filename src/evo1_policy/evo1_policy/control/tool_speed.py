"""How fast the tool moves in space, and where that is too fast. No ROS, no torch."""

from typing import TYPE_CHECKING

import numpy as np

from evo1_policy.action_chunk import Floats, Trajectory, interpolate
from evo1_policy.robot_config import RobotConfig

if TYPE_CHECKING:
    from evo1_policy.kinematics.model import ArmModel

PLANNED_SHARE = 0.9  # of the bound that slowed motion is planned with
HEADROOM = 0.97  # of the bound that what follows a person keeps, to go on from
PASSES = 1.02  # times the bound goes through: between two looks the tool is a little faster
LOOKS = 2  # at the tool, per grid step


class ToolSpeed:
    """The bound on the tool's speed. Not for two threads at once.

    Args:
        arm: where the tool is.
        most: fastest that it may move [m/s].
    """

    def __init__(self, arm: "ArmModel", most: float) -> None:
        self.most = most
        self._arm = arm

    @classmethod
    def of(cls, robot: RobotConfig) -> "ToolSpeed | None":
        """The bound that stands in a robot file (safety.collision.tool_speed); None: none."""
        from evo1_policy.kinematics.collision import workspace_of  # lazily: it loads MuJoCo

        collision = robot.safety.collision
        workspace = workspace_of(robot) if collision and collision.tool_speed else None
        if collision is None or workspace is None:
            return None
        return cls(workspace.arm, collision.tool_speed)

    def share(self, positions: Floats, velocities: Floats) -> Floats:
        """(N,) speed of the tool at joint states (N, D), as a share of the bound [-]."""
        moves = self._arm.tool_velocities(positions, velocities)
        return np.asarray(np.linalg.norm(moves, axis=1) / self.most)

    def too_fast(
        self, trajectory: Trajectory, first_tick: int, share: float = PASSES
    ) -> tuple[float, float] | None:
        """Where the tool would first be too fast from a grid point on, and its speed.

        A tool that is too fast there already may not become any faster.

        Args:
            trajectory: looked at between its points, too.
            first_tick: grid point.
            share: of the bound, beyond which it is too fast.

        Returns:
            When first, on the trajectory's grid, and the highest speed from there on [m/s]; None
            where it never is.
        """
        part = trajectory.knots(max(first_tick, trajectory.first_tick), trajectory.last_tick)
        if len(part.positions) < 2:
            return None
        step_s = part.step_ns / 1e9
        at = np.arange(0, LOOKS * (len(part.positions) - 1) + 1) / LOOKS
        shares = self.share(*interpolate(part.positions, part.velocities, step_s, at * step_s))
        beyond = np.flatnonzero(shares > max(share, shares[0] * (1.0 + 1e-6)))
        if not len(beyond):
            return None
        first = int(beyond[0])
        return part.first_tick + float(at[first]), float(shares.max()) * self.most
