"""The alignment rule on literal stamps, and its properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.perception.alignment import (
    Aligned,
    Unaligned,
    align,
    joints_at,
    max_distance_ns,
    nearest,
)

MS = 1_000_000
NAN = float("nan")


def run(
    tick: int,
    cameras: list[list[int]],
    joints: dict[int, list[float]],
    skew: int = 17,
    age: int = 100,
) -> Aligned | Unaligned:
    """Align with every time in milliseconds."""
    return align(
        tick * MS,
        [[stamp * MS for stamp in stamps] for stamps in cameras],
        [stamp * MS for stamp in joints],
        [np.array(row) for row in joints.values()],
        max_skew_ns=skew * MS,
        max_joint_age_ns=age * MS,
    )


def state(tick: int, joints: dict[int, list[float]], age: int = 100) -> object:
    """Joint positions at a tick, or the reason why not; times in milliseconds."""
    found = joints_at(
        tick * MS,
        [stamp * MS for stamp in joints],
        [np.array(row) for row in joints.values()],
        max_age_ns=age * MS,
    )
    return found if isinstance(found, Unaligned) else found[1].tolist()


@pytest.mark.parametrize(
    ("tick", "index"),
    [(5, 0), (10, 0), (14, 0), (15, 0), (16, 1), (20, 1), (24, 1), (26, 2), (30, 2), (99, 2)],
)
def test_nearest_stamp_wins_and_of_two_the_earlier(tick: int, index: int) -> None:
    assert nearest([10, 20, 30], tick) == index
    assert nearest(np.array([10, 20, 30]), tick) == index


def test_nearest_frame_of_the_second_camera_is_used() -> None:
    aligned = run(100, [[67, 100], [60, 93, 126]], {100: [1.0]})
    assert isinstance(aligned, Aligned)
    assert aligned.frames == (1, 1)
    assert aligned.settled_by == (1, 2)
    assert aligned.skew_ns == 7 * MS


def test_tick_waits_for_a_later_frame_of_each_other_camera() -> None:
    unaligned = run(100, [[67, 100], [66, 99]], {100: [1.0]})
    assert unaligned == Unaligned(code="pending", camera=1)


def test_frame_at_the_tick_itself_settles_it() -> None:
    assert isinstance(run(100, [[100], [100]], {100: [1.0]}), Aligned)


def test_camera_without_a_near_frame_is_named_with_its_distance() -> None:
    unaligned = run(100, [[100], [70, 135]], {100: [1.0]})
    assert unaligned == Unaligned(code="skew", camera=1, distance_ns=30 * MS, allowed_ns=17 * MS)


def test_each_camera_is_judged_against_the_tick_and_not_against_the_others() -> None:
    cameras = [[100], [90, 130], [112]]
    aligned = run(100, cameras, {100: [1.0]}, skew=12)
    assert isinstance(aligned, Aligned)
    assert aligned.skew_ns == 22 * MS
    unaligned = run(100, cameras, {100: [1.0]}, skew=11)
    assert isinstance(unaligned, Unaligned)
    assert (unaligned.code, unaligned.camera) == ("skew", 2)


@pytest.mark.parametrize(
    ("intervals", "allowed"),
    [
        ([], 17),  # nothing is known of the camera
        ([66] * 7, 17),  # too little
        ([33] * 8, 21),  # half of it, and jitter
        ([66] * 8, 38),
        ([30, 40] * 4, 20),  # a coarse clock
        ([66, 66, 132, 132, 66, 132, 66, 66], 38),  # lost frames excuse nothing
        ([100] * 8, 40),  # slower than any camera that an arm should follow
        ([10] * 8, 17),  # a fast camera may be as far as the robot file says
    ],
)
def test_bound_follows_from_the_period(intervals: list[int], allowed: int) -> None:
    stamps = np.cumsum([1000, *intervals]) * MS
    assert max_distance_ns(stamps, max_skew_ns=17 * MS) // MS == allowed


@given(
    rate=st.sampled_from([15, 20, 25, 30, 60]),
    other_rate=st.sampled_from([15, 20, 25, 30, 60]),
    phase=st.floats(0, 1),
    data=st.data(),
)
def test_cameras_that_run_freely_meet_at_every_tick(
    rate: float, other_rate: float, phase: float, data: st.DataObject
) -> None:
    jitter = st.floats(-2, 2)

    def stamps(hz: float, begin: float) -> list[int]:
        times = [(begin + k) * 1000 / hz + data.draw(jitter) for k in range(round(hz))]
        return [round((1000 + time) * MS) for time in times]

    ticks, other = stamps(rate, 0), stamps(other_rate, phase)
    for tick_ns in ticks:
        if other[9] <= tick_ns <= other[-1]:
            aligned = align(
                tick_ns,
                [ticks, other],
                [tick_ns],
                [np.zeros(1)],
                max_skew_ns=17 * MS,
                max_joint_age_ns=100 * MS,
            )
            assert isinstance(aligned, Aligned), (tick_ns, aligned)


def test_one_camera_needs_no_other() -> None:
    assert isinstance(run(100, [[100]], {95: [0.0], 100: [1.0]}), Aligned)


def test_sample_at_the_tick_is_taken_as_it_is() -> None:
    assert state(100, {90: [0.0], 100: [1.0], 110: [9.0]}) == [1.0]


def test_state_between_samples_goes_on_in_a_line_and_ignores_what_came_later() -> None:
    assert state(105, {90: [0.0], 100: [1.0]}) == [1.5]
    assert state(105, {90: [0.0], 100: [1.0], 110: [-7.0]}) == [1.5]


def test_single_sample_is_held_once_a_later_one_exists() -> None:
    assert state(105, {100: [1.0]}) == Unaligned(code="pending", joint=0)
    assert state(105, {100: [1.0], 110: [5.0]}) == [1.0]


def test_sample_that_should_be_there_is_waited_for() -> None:
    assert state(107, {90: [0.0], 100: [1.0]}) == [1.7]
    assert state(108, {90: [0.0], 100: [1.0]}) == Unaligned(code="pending", joint=0)
    assert state(108, {90: [0.0], 100: [1.0], 109: [5.0]}) == [1.8]


def test_line_goes_no_further_than_twice_the_interval() -> None:
    assert state(190, {90: [0.0], 100: [1.0], 195: [2.0]}) == [3.0]


def test_each_joint_goes_on_from_its_own_samples() -> None:
    joints = {90: [0.0, NAN], 91: [NAN, 4.0], 100: [1.0, NAN], 101: [NAN, 5.0]}
    assert state(104, joints) == [pytest.approx(1.4), pytest.approx(5.3)]


def test_joint_without_a_recent_sample_is_named() -> None:
    joints = {40: [0.0, 7.0], 90: [0.0, NAN], 100: [1.0, NAN], 110: [1.0, NAN]}
    assert state(105, joints, age=50) == Unaligned(code="joint", joint=1, distance_ns=65 * MS)
    joints = {90: [0.0, NAN], 100: [1.0, NAN], 110: [1.0, NAN]}
    assert state(105, joints, age=50) == Unaligned(code="joint", joint=1)


def test_tick_before_the_first_joint_message_has_no_state() -> None:
    assert state(50, {}) == Unaligned(code="pending", joint=0)
    assert state(50, {60: [1.0]}) == Unaligned(code="joint", joint=0)


def test_rows_used_start_where_the_oldest_part_stands() -> None:
    stamps = [90 * MS, 91 * MS, 100 * MS, 101 * MS]
    rows = np.array([[0.0, NAN], [NAN, 4.0], [1.0, NAN], [NAN, 5.0]])
    found = joints_at(104 * MS, stamps, rows, max_age_ns=100 * MS)
    assert not isinstance(found, Unaligned)
    assert found[0] == range(4)


sorted_stamps = st.lists(st.integers(1, 400), min_size=1, max_size=12, unique=True).map(sorted)


@given(sorted_stamps, st.integers(0, 420))
def test_no_stamp_is_nearer_than_the_nearest(stamps: list[int], tick: int) -> None:
    distance = abs(stamps[nearest(stamps, tick)] - tick)
    assert distance == min(abs(stamp - tick) for stamp in stamps)


@given(st.lists(sorted_stamps, min_size=1, max_size=4), st.integers(0, 60), st.data())
def test_observation_never_has_a_frame_further_from_its_tick_than_the_bound(
    cameras: list[list[int]], skew: int, data: st.DataObject
) -> None:
    tick = data.draw(st.sampled_from(cameras[0]))
    aligned = run(tick, cameras, {tick: [1.0]}, skew=skew)
    if isinstance(aligned, Aligned):
        used = [stamps[frame] for stamps, frame in zip(cameras, aligned.frames, strict=True)]
        assert max(abs(stamp - tick) for stamp in used) <= max(skew, 40)
        if all(len(stamps) < 9 for stamps in cameras):
            assert max(abs(stamp - tick) for stamp in used) <= skew
        assert aligned.skew_ns == (max(used) - min(used)) * MS
        assert used[0] == tick


@given(sorted_stamps, st.integers(1, 400), st.floats(-3, 3), st.floats(-3, 3))
def test_joints_that_move_in_a_line_are_met_exactly(
    stamps: list[int], tick: int, start: float, slope: float
) -> None:
    before = [stamp for stamp in stamps if stamp <= tick]
    if len(before) < 2 or tick - before[-1] > 2 * (before[-1] - before[-2]):
        return
    joints = {stamp: [start + slope * stamp / 1000] for stamp in [*before, 500]}
    found = state(tick, joints, age=1000)
    assert found == [pytest.approx(start + slope * tick / 1000, abs=1e-9)]


@given(sorted_stamps, st.integers(1, 400), st.data())
def test_messages_after_a_settled_tick_change_nothing(
    joints: list[int], tick: int, data: st.DataObject
) -> None:
    values = {stamp: [data.draw(st.floats(-3, 3))] for stamp in joints}
    camera = data.draw(sorted_stamps)
    early = run(tick, [[tick], camera], values, skew=500, age=500)
    later = {**values, **{stamp + 1000: row for stamp, row in values.items()}}
    full = run(tick, [[tick, 1000], [*camera, 1000]], later, skew=500, age=500)
    if isinstance(early, Aligned):
        assert isinstance(full, Aligned)
        assert full.frames == early.frames
        assert full.positions.tolist() == early.positions.tolist()


@given(sorted_stamps, st.integers(1, 400))
def test_lists_and_arrays_give_the_same(stamps: list[int], tick: int) -> None:
    rows = np.sin(np.arange(2.0 * len(stamps))).reshape(-1, 2)
    times = [stamp * MS for stamp in stamps]
    args = {"max_skew_ns": 50 * MS, "max_joint_age_ns": 100 * MS}
    lists = align(tick * MS, [[tick * MS], times], times, list(rows), **args)
    arrays = align(
        tick * MS, [np.array([tick * MS]), np.array(times)], np.array(times), rows, **args
    )
    assert str(lists) == str(arrays)
