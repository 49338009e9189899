import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.simulated_robot import Faults, SimulatedRobot, SimulatedRobotError
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


def test_after_a_clock_that_jumps_back_the_arm_goes_on_to_where_it_was_sent(simulated):
    start = run(simulated, 1)[0]
    simulated.accept(0, [to(list(start[:6] + 1.0), 2.0)], ARM, stamp_ns=0)
    before = run(simulated, 100, first=2)[-1]
    after = run(simulated, 150, first=-1000)
    assert np.abs(np.diff(np.vstack([before, after]), axis=0)).max() < 0.02
    assert after[-1][:6] == pytest.approx(start[:6] + 1.0, abs=0.02)


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


def test_each_output_says_what_it_follows(simulated):
    start = run(simulated, 1)[0]
    simulated.accept(0, [to(list(start[:6] + 0.3))], ARM, stamp_ns=T0 + TICK)
    run(simulated, 49, first=2)
    arm, gripper = simulated.tick(T0 + 51 * TICK, TICK).followed
    assert arm.positions == pytest.approx(start[:6] + 0.15, abs=2e-3)
    assert arm.velocities == pytest.approx([0.3] * 6, abs=5e-3)
    assert arm.feedback == pytest.approx(arm.positions, abs=0.02)
    assert arm.stamp_ns == T0 + 51 * TICK
    assert gripper.holding


def test_a_controller_that_is_switched_off_is_deaf_silent_and_holds(simulated):
    start = run(simulated, 1)[0]
    simulated.suffer(Faults(inactive=frozenset({"xarm6_traj_controller"})))
    simulated.accept(0, [to(list(start[:6] + 0.3))], ARM, stamp_ns=0)
    assert run(simulated, 100, first=2)[-1] == pytest.approx(start, abs=2e-3)
    arm, gripper = simulated.tick(T0 + 102 * TICK, TICK).followed
    assert arm is None
    assert gripper is not None
    simulated.suffer(Faults())
    simulated.accept(0, [to(list(start[:6] + 0.3))], ARM, stamp_ns=0)
    assert run(simulated, 200, first=103)[-1][:6] == pytest.approx(start[:6] + 0.3, abs=0.02)


def test_an_unknown_controller_cannot_be_switched_off(simulated):
    with pytest.raises(SimulatedRobotError, match=r"no controller 'arm'; known: xarm6_traj_con"):
        simulated.suffer(Faults(inactive=frozenset({"arm"})))


def test_a_delayed_trajectory_moves_the_arm_later(simulated):
    start = run(simulated, 1)[0]
    simulated.suffer(Faults(delay_ms=500.0))
    simulated.accept(0, [to(list(start[:6] + 0.3))], ARM, stamp_ns=0)
    assert run(simulated, 50, first=2)[-1] == pytest.approx(start, abs=2e-3)
    assert run(simulated, 150, first=52)[-1][:6] == pytest.approx(start[:6] + 0.3, abs=0.02)


def test_a_clock_that_is_behind_starts_a_trajectory_later(simulated):
    start = run(simulated, 1)[0]
    simulated.suffer(Faults(skew_ms=-500.0))
    points = [to(list(start[:6]), 0.0), to(list(start[:6] + 0.3), 0.1)]
    simulated.accept(0, points, ARM, stamp_ns=T0)
    assert run(simulated, 45, first=2)[-1][:6] == pytest.approx(start[:6], abs=5e-3)
    assert run(simulated, 55, first=47)[-1][:6] == pytest.approx(start[:6] + 0.3, abs=0.02)


def test_after_half_a_second_a_standing_error_is_what_is_commanded(simulated):
    start = run(simulated, 1)[0]
    simulated.suffer(Faults(standing_error_rad=0.03))
    simulated.accept(0, [to(list(start[:6] + 0.2), 0.5)], ARM, stamp_ns=0)
    run(simulated, 95, first=2)
    before = simulated.tick(T0 + 97 * TICK, TICK).followed[0]
    run(simulated, 20, first=98)
    after = simulated.tick(T0 + 118 * TICK, TICK).followed[0]
    assert not before.holding
    assert before.positions == pytest.approx(start[:6] + 0.2, abs=1e-6)
    assert after.holding
    assert after.positions == pytest.approx(start[:6] + 0.23, abs=5e-3)


def test_a_gripper_may_press_for_ever(simulated):
    start = run(simulated, 1)[0]
    simulated.accept(1, [to([0.9], 0.5)], ["drive_joint"], stamp_ns=0)  # beyond its stop at 0.85
    run(simulated, 300, first=2)
    gripper = simulated.tick(T0 + 302 * TICK, TICK).followed[1]
    assert gripper.positions == [0.9]
    assert not gripper.holding
    assert start[6] < 0.1


def test_a_reset_leaves_a_controller_off_that_was_off(simulated):
    simulated.suffer(Faults(inactive=frozenset({"xarm6_traj_controller"})))
    simulated.reset("", 3)
    assert simulated.tick(T0 + TICK, TICK).followed[0] is None
