"""Drawn recordings: offline frames equal what the live streams give, and nothing vanishes."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from bag_writing import (
    ENV,
    JOINTS,
    ROBOT_TEXT,
    TELEOP,
    WRIST,
    Recording,
    at,
    image_cdr,
    joints_cdr,
    picture,
    position,
    trajectory_cdr,
    write_episode,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.observation import Observation
from evo1_policy.perception.messages import decode_image, deserialize, read_joints, stamp_ns
from evo1_policy.perception.streams import Streams
from evo1_policy.robot_config import parse_robot
from evo1_training.datasets.action_curve import MAX_SILENCE_NS
from evo1_training.datasets.episode_plan import frames, plan_episode
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import EpisodeError

ROBOT = parse_robot(ROBOT_TEXT)
FRAMES = 20


@st.composite
def recordings(draw: st.DrawFn, max_delay: int = 60) -> Recording:
    """Cameras of jittering phase with lost frames, joints at 100 Hz; each source in order."""
    recording = Recording()
    for topic in (ENV, WRIST):
        phase = draw(st.integers(0, 32))
        stamps = [phase + 33 * k + draw(st.integers(0, 3)) for k in range(FRAMES)]
        lost = draw(st.sets(st.integers(0, FRAMES - 1), max_size=4))
        kept = [(k, stamp) for k, stamp in enumerate(stamps) if k not in lost]
        delays = draw(st.lists(st.integers(0, max_delay), min_size=FRAMES, max_size=FRAMES))
        arrivals = itertools.accumulate((s + delays[k] for k, s in kept), max)
        for (k, stamp), received in zip(kept, arrivals, strict=True):
            data = image_cdr(at(stamp), picture(k, (2, 3), topic == WRIST))
            recording.add(topic, at(received), data)
    for k in range(-10, 75):
        recording.add(JOINTS, at(10 * k + 1), joints_cdr(at(10 * k), position(10 * k)))
    for k in range(40):
        recording.add(TELEOP, at(20 * k), trajectory_cdr(at(20 * k), [(0, position(20 * k))]))
    recording.messages.sort(key=lambda one: one[0])
    return recording


def live(recording: Recording) -> dict[int, Observation]:
    """What the node's streams give, fed in the order of arrival."""
    streams = Streams(ROBOT)
    found = {}
    for received_ns, topic, data in recording.messages:
        if topic == JOINTS:
            message = deserialize(data, recording.types[topic], topic=topic)
            names, positions, stamp = read_joints(message, topic=topic)
            streams.add_joints(names, positions, stamp_ns=stamp, received_ns=received_ns)
        elif topic in (ENV, WRIST):
            message = deserialize(data, recording.types[topic], topic=topic)
            streams.add_image(
                "image_1" if topic == ENV else "image_2",
                decode_image(message, topic=topic),
                stamp_ns=stamp_ns(message.header.stamp),
                received_ns=received_ns,
            )
        observation = streams.sample(received_ns, "pick")
        if isinstance(observation, Observation):
            found[observation.stamp_ns] = observation
    return found


@st.composite
def halting(draw: st.DrawFn) -> tuple[Recording, list[int]]:
    """A demonstrator who falls silent now and then; with the times of its messages [ms]."""
    pauses = draw(st.lists(st.integers(20, 1500), min_size=1, max_size=8))
    start = draw(st.integers(-200, 400))
    spoken = list(itertools.accumulate([start, *pauses]))
    recording = Recording()
    for k in range(60):
        recording.image(ENV, round(k * 1000 / 30), picture(k, (2, 3)))
        recording.image(WRIST, round(k * 1000 / 30), picture(k, (2, 3), 1))
    for k in range(-10, 210):
        recording.joints(10 * k, position(10 * k), received_ms=10 * k + 1)
    for stamp in spoken:
        recording.target(stamp, position(stamp))
    recording.messages.sort(key=lambda one: one[0])
    return recording, spoken


@given(halting(), st.sampled_from(["split", "hold", "auto"]))
@settings(max_examples=40)
def test_no_action_is_held_for_longer_than_the_bound_without_a_mark(made, gaps):
    recording, spoken = made
    with tempfile.TemporaryDirectory() as folder:
        episode = open_episode(write_episode(Path(folder) / "episode_000000", recording))
        heard = np.array([at(stamp) for stamp in spoken])
        try:
            plan = plan_episode(episode, gaps=gaps)
        except EpisodeError:
            every = np.array([at(round(k * 1000 / 30)) for k in range(60)]) + ROBOT.step_ns
            newest = np.searchsorted(heard, every, side="right") - 1
            assert ((newest < 0) | (every - heard[newest] > MAX_SILENCE_NS)).all()
            return
    ticks = np.concatenate([segment.ticks_ns for segment in plan.segments])
    held = np.concatenate([segment.held for segment in plan.segments])
    assert (np.diff(ticks) > 0).all()
    due = ticks[~held] + ROBOT.step_ns
    newest = np.searchsorted(heard, due, side="right") - 1
    assert (newest >= 0).all()
    assert (due - heard[newest] <= MAX_SILENCE_NS).all()
    for segment in plan.segments:
        assert (np.diff(segment.ticks_ns) <= 1.5 * ROBOT.step_ns + 1).all()
        assert np.isfinite(segment.actions).all()
        if gaps == "split":
            assert not segment.held.any()
    for gap in plan.gaps:  # of the real length: its two ends are recorded and used
        assert {gap.after_ns, gap.before_ns} <= set(ticks[~held].tolist())


@given(recordings())
@settings(max_examples=25)
def test_offline_frames_equal_live_observations(recording):
    with tempfile.TemporaryDirectory() as folder:
        episode = open_episode(write_episode(Path(folder) / "episode_000000", recording))
        try:
            plan = plan_episode(episode, gaps="split")
        except EpisodeError:
            assert not live(recording)
            return
        offline = {
            frame.tick_ns: frame
            for index in range(len(plan.segments))
            for frame in frames(episode, plan, index)
        }
    for tick_ns, observation in live(recording).items():
        frame = offline[tick_ns]
        assert frame.source_stamps_ns == observation.source_stamps_ns
        assert frame.skew_ns == observation.skew_ns
        np.testing.assert_array_equal(frame.state, observation.state)
        for name, image in observation.images.items():
            np.testing.assert_array_equal(frame.images[name], image)


@given(recordings(), st.sampled_from(["split", "hold", "auto"]), st.integers(1, 5))
@settings(max_examples=25)
def test_every_recorded_tick_is_used_or_counted_and_none_is_moved(recording, gaps, min_frames):
    with tempfile.TemporaryDirectory() as folder:
        episode = open_episode(write_episode(Path(folder) / "episode_000000", recording))
        try:
            plan = plan_episode(episode, gaps=gaps, min_frames=min_frames)
        except EpisodeError:
            return
    recorded = {
        stamp_ns(deserialize(data, recording.types[topic], topic=topic).header.stamp)
        for _, topic, data in recording.messages
        if topic == ENV
    }
    used = [tick for segment in plan.segments for tick in segment.ticks_ns[~segment.held].tolist()]
    assert set(used) <= recorded
    assert len(used) == len(set(used)) == len(recorded) - plan.dropped
    for segment in plan.segments:
        steps = np.diff(segment.ticks_ns)
        assert (steps > 0).all()
        assert (steps <= 1.5 * ROBOT.step_ns + 1).all()
    if gaps == "split":
        assert not any(segment.held.any() for segment in plan.segments)
