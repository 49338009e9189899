"""Small recorded episodes, written with the mcap library: an independent check of our reader."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, TypesysError, get_typestore

from evo1_training.recording.episode import (
    FACTS_TOPIC,
    EpisodeFacts,
    Outcome,
    RecordedTopic,
    Sidecar,
    bag_path,
    to_json,
    write_sidecar,
)

MS = 1_000_000
T0 = 1_700_000_000_000 * MS  # start of every recording [ns]
ROBOT_TEXT = """
name: two
embodiment: two
rate_hz: 30
joints:
  - {name: elbow, position: [-10, 10], velocity: 1.5, acceleration: 6}
  - {name: finger, position: [-10, 10], velocity: 2, acceleration: 10}
cameras:
  - {name: image_1, topic: env/image_raw, type: sensor_msgs/msg/Image, max_age_ms: 150}
  - {name: image_2, topic: wrist/image_raw, type: sensor_msgs/msg/Image, max_age_ms: 150}
state: {topic: joint_states, max_age_ms: 100}
command: [{topic: arm/joint_trajectory, joints: [elbow, finger]}]
teleop: {topic: teleop/joint_trajectory}
home: {finger: 0, elbow: 0}
max_skew_ms: 17
safety: {max_start_error_rad: 0.6, max_tracking_error_rad: 0.35}
"""
ENV, WRIST, JOINTS = "/env/image_raw", "/wrist/image_raw", "/joint_states"
TELEOP, COMMAND = "/teleop/joint_trajectory", "/arm/joint_trajectory"
IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
TYPES = {
    ENV: IMAGE,
    WRIST: IMAGE,
    JOINTS: JOINT_STATE,
    TELEOP: TRAJECTORY,
    COMMAND: TRAJECTORY,
}
ROLES = {
    ENV: "camera:image_1",
    WRIST: "camera:image_2",
    JOINTS: "state",
    TELEOP: "teleop",
    COMMAND: "command:0",
}
NAMES = ("elbow", "finger")


@cache
def typestore():
    return get_typestore(Stores.ROS2_JAZZY)


def message(type_name: str, **content):
    return typestore().types[type_name](**content)


def cdr(type_name: str, content) -> bytes:
    return bytes(typestore().serialize_cdr(content, type_name))


def header(stamp_ns: int):
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id="camera")


def image_cdr(stamp_ns: int, image: np.ndarray, encoding: str = "rgb8") -> bytes:
    height, width, channels = image.shape
    content = message(
        IMAGE,
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * channels,
        data=np.ascontiguousarray(image).reshape(-1),
    )
    return cdr(IMAGE, content)


def compressed_cdr(stamp_ns: int, data: bytes) -> bytes:
    content = message(
        COMPRESSED, header=header(stamp_ns), format="jpeg", data=np.frombuffer(data, np.uint8)
    )
    return cdr(COMPRESSED, content)


def joints_cdr(stamp_ns: int, positions, names=NAMES) -> bytes:
    empty = np.empty(0)
    content = message(
        JOINT_STATE,
        header=header(stamp_ns),
        name=list(names),
        position=np.array(positions, np.float64),
        velocity=empty,
        effort=empty,
    )
    return cdr(JOINT_STATE, content)


def trajectory_cdr(stamp_ns: int, points, names=NAMES) -> bytes:
    """Points are (milliseconds from the stamp, positions)."""
    empty = np.empty(0)

    def point(offset_ms, positions):
        sec, nanosec = divmod(round(offset_ms * MS), 1_000_000_000)
        return message(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=np.array(positions, np.float64),
            velocities=empty,
            accelerations=empty,
            effort=empty,
            time_from_start=message("builtin_interfaces/msg/Duration", sec=sec, nanosec=nanosec),
        )

    content = message(
        TRAJECTORY,
        header=header(stamp_ns),
        joint_names=list(names),
        points=[point(*one) for one in points],
    )
    return cdr(TRAJECTORY, content)


@dataclass
class Recording:
    """Messages by topic; `received` is their order in the bag."""

    types: dict[str, str] = field(default_factory=lambda: dict(TYPES))
    messages: list[tuple[int, str, bytes]] = field(default_factory=list)

    def add(self, topic: str, received_ns: int, data: bytes) -> None:
        self.messages.append((received_ns, topic, data))

    def image(self, topic, stamp_ms, image, *, received_ms=None, encoding="rgb8") -> None:
        data = image_cdr(at(stamp_ms), image, encoding)
        self.add(topic, at(stamp_ms if received_ms is None else received_ms), data)

    def joints(self, stamp_ms, positions, *, received_ms=None, names=NAMES) -> None:
        data = joints_cdr(at(stamp_ms), positions, names)
        self.add(JOINTS, at(stamp_ms if received_ms is None else received_ms), data)

    def target(self, stamp_ms, positions, *, topic=TELEOP, offset_ms=0, names=NAMES) -> None:
        data = trajectory_cdr(at(stamp_ms), [(offset_ms, positions)], names)
        self.add(topic, at(stamp_ms), data)


def at(stamp_ms: float) -> int:
    return T0 + round(stamp_ms * MS)


def picture(number: int, size=(8, 12), camera: int = 0) -> np.ndarray:
    """An image (H, W, 3) that no other number gives."""
    height, width = size
    rng = np.random.default_rng(1000 * camera + number)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def position(stamp_ms: float) -> list[float]:
    return [float(np.sin(stamp_ms / 300)), float(np.cos(stamp_ms / 500))]


def steady(seconds: float = 2.0, *, size=(8, 12), lost=()) -> Recording:
    """Two cameras at 30 Hz, joints at 100 Hz, teleop at 50 Hz; frames `lost` are left out."""
    recording = Recording()
    for k in range(round(seconds * 30)):
        if k in lost:
            continue
        recording.image(ENV, k * 1000 / 30, picture(k, size), received_ms=k * 1000 / 30 + 12)
        recording.image(
            WRIST, k * 1000 / 30 + 4, picture(k, size, 1), received_ms=k * 1000 / 30 + 15
        )
    for k in range(-20, round(seconds * 100) + 10):
        recording.joints(10 * k, position(10 * k), received_ms=10 * k + 1)
    for k in range(-10, round(seconds * 50) + 10):
        recording.target(20 * k, position(20 * k + 50))
    return recording


def write_episode(
    folder: Path,
    recording: Recording,
    *,
    robot_text: str = ROBOT_TEXT,
    instruction: str = "pick",
    operator: str = "",
    scene: str = "",
    grade: str | None = "pass",
    finish: bool = True,
    compression: CompressionType = CompressionType.NONE,
    chunk_size: int = 4096,
    sidecar: bool = True,
) -> Path:
    """Write an episode as the recorder does; without `grade` it has no outcome."""
    folder.mkdir(parents=True)
    ordered = sorted(recording.messages, key=lambda one: one[0])
    started_ns = ordered[0][0] if ordered else T0
    facts = EpisodeFacts(
        episode_id=folder.name,
        instruction=instruction,
        operator=operator,
        robot_text=robot_text,
        topics=tuple(
            RecordedTopic(name=name, type=type_name, role=ROLES.get(name, "extra"))
            for name, type_name in recording.types.items()
        ),
        started_ns=started_ns,
        started_utc="2023-11-14T22:13:20Z",
        scene=scene,
    )
    with bag_path(folder).open("wb") as file:
        writer = Writer(file, chunk_size=chunk_size, compression=compression)
        writer.start(profile="ros2", library="test")
        types = {FACTS_TOPIC: "std_msgs/msg/String", **recording.types}
        channels = {name: channel(writer, name, type_name) for name, type_name in types.items()}
        text = message("std_msgs/msg/String", data=to_json(Sidecar(facts=facts)))
        ordered.insert(0, (started_ns, FACTS_TOPIC, cdr("std_msgs/msg/String", text)))
        for sequence, (received_ns, topic, data) in enumerate(ordered):
            writer.add_message(channels[topic], received_ns, data, received_ns, sequence)
        if finish:
            writer.finish()
    if sidecar:
        outcome = None
        if grade is not None:
            outcome = Outcome(ended_ns=ordered[-1][0], grade=grade, reasons=(), streams=())
        write_sidecar(folder, Sidecar(facts=facts, outcome=outcome))
    return folder


def channel(writer: Writer, name: str, type_name: str) -> int:
    try:
        definition = typestore().generate_msgdef(type_name, ros_version=2)[0]
    except TypesysError:  # of another workspace
        definition = ""
    schema = writer.register_schema(type_name, "ros2msg", definition.encode())
    return writer.register_channel(name, "cdr", schema)


def intervention_head(*, active):
    """The first bytes of an intervention's message, which are all that counts."""
    return b"\0\1\0\0" + (5).to_bytes(4, "little") + bytes(4) + b"\1\0\0\0\0" + bytes([active])
