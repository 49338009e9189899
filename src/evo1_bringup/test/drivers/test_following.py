"""Whatever is asked of a driver's joints: it is refused by name, or goals keep their limits."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_bringup.drivers.following import Asked, Goals, NewestTrajectory
from evo1_policy.control.limits import Limits
from evo1_policy.robot_config import load_robot
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
numbers = st.floats(-4.0, 4.0) | st.floats()
times = st.integers(0, 2_000) | st.integers(-(2**31), 2**31)


@st.composite
def asked(draw):
    """Mostly what can be read: times that rise, numbers that a joint could mean."""
    widths = st.sampled_from([6, 6, 6, 6, 0, 1])
    values = [
        tuple(
            draw(st.lists(numbers, min_size=n, max_size=n))
            for n in draw(st.tuples(widths, widths))
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    ends = sorted(draw(st.lists(times, min_size=len(values), max_size=len(values))))
    points = [
        TrajectoryPoint(positions=q, velocities=v, time_from_start_ns=end * MS)
        for (q, v), end in zip(values, ends, strict=True)
    ]
    stamp_ns = draw(st.sampled_from([0, T0, T0 - 500 * MS, T0 + 500 * MS, 1, 2**62]))
    return points, stamp_ns


@pytest.mark.fuzz
@given(st.lists(st.tuples(asked(), st.integers(0, 40)), min_size=1, max_size=4))
def test_any_trajectories_are_refused_or_followed_within_the_limits(robots_dir, given_ones):
    robot = load_robot(robots_dir / "so100.yaml")
    limits = Limits.of(robot)
    newest, goals = NewestTrajectory(robot.joint_names), Goals(limits, max_stall_s=0.1)
    now_ns = T0
    goals.hold(robot.home, now_ns)
    for (points, stamp_ns), later_ms in given_ones:
        asked_now = Asked(points=points, joint_names=robot.joint_names, stamp_ns=stamp_ns)
        with suppress(TrajectoryError):
            newest.accept(asked_now, now_ns=now_ns, steady_ns=now_ns, begin=goals.positions)
        for step_ms in (10, later_ms, 10):
            now_ns += step_ms * MS
            positions = goals.advance(now_ns, newest.sample)
            assert (positions >= limits.position_min).all()
            assert (positions <= limits.position_max).all()
            assert (np.abs(goals.velocities) <= limits.velocity_max).all()
