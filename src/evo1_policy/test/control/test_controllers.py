"""What controllers say they hold decides where every motion begins, and every stop."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from evo1_policy.control.execution import plan_hold
from evo1_policy.control.held import HeldStates
from evo1_policy.control.policy_loop import LoopSettings
from evo1_policy.control.signals import ExecutionMode, LoopState, Request
from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.observation import Missing

MS = 1_000_000


@pytest.fixture
def cell(kit):
    cell = kit.cell(kit.robot, actions=kit.waves())
    cell.says_held = True
    cell.run(1.5, Request.START)
    assert cell.moving()
    assert cell.output.status.holds == 0
    return cell


def test_a_controller_that_dropped_its_trajectory_is_sent_nothing_and_a_person_resumes(kit, cell):
    cell.holds = cell.position().copy()  # deactivated and activated again: it holds
    cell.active, cell.start = None, cell.holds
    sent = len(cell.sent)
    cell.step()
    assert cell.code == "controller_left"
    assert "joint 'shoulder' does not follow what was sent" in cell.output.status.reason.message
    assert "it stands: it gave up by a tolerance" in cell.output.status.reason.message
    cell.run(3.0)
    assert len(cell.sent) == sent
    assert not cell.output.status.recovers
    held, cell.holds = cell.holds, None
    cell.step(Request.RESUME)
    cell.run_until(lambda: len(cell.sent) > sent)
    np.testing.assert_allclose(cell.sent[-1].sample(cell.now_ns)[0], held, atol=1e-9)
    switches = len(cell.switches)
    cell.run(1.0)
    assert cell.state is LoopState.RUNNING
    for at_ns, before, after in cell.switches[switches:]:
        jump = kit.executed_at(before, at_ns, cell.start) - kit.executed_at(
            after, at_ns, cell.start
        )
        assert np.abs(jump).max() <= 1e-6


def test_a_fault_that_comes_after_what_came_of_it_takes_the_reason(cell):
    cell.holds = cell.position() + 0.1  # the driver's last words, before that of its fault
    cell.run(0.1)
    assert cell.code == "controller_left"
    cell.arm_fault = "servo_silent: elbow_flex_joint (id 3)"
    cell.missing = Missing(stream="joint_states", code="stale", message="400 ms old")
    cell.step()
    assert cell.code == "arm_fault"
    cell.run(0.5)
    cell.arm_fault = cell.missing = None
    cell.run(0.1)
    assert cell.output.status.reason.message == (
        "servo_silent: elbow_flex_joint (id 3) (that is over); resume to go on"
    )
    assert cell.output.status.holds == 1


def test_a_controller_that_comes_after_is_told_to_stop(kit):
    cell = kit.cell(kit.robot, actions=kit.waves(2.0, 0.4))
    cell.says_held = True
    cell.run(1.5, Request.START)
    cell.run_until(lambda: np.abs(cell.held().velocities).max() > 0.5)
    cell.behind_ns = 60 * MS  # its machine is busy
    cell.run_until(lambda: cell.code == "controller_left")
    assert "it follows too late" in cell.output.status.reason.message
    assert not cell.output.status.recovers
    begun_ns, left_at = cell.now_ns, cell.position()
    cell.run_until(lambda: not cell.moving())
    assert cell.now_ns - begun_ns < 600 * MS  # what was sent had run for a second
    assert np.abs(cell.position() - left_at).max() < 0.25
    cell.run(1.0)
    assert not cell.moving()


def test_a_controller_that_gave_up_its_goal_at_rest_is_gone_on_from(kit, cell):
    cell.step(Request.PAUSE)
    cell.run(1.5)
    rest = cell.position().copy()
    cell.holds = rest + np.array([0.03, -0.02, 0.0])  # where it measured the arm
    cell.run(0.2)
    assert cell.code == "paused"
    sent, held = len(cell.sent), cell.holds
    cell.step(Request.RESUME)
    cell.run_until(lambda: len(cell.sent) > sent)
    np.testing.assert_allclose(cell.sent[-1].positions[0], held, atol=1e-9)


@pytest.mark.parametrize("request_", [None, Request.STOP])
def test_an_arm_that_follows_the_chunk_before_a_lost_one_is_stopped(kit, request_):
    cell = kit.cell(kit.robot, actions=kit.waves(speed=3.0))
    cell.says_held = True
    cell.run(1.5, Request.START)
    lead_ns, accepted = cell.loop._motion.lead_ns, cell.output.status.chunks_accepted
    cell.actions = kit.waves(speed=2.0)  # so that the lost one leads elsewhere
    cell.delivery_ns = lambda: 10**15
    cell.run_until(lambda: cell.output.status.chunks_accepted > accepted)
    cell.delivery_ns = lambda: 2 * MS
    cell.run_until(lambda: cell.code == "controller_left", within_s=1.0)
    assert cell.moving()
    if request_:
        cell.step(request_)
    cell.run(0.4)
    assert not cell.moving()
    kit.assert_seamless(cell)
    assert cell.loop._motion.lead_ns == lead_ns  # it was lost, not late


@pytest.mark.parametrize("request_", [Request.PAUSE, Request.STOP, Request.FINISH])
def test_a_stop_asked_for_while_a_lost_command_stands_reaches_the_arm_that_moves(kit, request_):
    cell = kit.cell(kit.robot, actions=kit.waves(speed=0.5))
    cell.says_held = True
    cell.run(1.5, Request.START)
    motion, sent = cell.loop._motion, len(cell.sent)
    short = plan_hold(
        motion.executing, now_ns=cell.now_ns, lead_ns=motion.lead_ns, limits=motion.limits
    )  # as a chunk that is cut at once
    motion.send(short, motion.executing, None, cell.now_ns)
    cell.latency_ns = lambda: None
    cell.run_until(lambda: not np.abs(motion.executing.sample(cell.now_ns)[1]).any())
    cell.step(request_)
    assert cell.moving()
    assert len(cell.sent) == sent  # where it stands by our memory, nothing is sent
    cell.run(0.4)
    assert not cell.moving()
    kit.assert_seamless(cell)


def elsewhere(cell, velocities, joints=slice(None)):
    """Let the controllers of some joints say that they move on at these velocities [rad/s]."""
    begin, begin_ns, said = cell.position().copy(), cell.now_ns, cell.held

    def held():
        state = said()
        place, speed = state.positions.copy(), state.velocities.copy()
        way = np.array(velocities) * (state.stamps_ns[0] - begin_ns) / 1e9
        place[joints], speed[joints] = (begin + way)[joints], np.array(velocities)[joints]
        return dataclasses.replace(state, positions=place, velocities=speed)

    cell.held = held


def test_a_stop_reaches_a_controller_that_somebody_else_moves(kit, cell):
    elsewhere(cell, (-0.5, 0.0, 0.0))
    cell.run(0.3)
    assert cell.code == "controller_left"
    cell.run(0.3)
    lead_ns = cell.loop._motion.lead_ns
    assert lead_ns < 50 * MS
    held, sent = cell.held(), len(cell.sent)
    cell.step(Request.STOP)
    assert len(cell.sent) > sent
    at_ns = int(held.stamps_ns[0])
    np.testing.assert_allclose(cell.sent[sent].sample(at_ns)[0], held.positions, atol=1e-3)
    np.testing.assert_allclose(cell.sent[sent].sample(at_ns)[1], held.velocities, atol=1e-3)
    assert kit.rest_ns(cell.sent[sent]) < cell.now_ns + 250 * MS


def test_where_one_controller_leaves_the_others_are_stopped(kit):
    arm, jaw = ("shoulder", "elbow"), ("jaw",)
    outputs = [dataclasses.replace(kit.robot.command[0], joints=joints) for joints in (arm, jaw)]
    robot = dataclasses.replace(kit.robot, command=tuple(outputs))
    cell = kit.cell(robot, actions=kit.waves(speed=3.0))
    cell.says_held = True
    cell.run(1.5, Request.START)
    place = cell.position()[:2].copy()
    elsewhere(cell, (0.0, 0.0, 0.0), slice(2))  # the arm's was switched off and on
    cell.run(0.05)
    assert cell.code == "controller_left"
    np.testing.assert_allclose(cell.sent[-1].positions[-1][:2], place, atol=1e-9)
    cell.run(0.3)
    rest = cell.position()[2]
    cell.run(1.0)
    assert cell.position()[2] == rest


def test_a_controller_that_leaves_during_a_short_gap_waits_for_a_person(kit, cell):
    cell.missing = Missing(stream="image_1", code="stale", message="no picture")
    cell.step()
    assert cell.code == "camera_stale"
    cell.holds = cell.position().copy()
    cell.active, cell.start = None, cell.holds
    cell.run(0.3)
    cell.missing = None
    sent = len(cell.sent)
    cell.run(2.0)
    assert cell.code == "controller_left"
    assert len(cell.sent) == sent


@pytest.mark.parametrize("who", ["policy", "person", "parking"])
def test_nothing_new_is_sent_while_a_controller_that_spoke_says_nothing(kit, who):
    settings = LoopSettings(mode=ExecutionMode.ENSEMBLE)
    robot = dataclasses.replace(kit.robot, park=PARK)
    cell = kit.cell(robot, actions=kit.waves(), settings=settings)
    cell.says_held = True
    cell.run(1.5, Request.START)
    if who == "parking":
        cell.run(1.0, Request.PARK)
    cell.says_held = False  # it may be off, and on again at any instant, wherever it holds then
    for i in range(40):
        if who == "person":
            cell.targets = (target_at(cell.position()),)
        if cell.step().command is not None:
            assert i < 11, cell.output.status
    cell.says_held = True
    cell.run(0.3)
    assert cell.output.status.holds == 0


def target_at(position):
    return TeleopTarget(
        joint_names=("shoulder", "elbow", "jaw"),
        stamp_ns=0,
        offsets_ns=(0,),
        positions=position[np.newaxis] + 0.02,
    )


def test_a_servo_that_droops_under_its_load_keeps_its_command_as_origin(kit, cell):
    for _ in range(5):
        cell.step(Request.PAUSE)
        cell.run(1.5)
        rest = cell.position().copy()
        cell.shove = np.array([0.25, 0.0, 0.0])  # measured, not commanded
        cell.holds = rest
        cell.run(0.3)
        sent = len(cell.sent)
        cell.step(Request.RESUME)
        cell.run_until(lambda: len(cell.sent) > sent)  # noqa: B023
        np.testing.assert_allclose(cell.sent[-1].positions[0], rest, atol=1e-9)
        cell.holds, cell.shove = None, np.zeros(3)
        cell.run(0.5)


def test_a_stop_is_sent_again_until_the_controller_rests(kit, cell):
    cell.delivery_ns = lambda: 10**15  # lost on its way
    running = cell.active
    cell.step(Request.STOP)
    first = cell.output.command
    assert first is not None
    again = [cell.step().command for _ in range(12)]
    assert again[0] is first
    assert sum(command is not None for command in again) >= 2
    assert cell.active is running
    cell.delivery_ns = lambda: 2 * MS
    cell.run(0.3)
    assert cell.active is not running
    assert not cell.moving()
    kit.assert_seamless(cell)
    cell.run(0.7)
    assert not cell.moving()
    assert cell.output.command is None
    assert not cell.output.status.moving


def test_commands_change_nothing_before_two_cycles_and_the_transport(kit, cell):
    asked_ns, before = cell.now_ns, cell.loop._motion.executing
    cell.step(Request.PAUSE)
    stop = cell.output.command.trajectory
    earliest_ns = asked_ns + 2 * 1e9 / 150 + 3 * MS
    for at_ns in np.arange(asked_ns, earliest_ns, MS):
        np.testing.assert_allclose(
            stop.sample(int(at_ns))[0], before.sample(int(at_ns))[0], atol=1e-9
        )
    assert stop.start_ns < asked_ns - 150 * MS  # a controller whose clock is behind finds itself


def test_what_is_sent_ends_soon_after_the_next_chunk_is_due(kit):
    settings = LoopSettings(execute_actions=10, default_lead_ns=100 * MS)
    cell = kit.cell(kit.robot, actions=kit.waves(), settings=settings)
    cell.run(3.0, Request.START)
    assert cell.output.status.holds == 0
    for output in cell.outputs:
        if output.chunk is None:
            continue
        due_ns = output.chunk.start_ns + 10 * kit.robot.step_ns
        assert kit.rest_ns(output.command.trajectory) < due_ns + 800 * MS
        assert output.chunk.end_ns > due_ns + 1200 * MS  # most of it is not sent


@pytest.mark.parametrize("true", [(0.0, 0.3, 0.2), (0.05, 0.02, 0.0)])
def test_zeros_before_the_first_measurement_start_no_motion(kit, true):
    cell = kit.cell(kit.robot, actions=lambda _: np.array(true), start=np.zeros(3))
    cell.run(0.4, Request.START)
    assert not cell.sent
    cell.start = np.array(true)
    cell.run_until(lambda: cell.sent, within_s=1.0)
    np.testing.assert_allclose(cell.sent[0].positions[0], true, atol=1e-9)


def test_an_arm_without_words_of_its_controller_stops_where_it_is_measured(kit):
    cell = kit.moving_cell()
    cell.shove = np.array([0.5, 0.0, 0.0])
    cell.step()
    assert cell.code == "tracking_error"
    stamp_ns = cell.now_ns - 15 * MS
    measured = cell.position(stamp_ns - cell.lag_ns)
    np.testing.assert_allclose(cell.sent[-1].positions[-1][:2], measured[:2], atol=1e-9)


def said_by_controller(names, positions, velocities, stamp_ns):
    """A controller's state, as far as it is read."""
    stamp = SimpleNamespace(sec=0, nanosec=stamp_ns)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp),
        joint_names=names,
        reference=SimpleNamespace(positions=positions, velocities=velocities),
    )


def test_controllers_words_become_one_state_by_name():
    states = HeldStates(("a", "b", "hand"), (("a", "b"), ("hand",)))
    said = said_by_controller(("b", "stranger", "a"), (2.0, 9.0, 1.0), (0.2, 9.0, 0.1), 10)
    states.add(0, said, 14)
    held = states.state(14)
    assert held.known.tolist() == [True, True, False]
    assert held.positions[:2].tolist() == [1.0, 2.0]
    states.add(1, said_by_controller(("hand",), (0.5,), (), 20), 22)
    assert not states.state(22).known[2]  # its velocity is not known yet
    states.add(1, said_by_controller(("hand",), (0.6,), (), 20 + 100 * MS), 24 + 100 * MS)
    assert states.state(24 + 100 * MS).velocities[2] == pytest.approx(1.0)
    assert states.state(24 + 100 * MS).delay_ns == 4
    assert states.silent(24 + 100 * MS) is None
    assert states.state(14 + 151 * MS).known.tolist() == [False, False, True]
    assert states.state(24 + 251 * MS) is None
    assert states.silent(14 + 501 * MS) == (0, 501 * MS)


PARK = (0.8, -0.2, 0.1)
