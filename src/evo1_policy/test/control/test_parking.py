"""The way to the park pose: slow, a piece at a time, and ended by whatever a person asks."""

import dataclasses

import numpy as np
import pytest

from evo1_policy.control.signals import LoopState, Request

MS = 1_000_000
PARK = (0.8, -0.2, 0.1)


@pytest.fixture
def parking_cell(kit):
    robot = dataclasses.replace(kit.robot, park=PARK)
    cell = kit.cell(robot, actions=kit.waves())
    cell.run(1.5, Request.START)
    return cell


def test_parking_goes_slowly_to_the_pose_and_ends_idle(kit, parking_cell):
    cell = parking_cell
    begun_ns = cell.now_ns
    cell.step(Request.PARK)
    assert (cell.state, cell.code) == (LoopState.HOLDING, "parking")
    cell.run(1.0)
    fastest = max(np.abs(sent.velocities).max() for sent in cell.sent[-2:])
    assert fastest <= 0.2 * kit.robot.velocity_max.max() + 1e-9
    cell.run_until(lambda: cell.state is LoopState.IDLE, within_s=20.0)
    np.testing.assert_allclose(cell.position()[:2], PARK[:2], atol=1e-6)
    assert cell.position()[2] > 0.3  # the gripper keeps what it holds
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
        assert kit.rest_ns(trajectory) < cell.now_ns
    kit.assert_seamless(cell)
    assert cell.now_ns - begun_ns > 2e9
    cell.run(2.0)
    assert not cell.moving()
    assert cell.state is LoopState.IDLE


def test_a_policy_that_dies_while_parking_leaves_the_arm_within_a_second(kit, parking_cell):
    cell = parking_cell
    cell.step(Request.PARK)
    cell.run(1.5)
    assert kit.rest_ns(cell.sent[-1]) < cell.now_ns + 1000 * MS


@pytest.mark.parametrize("request_", [Request.STOP, Request.PAUSE, Request.FINISH])
def test_people_end_the_parking(kit, parking_cell, request_):
    cell = parking_cell
    cell.step(Request.PARK)
    cell.run(1.5)
    assert cell.moving()
    cell.step(request_)
    assert cell.code != "parking"
    cell.run(1.0)
    assert not cell.moving()
    cell.run(1.0)
    assert np.abs(cell.position() - PARK).max() > 0.05


@pytest.mark.parametrize("fault", ["arm_fault", "controller_problem", "second_source"])
def test_a_fault_ends_the_parking_until_a_person_resumes(kit, parking_cell, fault):
    cell = parking_cell
    cell.step(Request.PARK)
    cell.run(1.5)
    setattr(cell, fault, "it is out")
    cell.run(1.0)
    assert cell.state is LoopState.HOLDING
    assert cell.output.status.reason.message.startswith("it is out")
    assert not cell.moving()
    setattr(cell, fault, None)
    cell.run(1.0)
    assert not cell.moving()


def test_home_is_gone_to_as_the_park_pose_is_and_every_robot_has_one(kit):
    cell = kit.moving_cell()
    cell.step(Request.HOME)
    assert (cell.state, cell.code) == (LoopState.HOLDING, "parking")
    assert cell.output.status.reason.message == "going slowly to the home pose; then at rest"
    cell.run_until(lambda: cell.state is LoopState.IDLE, within_s=20.0)
    arm = np.array(kit.robot.home)[:2]  # the gripper keeps what it holds
    np.testing.assert_allclose(cell.position()[:2], arm, atol=1e-6)


def test_without_a_park_pose_parking_is_refused(kit):
    cell = kit.moving_cell()
    cell.step(Request.PARK)
    assert "no park pose" in cell.output.refused
    assert cell.state is LoopState.RUNNING


def test_joint_samples_that_go_stale_end_the_parking(kit, parking_cell):
    cell = parking_cell
    cell.step(Request.PARK)
    cell.run(1.0)
    cell.unmeasured = True
    cell.run(1.0)
    assert cell.code == "joints_stale"
    assert not cell.moving()


def test_a_short_gap_while_parking_does_not_start_the_policy(kit, parking_cell):
    cell = parking_cell
    cell.step(Request.FINISH)
    cell.run(1.0)
    cell.step(Request.PARK)  # of a policy that was idle
    cell.run(1.0)
    cell.unmeasured = True
    cell.run(0.3)
    cell.unmeasured = False
    asked = len(cell.asked)
    cell.run(3.0)
    assert (cell.state, cell.code) == (LoopState.HOLDING, "joints_stale")
    assert "that is over" in cell.output.status.reason.message
    assert not cell.output.status.recovers
    assert len(cell.asked) == asked
    assert not cell.moving()


def test_a_stop_while_parking_is_latched_also_where_the_controller_leaves_at_that_instant(
    kit, parking_cell
):
    cell = parking_cell
    cell.says_held = True
    cell.step(Request.PARK)
    cell.run(1.3)
    assert cell.moving()
    cell.holds = cell.position().copy()  # deactivated and activated again
    cell.active, cell.start = None, cell.holds
    cell.step(Request.STOP)
    assert cell.state is LoopState.STOPPED
    cell.step(Request.RESUME)
    assert cell.state is LoopState.STOPPED


@pytest.mark.parametrize("parking_s", [0.02, 1.0])
def test_a_clock_that_jumps_back_ends_the_parking(kit, parking_cell, parking_s):
    cell = parking_cell
    cell.step(Request.PARK)
    cell.run(parking_s)
    cell.clock_offset_ns = -5_000 * MS
    cell.run(0.5)
    assert cell.code == "clock_jumped_back"
    sent = len(cell.sent)
    cell.run(10.0)  # the old clock's times come again
    assert len(cell.sent) == sent
    assert not cell.moving()


@pytest.mark.parametrize("stall_s", [0.6, 2.0, 20.0])
def test_a_process_that_stood_still_parks_no_faster_afterwards(kit, parking_cell, stall_s):
    cell = parking_cell
    cell.step(Request.PARK)
    cell.run(1.3)
    cell.true_ns += round(stall_s * 1e9)
    sent = len(cell.sent)
    cell.run_until(lambda: cell.state is LoopState.IDLE, within_s=20.0)
    np.testing.assert_allclose(cell.position()[:2], PARK[:2], atol=1e-6)
    for trajectory in cell.sent[sent:]:
        assert (np.abs(trajectory.velocities) <= 0.25 * kit.robot.velocity_max).all()
    kit.assert_seamless(cell)
