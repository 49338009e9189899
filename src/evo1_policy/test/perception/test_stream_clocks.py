"""Clocks that differ, pictures that are damaged, joints in parts: as streams tell of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from evo1_policy.perception.frames import DamagedImageError, Frame, decoded
from evo1_policy.perception.streams import clocks_text
from evo1_policy.robot_config import parse_robot

MS = 1_000_000
T0 = 1_000_000 * MS  # start of every test [ns]
NAMES = ("elbow", "finger")


@pytest.mark.parametrize("stream", ["image_2", "joint_states"])
def test_clock_that_is_ahead_is_named_with_what_to_do(feed, stream: str) -> None:
    ahead = {name: 51 if name == stream else 0 for name in ("image_1", "image_2", "joint_states")}
    for now in range(0, 500, 25):
        feed.joints(now + ahead["joint_states"], [0.0, 0.0], received=now)
        feed.frame("image_1", now, received=now)
        feed.frame("image_2", now + ahead["image_2"], received=now)
    topic = {"image_2": "wrist/image_raw"}.get(stream, stream)
    missing = feed.missing(476)
    assert (missing.stream, missing.code) == (stream, "clock")
    assert f"clock of {topic} is 51 ms ahead of this node's; synchronise" in missing.message
    assert "stamp: arrival in the robot file" in missing.message
    report = feed.report(476)[stream]
    assert (report.offset_ms, report.age_ms) == (-51.0, -50.0)


def test_stamps_a_little_ahead_give_observations(feed) -> None:
    for now in range(0, 500, 25):
        feed.joints(now + 30, [0.0, 0.0], received=now)
        feed.frame("image_1", now + 30, received=now)
        feed.frame("image_2", now + 30, received=now)
    assert feed.observation(476).stamp_ns == T0 + 505 * MS


def test_one_late_message_says_nothing_of_the_clock(running) -> None:
    for now in range(110, 500, 10):
        late = 160 if now == 300 else 0
        running.joints(now, [0.0, 0.0])
        running.frame("image_1", now)
        running.frame("image_2", now, received=now + late)
    assert running.report(500)["image_2"].offset_ms == 0.0
    assert running.observation(500)


def test_stamps_of_the_time_since_boot_are_named_as_such(feed) -> None:
    year_ns = 400 * 86_400 * 10**9
    feed.streams.add_image(
        "image_1", np.zeros((2, 2, 3), np.uint8), stamp_ns=3600 * 10**9, received_ns=year_ns
    )
    message = feed.missing(0).message
    assert "env/image_raw: stamped 3600 s, the time since its driver's boot" in message
    assert "set stamp: arrival" in message


def test_arrival_stands_for_the_stamp_where_the_robot_file_says_so(
    new_feed, robot_text: str
) -> None:
    text = robot_text.replace("max_age_ms: 150}", "max_age_ms: 150, stamp: arrival}")
    feed = new_feed(
        parse_robot(text.replace("max_age_ms: 100}", "max_age_ms: 100, stamp: arrival}"))
    )
    for now in range(0, 300, 25):
        for camera in ("image_1", "image_2"):
            feed.streams.add_image(
                camera, np.zeros((2, 2, 3), np.uint8), stamp_ns=0, received_ns=T0 + now * MS
            )
        feed.streams.add_joints(
            NAMES, np.array([now / 100, 0.0]), stamp_ns=7, received_ns=T0 + now * MS
        )
    observation = feed.observation(276)
    assert observation.stamp_ns == T0 + 275 * MS
    assert observation.state.tolist() == [2.75, 0.0]
    assert feed.report(276)["image_1"].offset_ms == 0.0


def test_damaged_frame_is_found_when_it_is_looked_at_and_another_taken(running) -> None:
    import cv2

    def frame(data: bytes) -> Frame:
        return Frame(SimpleNamespace(format="jpeg", data=data), topic="wrist/image_raw")

    data = bytes(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1])
    torn = b"\xff\xd8" + bytes(64) + b"\xff\xd9"
    for stamp, received in ((130, data), (140, torn), (150, data)):
        running.joints(stamp, [0.0, 0.0])
        running.frame("image_1", stamp)
        running.streams.add_image(
            "image_2", frame(received), stamp_ns=T0 + stamp * MS, received_ns=T0 + stamp * MS
        )
    assert decoded(running.observation(151)).images["image_2"].shape == (64, 64, 3)
    damaged = running.streams.at(T0 + 140 * MS, "pick")
    with pytest.raises(
        DamagedImageError, match=r"wrist/image_raw: .* is corrupt or cut"
    ) as caught:
        decoded(damaged)
    running.streams.spoil(caught.value)
    report = running.report(151)["image_2"]
    assert (report.rejected, "corrupt" in report.problem) == (1, True)
    again = running.streams.at(T0 + 140 * MS, "pick")
    assert again.source_stamps_ns["image_2"] == T0 + 130 * MS


def test_joints_that_come_in_parts_may_have_several_sources(feed) -> None:
    feed.joints(100, [1.0], names=("elbow",))
    feed.joints(100, [2.0], names=("finger",))
    assert feed.streams.joint_parts == 2
    feed.joints(110, [1.0, 2.0])
    assert feed.streams.joint_parts == 1


@pytest.mark.parametrize(
    ("offsets_ms", "good", "told"),
    [
        ((21, 3), True, "by image_1 21 of 150 ms, joints 3 of 100 ms (allowed; ahead of this"),
        ((21, -30), False, "joints -30 of 100 ms (allowed; ahead of this one's may be 50 ms); jo"),
        ((80, 3), False, "; image_1: synchronise with chrony or ptp"),
    ],
)
def test_clocks_that_use_up_half_of_what_alignment_tolerates_are_named(offsets_ms, good, told):
    image, joints = offsets_ms
    fine, text = clocks_text(
        [
            SimpleNamespace(topic="image_1", offset_ms=image, max_age_ms=150),
            SimpleNamespace(topic="joints", offset_ms=joints, max_age_ms=100),
        ]
    )
    assert fine is good
    assert told in text
