"""Messages torn, late, reordered, repeated: rejected by name, or read; never an exception."""

import os

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.messages import MessageError, decode_image, deserialize, read_joints

CASES = int(os.environ.get("EVO1_FUZZ", "20000")) // 20
MS = 1_000_000
T0 = 1_000_000 * MS  # as the feed counts
IMAGE, JOINTS = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"


@pytest.fixture(scope="module")
def originals():
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=5, nanosec=6)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    image = types[IMAGE](
        header=header,
        height=4,
        width=4,
        encoding="rgb8",
        is_bigendian=0,
        step=12,
        data=np.arange(48, dtype=np.uint8),
    )
    none = np.empty(0)
    joints = types[JOINTS](
        header=header,
        name=["elbow", "finger"],
        position=np.array([0.1, 0.2]),
        velocity=none,
        effort=none,
    )
    return [
        (IMAGE, bytes(store.serialize_cdr(image, IMAGE))),
        (JOINTS, bytes(store.serialize_cdr(joints, JOINTS))),
    ]


def test_torn_bytes_are_refused_with_their_topic_or_read(originals):
    rng = np.random.default_rng(3)
    refused = []
    for i in range(CASES):
        kind, data = originals[i % 2]
        torn = bytearray(data[: int(rng.integers(len(data) + 1))] if i % 3 else data)
        for _ in range(int(rng.integers(4))):
            if torn:
                torn[int(rng.integers(len(torn)))] = int(rng.integers(256))
        try:
            message = deserialize(bytes(torn), kind, topic="/torn")
            if kind == IMAGE:
                assert decode_image(message, topic="/torn").shape[2] == 3
            else:
                _, positions, _ = read_joints(message, topic="/torn")
                assert np.isfinite(positions).all()
        except MessageError as error:
            refused.append(str(error))
    assert all("/torn" in words for words in refused)
    assert len(refused) > CASES // 4


def test_whatever_order_and_stamps_messages_have_observations_are_fresh(new_feed, robot):
    rng, feed = np.random.default_rng(4), new_feed()
    seen = 0
    for k in range(CASES):
        now = 1000 + 10 * k
        late = int(rng.choice([0, 0, 0, 0, 3, 60, 500, -400, 3000, -3000]))
        repeat = int(rng.integers(1, 3)) if rng.random() < 0.1 else 1
        for _ in range(repeat):
            if k % 3 == 0:
                for camera in ("image_1", "image_2"):
                    feed.frame(camera, now - late, now)
            names = ("elbow", "finger") if rng.random() < 0.9 else ("finger",)
            values = [rng.choice([0.1, 0.2, np.nan], p=[0.49, 0.49, 0.02]) for _ in names]
            feed.joints(now - late, values, names, now)
        found = feed.sample(now)
        if isinstance(found, Observation):
            seen += 1
            assert np.isfinite(found.state).all()
            assert T0 + now * MS - found.stamp_ns <= robot.cameras[0].max_age_ms * MS
        else:
            assert isinstance(found, Missing)
            assert found.message
    assert seen > CASES // 20
