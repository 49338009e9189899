"""Streams: observations and reasons out of messages in the order of arrival."""

from pathlib import Path

import numpy as np
import pytest

from evo1_policy.observation import Observation
from evo1_policy.perception.streams import Streams
from evo1_policy.robot_config import parse_robot

MS = 1_000_000
T0 = 1_000_000 * MS  # start of every test [ns]
NAMES = ("elbow", "finger")


def test_observation_holds_the_frames_and_state_of_the_tick(feed) -> None:
    feed.joints(90, [0.0, 0.0], received=91)
    feed.joints(100, [1.0, 2.0], received=101)
    feed.frame("image_2", 98, received=102)
    first = feed.frame("image_1", 105, received=108)
    second = feed.frame("image_2", 110, received=113)
    feed.joints(110, [9.0, 9.0], received=111)
    observation = feed.observation(114)
    assert observation.images["image_1"] is first
    assert observation.images["image_2"] is second
    assert list(observation.images) == ["image_1", "image_2"]
    assert observation.state.tolist() == [1.5, 3.0]
    assert observation.state.dtype == np.float64
    assert observation.instruction == "pick"
    assert observation.stamp_ns == T0 + 105 * MS
    assert observation.received_ns == T0 + 113 * MS
    assert observation.skew_ns == 5 * MS
    assert observation.source_stamps_ns == {
        "image_1": T0 + 105 * MS,
        "image_2": T0 + 110 * MS,
        "joint_states": T0 + 100 * MS,
    }


def test_received_time_is_that_of_the_message_that_settled_it(feed) -> None:
    feed.joints(90, [0.0, 0.0])
    feed.joints(100, [1.0, 2.0])
    near = feed.frame("image_2", 99, received=101)
    feed.frame("image_1", 100, received=103)
    feed.frame("image_2", 132, received=135)
    observation = feed.observation(136)
    assert observation.images["image_2"] is near
    assert observation.received_ns == T0 + 135 * MS


def test_same_observation_comes_again_until_a_newer_one_settles(running) -> None:
    observation = running.observation(106)
    running.frame("image_1", 133)
    assert running.observation(134) is observation
    running.joints(130, [4.0, 5.0])
    running.joints(135, [4.0, 5.0])
    running.frame("image_2", 138)
    assert running.observation(139).stamp_ns == T0 + 133 * MS


def test_new_instruction_reaches_the_observation(running) -> None:
    assert running.observation(106).instruction == "pick"
    again = running.sample(106, "place")
    assert isinstance(again, Observation)
    assert again.instruction == "place"


def test_each_stream_that_never_came_is_named(feed) -> None:
    missing = feed.missing(100)
    assert (missing.stream, missing.code) == ("image_1", "never")
    assert "env/image_raw" in missing.message
    feed.frame("image_1", 100)
    assert feed.missing(100).stream == "image_2"
    feed.frame("image_2", 100)
    missing = feed.missing(100)
    assert (missing.stream, missing.code) == ("joint_states", "never")


def test_first_frames_are_pending(feed) -> None:
    feed.joints(100, [1.0, 2.0])
    feed.frame("image_2", 95)
    feed.frame("image_1", 100)
    assert feed.missing(101).code == "pending"


@pytest.mark.parametrize(("stream", "now"), [("image_1", 251), ("image_2", 256)])
def test_camera_that_stops_is_stale(running, stream: str, now: int) -> None:
    other = "image_2" if stream == "image_1" else "image_1"
    for stamp in range(110, 260, 10):
        running.joints(stamp, [1.0, 2.0])
        running.frame(other, stamp)
    assert running.observation(now - 10).stamp_ns <= T0 + 105 * MS
    missing = running.missing(now)
    assert (missing.stream, missing.code) == (stream, "stale")
    assert "151 ms old, allowed are 150 ms" in missing.message


def test_joint_states_that_stop_are_stale_and_come_back(running) -> None:
    running.frame("image_1", 200)
    running.frame("image_2", 200)
    missing = running.missing(201)
    assert (missing.stream, missing.code) == ("joint_states", "stale")
    for stamp in (300, 310):
        running.joints(stamp, [1.0, 2.0])
    running.frame("image_1", 312)
    running.frame("image_2", 312)
    assert running.observation(313).stamp_ns == T0 + 312 * MS


