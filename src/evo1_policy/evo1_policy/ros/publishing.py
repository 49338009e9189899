"""Trajectories as the bytes that DDS carries, and the report of a chunk as a ROS message.

A command has some hundred points and stands between the network's answer and the arm. rclpy needs
5 to 10 ms to build and serialise it point by point; numpy lays the same bytes out in 0.1 ms, and
publish() takes bytes as they are. The layout is CDR, little-endian, as every RMW of ROS 2 sends.

Message objects of a report are reused: making a JointTrajectoryPoint costs ten times more than
filling one, and rclpy has serialised the message when publish returns.
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from builtin_interfaces.msg import Duration, Time
from evo1_msgs.msg import ActionChunk as ActionChunkMessage
from evo1_msgs.msg import LatencyBreakdown
from evo1_msgs.msg import SeamReport as SeamReportMessage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.meters import ChunkTimes
from evo1_policy.control.signals import InferenceRequest, LoopOutput
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig

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


_NO_VALUES = array("d")


def time_message(stamp_ns: int) -> Time:
    """Return nanoseconds as a stamp; before the epoch becomes the epoch."""
    sec, nanosec = divmod(max(stamp_ns, 0), _NS)
    return Time(sec=sec, nanosec=nanosec)


class TrajectoryWriter:
    """Fills one JointTrajectory of all joints again and again, to stand in a report.

    A command goes out as bytes instead (TrajectoryEncoder); a message in a message cannot.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        self._points: list[JointTrajectoryPoint] = []
        self._step_ns = 0
        self._message = JointTrajectory(joint_names=list(joint_names))

    def write(
        self, *, start_ns: int, step_ns: int, positions: Floats, velocities: Floats | None
    ) -> JointTrajectory:
        """Return the message for (N, D) positions [rad] and velocities [rad/s] from start_ns on.

        The stamp is the time of the first point. The message is this writer's own: publish it
        before the next call.
        """
        if step_ns != self._step_ns:
            self._points, self._step_ns = [], step_ns
        for k in range(len(self._points), len(positions)):
            sec, nanosec = divmod(k * step_ns, _NS)
            self._points.append(
                JointTrajectoryPoint(time_from_start=Duration(sec=sec, nanosec=nanosec))
            )
        points = self._points[: len(positions)]
        for k, point in enumerate(points):
            point.positions = array("d", positions[k].tobytes())
            point.velocities = (
                _NO_VALUES if velocities is None else array("d", velocities[k].tobytes())
            )
        self._message.points = points
        self._message.header.stamp = time_message(start_ns)
        return self._message


class ChunkWriter:
    """Fills the ActionChunk report.

    Args:
        robot: the robot file.
        message: is filled again and again; says already what made the chunks: model_hash, mode,
            seed, denoising_steps and device.
    """

    def __init__(self, robot: RobotConfig, message: ActionChunkMessage) -> None:
        self._streams = [*(camera.name for camera in robot.cameras), JOINT_STREAM]
        self._proposed = TrajectoryWriter(robot.joint_names)
        self._commanded = TrajectoryWriter(robot.joint_names)
        self._message = message
        self._message.embodiment = robot.embodiment

    def write(
        self, chunk_id: int, request: InferenceRequest, output: LoopOutput, times: ChunkTimes
    ) -> ActionChunkMessage:
        """Return the report of one published chunk.

        Args:
            chunk_id: number of the chunk.
            request: what it was inferred from.
            output: of the step that accepted it, with chunk, command and seam.
            times: when each stage was done.
        """
        chunk, command, seam = output.chunk, output.command, output.seam
        assert chunk is not None
        assert command is not None
        assert seam is not None
        message = self._message
        message.header.stamp = time_message(chunk.observation_stamp_ns)
        message.chunk_id = chunk_id
        message.instruction = chunk.instruction
        message.proposed = self._proposed.write(
            start_ns=chunk.start_ns,
            step_ns=chunk.step_ns,
            positions=chunk.actions,
            velocities=None,
        )
        message.commanded = self._commanded.write(
            start_ns=command.trajectory.start_ns,
            step_ns=command.trajectory.step_ns,
            positions=command.trajectory.positions,
            velocities=command.trajectory.velocities,
        )
        message.latency = latency_message(times)
        message.seam = SeamReportMessage(**asdict(seam))  # field by field
        self._tell_origin(request)
        return message

    def _tell_origin(self, request: InferenceRequest) -> None:
        """What the chunk was made from, so that it can be made again."""
        message, guidance = self._message, request.guidance
        stamps = request.observation.source_stamps_ns
        message.source_stamps = [
            time_message(stamps[name]) for name in self._streams if name in stamps
        ]
        message.state = array("d", request.observation.state.tobytes())
        message.guidance = _NO_VALUES
        message.guidance_weights = _NO_VALUES
        if guidance is not None:
            message.guidance = array("d", np.ascontiguousarray(guidance.actions).tobytes())
            message.guidance_weights = array("d", guidance.weights.tobytes())


def latency_message(times: ChunkTimes) -> LatencyBreakdown:
    """Return the stages of one chunk [ms]."""
    return LatencyBreakdown(
        capture_to_receive_ms=(times.received_ns - times.stamp_ns) / 1e6,
        receive_to_infer_ms=(times.started_ns - times.received_ns) / 1e6,
        inference_ms=times.inference_ms,
        planning_ms=(times.planned_ns - times.finished_ns) / 1e6,
        publish_ms=(times.published_ns - times.planned_ns) / 1e6,
        overhead_ms=times.overhead_ms,
        total_ms=times.total_ms,
    )
