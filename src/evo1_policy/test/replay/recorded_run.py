"""A policy's run as a bag: sensors, and the chunks made of what the live streams saw."""

import json
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from evo1_policy.action_chunk import ActionChunk, Guidance
from evo1_policy.observation import Observation
from evo1_policy.perception.streams import Streams
from evo1_policy.robot_config import parse_robot

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
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
ROBOT = parse_robot(ROBOT_TEXT)
NAMES = ("elbow", "finger")
CAMERAS = {"env/image_raw": "image_1", "wrist/image_raw": "image_2"}
CHUNK_TOPIC, CHUNK_TYPE = "policy/action_chunk", "evo1_msgs/msg/ActionChunk"
IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
STRING = "std_msgs/msg/String"
HASH = "0123456789ab"
MESSAGES = Path(__file__).parents[3] / "evo1_msgs" / "msg"
NEW_FIELDS = (
    "seed",
    "denoising_steps",
    "device",
    "source_stamps",
    "state",
    "guidance",
    "embodiment",
)


class FakePolicy:
    """Actions that tell images, state, words, seed, steps and guidance apart."""

    model_hash = HASH
    device = "cpu"

    def __init__(self, seed=3, steps=0, spoil=None):
        self._noise = np.random.default_rng(1000 * steps + seed).normal(size=(8, 2))
        self._spoil = spoil  # (action, joint, by how much)

    def infer(self, observation, guidance=None):
        seen = [float(image.mean()) for image in observation.images.values()]
        words = len(observation.instruction)
        actions = observation.state + 0.01 * seen[0] - 0.02 * seen[1] + words + self._noise
        if guidance is not None:
            count = len(guidance.weights)
            actions[:count] += guidance.weights[:, None] * (guidance.actions - actions[:count])
        if self._spoil:
            action, joint, by = self._spoil
            actions[action, joint] += by
        return ActionChunk(
            actions=actions,
            start_ns=observation.stamp_ns + ROBOT.step_ns,
            step_ns=ROBOT.step_ns,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
        )


def load(robot, seed, steps):
    return FakePolicy(seed, steps)


@dataclass
class Run:
    """Messages (received, topic, type, CDR) by their arrival; topics without a leading slash."""

    namespace: str = ""
    old: bool = False  # chunks as an older version of the node told of them
    messages: list[tuple[int, str, str, bytes]] = field(default_factory=list)
    made: list[ActionChunk] = field(default_factory=list)

    def add(self, received_ns, topic, kind, content):
        data = bytes(typestore(self.old).serialize_cdr(content, kind))
        self.messages.append((received_ns, f"{self.namespace}/{topic}", kind, data))

    def drop(self, topic, stamp_ns=None):
        """Lose a topic, or its frame of one stamp."""
        name = f"{self.namespace}/{topic}"
        self.messages = [
            one
            for one in self.messages
            if one[1] != name or (stamp_ns is not None and stamp_of(one[3]) != stamp_ns)
        ]

    def write(self, path, *, notes=True, storage=StoragePlugin.MCAP):
        """Write the bag; its folder."""
        store = typestore(self.old)
        messages = list(self.messages)
        if notes:
            roles = {f"camera:{name}": topic for topic, name in CAMERAS.items()}
            roles["state"] = "joint_states"
            topics = [
                {"role": role, "name": f"{self.namespace}/{topic}"}
                for role, topic in roles.items()
            ]
            text = json.dumps({"facts": {"robot_text": ROBOT_TEXT, "topics": topics}})
            content = store.types[STRING](data=text)
            data = bytes(store.serialize_cdr(content, STRING))
            messages.append((T0, "/evo1/episode", STRING, data))
        with Writer(path, version=9, storage_plugin=storage) as writer:
            connections = {
                topic: writer.add_connection(topic, kind, typestore=store)
                for topic, kind in sorted({(topic, kind) for _, topic, kind, _ in messages})
            }
            for received_ns, topic, _, data in sorted(messages, key=lambda one: one[0]):
                writer.write(connections[topic], received_ns, data)
        return path


@cache
def typestore(old=False):
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("LatencyBreakdown", "SeamReport", "ActionChunk"):
        lines = (MESSAGES / f"{name}.msg").read_text().splitlines()
        if old and name == "ActionChunk":
            lines = [line for line in lines if not line_of_new_field(line)]
        store.register(get_types_from_msg("\n".join(lines), f"evo1_msgs/msg/{name}"))
    return store


def line_of_new_field(line):
    words = line.split()
    return len(words) > 1 and words[1].startswith(NEW_FIELDS)


def stamp_of(data):
    sec, nanosec = np.frombuffer(data, np.uint32, 2, 4).tolist()
    return sec * 10**9 + nanosec


def message(kind, old=False, **content):
    return typestore(old).types[kind](**content)


def time(stamp_ns):
    sec, nanosec = divmod(stamp_ns, 10**9)
    return message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def header(stamp_ns, frame_id=""):
    return message("std_msgs/msg/Header", stamp=time(stamp_ns), frame_id=frame_id)


def at(milliseconds):
    return T0 + round(milliseconds * MS)


