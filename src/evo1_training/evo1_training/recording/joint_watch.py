"""What the joints did over a take, and what they were asked to do.

Must not import ROS or torch.
"""

from dataclasses import dataclass

import numpy as np

from evo1_policy.perception.messages import MessageError, deserialize, read_joints
from evo1_policy.robot_config import RobotConfig


@dataclass(frozen=True, kw_only=True)
class JointRange:
    """How far one joint moved, and how far it was asked to move [rad]; negative: not told."""

    name: str
    moved: float
    asked: float


class JointWatch:
    """Smallest and largest position of each joint, measured and asked for."""

    def __init__(self, robot: RobotConfig) -> None:
        self._names = robot.joint_names
        self._measured: dict[str, tuple[float, float]] = {}
        self._asked: dict[str, tuple[float, float]] = {}

    def begin(self) -> None:
        """A take begins."""
        self._measured.clear()
        self._asked.clear()

    def add_state(self, data: bytes, topic: str) -> None:
        """Look at a serialised sensor_msgs/JointState.

        Raises:
            MessageError: it cannot be used: another type, NaN, a repeated name.
        """
        message = deserialize(data, "sensor_msgs/msg/JointState", topic=topic)
        names, positions, _ = read_joints(message, topic=topic, joints=self._names)
        for name, position in zip(names, positions.tolist(), strict=True):
            _widen(self._measured, name, position)

    def add_target(self, data: bytes, topic: str) -> None:
        """Look at a serialised trajectory_msgs/JointTrajectory.

        Raises:
            MessageError: it cannot be used: another type, a wrong number of positions, NaN.
        """
        message = deserialize(data, "trajectory_msgs/msg/JointTrajectory", topic=topic)
        names = list(message.joint_names)
        for point in (message.points[0], message.points[-1]) if len(message.points) else ():
            positions = [float(position) for position in point.positions]
            if len(positions) != len(names):
                raise MessageError(
                    f"{topic}: a point has {len(positions)} positions for {len(names)} joints"
                )
            if not np.isfinite(positions).all():
                raise MessageError(f"{topic}: a position is not a finite number")
            for name, position in zip(names, positions, strict=True):
                _widen(self._asked, name, position)

    def ranges(self) -> list[JointRange]:
        """Tell how far each joint moved."""
        return [
            JointRange(
                name=name,
                moved=_width(self._measured, name),
                asked=_width(self._asked, name),
            )
            for name in self._names
        ]


def _widen(ranges: dict[str, tuple[float, float]], name: str, position: float) -> None:
    low, high = ranges.get(name, (position, position))
    ranges[name] = (min(low, position), max(high, position))


def _width(ranges: dict[str, tuple[float, float]], name: str) -> float:
    if name not in ranges:
        return -1.0
    low, high = ranges[name]
    return high - low
