"""What the demo heard on the topics, as plain data. Must not import ROS.

Letters: N samples, D joints.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
class ChunkHeard:
    """What an evo1_msgs/ActionChunk said of itself."""

    received_ns: int
    stamp_ns: int
    start_ns: int  # of the commanded trajectory
    chunk_id: int
    inference_ms: float
    overhead_ms: float
    position_jump_rad: float
    velocity_jump_rad_s: float
    stretch: float
    clipped_points: int
    limited_points: int

    @property
    def intervened(self) -> bool:
        """Whether a limit changed what the policy proposed."""
        return self.stretch > 1.0 + 1e-6 or self.clipped_points > 0 or self.limited_points > 0


@dataclass(frozen=True, kw_only=True)
class StatusHeard:
    """What an evo1_msgs/PolicyStatus said, true at stamp_ns."""

    received_ns: int
    stamp_ns: int
    state: str
    reason_code: str
    reason: str
    recovers_by_itself: bool
    observation_age_ms: float
    observation_skew_ms: float
    chunks_published: int
    chunks_rejected: int
    safety_interventions: int
    frames_received: Mapping[str, int]  # by camera, since activation
    frames_rejected: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class TaskHeard:
    """What an evo1_msgs/TaskStatus said."""

    received_ns: int
    task: str
    success: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Everything of one run, within [start_ns, end_ns] of the wall clock.

    Attributes:
        streams: camera name or 'joint_states' -> what was heard of it.
        published: camera name -> every frame known to be published: those heard, and those
            whose camera_info was heard.
        joint_positions: (N, D) [rad], one row for each message of streams['joint_states'].
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
    chunks: tuple[ChunkHeard, ...]
    statuses: tuple[StatusHeard, ...]
    tasks: tuple[TaskHeard, ...]
    publishers: Mapping[str, int]
    process_end: str | None = None

    @property
    def duration_s(self) -> float:
        """Length of the run [s]."""
        return (self.end_ns - self.start_ns) * 1e-9
