"""Listens to a running system and keeps what judges a run. Sends nothing.

Images are taken as serialised bytes: two copies of every frame would cost more than the policy
does, so only the stamp is read, and only the frames of the video are decoded, at the end.
"""

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import rclpy
from evo1_msgs.msg import ActionChunk, PolicyStatus, TaskStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.control.signals import LoopState
from evo1_policy.perception.messages import MessageError, decode_image, read_joints, stamp_ns
from evo1_policy.robot_config import CameraConfig, RobotConfig
from evo1_policy.ros.starting import start_ros
from evo1_sim.ros.trajectory_messages import read_points
from evo1_training.live_run.recording import CommandHeard, Recording, StreamHeard

_NS = 1_000_000_000
_CDR_STAMP = struct.Struct("<iI")  # behind the four bytes that name the encoding
_IMAGE_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}


class RunObserver:
    """Subscribes to everything of one robot from its own thread. Use as a context manager.

    Args:
        robot: the robot file of the system.
        namespace: of the system.
        video_rate_hz: how many frames a second are kept for the video.
    """

    def __init__(self, robot: RobotConfig, *, namespace: str, video_rate_hz: float) -> None:
        self._robot = robot
        self._video_step_ns = round(_NS / video_rate_hz)
        self._lock = threading.Lock()
        self._start_ns = 0
        self._clear()
        start_ros([])
        self._node = Node("run_observer", namespace=namespace)
        self._subscribe()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="observer", daemon=True)

    def __enter__(self) -> "RunObserver":
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to listen."""
        self._executor.shutdown()
        rclpy.try_shutdown()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()

    def missing(self) -> str | None:
        """What has not been heard yet of all that a running system publishes."""
        with self._lock:
            for camera in self._robot.cameras:
                if not self._frames[camera.name]:
                    return f"images on {camera.topic}"
            if not self._joints:
                return f"joint states on {self._robot.state.topic}"
            if not self._statuses:
                return "the policy's status (it loads the model)"
            if not self._chunks:
                status = self._statuses[-1]
                state = LoopState(status.state).name
                words = " ".join(word for word in (state, status.reason_code) if word)
                return f"the first action chunk (policy {words})"
            return None

    def blocked(self) -> str | None:
        """Why the arm will not move before a person does something, or None."""
        with self._lock:
            status = self._statuses[-1] if self._statuses else None
            if status is None or not status.reason_code or status.recovers_by_itself:
                return None
            return f"{LoopState(status.state).name}, {status.reason_code}: {status.reason}"

    def progress(self) -> str:
        """State, chunks and task in a few words."""
        with self._lock:
            status = self._statuses[-1] if self._statuses else None
            task = self._tasks[-1] if self._tasks else None
            state = LoopState(status.state).name if status else "no status"
            words = [state, f"{len(self._chunks)} chunks"]
            if status and status.reason_code:
                words.insert(1, status.reason_code)
            if task:
                words.append(f"{task.task}: {'SUCCESS' if task.success else 'not yet'}")
            return ", ".join(words)

    def start(self) -> None:
        """Forget everything heard so far: the run begins now."""
        with self._lock:
            self._clear()
            self._start_ns = time.time_ns()

    def finish(self, *, process_end: str | None) -> Recording:
        """Everything heard since `start`."""
        topics = [self._robot.state.topic, *(c.topic for c in self._robot.cameras)]
        publishers = {topic: self._node.count_publishers(topic) for topic in topics}
        with self._lock:
            joints = self._joints
            return Recording(
                start_ns=self._start_ns,
                end_ns=time.time_ns(),
                joint_names=self._robot.joint_names,
                streams={
                    **{name: _stream(heard) for name, heard in self._frames.items()},
                    "joint_states": _stream([(stamp, arrival) for stamp, arrival, _ in joints]),
                },
                published={
                    name: _stream(sorted(heard.items())) for name, heard in self._published.items()
                },
                joint_positions=np.array([row for _, _, row in joints]).reshape(
                    -1, self._robot.width
                ),
                commands=tuple(self._commands),
                chunks=tuple(self._chunks),
                chunks_received_ns=tuple(self._chunks_received_ns),
                statuses=tuple(self._statuses),
                tasks=tuple(self._tasks),
                publishers=publishers,
                process_end=process_end,
            )

    def video_frames(self) -> dict[str, list[npt.NDArray[np.uint8]]]:
        """The kept frames by camera, decoded to (H, W, 3) uint8 RGB."""
        with self._lock:
            kept = {name: list(frames) for name, frames in self._video.items()}
        frames: dict[str, list[npt.NDArray[np.uint8]]] = {}
        for camera in self._robot.cameras:
            kind = _IMAGE_TYPES[camera.type]
            frames[camera.name] = [
                decode_image(deserialize_message(raw, kind), topic=camera.topic)
                for raw in kept[camera.name]
            ]
        return frames

    def _clear(self) -> None:
        names = [camera.name for camera in self._robot.cameras]
        self._frames: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
        self._published: dict[str, dict[int, int]] = {name: {} for name in names}
        self._video: dict[str, list[bytes]] = {name: [] for name in names}
        self._video_next_ns = dict.fromkeys(names, 0)
        self._joints: list[tuple[int, int, tuple[float, ...]]] = []
        self._commands: list[CommandHeard] = []
        self._chunks: list[ActionChunk] = []
        self._chunks_received_ns: list[int] = []
        self._statuses: list[PolicyStatus] = []
        self._tasks: list[TaskStatus] = []

    def _subscribe(self) -> None:
        node, sensor = self._node, qos_profile_sensor_data
        for camera in self._robot.cameras:
            node.create_subscription(
                _IMAGE_TYPES[camera.type],
                camera.topic,
                partial(self._on_image, camera),
                sensor,
                raw=True,
            )
            info = f"{camera.topic.rpartition('/')[0] or camera.name}/camera_info"
            node.create_subscription(CameraInfo, info, partial(self._on_info, camera), sensor)
        self._listen(JointState, self._robot.state.topic, self._on_joints)
        for index, command in enumerate(self._robot.command):
            self._listen(JointTrajectory, command.topic, partial(self._on_command, index))
        self._listen(ActionChunk, "policy/action_chunk", self._on_chunk)
        self._listen(PolicyStatus, "policy/status", self._on_status)
        self._listen(TaskStatus, "sim_robot/task_status", self._on_task)

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        self._node.create_subscription(kind, topic, callback, 10)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):  # the process is ending
            self._executor.spin()

    def _on_image(self, camera: CameraConfig, raw: bytes) -> None:
        arrival = time.time_ns()
        sec, nanosec = _CDR_STAMP.unpack_from(raw, 4)
        stamp = sec * _NS + nanosec
        with self._lock:
            self._frames[camera.name].append((stamp, arrival))
            self._published[camera.name].setdefault(stamp, arrival)
            if stamp >= self._video_next_ns[camera.name]:
                self._video_next_ns[camera.name] = stamp + self._video_step_ns
                self._video[camera.name].append(raw)

    def _on_info(self, camera: CameraConfig, message: CameraInfo) -> None:
        stamp, arrival = stamp_ns(message.header.stamp), time.time_ns()
        with self._lock:
            self._published[camera.name].setdefault(stamp, arrival)

    def _on_joints(self, message: JointState) -> None:
        arrival = time.time_ns()
        try:
            names, positions, stamp = read_joints(
                message, topic=self._robot.state.topic, joints=self._robot.joint_names
            )
        except MessageError:
            return  # the policy counts and reports it
        by_name = dict(zip(names, positions, strict=True))
        if all(name in by_name for name in self._robot.joint_names):
            row = tuple(float(by_name[name]) for name in self._robot.joint_names)
            with self._lock:
                self._joints.append((stamp, arrival, row))

    def _on_command(self, output: int, message: JointTrajectory) -> None:
        heard = CommandHeard(
            output=output,
            received_ns=time.time_ns(),
            stamp_ns=stamp_ns(message.header.stamp),
            joint_names=tuple(message.joint_names),
            points=read_points(message),
        )
        with self._lock:
            self._commands.append(heard)

    def _on_chunk(self, message: ActionChunk) -> None:
        with self._lock:
            self._chunks.append(message)
            self._chunks_received_ns.append(time.time_ns())

    def _on_status(self, message: PolicyStatus) -> None:
        with self._lock:
            self._statuses.append(message)

    def _on_task(self, message: TaskStatus) -> None:
        with self._lock:
            self._tasks.append(message)


def _stream(heard: list[tuple[int, int]]) -> StreamHeard:
    array = np.array(heard, dtype=np.int64).reshape(-1, 2)
    return StreamHeard(stamps_ns=array[:, 0], received_ns=array[:, 1])
