"""What was heard of a run on the topics. Must not import ROS: messages are read by their fields.

Letters: N samples, D joints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_sim.trajectory import TrajectoryPoint

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StreamHeard:
    """One stream, each message's stamp and arrival (N,) int64 [ns]."""

    stamps_ns: Times
    received_ns: Times


@dataclass(frozen=True, kw_only=True)
class CommandHeard:
    """One JointTrajectory as it was sent to a controller."""

    output: int  # index into the robot file's `command`
    received_ns: int
    stamp_ns: int
    joint_names: tuple[str, ...]
    points: tuple[TrajectoryPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Everything of one run, within [start_ns, end_ns] of the wall clock.

    Attributes:
        streams: camera name or 'joint_states' -> what was heard of it.
        published: camera name -> every frame known to be published: those heard, and those
            whose camera_info was heard.
        joint_positions: (N, D) [rad], one row for each message of streams['joint_states'].
        chunks: evo1_msgs/ActionChunk messages.
        chunks_received_ns: when each of them arrived.
        statuses: evo1_msgs/PolicyStatus messages.
        tasks: evo1_msgs/TaskStatus messages.
        publishers: topic -> how many publish it; more than one is a second system.
        process_end: None, or how a process ended before the time was over.
    """

    start_ns: int
    end_ns: int
    joint_names: tuple[str, ...]
    streams: Mapping[str, StreamHeard]
    published: Mapping[str, StreamHeard]
    joint_positions: Array
    commands: tuple[CommandHeard, ...]
    chunks: tuple[Any, ...]
    chunks_received_ns: tuple[int, ...]
    statuses: tuple[Any, ...]
    tasks: tuple[Any, ...]
    publishers: Mapping[str, int]
    process_end: str | None = None

    @property
    def duration_s(self) -> float:
        """Length of the run [s]."""
        return (self.end_ns - self.start_ns) * 1e-9