def image(stamp_ns, number):
    data = np.random.default_rng(number).integers(0, 256, 4 * 6 * 3).astype(np.uint8)
    return message(
        IMAGE,
        header=header(stamp_ns),
        height=4,
        width=6,
        encoding="rgb8",
        is_bigendian=0,
        step=18,
        data=data,
    )


def joints(stamp_ns):
    angle = (stamp_ns - T0) / 1e9
    empty = np.empty(0)
    return message(
        JOINT_STATE,
        header=header(stamp_ns),
        name=list(NAMES),
        position=np.array([np.sin(angle), np.cos(angle)]),
        velocity=empty,
        effort=empty,
    )


def trajectory(stamp_ns, rows):
    empty = np.empty(0)
    points = [
        message(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=np.array(row, np.float64),
            velocities=empty,
            accelerations=empty,
            effort=empty,
            time_from_start=message("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        )
        for row in rows
    ]
    return message(
        "trajectory_msgs/msg/JointTrajectory",
        header=header(stamp_ns),
        joint_names=list(NAMES),
        points=points,
    )


def chunk_message(chunk_id, chunk, seen, *, old=False, seed=3, steps=0, mode="replace", **changes):
    latency = [field.name for field in _fields("evo1_msgs/msg/LatencyBreakdown")]
    seam = [field.name for field in _fields("evo1_msgs/msg/SeamReport")]
    guidance = changes.pop("guidance", None)
    embodiment = changes.pop("embodiment", "two")
    content = {
        "header": header(seen.stamp_ns, embodiment if old else ""),
        "chunk_id": chunk_id,
        "instruction": chunk.instruction,
        "mode": mode,
        "model_hash": HASH,
        "proposed": trajectory(chunk.start_ns, chunk.actions),
        "commanded": trajectory(chunk.start_ns, chunk.actions),
        "latency": message("evo1_msgs/msg/LatencyBreakdown", **dict.fromkeys(latency, 0.0)),
        "seam": message("evo1_msgs/msg/SeamReport", **dict.fromkeys(seam, 0)),
    }
    if not old:
        content |= {
            "seed": seed,
            "denoising_steps": steps,
            "device": "cpu",
            "source_stamps": [
                time(seen.source_stamps_ns[name])
                for name in ("image_1", "image_2", "joint_states")
            ],
            "state": seen.state,
            "guidance": np.empty(0) if guidance is None else guidance.actions.reshape(-1),
            "guidance_weights": np.empty(0) if guidance is None else guidance.weights,
            "embodiment": embodiment,
        }
    return message("evo1_msgs/msg/ActionChunk", old, **(content | changes))


def _fields(kind):
    return [one for one in fields(typestore().types[kind]) if not one.name.startswith("__")]


def arrivals(seconds, late_joint_ms):
    """What the sensors send: received, topic, camera, stamp, number of the picture."""
    sent = []
    for k in range(round(seconds * 30)):
        for camera, (topic, name) in enumerate(CAMERAS.items()):
            stamp = at(k * 1000 / 30 + 3 * camera)
            sent.append((stamp + 12 * MS, topic, name, stamp, 1000 * camera + k))
    for k in range(-20, round(seconds * 100)):
        delay = 60 if late_joint_ms == 10 * k else 1
        sent.append((at(10 * k + delay), "joint_states", "", at(10 * k), 0))
    return sorted(sent)


def run(
    seconds=3.0,
    *,
    namespace="",
    old=False,
    guided=False,
    late_joint_ms=None,
    seeds=lambda number: 3,
    **changes,
):
    """Let a policy look every half second, as live, and tell what it made.

    Args:
        seconds: how long.
        namespace: of the whole system.
        old: the chunks lack what newer ones tell of their origin.
        guided: chunks are bound to a beginning.
        late_joint_ms: the joint sample of this time comes after everybody looked.
        seeds: chunk's number -> seed of its noise.
        changes: to the fields of every chunk message.
    """
    told = Run(namespace=namespace, old=old)
    streams, looked_ns, number = Streams(ROBOT), T0, 0
    for received_ns, topic, camera, stamp, picture in arrivals(seconds, late_joint_ms):
        if camera:
            content = image(stamp, picture)
            told.add(received_ns, topic, IMAGE, content)
            pixels = content.data.reshape(4, 6, 3)
            streams.add_image(camera, pixels, stamp_ns=stamp, received_ns=received_ns)
        else:
            content = joints(stamp)
            told.add(received_ns, topic, JOINT_STATE, content)
            streams.add_joints(NAMES, content.position, stamp_ns=stamp, received_ns=received_ns)
        words = "put it down" if received_ns > at(1500) else "pick"
        seen = streams.sample(received_ns, words)
        if not isinstance(seen, Observation) or received_ns < looked_ns + 500 * MS:
            continue
        looked_ns, number = received_ns, number + 1
        guidance = None
        if guided and number > 1:
            guidance = Guidance(actions=np.full((3, 2), 0.1 * number), weights=np.ones(3) / 2)
        chunk = FakePolicy(seeds(number)).infer(seen, guidance)
        told.made.append(chunk)
        report = chunk_message(
            number,
            chunk,
            seen,
            old=old,
            seed=seeds(number),
            mode="rtc" if guided else "replace",
            guidance=guidance,
            **changes,
        )
        told.add(received_ns + 100 * MS, CHUNK_TOPIC, CHUNK_TYPE, report)
    return told
