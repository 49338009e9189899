"""From a recorded episode to aligned frames: gaps, rates, rejected messages, corrupt images."""

import cv2
import numpy as np
import pytest
from bag_writing import (
    COMPRESSED,
    ENV,
    JOINTS,
    MS,
    ROBOT_TEXT,
    TELEOP,
    TYPES,
    WRIST,
    Recording,
    at,
    compressed_cdr,
    image_cdr,
    joints_cdr,
    picture,
    position,
    steady,
    write_episode,
)

from evo1_training.datasets.episode_plan import UnreadableFrameError, frames, plan_episode
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import EpisodeError, bag_path

STEP_MS = 1000 / 30


@pytest.fixture
def planned(tmp_path):
    def plan(recording, *, gaps="split", robot_text=ROBOT_TEXT, **options):
        folder = write_episode(tmp_path / "episode_000000", recording, robot_text=robot_text)
        episode = open_episode(folder)
        return episode, plan_episode(episode, gaps=gaps, **options)

    return plan


def test_steady_recording_gives_every_frame_with_its_images_and_times(planned):
    episode, plan = planned(steady(2.0))
    assert [len(segment) for segment in plan.segments] == [60]
    assert (plan.gaps, plan.dropped, plan.problems) == ((), 0, ())
    found = list(frames(episode, plan, 0))
    assert len(found) == 60
    for k, frame in enumerate(found):
        np.testing.assert_array_equal(frame.images["image_1"], picture(k))
        assert list(frame.images) == ["image_1", "image_2"]
        assert frame.tick_ns == at(k * STEP_MS)
        assert frame.skew_ns <= 17 * MS
        due_ms = k * STEP_MS + STEP_MS
        np.testing.assert_allclose(frame.state, position(k * STEP_MS), atol=1e-3)
        np.testing.assert_allclose(frame.action, position(due_ms + 50), atol=1e-3)
    np.testing.assert_array_equal(found[7].images["image_2"], picture(7, camera=1))
    assert found[7].source_stamps_ns == {
        "image_1": at(7 * STEP_MS),
        "image_2": at(7 * STEP_MS + 4),
        "joint_states": at(230),
    }


def test_split_begins_a_new_episode_after_a_gap_and_keeps_true_times(planned):
    episode, plan = planned(steady(2.0, lost={20, 21, 22}))
    assert [len(segment) for segment in plan.segments] == [20, 37]
    (gap,) = plan.gaps
    assert gap.seconds == pytest.approx(4 * STEP_MS / 1000)
    assert gap.reason == "3 frames of env/image_raw missing"
    second = list(frames(episode, plan, 1))
    assert second[0].tick_ns == at(23 * STEP_MS)
    np.testing.assert_array_equal(second[0].images["image_1"], picture(23))


def test_hold_repeats_the_image_with_a_mark_while_joints_go_on(planned):
    episode, plan = planned(steady(2.0, lost={20, 21, 22}), gaps="hold")
    found = list(frames(episode, plan, 0))
    assert [k for k, frame in enumerate(found) if frame.held] == [20, 21, 22]
    assert plan.dropped == 0
    for k in (20, 21, 22):
        np.testing.assert_array_equal(found[k].images["image_1"], picture(19))
        assert found[k].tick_ns == pytest.approx(at(k * STEP_MS), abs=100)
        np.testing.assert_allclose(found[k].state, position(k * STEP_MS), atol=1e-3)
        np.testing.assert_allclose(found[k].action, position((k + 1) * STEP_MS + 50), atol=1e-3)
        assert found[k].source_stamps_ns["image_1"] == at(19 * STEP_MS)


def test_refuse_names_the_gap(planned):
    with pytest.raises(EpisodeError, match=r"_0\.mcap: 1 gap; the first is 133 ms long: 3 frames"):
        planned(steady(2.0, lost={20, 21, 22}), gaps="refuse")


def test_auto_holds_a_short_gap_and_splits_at_a_long_one(planned):
    short, long = {10, 11, 12}, {30, 31, 32, 33}
    _, plan = planned(steady(2.0, lost=short | long), gaps="auto")
    assert len(plan.segments) == 2
    assert [int(segment.held.sum()) for segment in plan.segments] == [3, 0]
    assert len(plan.gaps) == 2
    for segment in plan.segments:
        assert np.allclose(np.diff(segment.ticks_ns), 1e9 / 30, atol=2)


def test_short_segments_are_dropped_and_reported(planned):
    _, plan = planned(steady(2.0, lost={20, 23}), min_frames=10)
    assert [len(segment) for segment in plan.segments] == [20, 36]
    assert plan.dropped == 2
    assert plan.problems == ("2 frames at 0.7 s dropped: fewer than 10 in a row (--min-frames)",)


