"""Converting recorded episodes to a LeRobot dataset, in times real time.

Writes episodes of two 640x480 cameras at 30 Hz, joints at 100 Hz and teleoperation at 50 Hz, once
with raw and once with JPEG images, and converts them with the command that users type.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from figures import ROBOTS, bench_parser, merge_figures

from evo1_policy.robot_config import RobotConfig, load_robot

ROBOT_FILE = ROBOTS / "xarm6.yaml"
WIDTH, HEIGHT, RATE_HZ = 640, 480, 30
MS = 1_000_000
START_NS = 1_700_000_000_000 * MS
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINTS, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one conversion."""

    times_realtime: float
    wall_s: float
    cpu_s: float
    rss_mb_max: float  # of the largest process
    dataset_mb: float


def main() -> int:
    """Measure raw and JPEG, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="two episodes of 4 s")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each episode")
    parser.add_argument("--format", default="v2.1", choices=("v2.1", "v3.0"))
    parser.add_argument("--storage", default="h264", choices=("h264", "av1", "png"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.episodes, arguments.seconds = 2, 4.0
    runs = {}
    for name in ("raw", "jpeg"):
        with tempfile.TemporaryDirectory(prefix="evo1_bench_") as folder:
            root = Path(folder) / "episodes"
            for number in range(arguments.episodes):
                write_episode(root, number, arguments.seconds, jpeg=name == "jpeg")
            runs[name] = _convert(root, Path(folder) / "dataset", arguments)
    print(
        f"{arguments.episodes} episodes of {arguments.seconds:g} s, 2 cameras {WIDTH}x{HEIGHT} at "
        f"{RATE_HZ} Hz, {arguments.format}, {arguments.storage}, {_cores()} cores"
    )
    print(f"{'images':<8}{'speed':>14}{'wall':>9}{'CPU':>9}{'RSS max':>10}{'dataset':>10}")
    for name, run in runs.items():
        print(
            f"{name:<8}{run.times_realtime:>7.1f} x real{run.wall_s:>7.1f} s{run.cpu_s:>7.1f} s"
            f"{run.rss_mb_max:>7.0f} MB{run.dataset_mb:>7.1f} MB"
        )
    figures = {
        "convert.times_realtime": runs["raw"].times_realtime,
        "convert.times_realtime_jpeg": runs["jpeg"].times_realtime,
        "convert.rss_mb_max": max(run.rss_mb_max for run in runs.values()),
    }
    merge_figures(arguments.json, figures)
    return 0


def _convert(episodes: Path, dataset: Path, arguments: argparse.Namespace) -> Figures:
    command = [sys.executable, "-m", "evo1_training.cli.convert", str(episodes)]
    command += ["--to", str(dataset), "--format", arguments.format]
    command += ["--storage", arguments.storage]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.monotonic() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = sum(path.stat().st_size for path in dataset.rglob("*") if path.is_file())
    shutil.rmtree(dataset)
    return Figures(
        times_realtime=arguments.episodes * arguments.seconds / wall_s,
        wall_s=wall_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        rss_mb_max=after.ru_maxrss / 1024,
        dataset_mb=size / 1e6,
    )


def write_episode(root: Path, number: int, seconds: float, *, jpeg: bool) -> None:
    """Write one episode as the recorder does."""
    from mcap.writer import CompressionType, Writer

    from evo1_training.recording.episode import (
        EpisodeFacts,
        Outcome,
        RecordedTopic,
        Sidecar,
        bag_path,
        write_sidecar,
    )

    text = ROBOT_FILE.read_text(encoding="utf-8")
    if jpeg:
        text = text.replace("type: sensor_msgs/msg/Image", f"type: {COMPRESSED}")
    robot = load_robot(ROBOT_FILE)
    start_ns = START_NS + number * 3_600_000 * MS
    image_type = COMPRESSED if jpeg else IMAGE
    topics = [
        *((f"/{camera.topic}", image_type, f"camera:{camera.name}") for camera in robot.cameras),
        (f"/{robot.state.topic}", JOINTS, "state"),
        (f"/{robot.teleop_topic}", TRAJECTORY, "teleop"),
    ]
    folder = root / f"episode_{number:06d}"
    folder.mkdir(parents=True)
    facts = EpisodeFacts(
        episode_id=folder.name,
        instruction="put the can into the box",
        operator="bench",
        robot_text=text,
        topics=tuple(RecordedTopic(name=n, type=t, role=r) for n, t, r in topics),
        started_ns=start_ns,
        started_utc="2023-11-14T22:13:20Z",
    )
    with bag_path(folder).open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start(profile="ros2")
        channels = {}
        for name, type_name, _ in topics:
            definition = _typestore().generate_msgdef(type_name, ros_version=2)[0]
            schema = writer.register_schema(type_name, "ros2msg", definition.encode())
            channels[name] = writer.register_channel(name, "cdr", schema)
        for stamp_ns, topic, data in _messages(robot, start_ns, seconds, jpeg=jpeg):
            writer.add_message(channels[topic], stamp_ns, data, stamp_ns)
        writer.finish()
    ended = Outcome(ended_ns=start_ns, grade="pass", reasons=(), streams=())
    write_sidecar(folder, Sidecar(facts=facts, outcome=ended))


def _messages(
    robot: RobotConfig, start_ns: int, seconds: float, *, jpeg: bool
) -> Iterator[tuple[int, str, bytes]]:
    """Give what two cameras, an arm and a person send, in order."""
    schedule: list[tuple[float, int, int]] = []  # ms, kind, number
    schedule += [(10.0 * k, 0, k) for k in range(-10, round(100 * seconds) + 10)]
    schedule += [(20.0 * k, 1, k) for k in range(-5, round(50 * seconds) + 5)]
    for camera in range(len(robot.cameras)):
        offset_ms = 2.0 * camera
        schedule += [
            (k * 1000 / RATE_HZ + offset_ms, 2 + camera, k)
            for k in range(round(RATE_HZ * seconds))
        ]
    scene = _Scene()
    for at_ms, kind, number in sorted(schedule):
        stamp_ns = start_ns + round(at_ms * MS)
        positions = 0.1 * np.sin(at_ms / 400 + np.arange(robot.width))
        if kind == 0:
            yield stamp_ns, f"/{robot.state.topic}", _joints(robot, stamp_ns, positions)
        elif kind == 1:
            yield stamp_ns, f"/{robot.teleop_topic}", _target(robot, stamp_ns, positions)
        else:
            image = scene.image(number, kind)
            topic = f"/{robot.cameras[kind - 2].topic}"
            yield stamp_ns, topic, _image(stamp_ns, image, jpeg=jpeg)


class _Scene:
    """A texture that pans slowly, a block that moves, and noise, as a camera would have it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (2 * HEIGHT // 16, 2 * WIDTH // 16, 3), dtype=np.uint8)
        self._texture = cv2.resize(coarse, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
        self._noise = rng.integers(0, 6, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)

    def image(self, number: int, camera: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        x, y = (number + 90 * camera) % WIDTH, (number // 2) % HEIGHT
        image = self._texture[y : y + HEIGHT, x : x + WIDTH] // 2 + self._noise[number % 8]
        left = (5 * number) % (WIDTH - 80)
        image[200:280, left : left + 80] = (200, 60, 40)
        return np.asarray(image)


def _typestore() -> Any:
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


_STORE = _typestore()


def _cdr(type_name: str, **content: Any) -> bytes:
    return bytes(_STORE.serialize_cdr(_STORE.types[type_name](**content), type_name))


def _header(stamp_ns: int) -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = _STORE.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return _STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")


def _image(stamp_ns: int, image: npt.NDArray[np.uint8], *, jpeg: bool) -> bytes:
    if jpeg:
        packed = cv2.imencode(".jpg", image[:, :, ::-1])[1].reshape(-1)
        return _cdr(COMPRESSED, header=_header(stamp_ns), format="jpeg", data=packed)
    return _cdr(
        IMAGE,
        header=_header(stamp_ns),
        height=HEIGHT,
        width=WIDTH,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * WIDTH,
        data=np.ascontiguousarray(image).reshape(-1),
    )


def _joints(robot: RobotConfig, stamp_ns: int, positions: npt.NDArray[np.float64]) -> bytes:
    return _cdr(
        JOINTS,
        header=_header(stamp_ns),
        name=list(robot.joint_names),
        position=positions,
        velocity=np.zeros(robot.width),
        effort=np.zeros(robot.width),
    )


def _target(robot: RobotConfig, stamp_ns: int, positions: npt.NDArray[np.float64]) -> bytes:
    nothing = np.empty(0)
    point = _STORE.types["trajectory_msgs/msg/JointTrajectoryPoint"](
        positions=positions,
        velocities=nothing,
        accelerations=nothing,
        effort=nothing,
        time_from_start=_STORE.types["builtin_interfaces/msg/Duration"](sec=0, nanosec=0),
    )
    return _cdr(
        TRAJECTORY,
        header=_header(stamp_ns),
        joint_names=list(robot.joint_names),
        points=[point],
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


if __name__ == "__main__":
    sys.exit(main())