def test_lost_frame_of_one_camera_leaves_the_observation_before_it(running) -> None:
    for stamp in range(110, 180, 10):
        running.joints(stamp, [1.0, 2.0])
    running.frame("image_1", 133)
    running.frame("image_2", 171)
    assert running.observation(172).stamp_ns == T0 + 100 * MS


def test_cameras_that_never_meet_are_a_skew_with_its_size(feed) -> None:
    for stamp in range(0, 1200, 100):
        feed.frame("image_2", stamp)
        feed.frame("image_1", stamp + 50)
        for part in range(0, 100, 25):
            feed.joints(stamp + part, [1.0, 2.0])
    missing = feed.missing(1151)
    assert (missing.stream, missing.code) == ("image_2", "skew")
    assert "wrist/image_raw is 50 ms from the reference frame on env/image_raw" in missing.message
    assert "allowed are 40 ms" in missing.message


def test_cameras_of_low_light_that_run_freely_give_observations(feed) -> None:
    for stamp in range(0, 800, 66):
        feed.frame("image_2", stamp)
        feed.joints(stamp, [1.0, 2.0])
        feed.frame("image_1", stamp + 33)
        feed.joints(stamp + 33, [1.0, 2.0])
    assert feed.observation(760).skew_ns == 33 * MS


def test_camera_that_lags_too_far_behind_is_named(feed) -> None:
    for stamp in range(0, 600, 30):
        feed.frame("image_1", stamp)
        feed.joints(stamp, [1.0, 2.0])
        feed.frame("image_2", stamp - 149, received=stamp)
    missing = feed.missing(571)
    assert (missing.stream, missing.code) == ("image_2", "stale")
    assert "lags behind" in missing.message


def test_joint_order_in_the_message_changes_nothing_and_others_are_ignored(feed) -> None:
    feed.joints(90, [7.0, 0.0, 0.0], ("wheel", "finger", "elbow"))
    feed.joints(100, [2.0, 1.0, 7.0], ("finger", "elbow", "wheel"))
    feed.frame("image_1", 100)
    feed.frame("image_2", 100)
    assert feed.observation(101).state.tolist() == [1.0, 2.0]


def test_joints_of_separate_messages_are_merged_each_from_its_own_samples(feed) -> None:
    for stamp in range(60, 110, 10):
        feed.joints(stamp, [stamp / 10], ("elbow",))
        feed.joints(stamp + 1, [-stamp / 10], ("finger",))
    feed.frame("image_1", 104)
    feed.frame("image_2", 104)
    state = feed.observation(105).state
    np.testing.assert_allclose(state, [10.4, -10.3], atol=1e-12)


def test_measured_holds_the_newest_position_of_every_joint(feed) -> None:
    assert feed.streams.measured() is None
    feed.joints(100, [1.0], ("elbow",))
    assert feed.streams.measured() is None
    feed.joints(104, [2.0], ("finger",))
    feed.joints(110, [1.5], ("elbow",))
    feed.joints(108, [8.0], ("elbow",))
    measured = feed.streams.measured()
    assert measured is not None
    assert measured.positions.tolist() == [1.5, 2.0]
    assert measured.stamp_ns == T0 + 110 * MS


def test_measured_does_not_change_afterwards(running) -> None:
    measured = running.streams.measured()
    running.joints(110, [5.0, 5.0])
    assert measured is not None
    assert measured.positions.tolist() == [1.0, 2.0]


def test_joint_that_never_came_is_named(feed) -> None:
    feed.joints(100, [1.0], ("elbow",))
    feed.frame("image_1", 100)
    feed.frame("image_2", 100)
    missing = feed.missing(101)
    assert (missing.stream, missing.code) == ("joint_states", "joint")
    assert "joint 'finger' was never in joint_states" in missing.message


def test_joint_that_vanishes_from_the_messages_is_named(running) -> None:
    for stamp in range(110, 210, 10):
        running.joints(stamp, [1.0], ("elbow",))
        running.frame("image_1", stamp)
        running.frame("image_2", stamp)
    missing = running.missing(201)
    assert (missing.stream, missing.code) == ("joint_states", "joint")
    assert "joint 'finger' on joint_states is 101 ms old" in missing.message


