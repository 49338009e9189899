"""A bag replayed through the live node's subscriptions gives the converter's observations."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bag_writing import (
    COMPRESSED,
    ENV,
    JOINTS,
    ROBOT_TEXT,
    TYPES,
    WRIST,
    at,
    compressed_cdr,
    joints_cdr,
    picture,
    steady,
    write_episode,
)

from evo1_policy.observation import Observation
from evo1_policy.perception.streams import Streams
from evo1_training.datasets.episode_plan import frames, plan_episode
from evo1_training.recording.bag_reader import open_episode

pytestmark = pytest.mark.ros
PROFILE = Path(__file__).parents[3] / "evo1_bringup" / "config" / "fastdds.xml"
SECONDS = 1.5


class Collector:
    """Stands where the node's runner stands; keeps every observation that the streams give."""

    def __init__(self, robot, now_ns):
        self.streams = Streams(robot)
        self.found: dict[int, Observation] = {}
        self.received = 0
        self._now_ns = now_ns
        self._news = threading.Condition()

    def add_image(self, camera, image, *, stamp_ns, received_ns):
        self.streams.add_image(camera, image, stamp_ns=stamp_ns, received_ns=received_ns)
        self._look()

    def add_joints(self, names, positions, *, stamp_ns, received_ns):
        self.streams.add_joints(names, positions, stamp_ns=stamp_ns, received_ns=received_ns)
        self._look()

    def reject(self, stream, problem):
        self.streams.reject(stream, problem)
        self._look()

    def wait_for(self, count):
        with self._news:
            assert self._news.wait_for(lambda: self.received >= count, timeout=20)

    def _look(self):
        observation = self.streams.sample(self._now_ns(), "pick")
        if isinstance(observation, Observation):
            self.found[observation.stamp_ns] = observation
        with self._news:
            self.received += 1
            self._news.notify()


def recorded(compressed: bool):
    """A recording with lost frames, a joint that is NaN once, and a corrupt image."""
    import cv2

    recording = steady(SECONDS, size=(48, 64), lost={11, 12})
    recording.add(JOINTS, at(505.5), joints_cdr(at(505), [np.nan, 0.0]))
    if compressed:
        recording.types = {**TYPES, ENV: COMPRESSED}
        recording.messages = [one for one in recording.messages if one[1] != ENV]
        for k in range(round(SECONDS * 30)):
            data = cv2.imencode(".jpg", picture(k, (48, 64)))[1].tobytes()
            if k == 20:
                data = data[: len(data) // 2]
            stamp = k * 1000 / 30
            recording.add(ENV, at(stamp + 12), compressed_cdr(at(stamp), data))
    recording.messages.sort(key=lambda one: one[0])
    return recording


def replay(recording, robot) -> dict[int, Observation]:
    """Send each message over DDS as it was recorded, one after the other."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image, JointState

    from evo1_policy.ros.listening import Listener
    from evo1_policy.ros.reading_thread import ReadElsewhere
    from evo1_policy.ros.subscriptions import Sensors

    classes = {c.__name__: c for c in (CompressedImage, Image, JointState)}
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(PROFILE))
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("replay", context=context)
    now = [at(0)]
    collector = Collector(robot, lambda: now[0])
    failures = []
    sensors = Sensors(
        node,
        listener=Listener(node, group=ReadElsewhere()),
        robot=robot,
        runner=collector,
        now_ns=lambda: now[0],
        on_failure=failures.append,
    )
    try:
        publishers = {
            topic: node.create_publisher(
                classes[recording.types[topic].rpartition("/")[2]],
                topic,
                10 if topic == JOINTS else qos_profile_sensor_data,
            )
            for topic in (ENV, WRIST, JOINTS)
        }
        end = time.monotonic() + 20
        while any(p.get_subscription_count() == 0 for p in publishers.values()):
            assert time.monotonic() < end
            time.sleep(0.01)
        sent = 0
        for received_ns, topic, data in recording.messages:
            if topic not in publishers:
                continue
            now[0] = received_ns
            publishers[topic].publish(data)
            sent += 1
            collector.wait_for(sent)
    finally:
        sensors.close()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert not failures
    return collector.found


@pytest.mark.parametrize("compressed", [False, True])
def test_bag_gives_the_same_observations_live_and_offline_bit_for_bit(tmp_path, compressed):
    recording = recorded(compressed)
    text = ROBOT_TEXT
    if compressed:
        text = text.replace(
            "env/image_raw, type: sensor_msgs/msg/Image", f"env/image_raw, type: {COMPRESSED}"
        )
    folder = write_episode(tmp_path / "episode_000000", recording, robot_text=text)
    episode = open_episode(folder)
    live = replay(recording, episode.robot)
    plan = plan_episode(episode, gaps="split", decode=compressed)
    offline = {
        frame.tick_ns: frame
        for index in range(len(plan.segments))
        for frame in frames(episode, plan, index)
    }
    assert len(plan.segments) == (3 if compressed else 2)
    assert len(live) >= len(offline) - 2  # live shows only the newest of two that settle at once
    assert set(live) <= set(offline)
    for tick_ns, observation in live.items():
        frame = offline[tick_ns]
        assert frame.source_stamps_ns == observation.source_stamps_ns
        assert frame.skew_ns == observation.skew_ns
        assert frame.state.tobytes() == observation.state.tobytes()
        assert list(frame.images) == list(observation.images)
        for name, image in observation.images.items():
            assert frame.images[name].shape == (48, 64, 3)
            np.testing.assert_array_equal(frame.images[name], image)
