"""Forks writers that record until they are killed: `python killed_writer.py ROOT ROBOT_FILE`.

For each name of an episode on standard input it prints the process that records it. What was
accepted so far stands in `<root>/<name>.accepted`, as the newest log time. It ends with its
input, and not before the last writer is gone and has let go of its bag.
"""

import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from evo1_policy.robot_config import load_robot
from evo1_training.recording.bag_writer import BagWriter, WriterLimits
from evo1_training.recording.cdr import definition
from evo1_training.recording.episode import EpisodeFacts, Sidecar
from evo1_training.recording.mcap_writer import TopicSpec
from evo1_training.recording.stream_monitor import robot_topics

TYPESTORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE = b"\0\1\0\0" + bytes(4_000)


def main() -> None:
    root, robot = Path(sys.argv[1]), load_robot(sys.argv[2])
    names = {topic: f"/{topic}" for topic in _written(robot)}
    topics = robot_topics(robot, names)
    specs = [TopicSpec(name=t.name, type=t.type, definition=definition(t.type)) for t in topics]
    children = []
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _record(root / line.strip(), robot, topics, specs)
        children.append(child)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _written(robot):
    cameras = [camera.topic for camera in robot.cameras]
    commands = [command.topic for command in robot.command]
    return [*cameras, robot.state.topic, robot.teleop_topic, *commands]


def _record(folder, robot, topics, specs):
    with folder.with_suffix(".accepted").open("w+b") as file:
        file.write(bytes(8))
        file.flush()
        accepted = mmap.mmap(file.fileno(), 8)
    facts = EpisodeFacts(
        episode_id=folder.name,
        instruction="put the cube into the box",
        operator="Ada",
        robot_text=robot.text,
        topics=tuple(topics),
        started_ns=time.time_ns(),
        started_utc="",
    )
    limits = WriterLimits(chunk_bytes=50_000, reserve_bytes=50_000)
    writer = BagWriter(folder, Sidecar(facts=facts), specs, limits=limits)
    state, target = _state(robot), _target(robot)
    step, now_ns = 0, facts.started_ns
    while True:
        now_ns += 10_000_000  # not the wall clock: what a busy machine does not run is not lost
        stamp = struct.pack("<iI", *divmod(now_ns, 10**9))
        for topic in topics[:4] if step % 3 == 0 else topics[2:3]:
            data = {"state": state, "teleop": target}.get(topic.role, IMAGE)
            data = data[:4] + stamp + data[12:]
            assert writer.put(topic.name, data, log_ns=now_ns, publish_ns=now_ns)
        accepted[:8] = struct.pack("<Q", now_ns)
        step += 1
        time.sleep(0.01)
        while writer.queued_bytes:  # a writer that gets no processor is given no more
            time.sleep(0.001)


def _state(robot):
    return _cdr(
        "sensor_msgs/msg/JointState",
        header=_header(),
        name=list(robot.joint_names),
        position=np.array(robot.home),
        velocity=np.array([]),
        effort=np.array([]),
    )


def _target(robot):
    return _cdr(
        "trajectory_msgs/msg/JointTrajectory",
        header=_header(),
        joint_names=list(robot.joint_names),
        points=[],
    )


def _header():
    time_type = TYPESTORE.types["builtin_interfaces/msg/Time"]
    return TYPESTORE.types["std_msgs/msg/Header"](stamp=time_type(sec=0, nanosec=0), frame_id="")


def _cdr(type_name, **content):
    message = TYPESTORE.types[type_name](**content)
    return bytes(TYPESTORE.serialize_cdr(message, type_name))


if __name__ == "__main__":
    main()