def test_frames_before_the_joints_came_back_are_still_stale(running) -> None:
    for stamp in range(110, 400, 10):
        running.frame("image_1", stamp)
        running.frame("image_2", stamp)
    for stamp in (395, 400):
        running.joints(stamp, [1.0, 2.0])
    missing = running.missing(401)
    assert (missing.stream, missing.code) == ("joint_states", "stale")
    assert "joint 'elbow' has no sample on joint_states within 100 ms" in missing.message
    running.frame("image_1", 401)
    running.frame("image_2", 401)
    assert running.observation(402).stamp_ns == T0 + 401 * MS


def test_joints_of_a_driver_with_another_clock_are_dropped_by_name(running) -> None:
    running.joints(-5000, [3.0, 4.0], ("finger", "wheel"), received=110)
    running.joints(110, [1.0], ("elbow",))
    running.joints(-4990, [3.0], ("finger",), received=111)
    assert "far behind the other joints" in running.report(112)["joint_states"].problem


def test_messages_of_another_robot_are_named(feed) -> None:
    feed.joints(100, [1.0], ("wheel",))
    feed.frame("image_1", 100)
    feed.frame("image_2", 100)
    missing = feed.missing(101)
    assert (missing.stream, missing.code) == ("joint_states", "never")
    assert "carries none of this robot's joints (elbow, finger), but wheel" in missing.message


def test_late_joint_message_is_sorted_in(feed) -> None:
    feed.joints(80, [0.0, 0.0])
    feed.joints(100, [2.0, 2.0])
    feed.joints(90, [1.5, 1.5])
    feed.frame("image_1", 105)
    feed.frame("image_2", 105)
    assert feed.observation(106).state.tolist() == [2.25, 2.25]


def test_repeated_joint_stamp_is_rejected_and_the_first_kept(running) -> None:
    running.joints(100, [9.0, 9.0])
    report = running.report(106)["joint_states"]
    assert (report.received, report.rejected) == (3, 1)
    assert "two messages with the same stamp" in report.problem
    assert running.observation(106).state.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("stamp", "problem"), [(105, "same stamp"), (95, "goes back by 10.0 ms")])
def test_frame_that_is_not_newer_is_rejected(running, stamp: int, problem: str) -> None:
    kept = running.observation(106).images["image_2"]
    running.frame("image_2", stamp, received=107)
    report = running.report(108)["image_2"]
    assert (report.received, report.rejected) == (2, 1)
    assert problem in report.problem
    assert "wrist/image_raw" in report.problem
    assert running.observation(108).images["image_2"] is kept


def test_zero_stamp_is_rejected_with_the_topic(feed) -> None:
    feed.streams.add_image("image_1", np.zeros((2, 2, 3), np.uint8), stamp_ns=0, received_ns=T0)
    feed.streams.add_joints(NAMES, np.zeros(2), stamp_ns=0, received_ns=T0)
    assert "env/image_raw: message without a stamp" in feed.missing(0).message
    assert "joint_states: message without a stamp" in feed.report(0)["joint_states"].problem


def test_stamp_far_in_the_future_is_rejected_with_the_topic(feed) -> None:
    feed.frame("image_1", 1102, received=100)
    feed.joints(1102, [0.0, 0.0], received=100)
    missing = feed.missing(101)
    assert missing.code == "never"
    assert "env/image_raw: stamp is 1.0 s in the future" in missing.message
    assert "joint_states: stamp is 1.0 s" in feed.report(101)["joint_states"].problem


def test_camera_whose_clock_was_set_back_starts_afresh(running) -> None:
    running.frame("image_2", -2000, received=110)
    assert running.report(110)["image_2"].rejected == 0
    missing = running.missing(110)
    assert (missing.stream, missing.code) == ("image_2", "clock")
    assert "clock of wrist/image_raw is 2110 ms behind this node's" in missing.message


def test_joints_whose_clock_was_set_back_start_afresh(running) -> None:
    running.joints(-2000, [3.0, 4.0], received=110)
    measured = running.streams.measured()
    assert measured is not None
    assert measured.positions.tolist() == [3.0, 4.0]
    assert running.missing(110).stream == "joint_states"