def test_second_camera_that_lags_makes_a_gap_with_its_reason(planned):
    recording = steady(2.0)
    recording.messages = [
        one for one in recording.messages if not (one[1] == WRIST and at(1000) < one[0] < at(1100))
    ]
    _, plan = planned(recording)
    (gap,) = plan.gaps
    assert "nearest frame on wrist/image_raw" in gap.reason
    assert "max_skew_ms" in gap.reason
    assert plan.dropped == 60 - plan.frames > 0


def test_joints_that_stop_make_a_gap_with_the_joint(planned):
    recording = steady(2.0)
    recording.messages = [
        one for one in recording.messages if not (one[1] == JOINTS and at(800) < one[0] < at(1200))
    ]
    _, plan = planned(recording)
    (gap,) = plan.gaps
    assert "joint 'elbow' on joint_states" in gap.reason


def test_camera_at_twice_the_rate_gives_every_second_frame(planned):
    recording = steady(2.0)
    for k in range(60):
        stamp = (k + 0.5) * STEP_MS
        recording.image(ENV, stamp, picture(100 + k), received_ms=stamp + 12)
    episode, plan = planned(recording)
    found = list(frames(episode, plan, 0))
    assert len(found) == 60
    assert [frame.tick_ns for frame in found[:3]] == [at(k * STEP_MS) for k in range(3)]


def test_rate_that_the_camera_is_a_multiple_of_takes_every_third_frame(planned):
    text = ROBOT_TEXT.replace("rate_hz: 30", "rate_hz: 10")
    _, plan = planned(steady(2.0), robot_text=text)
    assert (plan.frames, plan.gaps) == (20, ())


@pytest.mark.parametrize("rate_hz", [20, 25, 45])
def test_recording_at_another_rate_is_refused_with_both_rates(planned, rate_hz):
    text = ROBOT_TEXT.replace("rate_hz: 30", f"rate_hz: {rate_hz}")
    with pytest.raises(EpisodeError, match=rf"runs at 30\.0 Hz, but rate_hz is {rate_hz}"):
        planned(steady(2.0), robot_text=text)


def test_message_with_nan_joint_is_rejected_as_live(planned):
    recording = steady(2.0)
    recording.add(JOINTS, at(505.5), joints_cdr(at(505), [np.nan, 0.0]))
    _, plan = planned(recording)
    assert plan.frames == 60
    (line,) = plan.problems
    assert line.startswith("/joint_states: 1 message rejected, as live: position of elbow")


@pytest.mark.parametrize(
    ("topic", "type_name"),
    [(ENV, "sensor_msgs/msg/JointState"), (JOINTS, "std_msgs/msg/String"), (WRIST, COMPRESSED)],
)
def test_foreign_type_names_bag_topic_and_both_types(planned, topic, type_name):
    recording = steady(0.5)
    recording.types = {**TYPES, topic: type_name}
    pattern = rf"episode_000000_0\.mcap: {topic} carries {type_name}; expected sensor_msgs"
    with pytest.raises(EpisodeError, match=pattern):
        planned(recording)


def test_stream_without_messages_names_the_topic(planned):
    recording = steady(0.5)
    recording.messages = [one for one in recording.messages if one[1] != WRIST]
    with pytest.raises(EpisodeError, match="no message on wrist/image_raw was recorded"):
        planned(recording)


def test_clock_that_is_set_back_is_refused(planned):
    recording = steady(2.0)
    recording.add(ENV, at(2100), image_cdr(at(200), picture(0)))
    with pytest.raises(EpisodeError, match=r"/env/image_raw: the clock .* set back by 1\.8 s"):
        planned(recording)


def test_camera_that_changes_size_is_refused_with_both_sizes(planned):
    recording = steady(1.0)
    for k in range(30, 60):
        recording.image(ENV, k * STEP_MS, picture(k, (16, 24)))
        recording.image(WRIST, k * STEP_MS + 4, picture(k, camera=1))
        recording.joints(k * STEP_MS, position(0))
    recording.messages = [
        one for one in recording.messages if one[1] != JOINTS or one[0] < at(1050)
    ]
    for k in range(105, 200):
        recording.joints(10 * k, position(10 * k))
    episode, plan = planned(recording)
    with pytest.raises(EpisodeError, match=r"/env/image_raw changes its size from 12x8 to 24x16"):
        list(frames(episode, plan, 0))


