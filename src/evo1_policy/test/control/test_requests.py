"""What people ask of the loop: it comes at once, and outlives whatever else happens."""

import numpy as np
import pytest

from evo1_policy.control.policy_loop import LoopSettings
from evo1_policy.control.signals import LoopState, Request
from evo1_policy.observation import Missing

MS = 1_000_000
CAMERA = Missing(stream="image_1", code="stale", message="'env/image' is 180 ms old")


def test_stop_is_latched_and_drops_what_is_in_flight(kit):
    cell = kit.moving_cell()
    cell.latency_ns = lambda: 800 * MS
    asked = len(cell.asked)
    cell.run_until(lambda: len(cell.asked) > asked)
    cell.step(Request.STOP)
    assert cell.state is LoopState.STOPPED
    assert cell.code == "stopped"
    cell.run(1.0)
    kit.stays(cell, LoopState.STOPPED)
    for request in (Request.RESUME, Request.START, Request.PAUSE, Request.FINISH):
        cell.step(request)
        assert cell.state is LoopState.STOPPED
    cell.step(Request.CLEAR_STOP)
    kit.stays(cell, LoopState.IDLE)
    cell.step(Request.START)
    cell.run_until(cell.moving)


def test_stop_wins_over_a_stream_that_comes_back(kit):
    cell = kit.moving_cell()
    cell.missing = CAMERA
    cell.run(0.1)
    cell.step(Request.STOP)
    cell.missing = None
    cell.run(0.5)
    kit.stays(cell, LoopState.STOPPED)


def test_pause_holds_until_resume(kit):
    cell = kit.moving_cell()
    cell.step(Request.PAUSE)
    kit.comes_to_rest(cell, "paused")
    kit.stays(cell)
    cell.step(Request.RESUME)
    assert cell.state is LoopState.RUNNING
    cell.run_until(cell.moving)


def test_pause_during_a_fault_outlives_the_fault(kit):
    cell = kit.moving_cell()
    cell.missing = CAMERA
    cell.run(0.1)
    cell.step(Request.PAUSE)
    cell.missing = None
    cell.run(0.5)
    kit.stays(cell)
    assert cell.code == "paused"


def test_resume_during_a_fault_waits_for_the_fault_to_end(kit):
    cell = kit.moving_cell()
    cell.step(Request.PAUSE)
    cell.missing = CAMERA
    cell.run(1.0)
    cell.step(Request.RESUME)
    assert cell.state is LoopState.HOLDING
    assert cell.code == "camera_stale"
    cell.missing = None
    kit.resumes_by_itself(cell)


def test_finish_slows_to_rest_and_is_idle(kit):
    cell = kit.moving_cell()
    cell.step(Request.FINISH)
    assert cell.state is LoopState.IDLE
    assert cell.code is None
    assert cell.output.command is not None
    cell.run(0.6)
    kit.stays(cell, LoopState.IDLE)


def test_nothing_moves_before_start(kit):
    cell = kit.cell(kit.robot, actions=kit.waves())
    cell.run(1.0)
    assert cell.state is LoopState.IDLE
    assert not cell.asked
    assert not cell.sent


def test_a_new_instruction_replaces_the_chunk_at_once(kit):
    cell = kit.moving_cell(latency_ns=lambda: 300 * MS)
    asked = len(cell.asked)
    cell.run_until(lambda: len(cell.asked) > asked)
    cell.instruction = "open the box"
    cell.run_until(lambda: cell.output.chunk is not None, within_s=1.0)
    assert cell.output.chunk.instruction == "open the box"
    assert cell.output.status.holds == 0


def test_an_arm_moved_while_it_rests_goes_on_from_where_it_is(kit):
    cell = kit.moving_cell()
    cell.step(Request.PAUSE)
    cell.run(1.5)
    rest = cell.position()
    cell.shove = np.array([0.2, 0.0, 0.0])
    cell.step(Request.RESUME)
    cell.run_until(lambda: cell.output.chunk is not None)
    assert cell.sent[-1].positions[0][0] == pytest.approx(rest[0] + 0.2)


def test_an_arm_far_outside_its_limits_is_refused_by_name(kit):
    cell = kit.cell(
        kit.robot, actions=lambda t: np.array([0.0, 0.9, 0.1]), start=np.array([0.0, 1.3, 0.1])
    )
    cell.run(1.0, Request.START)
    assert cell.code == "chunk_breaks_limits"
    assert "'elbow' is measured at 1.300 rad" in cell.output.status.reason.message
    assert not cell.sent


def test_a_dry_run_plans_every_chunk_from_the_measured_arm(kit):
    cell = kit.cell(
        kit.robot,
        actions=kit.waves(size=0.1),
        settings=LoopSettings(dry_run=True),
        delivery_ns=lambda: 10**12,
    )
    cell.run(6.0, Request.START)
    assert cell.output.status.holds == 0
    assert cell.output.status.chunks_accepted > 3
    assert all(np.array_equal(sent.positions[0], kit.home) for sent in cell.sent)
