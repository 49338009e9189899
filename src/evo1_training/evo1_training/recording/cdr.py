"""Messages as bytes (CDR), written without ROS. Must not import ROS or torch."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.recording.definitions import typestore

JOINT_STATE = "sensor_msgs/msg/JointState"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"
NONE = np.empty(0)

Floats = npt.NDArray[np.float64]


def made(kind: str, **content: Any) -> Any:
    """A message of a type such as 'sensor_msgs/msg/Image'; every field must be given."""
    return typestore().types[kind](**content)


def cdr(kind: str, content: Any) -> bytes:
    """A message as bytes."""
    return bytes(typestore().serialize_cdr(content, kind))


def string_cdr(text: str) -> bytes:
    """A std_msgs/String as bytes."""
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def header(stamp_ns: int, frame_id: str = "") -> Any:
    """A std_msgs/Header."""
    return made("std_msgs/msg/Header", stamp=time("Time", stamp_ns), frame_id=frame_id)


def time(kind: str, nanoseconds: int) -> Any:
    """A builtin_interfaces 'Time' or 'Duration'."""
    sec, nanosec = divmod(nanoseconds, 1_000_000_000)
    return made(f"builtin_interfaces/msg/{kind}", sec=sec, nanosec=nanosec)


def joint_state(head: Any, names: Sequence[str], positions: Floats, speeds: Floats) -> bytes:
    """Positions and velocities (D,), or none of these [rad, rad/s], as a JointState."""
    content = {"name": list(names), "position": positions, "velocity": speeds, "effort": NONE}
    return cdr(JOINT_STATE, made(JOINT_STATE, header=head, **content))


def trajectory(
    head: Any, names: Sequence[str], offsets_s: Sequence[float], positions: Floats
) -> bytes:
    """Targets (N, D) [rad] at offsets (N,) from the stamp [s], as a JointTrajectory."""
    empty = {"velocities": NONE, "accelerations": NONE, "effort": NONE}
    points = [
        made(
            f"{TRAJECTORY}Point",
            positions=np.ascontiguousarray(row),
            time_from_start=time("Duration", round(offset * 1e9)),
            **empty,
        )
        for offset, row in zip(offsets_s, positions, strict=True)
    ]
    content = made(TRAJECTORY, header=head, joint_names=list(names), points=points)
    return cdr(TRAJECTORY, content)
