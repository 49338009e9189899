"""Streams fed with drawn recordings: live equals offline, bounds hold, order means nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.alignment import Aligned, align
from evo1_policy.robot_config import RobotConfig

MS = 1_000_000
T0 = 1_000_000 * MS  # start of every test [ns]
NAMES = ("elbow", "finger")
NewFeed = Callable[[], Any]


@dataclass(frozen=True)
class Event:
    """One message of a drawn recording: stamp and arrival [ms], who it is from."""

    received: float
    stamp: int
    source: str


def arrivals(draw: st.DrawFn, source: str, stamps: list[int], max_delay: int) -> list[Event]:
    """Delay messages; those of one source stay in order, as a DDS writer keeps them."""
    events: list[Event] = []
    for stamp in stamps:
        received = stamp + draw(st.integers(0, max_delay))
        if events:
            received = max(received, events[-1].received)
        events.append(Event(received, stamp, source))
    return events


@st.composite
def recordings(draw: st.DrawFn, max_delay: int = 80) -> list[Event]:
    """About half a second: cameras of jittering phase with lost frames, joints at 100 Hz."""
    events: list[Event] = []
    for camera in ("image_1", "image_2"):
        phase = draw(st.integers(0, 32))
        stamps = [phase + 33 * k + draw(st.integers(0, 3)) for k in range(14)]
        lost = draw(st.sets(st.integers(0, 13), max_size=3))
        kept = [stamp for k, stamp in enumerate(stamps) if k not in lost]
        events += arrivals(draw, camera, kept, max_delay)
    for source, phase in (("elbow", 0), ("finger", draw(st.integers(0, 9)))):
        events += arrivals(draw, source, list(range(phase, 470, 10)), max_delay)
    return sorted(events, key=lambda event: (event.received, event.source, event.stamp))


def position(source: str, stamp: int) -> float:
    return float(np.sin(stamp / 50) * (1 if source == "elbow" else -2))


def send(feed: Any, event: Event) -> None:
    if event.source.startswith("image"):
        feed.frame(event.source, event.stamp, event.received)
    else:
        value = position(event.source, event.stamp)
        feed.joints(event.stamp, [value], (event.source,), event.received)


def offline(events: list[Event], tick_ns: int, robot: RobotConfig) -> Aligned:
    """Align a tick on the complete recording."""
    cameras = [
        np.array(sorted(T0 + e.stamp * MS for e in events if e.source == name))
        for name in ("image_1", "image_2")
    ]
    stamps = sorted({e.stamp for e in events if e.source in NAMES})
    rows = np.full((len(stamps), 2), np.nan)
    for event in events:
        if event.source in NAMES:
            place = stamps.index(event.stamp), NAMES.index(event.source)
            rows[place] = position(event.source, event.stamp)
    aligned = align(
        tick_ns,
        cameras,
        T0 + np.array(stamps) * MS,
        rows,
        max_skew_ns=round(robot.max_skew_ms * MS),
        max_joint_age_ns=round(robot.state.max_age_ms * MS),
    )
    assert isinstance(aligned, Aligned)
    return aligned


@settings(max_examples=40)
@given(events=recordings())
def test_live_with_delays_gives_what_the_complete_recording_gives(
    new_feed: NewFeed, robot: RobotConfig, events: list[Event]
) -> None:
    feed = new_feed()
    seen: dict[int, Observation] = {}
    for event in events:
        send(feed, event)
        found = feed.sample(event.received)
        if isinstance(found, Observation):
            seen.setdefault(found.stamp_ns, found)
    for tick_ns, live in seen.items():
        complete = offline(events, tick_ns, robot)
        np.testing.assert_array_equal(live.state, complete.positions)
        assert live.skew_ns == complete.skew_ns
        stamps = sorted(T0 + e.stamp * MS for e in events if e.source == "image_2")
        assert live.source_stamps_ns["image_2"] == stamps[complete.frames[1]]


@settings(max_examples=40)
@given(events=recordings())
def test_observations_are_fresh_within_skew_and_never_go_back(
    new_feed: NewFeed, events: list[Event]
) -> None:
    feed = new_feed()
    last_ns = 0
    for event in events:
        send(feed, event)
        found = feed.sample(event.received)
        if isinstance(found, Missing):
            continue
        now_ns = T0 + round(event.received * MS)
        frames = [found.source_stamps_ns[name] for name in ("image_1", "image_2")]
        # the second camera's period of up to 36 ms, and jitter
        assert max(frames) - min(frames) == found.skew_ns <= 23 * MS
        assert found.source_stamps_ns["joint_states"] <= found.stamp_ns
        assert now_ns - 150 * MS <= found.stamp_ns <= now_ns
        assert found.received_ns <= now_ns
        assert found.stamp_ns >= last_ns
        last_ns = found.stamp_ns


@given(
    first=st.permutations(["elbow", "finger", "wheel"]),
    second=st.permutations(["finger", "elbow"]),
)
def test_shuffled_joints_change_nothing(
    new_feed: NewFeed, first: list[str], second: list[str]
) -> None:
    values = {"elbow": (0.1, 0.3), "finger": (0.7, 0.2), "wheel": (5.0, float("nan"))}
    feed = new_feed()
    feed.joints(90, [values[name][0] for name in first], tuple(first))
    feed.joints(100, [values[name][1] for name in second], tuple(second))
    feed.frame("image_1", 105)
    feed.frame("image_2", 105)
    np.testing.assert_allclose(feed.observation(106).state, [0.4, -0.05], atol=1e-12)
