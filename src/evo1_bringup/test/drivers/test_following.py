"""Whatever is asked of a driver's joints: it is refused by name, or goals keep their limits."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evo1_bringup.drivers.following import Asked, Goals, NewestTrajectory
from evo1_policy.control.limits import Limits
from evo1_policy.robot_config import load_robot
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
times = st.integers(0, 3) | st.integers(0, 2_000) | st.integers(-(2**31), 2**31)


def vectors(most):
    """Mostly six numbers that a joint could mean."""
    usable = st.lists(st.floats(-most, most), min_size=6, max_size=6)
    return st.one_of(usable, usable, usable, st.lists(st.floats(), max_size=7))


@st.composite
def asked(draw):
    """Mostly what can be followed: times that rise, a last point at rest."""
    ends = sorted(draw(st.lists(times, max_size=3)))
    speeds = st.sampled_from([(), (0.0,) * 6]) | vectors(1.0)
    points = [
        TrajectoryPoint(
            positions=draw(vectors(2.0)), velocities=draw(speeds), time_from_start_ns=end * MS
        )
        for end in ends
    ]
    return points, draw(st.sampled_from([0, 0, T0, T0 - 500 * MS, T0 + 500 * MS, 1, 2**62]))


ONE_POINT = [TrajectoryPoint(positions=(0.1,) * 6, time_from_start_ns=0)]


@pytest.mark.fuzz
@example([((ONE_POINT, 0), 15, 5)])  # looked at before it came, it ended the bus thread
@given(
    st.lists(st.tuples(asked(), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=4)
)
def test_any_trajectories_are_refused_or_followed_within_the_limits(robots_dir, given_ones):
    robot = load_robot(robots_dir / "so100.yaml")
    limits = Limits.of(robot)
    newest, goals = NewestTrajectory(robot.joint_names), Goals(limits, max_stall_s=0.1)
    now_ns = T0
    goals.hold(robot.home, now_ns)
    for (points, stamp_ns), between_ms, later_ms in given_ones:
        now_ns += between_ms * MS  # it comes between two cycles
        asked_now = Asked(points=points, joint_names=robot.joint_names, stamp_ns=stamp_ns)
        with suppress(TrajectoryError):
            newest.accept(asked_now, now_ns=now_ns, steady_ns=now_ns, begin=goals.positions)
        for step_ms in (later_ms, 10):
            now_ns += step_ms * MS
            positions = goals.advance(now_ns, newest.sample)
            assert (positions >= limits.position_min).all()
            assert (positions <= limits.position_max).all()
            assert (np.abs(goals.velocities) <= limits.velocity_max).all()
