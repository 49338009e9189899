"""Streams of a small robot, fed with times in milliseconds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.streams import StreamReport, Streams
from evo1_policy.robot_config import RobotConfig, parse_robot

MS = 1_000_000
T0 = 1_000_000 * MS  # start of every test [ns]
TEXT = """
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
ROBOT = parse_robot(TEXT)
NAMES = ("elbow", "finger")


@dataclass
class Feed:
    """Streams with times in milliseconds since the start of the test."""

    streams: Streams

    def frame(self, camera: str, stamp: float, received: float | None = None) -> np.ndarray:
        image = np.zeros((2, 2, 3), np.uint8)
        arrival = stamp if received is None else received
        self.streams.add_image(
            camera, image, stamp_ns=T0 + round(stamp * MS), received_ns=T0 + round(arrival * MS)
        )
        return image

    def joints(
        self,
        stamp: float,
        positions: list[float],
        names: tuple[str, ...] = NAMES,
        received: float | None = None,
    ) -> None:
        arrival = stamp if received is None else received
        self.streams.add_joints(
            names,
            np.array(positions),
            stamp_ns=T0 + round(stamp * MS),
            received_ns=T0 + round(arrival * MS),
        )

    def sample(self, now: float, instruction: str = "pick") -> Observation | Missing:
        return self.streams.sample(T0 + round(now * MS), instruction)

    def observation(self, now: float) -> Observation:
        found = self.sample(now)
        assert isinstance(found, Observation), found
        return found

    def missing(self, now: float) -> Missing:
        found = self.sample(now)
        assert isinstance(found, Missing), found
        return found

    def report(self, now: float) -> dict[str, StreamReport]:
        reports = self.streams.report(T0 + round(now * MS))
        return {report.name: report for report in reports}


@pytest.fixture(scope="session")
def robot() -> RobotConfig:
    """Two joints, two cameras."""
    return ROBOT


@pytest.fixture(scope="session")
def robot_text() -> str:
    """Two joints, two cameras."""
    return TEXT


@pytest.fixture(scope="session")
def new_feed() -> Callable[..., Feed]:
    """Make empty streams, of this robot or another."""
    return lambda robot=ROBOT: Feed(Streams(robot))


@pytest.fixture
def feed(new_feed: Callable[[], Feed]) -> Feed:
    """Empty streams."""
    return new_feed()


@pytest.fixture
def running(feed: Feed) -> Feed:
    """All streams alive and settled at 100 ms."""
    feed.joints(90, [0.0, 0.0])
    feed.joints(100, [1.0, 2.0])
    feed.frame("image_1", 100)
    feed.frame("image_2", 105)
    return feed
