"""Recordings whose stamps are of another clock than their arrivals, or of none."""

from bag_writing import (
    ENV,
    JOINTS,
    ROBOT_TEXT,
    WRIST,
    at,
    picture,
    position,
    steady,
    write_episode,
)

from evo1_training.datasets.episode_plan import frames, plan_episode
from evo1_training.datasets.recorded_streams import read_streams
from evo1_training.recording.bag_reader import open_episode

YEARS_NS = 2 * 365 * 86_400 * 10**9


def test_stamps_of_a_simulation_are_taken_though_arrivals_are_of_the_wall_clock(tmp_path):
    recording = steady(1.0)
    recording.messages = [(log + YEARS_NS, topic, data) for log, topic, data in recording.messages]
    streams = read_streams(open_episode(write_episode(tmp_path / "episode_000000", recording)))
    assert not streams.rejections.problems
    assert [len(stamps) for stamps in streams.frame_stamps] == [30, 30]
    assert streams.offsets_ms["image_1"] == 12 + YEARS_NS / 1e6


def test_arrival_stands_for_the_stamp_where_the_robot_file_says_so(tmp_path):
    recording = steady(1.0)
    kept = [one for one in recording.messages if one[1] not in (ENV, WRIST, JOINTS)]
    recording.messages = kept
    for k in range(30):
        for camera, topic in enumerate((ENV, WRIST)):
            recording.image(
                topic, -at(0) / 1e6, picture(k, camera=camera), received_ms=k * 1000 / 30
            )
    for k in range(-20, 110):
        recording.joints(10 * k - at(0) / 1e6, position(10 * k), received_ms=10 * k)
    recording.messages.sort(key=lambda one: one[0])
    text = ROBOT_TEXT.replace("max_age_ms: 150", "max_age_ms: 150, stamp: arrival").replace(
        "max_age_ms: 100", "max_age_ms: 100, stamp: arrival"
    )
    folder = write_episode(tmp_path / "episode_000000", recording, robot_text=text)
    episode = open_episode(folder)
    plan = plan_episode(episode, gaps="split")
    found = list(frames(episode, plan, 0))
    assert len(found) == 30
    assert found[3].tick_ns == at(100)
    assert (found[3].images["image_2"] == picture(3, camera=1)).all()
    assert abs(found[3].state - position(100)).max() < 1e-9
