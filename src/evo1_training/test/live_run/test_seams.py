"""Jumps between the trajectories that controllers were sent."""

from dataclasses import replace

import numpy as np
import pytest
from recordings import START_NS, ramp

from evo1_policy.robot_config import load_robot
from evo1_training.live_run.seams import (
    Jumps,
    commanded_positions,
    leads_ms,
    observed_jumps,
    refused,
)


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def test_trajectories_that_meet_have_no_jump(robot):
    jumps = observed_jumps([ramp(0.0, 0.0, 0.3), ramp(1.0, 0.3, 0.5)], robot)
    assert jumps.position_rad == pytest.approx(0.0, abs=1e-12)
    assert jumps.velocity_rad_s == pytest.approx(0.0, abs=1e-12)
    assert jumps.late_rad == 0.0


def test_step_between_trajectories_is_measured(robot):
    jumps = observed_jumps([ramp(0.0, 0.0, 0.3), ramp(1.0, 0.35, 0.5)], robot)
    assert jumps.position_rad == pytest.approx(0.05)


def test_replacement_half_way_is_compared_with_the_moving_arm(robot):
    # a cubic from rest to rest is half way at half time, at 1.5 times the mean speed
    jumps = observed_jumps([ramp(0.0, 0.0, 0.4), ramp(0.5, 0.2, 0.4)], robot)
    assert jumps.position_rad == pytest.approx(0.0, abs=1e-9)
    assert jumps.velocity_rad_s == pytest.approx(0.6)


def test_late_trajectory_meets_at_its_start_and_jumps_at_its_arrival(robot):
    late = replace(ramp(0.0, 0.0, 0.8), received_ns=START_NS + 500_000_000)
    jumps = observed_jumps([ramp(0.0, 0.0, 0.4), late], robot)
    assert jumps.position_rad == pytest.approx(0.0, abs=1e-12)
    assert jumps.late_rad == pytest.approx(0.2)  # 0.4 against 0.2 half way


def test_outputs_are_compared_with_themselves_only(robot):
    commands = [ramp(0.0, 0.0, 0.0), ramp(0.1, 0.8, 0.8, output=1), ramp(1.0, 0.0, 0.0)]
    assert observed_jumps(commands, robot) == Jumps()


def test_commanded_positions_follow_the_newest_trajectory(robot):
    times = START_NS + np.array([-1.0, 0.0, 0.5, 1.0, 3.0]) * 1e9
    commanded = commanded_positions(
        [ramp(0.0, 0.0, 0.4), ramp(1.0, 0.4, 0.6)], robot, times.astype(np.int64)
    )
    assert np.isnan(commanded[0]).all()
    np.testing.assert_allclose(commanded[1:, 0], [0.0, 0.2, 0.4, 0.6], atol=1e-9)
    assert np.isnan(commanded[:, 6]).all()  # the gripper was never commanded


def test_trajectory_that_arrives_after_its_end_changes_nothing(robot):
    late = replace(ramp(0.0, 0.1, 0.2, seconds=0.1), received_ns=START_NS + 500_000_000)
    commands = [ramp(0.0, 0.0, 0.4), late]
    times = np.array([START_NS + 1_000_000_000])
    assert refused(commands, robot) == 1
    assert observed_jumps(commands, robot) == Jumps()
    assert commanded_positions(commands, robot, times)[0, 0] == pytest.approx(0.4)


def test_lead_is_the_time_from_arrival_until_something_else_is_asked_for(robot):
    first = ramp(0.0, 0.0, 0.4)
    on_time = replace(ramp(1.0, 0.4, 0.6), received_ns=START_NS + 1_250_000_000)
    late = replace(ramp(1.0, 0.5, 0.6), received_ns=START_NS + 1_250_000_000)
    again = replace(first, received_ns=START_NS + 100_000_000)
    assert leads_ms([first, on_time], robot) == [pytest.approx(750.0)]
    assert leads_ms([first, late], robot) == [pytest.approx(-250.0)]
    assert leads_ms([first, again], robot) == []
