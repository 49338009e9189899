import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_sim.trajectory import TrajectoryError, TrajectoryFollower, TrajectoryPoint

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S  # any wall-clock instant


def point(seconds, positions, velocities=(), accelerations=()):
    return TrajectoryPoint(
        positions=positions,
        velocities=velocities,
        accelerations=accelerations,
        time_from_start_ns=round(seconds * S),
    )


def follower(start=(0.0, 0.0)):
    return TrajectoryFollower(("a", "b"), start=start)


def accept(target, *points, names=("a", "b"), stamp_ns=0, now_ns=T0):
    target.accept(points, names, stamp_ns=stamp_ns, now_ns=now_ns)


def test_without_a_trajectory_the_start_is_held():
    assert follower(start=(0.1, -0.2)).sample(T0).tolist() == [0.1, -0.2]


def test_positions_alone_are_joined_by_lines():
    arm = follower()
    accept(arm, point(1, (1.0, -2.0)), point(3, (2.0, 0.0)))
    assert arm.sample(T0 + S // 2) == pytest.approx([0.5, -1.0])
    assert arm.sample(T0 + 2 * S) == pytest.approx([1.5, -1.0])
    assert arm.sample_state(T0 + 2 * S).velocities == pytest.approx([0.5, 1.0])


def test_velocities_give_a_cubic():
    arm = follower()
    accept(arm, point(2, (1.0, 0.0), (0.0, 0.0)))
    middle = arm.sample_state(T0 + S)
    assert middle.positions == pytest.approx([0.5, 0.0])
    assert middle.velocities == pytest.approx([0.75, 0.0])  # 3/2 of the mean velocity
    assert arm.sample(T0 + S // 2)[0] == pytest.approx(3 * 0.25**2 - 2 * 0.25**3)


def test_accelerations_give_a_quintic():
    arm = follower()
    accept(arm, point(1, (1.0, 0.0), (0.0, 0.0), (0.0, 0.0)))
    x = 0.3
    expected = 10 * x**3 - 15 * x**4 + 6 * x**5
    assert arm.sample(T0 + round(x * S))[0] == pytest.approx(expected)
    assert arm.sample_state(T0 + S // 2).velocities[0] == pytest.approx(1.875)


def test_after_the_end_the_last_position_is_held_at_rest():
    arm = follower()
    accept(arm, point(1, (1.0, 2.0)))
    assert arm.active(T0 + S - 1)
    assert not arm.active(T0 + S)
    state = arm.sample_state(T0 + 100 * S)
    assert state.positions.tolist() == [1.0, 2.0]
    assert state.velocities.tolist() == [0.0, 0.0]


def test_joint_order_of_the_message_changes_nothing():
    arm, shuffled = follower(), follower()
    accept(arm, point(1, (1.0, 2.0), (0.3, 0.4)), point(2, (0.0, 1.0), (0.0, 0.0)))
    accept(
        shuffled,
        point(1, (2.0, 1.0), (0.4, 0.3)),
        point(2, (1.0, 0.0), (0.0, 0.0)),
        names=("b", "a"),
    )
    for at in range(0, 25):
        now = T0 + at * 100 * MS
        assert arm.sample(now).tolist() == shuffled.sample(now).tolist()


def test_a_stamp_is_the_absolute_start():
    arm = follower()
    accept(arm, point(0, (0.0, 0.0)), point(1, (1.0, 1.0)), stamp_ns=T0 + 2 * S)
    assert arm.sample(T0 + S) == pytest.approx([0.0, 0.0])
    assert arm.sample(T0 + 5 * S // 2) == pytest.approx([0.5, 0.5])
    assert arm.end_ns == T0 + 3 * S


def test_a_single_point_is_what_is_commanded_also_before_its_time():
    """A driver that steps finely looks at instants before it took the trajectory."""
    target = follower()
    accept(target, point(0.0, [0.5, -0.5]))
    for ms in (-5, 0, 5):
        np.testing.assert_array_equal(target.sample(T0 + ms * 1_000_000), [0.5, -0.5])


def test_points_already_past_are_skipped():
    arm = follower()
    accept(arm, *(point(i, (float(i), 0.0)) for i in range(5)), stamp_ns=T0 - 5 * S // 2)
    assert arm.sample(T0)[0] == pytest.approx(2.5)


def test_a_trajectory_that_ended_in_the_past_is_refused():
    arm = follower(start=(0.5, 0.5))
    with pytest.raises(TrajectoryError, match=r"ended 1\.000 s ago"):
        accept(arm, point(1, (1.0, 1.0)), stamp_ns=T0 - 2 * S)
    assert arm.sample(T0).tolist() == [0.5, 0.5]


def test_replacement_begins_at_the_commanded_state():
    arm = follower()
    accept(arm, point(2, (2.0, 0.0), (0.0, 0.0)))
    now = T0 + S
    before = arm.sample_state(now)
    accept(arm, point(0.5, (0.0, 0.0), (0.0, 0.0)), now_ns=now)
    after = arm.sample_state(now)
    assert after.positions == pytest.approx(before.positions)
    assert after.velocities == pytest.approx(before.velocities)
    assert arm.sample(now + S // 2) == pytest.approx([0.0, 0.0])


def test_current_replaces_the_commanded_position():
    arm = follower(start=(9.0, 9.0))
    arm.accept([point(1, (1.0, 1.0))], ("a", "b"), stamp_ns=0, now_ns=T0, current=(0.0, 1.0))
    assert arm.sample(T0 + S // 2) == pytest.approx([0.5, 1.0])


def test_an_empty_trajectory_holds_what_is_commanded():
    arm = follower()
    accept(arm, point(2, (2.0, 0.0)))
    accept(arm, names=(), now_ns=T0 + S)
    assert arm.sample(T0 + 5 * S) == pytest.approx([1.0, 0.0])
    assert not arm.active(T0 + S)


def test_hold_drops_the_trajectory():
    arm = follower()
    accept(arm, point(2, (2.0, 0.0)))
    arm.hold((0.3, 0.4))
    assert arm.sample(T0 + S).tolist() == [0.3, 0.4]
    assert arm.end_ns is None


def test_partial_joints_are_refused_by_name():
    with pytest.raises(TrajectoryError, match="joint 'b' is missing"):
        accept(follower(), point(1, (1.0,)), names=("a",))


@pytest.mark.parametrize(
    ("points", "names", "message"),
    [
        ([point(1, (0.0, 0.0))], ("a", "c"), "unknown joint 'c'; this output drives a, b"),
        ([point(1, (0.0, 0.0))], ("a", "a"), "joint 'a' appears more than once"),
        ([point(1, (0.0,))], ("a", "b"), r"points\[0\].positions has 1 numbers for 2 joints"),
        ([point(1, ())], ("a", "b"), r"points\[0\].positions has 0 numbers"),
        (
            [point(1, (0.0, 0.0), (1.0,))],
            ("a", "b"),
            r"points\[0\].velocities has 1 numbers for 2 joints",
        ),
        (
            [point(1, (0.0, 0.0)), point(2, (0.0, float("nan")))],
            ("b", "a"),
            r"points\[1\].positions: joint 'a' is nan",
        ),
        (
            [point(1, (0.0, 0.0), (float("inf"), 0.0))],
            ("a", "b"),
            r"points\[0\].velocities: joint 'a' is inf",
        ),
        (
            [point(1, (0.0, 0.0)), point(1, (0.0, 0.0))],
            ("a", "b"),
            r"times do not increase: points\[0\] at 1\.0",
        ),
        ([point(-1, (0.0, 0.0))], ("a", "b"), r"points\[0\].time_from_start is -1\.0 s"),
        ([point(1, (0.0, 0.0), (0.0, 0.1))], ("a", "b"), "the last point moves: joint 'b'"),
    ],
)
def test_a_bad_trajectory_is_refused_and_changes_nothing(points, names, message):
    arm = follower(start=(0.5, 0.6))
    accept(arm, point(2, (1.5, 0.6)))
    with pytest.raises(TrajectoryError, match=message):
        accept(arm, *points, names=names, now_ns=T0 + S)
    assert arm.sample(T0 + S) == pytest.approx([1.0, 0.6])


def test_without_a_start_the_first_trajectory_needs_the_current_position():
    arm = TrajectoryFollower(("a",))
    with pytest.raises(TrajectoryError, match="nothing is commanded yet"):
        arm.sample(T0)
    with pytest.raises(TrajectoryError, match="nothing to begin from"):
        arm.accept([point(1, (1.0,))], ("a",), stamp_ns=0, now_ns=T0)
    arm.accept([point(1, (1.0,))], ("a",), stamp_ns=0, now_ns=T0, current=(0.0,))
    assert arm.sample(T0 + S // 4) == pytest.approx([0.25])


ANGLE = st.floats(-3, 3)
STEP_MS = st.integers(10, 400)


@st.composite
def trajectories(draw):
    order = draw(st.integers(0, 2))
    steps = draw(st.lists(STEP_MS, min_size=1, max_size=6))
    last = len(steps) - 1
    points = []
    for i, at in enumerate(np.cumsum(steps)):
        moving = [0.0, 0.0] if i == last else draw(st.lists(ANGLE, min_size=2, max_size=2))
        points.append(
            point(
                at / 1000,
                draw(st.lists(ANGLE, min_size=2, max_size=2)),
                moving if order >= 1 else (),
                moving if order == 2 else (),
            )
        )
    return points


@given(trajectories())
def test_every_point_is_reached_at_its_time(points):
    arm = follower()
    accept(arm, *points)
    for one in points:
        reached = arm.sample(T0 + one.time_from_start_ns)
        assert reached == pytest.approx(np.asarray(one.positions), abs=1e-9)


@given(trajectories(), trajectories(), st.integers(0, 3000))
@settings(max_examples=60)
def test_replacement_never_jumps(first, second, at_ms):
    arm = follower()
    accept(arm, *first)
    now = T0 + at_ms * MS
    before = arm.sample_state(now)
    accept(arm, *second, now_ns=now)
    after = arm.sample_state(now)
    assert after.positions == pytest.approx(before.positions, abs=1e-9)
    if second[0].velocities:
        assert after.velocities == pytest.approx(before.velocities, abs=1e-9)
