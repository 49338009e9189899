import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.simulated_robot import SimulatedRobot, SimulatedRobotError
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint
from evo1_sim.world import World

TICK = 10_000_000
T0 = 1_700_000_000_000_000_000
ARM = [f"joint{i}" for i in range(1, 7)]


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture
def simulated(robot):
    return SimulatedRobot(World("xarm6", seed=3), robot, start_ns=T0)


def run(simulated, ticks, first=1):
    readings = [simulated.tick(T0 + k * TICK, TICK) for k in range(first, first + ticks)]
    return np.array([reading.positions for reading in readings])


def to(positions, seconds=1.0, velocities=()):
    return TrajectoryPoint(
        positions=positions, velocities=velocities, time_from_start_ns=round(seconds * 1e9)
    )


def test_without_a_command_the_arm_stands_still(simulated):
    positions = run(simulated, 50)
    assert np.abs(positions - positions[0]).max() < 2e-3


def test_each_output_moves_its_own_joints(simulated, robot):
    start = run(simulated, 1)[0]
    target = start[:6] + 0.3
    simulated.accept(0, [to(list(target))], ARM, stamp_ns=0)
    simulated.accept(1, [to([0.5])], ["drive_joint"], stamp_ns=0)
    end = run(simulated, 200, first=2)[-1]
    assert end[:6] == pytest.approx(target, abs=0.02)
    assert end[6] == pytest.approx(0.5, abs=0.03)


def test_a_replaced_trajectory_makes_no_jump(simulated, robot):
    start = run(simulated, 1)[0]
    simulated.accept(0, [to(list(start[:6] + 1.0))], ARM, stamp_ns=0)
    positions = [run(simulated, 40, first=2)]
    simulated.accept(0, [to(list(start[:6] - 0.2))], ARM, stamp_ns=0)
    positions.append(run(simulated, 200, first=42))
    steps = np.abs(np.diff(np.concatenate(positions)[:, :6], axis=0))
    assert steps.max() < 0.02  # the faster of the two moves at 0.6 rad in 1 s


def test_a_reset_stops_a_running_trajectory_and_repeats_the_start(simulated):
    start = run(simulated, 1)[0]
    simulated.accept(0, [to(list(start[:6] + 1.0), 3.0)], ARM, stamp_ns=0)
    run(simulated, 100, first=2)
    assert simulated.reset("", 3) == 3
    after = run(simulated, 100, first=102)
    assert after[-1] == pytest.approx(start, abs=2e-3)
    assert simulated.task().elapsed_s == pytest.approx(1.0)


def test_a_negative_seed_is_the_next_one(simulated):
    assert simulated.reset("", -1) == 4
    assert simulated.reset("", -1) == 5
    assert simulated.task().seed == 5


def test_an_unknown_task_is_refused_with_the_known_ones(simulated):
    with pytest.raises(SimulatedRobotError, match=r"unknown task 'dance'.*can_into_box"):
        simulated.reset("dance", 0)


def test_a_refused_trajectory_leaves_the_arm_as_it_was(simulated):
    start = run(simulated, 1)[0]
    with pytest.raises(TrajectoryError, match="joint 'joint1' is nan"):
        simulated.accept(0, [to([float("nan")] * 6)], ARM, stamp_ns=0)
    assert run(simulated, 50, first=2)[-1] == pytest.approx(start, abs=2e-3)


def test_a_clock_that_jumps_back_stops_the_arm_where_it_was_sent(simulated):
    start = run(simulated, 1)[0]
    simulated.accept(0, [to(list(start[:6] + 1.0), 2.0)], ARM, stamp_ns=0)
    before = run(simulated, 100, first=2)[-1]
    after = run(simulated, 100, first=-1000)[-1]
    assert after[:6] == pytest.approx(before[:6], abs=0.05)


def test_limits_that_a_trajectory_exceeds_are_named(simulated):
    home = run(simulated, 1)[0][:6]
    beyond, fast = home.copy(), np.zeros(6)
    beyond[1], fast[2] = 2.3, 9.0
    assert "joint 'joint2' is asked to 2.3" in simulated.accept(
        0, [to(list(beyond))], ARM, stamp_ns=0
    )
    assert "joint 'joint3' is asked for 9.0" in simulated.accept(
        0, [to(list(home), 1.0, list(fast)), to(list(home), 2.0, [0.0] * 6)], ARM, stamp_ns=0
    )
    assert simulated.accept(0, [to(list(home))], ARM, stamp_ns=0) == ""


def test_another_arms_robot_file_is_refused(robots_dir):
    so100 = load_robot(robots_dir / "so100.yaml")
    with pytest.raises(SimulatedRobotError, match=r"shoulder_pan_joint.*joint1"):
        SimulatedRobot(World("xarm6"), so100, start_ns=T0)