def test_decoding_problem_is_counted_and_named_until_messages_are_good(feed) -> None:
    feed.streams.reject("image_1", "env/image_raw: encoding '16UC1' is not supported")
    assert "'16UC1'" in feed.missing(0).message
    report = feed.report(0)["image_1"]
    assert (report.received, report.rejected) == (1, 1)
    assert np.isnan(report.age_ms)
    for stamp in range(1, 31):
        assert "'16UC1'" in feed.report(stamp)["image_1"].problem
        feed.frame("image_1", stamp)
    report = feed.report(30)["image_1"]
    assert (report.received, report.rejected, report.problem) == (31, 1, "")


def test_unknown_stream_is_a_key_error(feed) -> None:
    with pytest.raises(KeyError, match="image_9"):
        feed.streams.reject("image_9", "?")
    with pytest.raises(KeyError, match="image_9"):
        feed.frame("image_9", 1)


def test_report_tells_rate_age_and_bounds_in_the_robot_files_order(feed) -> None:
    for stamp in range(0, 1000, 10):
        feed.joints(stamp, [0.0, 0.0])
        if stamp % 40 == 0:
            feed.frame("image_1", stamp, received=stamp + 3)
    reports = feed.streams.report(T0 + 1000 * MS)
    assert [report.name for report in reports] == ["image_1", "image_2", "joint_states"]
    assert [report.topic for report in reports] == [
        "env/image_raw",
        "wrist/image_raw",
        "joint_states",
    ]
    assert [report.rate_hz for report in reports] == pytest.approx([25.0, 0.0, 100.0])
    assert [report.age_ms for report in reports] == pytest.approx(
        [40.0, np.nan, 10.0], nan_ok=True
    )
    assert [report.offset_ms for report in reports] == [3.0, 0.0, 0.0]
    assert [report.max_age_ms for report in reports] == [150.0, 150.0, 100.0]


def test_rate_of_a_dead_stream_falls_to_zero(running) -> None:
    for stamp in range(110, 1000, 10):
        running.frame("image_1", stamp)
    assert running.report(990)["image_1"].rate_hz == pytest.approx(100, rel=0.01)
    assert running.report(1890)["image_1"].rate_hz < 60
    assert running.report(3000)["image_1"].rate_hz == 0.0


def test_reset_forgets_messages_but_not_counters(running) -> None:
    running.observation(106)
    running.streams.reset()
    assert running.missing(106).code == "never"
    assert running.streams.measured() is None
    report = running.report(106)["joint_states"]
    assert (report.received, report.rate_hz) == (2, 0.0)
    assert np.isnan(report.age_ms)


def test_buffers_are_bounded(feed) -> None:
    for stamp in range(5000):
        feed.frame("image_1", stamp)
        feed.frame("image_2", stamp)
        feed.joints(stamp, [0.0, 0.0])
    streams = feed.streams
    assert len(streams._reference.frames) == 2001
    assert len(streams._joints.rows) == 2001
    assert feed.observation(5000).stamp_ns == T0 + 4999 * MS


def test_frames_are_bounded_by_their_bytes_but_a_few_are_kept(new_feed) -> None:
    for nbytes, kept in ((4_000_000, 16), (25_000_000, 4)):
        feed, large = new_feed(), np.zeros((1, nbytes // 3, 3), np.uint8)
        for stamp in range(0, 2000, 33):
            feed.streams.add_image(
                "image_1", large, stamp_ns=T0 + stamp * MS, received_ns=T0 + stamp * MS
            )
        assert len(feed.streams._reference.frames) == kept


def test_shipped_robots_give_observations(robots_dir: Path) -> None:
    robot = parse_robot((robots_dir / "xarm6.yaml").read_text())
    streams = Streams(robot)
    arm, gripper = robot.joint_names[:6], robot.joint_names[6:]
    for stamp in (T0, T0 + 10 * MS):
        streams.add_joints(arm, np.ones(6), stamp_ns=stamp, received_ns=stamp)
        streams.add_joints(gripper, np.ones(1), stamp_ns=stamp, received_ns=stamp)
    for camera in robot.cameras:
        image = np.zeros((2, 2, 3), np.uint8)
        streams.add_image(camera.name, image, stamp_ns=T0 + 10 * MS, received_ns=T0 + 11 * MS)
    observation = streams.sample(T0 + 11 * MS, "pick")
    assert isinstance(observation, Observation)
    assert observation.state.tolist() == [1.0] * 7