def jpegs(recording: Recording, corrupt: int) -> Recording:
    """Camera 1 compressed, one image cut off."""
    recording.types = {**TYPES, ENV: COMPRESSED}
    recording.messages = [one for one in recording.messages if one[1] != ENV]
    for k in range(60):
        data = cv2.imencode(".jpg", picture(k, (48, 64)))[1].tobytes()
        if k == corrupt:
            data = data[: len(data) // 2]
        recording.add(ENV, at(k * STEP_MS + 12), compressed_cdr(at(k * STEP_MS), data))
    return recording


def test_corrupt_image_is_found_and_becomes_a_gap(planned):
    text = ROBOT_TEXT.replace(
        "env/image_raw, type: sensor_msgs/msg/Image", f"env/image_raw, type: {COMPRESSED}"
    )
    episode, plan = planned(jpegs(steady(2.0), corrupt=40), robot_text=text)
    with pytest.raises(UnreadableFrameError, match="/env/image_raw: compressed image"):
        list(frames(episode, plan, 0))
    again = plan_episode(episode, gaps="split", decode=True)
    assert [len(segment) for segment in again.segments] == [40, 19]
    assert again.problems[0].startswith("/env/image_raw: 1 message rejected, as live: compressed")
    assert sum(len(list(frames(episode, again, index))) for index in range(2)) == 59


def test_frames_before_the_first_demonstrated_action_are_dropped_and_counted(planned):
    recording = steady(3.0)
    recording.messages = [
        one for one in recording.messages if "teleop" not in one[1] or one[0] >= at(1000)
    ]
    _, plan = planned(recording)
    assert plan.dropped == 29
    assert plan.problems == ("29 frames at the start dropped: nobody demonstrates yet",)


def silent(recording: Recording, first_ms: float, last_ms: float) -> Recording:
    """Nobody demonstrates between two times, and no command is sent."""
    recording.messages = [
        one
        for one in recording.messages
        if one[1] != TELEOP or not at(first_ms) < one[0] < at(last_ms)
    ]
    return recording


def test_demonstrator_that_falls_silent_makes_a_gap_of_the_real_length(planned):
    _, plan = planned(silent(steady(4.0), 1000, 2200))
    (gap,) = plan.gaps
    assert gap.reason.startswith("nobody demonstrates: no target on /arm/joint_trajectory or /tel")
    first, second = plan.segments
    assert first.ticks_ns[-1] + 1e9 / 30 <= at(1500) < first.ticks_ns[-1] + 2e9 / 30
    assert second.ticks_ns[0] == gap.before_ns == pytest.approx(at(2200), abs=34 * MS)
    assert gap.seconds == pytest.approx(0.7, abs=0.07)
    assert plan.dropped == 120 - plan.frames == 20
    assert not any(segment.held.any() for segment in plan.segments)


def test_silence_that_is_held_keeps_its_images_and_has_a_mark(planned):
    episode, plan = planned(silent(steady(4.0), 1000, 2200), gaps="hold")
    (segment,) = plan.segments
    assert (len(segment), plan.dropped) == (120, 0)
    assert segment.held.sum() == 20
    held = [frame for frame in frames(episode, plan, 0) if frame.held]
    for frame in held:
        k = round((frame.tick_ns - at(0)) / (STEP_MS * MS))
        np.testing.assert_array_equal(frame.images["image_1"], picture(k))
        np.testing.assert_allclose(frame.state, position(k * STEP_MS), atol=1e-3)
        np.testing.assert_allclose(frame.action, position(1050), atol=1e-3)


def test_silence_is_refused_by_its_name(planned):
    with pytest.raises(
        EpisodeError, match=r"1 gap; the first is 700 ms long: nobody demonstrates"
    ):
        planned(silent(steady(4.0), 1000, 2200), gaps="refuse")


def test_silence_within_the_bound_is_no_gap(planned):
    _, plan = planned(silent(steady(2.0), 1000, 1450), gaps="refuse")
    assert (plan.frames, plan.gaps) == (60, ())


def test_frames_after_the_last_demonstrated_action_are_dropped_and_counted(planned):
    _, plan = planned(silent(steady(3.0), 1000, 9000))
    (segment,) = plan.segments
    assert segment.ticks_ns[-1] + 1e9 / 30 <= at(1500)
    assert plan.gaps == ()
    assert plan.dropped == 90 - plan.frames == 45
    assert plan.problems == ("45 frames at the end dropped: nobody demonstrates any more",)


def test_bag_that_shrinks_while_it_is_read_is_noticed(planned):
    episode, plan = planned(steady(2.0))
    data = bag_path(episode.folder).read_bytes()
    bag_path(episode.folder).write_bytes(data[: len(data) // 2])
    with pytest.raises(EpisodeError, match="is it being written"):
        list(frames(episode, plan, 0))
