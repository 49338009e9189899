"""A JointTrajectory as the bytes that DDS carries, without a message object.

A command has some hundred points and stands between the network's answer and the arm. rclpy needs
5 to 10 ms to build and serialise it point by point; numpy lays the same bytes out in 0.1 ms, and
publish() takes bytes as they are. The layout is CDR, little-endian, as every RMW of ROS 2 sends.
"""

import struct
from collections.abc import Sequence

import numpy as np

from evo1_policy.action_chunk import Trajectory

_NS = 1_000_000_000
_LITTLE_ENDIAN = b"\x00\x01\x00\x00"


class TrajectoryEncoder:
    """Encodes trajectories for one set of joints.

    Args:
        joint_names: the message's joints, in its order.
        columns: index of each of them in the trajectory.
    """

    def __init__(self, joint_names: Sequence[str], columns: Sequence[int]) -> None:
        self._columns = list(columns)
        self._names = _encode_names(joint_names)
        width = len(self._columns)
        values = [("positions", "<f8", width), ("velocity_count", "<u4"), ("gap", "<u4")]
        values += [("velocities", "<f8", width), ("accelerations", "<u4"), ("effort", "<u4")]
        values += [("sec", "<i4"), ("nanosec", "<u4")]
        self._point = np.dtype([("position_count", "<u4"), ("gap_before", "<u4"), *values])

    def encode(self, trajectory: Trajectory) -> bytes:
        """Return the message: stamp of the first point, positions, velocities, times from it."""
        count, width = len(trajectory.positions), len(self._columns)
        points = np.zeros(count, self._point)
        points["position_count"] = points["velocity_count"] = width
        points["positions"] = trajectory.positions[:, self._columns]
        points["velocities"] = trajectory.velocities[:, self._columns]
        times_ns = np.arange(count, dtype=np.int64) * trajectory.step_ns
        points["sec"], points["nanosec"] = np.divmod(times_ns, _NS)
        sec, nanosec = divmod(max(trajectory.start_ns, 0), _NS)
        head = struct.pack("<iII", sec, nanosec, 1) + b"\x00\x00\x00\x00"  # frame_id: empty
        head += self._names + struct.pack("<I", count)
        body = points.tobytes()
        if len(head) % 8 == 4:  # doubles lie on multiples of 8: here the first gap falls away
            body = body[:4] + body[8:]
        return _LITTLE_ENDIAN + head + body


def _encode_names(names: Sequence[str]) -> bytes:
    encoded = struct.pack("<I", len(names))
    for name in names:
        text = name.encode() + b"\x00"
        encoded += struct.pack("<I", len(text)) + text + b"\x00" * (-len(text) % 4)
    return encoded


def command_encoders(
    joint_names: Sequence[str], outputs: Sequence[Sequence[str]]
) -> list[TrajectoryEncoder]:
    """Return one encoder for each command output of a robot file."""
    return [
        TrajectoryEncoder(joints, [list(joint_names).index(name) for name in joints])
        for joints in outputs
    ]
