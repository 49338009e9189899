"""A recorded episode becomes what people look at, also where it is torn or incomplete."""

import numpy as np
import pytest
from bag_writing import (
    ENV,
    JOINTS,
    TELEOP,
    WRIST,
    Recording,
    picture,
    position,
    steady,
    write_episode,
)

from evo1_training.recording.episode import EpisodeError, bag_path
from evo1_training.viewing.episode_view import ViewError
from evo1_training.viewing.recorded import view_recording


def view(tmp_path, recording, **options):
    columns = options.pop("columns", 5)
    folder = write_episode(tmp_path / "episode_000003", recording, **options)
    return view_recording(folder, columns=columns)


def without(recording, *topics):
    recording.messages = [one for one in recording.messages if one[1] not in topics]
    return recording


def test_pictures_are_those_of_their_times(tmp_path):
    shown = view(tmp_path, steady(2.0))
    assert shown.title == "pick"
    assert shown.cameras == ("image_1", "image_2")
    first = [one for one in shown.pictures if one.camera == "image_1"]
    second = [one for one in shown.pictures if one.camera == "image_2"]
    assert len(first) == len(second) == 5
    assert np.array_equal(first[0].image, picture(0))
    assert np.array_equal(first[-1].image, picture(59))
    assert np.array_equal(second[-1].image, picture(59, camera=1))
    assert first[-1].time_s - first[0].time_s == pytest.approx(59 / 30, abs=1e-6)


def test_state_is_every_joint_message_and_action_what_was_asked(tmp_path):
    shown = view(tmp_path, steady(2.0))
    assert shown.state.values[:3] == pytest.approx(
        np.array([position(-200), position(-190), position(-180)])
    )
    sample = 30
    stamp_ms = 1e3 * shown.action.times_s[sample] - 200  # the joints begin 200 ms earlier
    wanted = np.array(position(stamp_ms + 50))
    assert shown.action.values[sample] == pytest.approx(wanted, abs=0.07)


def test_lost_frames_are_a_gap_of_their_camera(tmp_path):
    shown = view(tmp_path, steady(2.0, lost=(30, 31, 32)))
    assert {gap.stream for gap in shown.gaps} == {"image_1", "image_2"}
    gap = shown.gaps[0]
    assert gap.end_s - gap.begin_s == pytest.approx(4 / 30, abs=1e-3)
    assert "2 gaps" in shown.remarks


def test_silent_joints_are_a_gap(tmp_path):
    recording = steady(1.0)
    recording.messages = [
        one
        for one in recording.messages
        if one[1] != JOINTS or not 0.3e9 < one[0] % 10**10 < 0.6e9
    ]
    shown = view(tmp_path, recording)
    assert {gap.stream for gap in shown.gaps} == {"joints"}


def test_torn_bag_is_shown_up_to_the_tear(tmp_path):
    folder = write_episode(tmp_path / "episode_000003", steady(2.0), grade=None)
    content = bag_path(folder).read_bytes()
    bag_path(folder).write_bytes(content[: len(content) // 2])
    shown = view_recording(folder, columns=5)
    assert "cut off, not recovered" in shown.remarks
    assert 0.1 < shown.duration_s < 2.0
    assert shown.pictures


def test_episode_without_a_demonstration_is_shown_without_action(tmp_path):
    shown = view(tmp_path, without(steady(1.0), TELEOP))
    assert not len(shown.action.times_s)
    assert "no action" in shown.remarks
    assert len(shown.state.times_s)


def test_episode_with_one_camera_silent_shows_the_other(tmp_path):
    shown = view(tmp_path, without(steady(1.0), WRIST))
    assert {one.camera for one in shown.pictures} == {"image_1"}
    assert "image_2: 0.0 Hz" in shown.remarks


def test_episode_without_joints_shows_its_pictures(tmp_path):
    shown = view(tmp_path, without(steady(1.0), JOINTS))
    assert not len(shown.state.times_s)
    assert len(shown.pictures) == 10


def test_corrupt_picture_leaves_its_place_empty(tmp_path):
    recording = steady(1.0)
    place = next(i for i, one in enumerate(recording.messages) if one[1] == ENV)
    received, topic, data = recording.messages[place]
    recording.messages[place] = (received, topic, data[:40])
    shown = view(tmp_path, recording)
    assert len([one for one in shown.pictures if one.camera == "image_1"]) == 4


def test_empty_episode_says_so(tmp_path):
    folder = write_episode(tmp_path / "episode_000003", Recording())
    with pytest.raises(ViewError, match="neither images nor joint states"):
        view_recording(folder)


def test_folder_without_a_bag_says_so(tmp_path):
    with pytest.raises(EpisodeError, match="no bag"):
        view_recording(tmp_path)
