"""Each stop reason by a literal scenario: the arm comes to rest, says why, resumes or not."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.action_chunk import ToolError
from evo1_policy.control.limits import Limits
from evo1_policy.control.policy_loop import LoopSettings
from evo1_policy.control.safety import check
from evo1_policy.control.signals import LoopState, Request, SafeTrajectory, StopCode
from evo1_policy.control.watchdog import Hold
from evo1_policy.observation import Missing

MS = 1_000_000
CAMERA = Missing(stream="image_1", code="stale", message="'env/image' is 180 ms old")
JOINTS = Missing(stream="joint_states", code="stale", message="'joint_states' is 120 ms old")
NO_JOINT = Missing(stream="joint_states", code="joint", message="joint 'elbow' is not in it")
SKEW = Missing(stream="image_2", code="skew", message="'wrist/image' is 33 ms off")


@pytest.mark.parametrize(
    ("missing", "code"),
    [(CAMERA, "camera_stale"), (JOINTS, "joints_stale"), (NO_JOINT, "joint_missing")],
)
def test_a_stream_that_stops_holds_and_its_return_resumes(kit, missing, code):
    cell = kit.moving_cell()
    cell.missing = missing
    cell.step()
    kit.comes_to_rest(cell, code)
    assert missing.message in cell.output.status.reason.message
    cell.missing = None
    kit.resumes_by_itself(cell)


def test_skew_holds_only_when_it_lasts(kit):
    cell = kit.moving_cell()
    cell.missing = SKEW
    cell.run(0.1)
    assert cell.state is LoopState.RUNNING
    cell.run_until(lambda: cell.state is LoopState.HOLDING, within_s=0.2)
    kit.comes_to_rest(cell, "skew")
    cell.missing = None
    kit.resumes_by_itself(cell)


def test_a_pending_observation_is_no_fault(kit):
    cell = kit.moving_cell()
    cell.missing = Missing(stream="image_2", code="pending", message="not settled yet")
    cell.run(0.2)
    assert cell.state is LoopState.RUNNING


def test_a_stream_never_received_is_named_before_the_first_chunk(kit):
    cell = kit.cell(kit.robot, actions=kit.waves())
    cell.missing = Missing(stream="image_2", code="never", message="nothing on 'wrist/image'")
    cell.run(0.2, Request.START)
    assert cell.state is LoopState.HOLDING
    assert cell.code == "camera_stale"
    assert cell.output.status.reason.message == "nothing on 'wrist/image'"
    assert not cell.sent
    cell.missing = None
    kit.resumes_by_itself(cell)


def test_a_stream_that_comes_back_after_longer_than_resume_within_waits_for_a_person(kit):
    cell = kit.moving_cell(settings=LoopSettings(resume_within_ns=500 * MS))
    cell.missing = CAMERA
    cell.run(0.45)
    cell.missing = None
    kit.resumes_by_itself(cell)
    cell.missing = CAMERA
    cell.run(0.6)
    cell.missing = None
    kit.resumes_on_request(cell)


@pytest.mark.parametrize("sees", [True, False])
def test_a_process_that_stood_still_for_longer_waits_for_a_person(kit, sees):
    cell = kit.moving_cell(settings=LoopSettings(resume_within_ns=2_000 * MS))
    cell.true_ns += 5_000 * MS  # a laptop that slept, SIGSTOP
    cell.missing = None if sees else CAMERA  # whether pictures came before it looked
    cell.step()
    cell.missing = None
    assert cell.state is LoopState.HOLDING
    kit.resumes_on_request(cell)


def test_resume_before_the_stream_is_back_does_not_wait_for_it_for_ever(kit):
    cell = kit.moving_cell(settings=LoopSettings(resume_within_ns=500 * MS))
    cell.missing = CAMERA
    cell.run(2.0)
    cell.step(Request.RESUME)
    assert cell.output.status.recovers
    cell.run(0.6)
    assert not cell.output.status.recovers
    cell.missing = None
    kit.resumes_on_request(cell)


def test_a_second_source_holds_until_a_person_resumes(kit):
    cell = kit.moving_cell()
    cell.second_source = "/other/policy also publishes on 'arm/joint_trajectory'"
    cell.step()
    kit.comes_to_rest(cell, "second_source")
    assert "/other/policy" in cell.output.status.reason.message
    cell.second_source = None
    kit.resumes_on_request(cell)


def test_the_message_of_a_hold_tells_the_present_camera_and_number(kit):
    cell = kit.moving_cell()
    cell.missing = CAMERA
    cell.run(0.1)
    cell.missing = dataclasses.replace(CAMERA, stream="image_2", message="'wrist' is 900 ms old")
    cell.step()
    assert cell.output.status.reason.message == "'wrist' is 900 ms old"
    cell.run(3.0)
    cell.missing = dataclasses.replace(CAMERA, message="'env/image' is 7000 ms old")
    cell.step()
    assert cell.output.status.reason.message == "'env/image' is 7000 ms old; resume to go on"
    assert cell.output.status.holds == 1


def test_a_start_waits_for_controllers_that_are_not_discovered_yet(kit):
    cell = kit.cell(kit.robot, actions=kit.waves())
    cell.controller_problem = "no controller listens on 'arm/joint_trajectory'"
    cell.run(5.0, Request.START)
    assert cell.code == "controller_gone"
    assert cell.output.status.recovers
    cell.controller_problem = None
    kit.resumes_by_itself(cell)


def test_a_start_does_not_wait_for_an_emergency_stop_to_be_released(kit):
    cell = kit.cell(kit.robot, actions=kit.waves())
    cell.arm_fault = "emergency stop"
    cell.run(0.5, Request.START)
    cell.arm_fault = None
    kit.resumes_on_request(cell)


def test_a_hold_that_waits_tells_what_else_is_wrong_by_now(kit):
    cell = kit.moving_cell()
    cell.controller_problem = "no controller listens"
    cell.run(0.5)
    cell.controller_problem, cell.missing = None, CAMERA
    cell.run(0.1)
    assert cell.code == "controller_gone"
    assert cell.output.status.reason.message == (
        "no controller listens; now 'env/image' is 180 ms old; resume to go on"
    )
    cell.missing = None
    cell.run(0.1)
    assert "(that is over)" in cell.output.status.reason.message


@pytest.mark.parametrize("code", ["controller_gone", "arm_fault"])
def test_a_controller_or_an_arm_that_was_out_waits_for_a_person(kit, code):
    cell = kit.moving_cell()
    if code == "arm_fault":  # the reason even where the joints fall silent
        cell.arm_fault, cell.missing = "servo_silent: elbow_flex_joint (id 3)", JOINTS
    cell.controller_problem = "nobody listens to 'arm/joint_trajectory'"
    cell.step()
    kit.comes_to_rest(cell, code)
    cell.step(Request.RESUME)  # while it is out, that changes nothing
    assert cell.state is LoopState.HOLDING
    cell.arm_fault = cell.missing = cell.controller_problem = None
    kit.resumes_on_request(cell)


@given(codes=st.lists(st.sampled_from(list(StopCode)), max_size=8), patient=st.booleans())
def test_a_hold_ends_with_the_cause_and_never_needs_a_person_less(codes, patient):
    hold = Hold(resume_within_ns=2000 * MS)
    hold.wait_patiently(patient=patient)
    hold.begin(None, 0)
    seen: set[StopCode] = set()
    for now_ns, code in enumerate(codes):
        waited = not hold.recovers
        hold.add(code.because("it is so"))
        hold.follow(code.because("it is so"), now_ns * 900 * MS)
        assert not (waited and hold.recovers)
        seen.add(code)
        if StopCode.ARM_FAULT in seen:
            assert hold.reason.code not in StopCode.ARM_FAULT.consequences


def test_a_late_inference_lets_the_arm_rest_and_resumes_with_its_result(kit):
    cell = kit.moving_cell()
    cell.latency_ns = lambda: 1500 * MS
    cell.run_until(lambda: cell.state is LoopState.HOLDING)
    assert cell.code == "inference_late"
    cell.run(0.6)
    assert not cell.moving()
    cell.latency_ns = lambda: 100 * MS
    cell.run_until(lambda: cell.state is LoopState.RUNNING)


def test_inference_slower_than_its_chunk_never_moves_and_says_so(kit):
    cell = kit.cell(kit.robot, actions=kit.waves(), latency_ns=lambda: 2000 * MS)
    cell.run(6.0, Request.START)
    assert cell.code == "inference_late"
    assert "all 50 actions are past" in cell.output.status.reason.message
    assert not cell.sent


def test_a_lost_inference_is_given_up_and_asked_for_again(kit):
    settings = LoopSettings(max_inference_ns=1500 * MS)
    cell = kit.moving_cell(settings=settings)
    cell.latency_ns = lambda: None
    cell.run_until(lambda: cell.state is LoopState.HOLDING)
    assert cell.code == "inference_late"
    cell.latency_ns = lambda: 100 * MS
    cell.run_until(lambda: cell.state is LoopState.RUNNING)


@pytest.mark.parametrize(("mm", "mrad"), [(2, 10), (30, 0), (0, 400)])
def test_a_chunk_that_leaves_the_tool_off_holds_with_the_numbers_on_the_status(kit, mm, mrad):
    cell, error = kit.moving_cell(), ToolError(position_m=mm / 1e3, rotation_rad=mrad / 1e3)
    cell.spoil = lambda chunk: dataclasses.replace(chunk, tool_error=error)
    cell.run_until(lambda: cell.output.status.tool_error == error)
    if mm == 2:
        assert cell.state is LoopState.RUNNING
        return
    message = cell.output.status.reason.message
    assert f"{mm}.0 mm and {mrad} mrad off, allowed 10 mm and 100 mrad" in message
    kit.comes_to_rest(cell, "chunk_out_of_reach")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda a: np.where(np.arange(3) == 1, np.nan, a), "chunk_not_finite", "'elbow'"),
        (lambda a: a + np.inf, "chunk_not_finite", "150 of 150"),
        (lambda a: a[:, :2], "chunk_wrong_shape", "(50, 2), expected (H, 3)"),
        (lambda a: a[:0], "chunk_wrong_shape", "(0, 3)"),
        (lambda a: a - np.array([0.0, 0.9, 0.0]), "chunk_too_far", "'elbow'"),
    ],
)
def test_a_bad_chunk_holds_until_a_person_resumes(kit, spoil, code, words):
    cell = kit.moving_cell()
    cell.spoil = lambda chunk: dataclasses.replace(chunk, actions=spoil(chunk.actions))
    cell.run_until(lambda: cell.state is LoopState.HOLDING)
    assert words in cell.output.status.reason.message
    kit.comes_to_rest(cell, code)
    cell.spoil = lambda chunk: chunk
    kit.stays(cell)
    assert cell.output.status.chunks_rejected == 1
    cell.step(Request.RESUME)
    kit.resumes_by_itself(cell)


def test_a_chunk_of_another_rate_is_refused(kit):
    cell = kit.moving_cell()
    cell.spoil = lambda chunk: dataclasses.replace(chunk, step_ns=20 * MS)
    cell.run_until(lambda: cell.state is LoopState.HOLDING)
    assert cell.code == "chunk_wrong_shape"
    assert "expected 33.33 ms" in cell.output.status.reason.message


def test_a_chunk_from_the_future_is_refused(kit):
    cell = kit.moving_cell()
    cell.spoil = lambda chunk: dataclasses.replace(chunk, start_ns=chunk.start_ns + 10**18)
    cell.run_until(lambda: cell.state is LoopState.HOLDING)
    assert cell.code == "chunk_wrong_shape"
    assert "ms in the future" in cell.output.status.reason.message


def test_whatever_a_policy_returns_nothing_unsound_is_sent(kit):
    rng = np.random.default_rng(11)
    limits = Limits.of(kit.robot)
    shapes = [(50, 3), (50, 4), (1, 3), (2, 3), (0, 3), (150,), (), (50, 3, 1)]

    def spoil(chunk):
        actions = chunk.actions.copy()
        match int(rng.integers(5)):
            case 0:
                actions = np.zeros(shapes[int(rng.integers(len(shapes)))])
            case 1:
                odd = rng.choice([np.nan, np.inf, 1e308, -1e308, 1e-320])
                actions[int(rng.integers(50)), int(rng.integers(3))] = odd
            case 2:
                actions[int(rng.integers(50)) :] += rng.normal(0.0, 2.0, 3)
            case 3:
                actions = rng.permutation(actions)
        shift_ns = int(rng.normal(0.0, 300)) * MS
        return dataclasses.replace(
            chunk, actions=actions, start_ns=chunk.start_ns + shift_ns * int(rng.random() < 0.2)
        )

    cell = kit.cell(kit.robot, actions=kit.waves(), latency_ns=lambda: 50 * MS)
    cell.spoil = spoil
    cell.run(0.1, Request.START)
    for _ in range(300):
        cell.run(0.1, Request.RESUME)
    status = cell.output.status
    assert status.chunks_accepted > 20
    assert status.chunks_rejected > 20
    for trajectory in cell.sent:
        assert isinstance(check(trajectory, limits), SafeTrajectory)


@pytest.mark.parametrize("code", ["inference_failed", "remote_gone"])
def test_an_exception_in_inference_holds_until_a_person_resumes(kit, code):
    cell = kit.moving_cell()
    cell.failure, cell.failure_code = "CUDA out of memory", StopCode(code)
    cell.run_until(lambda: cell.state is LoopState.HOLDING)
    assert "CUDA out of memory" in cell.output.status.reason.message
    kit.comes_to_rest(cell, code)
    cell.failure = None
    kit.stays(cell)
    cell.step(Request.RESUME)
    kit.resumes_by_itself(cell)


def test_an_arm_that_does_not_follow_holds_until_a_person_resumes(kit):
    cell = kit.moving_cell()
    cell.shove = np.array([0.5, 0.0, 0.0])
    cell.step()
    assert "'shoulder'" in cell.output.status.reason.message
    kit.comes_to_rest(cell, "tracking_error")
    kit.stays(cell)


def test_a_gripper_that_presses_on_an_object_is_no_tracking_error(kit):
    cell = kit.moving_cell()
    cell.shove = np.array([0.0, 0.0, -0.5])
    cell.run(2.0)
    assert cell.output.status.holds == 0


def test_a_clock_that_jumps_back_stops_the_arm_until_a_person_resumes(kit):
    cell = kit.moving_cell()
    cell.clock_offset_ns -= 700_000 * MS
    cell.active = cell.active.shifted(-round(700_000 * MS / cell.active.step_ns))
    cell.step()
    assert "jumped back by 699.990 s" in cell.output.status.reason.message
    assert cell.code == "clock_jumped_back"
    stop = cell.sent[-1]
    assert stop is cell.output.command.trajectory
    assert cell.now_ns - 250 * MS < stop.start_ns < kit.rest_ns(stop) < cell.now_ns + 500 * MS
    cell.run(1.0)
    kit.resumes_on_request(cell)


def test_streams_that_begin_anew_after_a_clock_jump_do_not_hide_the_reason(kit):
    cell = kit.moving_cell()
    cell.clock_offset_ns -= 500 * MS
    sent = len(cell.sent)
    cell.missing, cell.unmeasured = dataclasses.replace(CAMERA, code="never"), True
    cell.run(0.1)
    assert cell.code == "clock_jumped_back"
    assert len(cell.sent) == sent
    cell.unmeasured = False
    cell.step()
    assert len(cell.sent) == sent + 1
    cell.run(2.0)
    assert cell.code == "clock_jumped_back"
    cell.step(Request.RESUME)
    assert cell.code == "camera_stale"
    cell.missing = None
    kit.resumes_by_itself(cell)


def test_joints_stamped_a_little_ahead_find_the_arm_after_a_clock_jump(kit):
    cell = kit.moving_cell()
    step = cell.loop.step

    def stamped_ahead(inputs):
        ahead = dataclasses.replace(inputs.measured, stamp_ns=inputs.now_ns + 30 * MS)
        return step(dataclasses.replace(inputs, measured=ahead))

    cell.loop.step = stamped_ahead
    cell.clock_offset_ns = -5_000 * MS
    cell.run(1.0)
    sent = len(cell.sent)
    cell.run(1.0, Request.RESUME)
    assert cell.state is LoopState.RUNNING
    assert len(cell.sent) > sent


def test_a_simulation_that_was_reset_is_held_where_its_arm_is_now(kit):
    cell = kit.moving_cell()
    cell.clock_offset_ns -= 1_000_900 * MS
    cell.active, cell.start = None, np.array([1.5, -0.4, 0.0])
    cell.step()
    assert cell.code == "clock_jumped_back"
    assert np.abs(cell.sent[-1].positions - cell.start).max() == 0.0
    assert np.all(cell.sent[-1].velocities == 0.0)
