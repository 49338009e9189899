"""Numbers and verdict of a run."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from recordings import chunk, good, status, stream, task

from evo1_policy.control.signals import LoopState
from evo1_policy.robot_config import load_robot
from evo1_training.live_run.recording import Recording, StreamHeard
from evo1_training.live_run.summary import Summary, lost_frames, stops, summarise
from evo1_training.live_run.table import table


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def judge(robot, recording: Recording) -> Summary:
    return summarise(recording, robot, "move")


def test_good_run_is_ok_with_its_numbers(robot):
    summary = judge(robot, good())
    assert summary.ok
    assert summary.reason == ""
    assert summary.streams["image_1"].rate_hz == pytest.approx(30.0, abs=0.1)
    assert summary.streams["joint_states"].rate_hz == pytest.approx(100.0, abs=0.1)
    assert summary.inference_ms_p50 == pytest.approx(60.0)
    assert summary.overhead_ms_p95 == pytest.approx(4.0)
    assert summary.arrival_ms_p95 == pytest.approx(1.0)
    assert summary.chunks == 2
    assert summary.lost_frames == 0
    assert summary.largest_motion_rad == pytest.approx(0.5)
    assert summary.largest_motion_joint == "joint1"
    assert summary.seam_position_jump_rad_max == pytest.approx(0.0, abs=1e-12)


def test_summary_is_json_with_the_promised_keys(robot):
    data = json.loads(json.dumps(asdict(judge(robot, good()))))
    assert {
        "ok",
        "reason",
        "overhead_ms_p95",
        "lost_frames",
        "seam_position_jump_rad_max",
        "inference_ms_p50",
    } <= set(data)
    assert data["streams"]["image_2"]["messages"] == 240


def test_process_that_died_fails_the_run(robot):
    summary = judge(robot, replace(good(), process_end="policy ended with exit code 1"))
    assert not summary.ok
    assert summary.reason == "policy ended with exit code 1"


def test_stream_that_died_fails_the_run(robot):
    streams = {**good().streams, "image_2": stream(30.0, seconds=6.0)}
    summary = judge(robot, replace(good(), streams=streams))
    assert not summary.ok
    assert summary.reason.startswith("stream image_2 died: silent for the last 2.0 s")


def test_stream_that_never_came_fails_the_run(robot):
    nothing = StreamHeard(stamps_ns=np.array([], int), received_ns=np.array([], int))
    streams = {**good().streams, "image_1": nothing}
    assert judge(robot, replace(good(), streams=streams)).reason == "stream image_1: nothing came"


def test_run_without_chunks_says_why_the_policy_held(robot):
    why = {"reason_code": "camera_stale", "reason": "env_camera: old"}
    held = status(1.0, 100, state=LoopState.HOLDING, **why)
    summary = judge(robot, replace(good(), chunks=(), statuses=(held,)))
    assert summary.reason == "the policy published no chunk (camera_stale: env_camera: old)"


def test_arm_that_did_not_move_fails_the_run(robot):
    still = np.zeros_like(good().joint_positions)
    summary = judge(robot, replace(good(), joint_positions=still))
    assert summary.reason == "the arm did not move: no joint by more than 0.02 rad"


def test_second_system_in_the_domain_fails_the_run(robot):
    summary = judge(robot, replace(good(), publishers={"joint_states": 2}))
    assert "2 publishers on joint_states" in summary.reason
    assert "ROS_DOMAIN_ID" in summary.reason


def test_run_that_heard_nothing_at_all_is_judged_without_an_error(robot):
    nothing = StreamHeard(stamps_ns=np.array([], int), received_ns=np.array([], int))
    empty = replace(
        good(),
        streams={"image_1": nothing, "joint_states": nothing},
        published={"image_1": nothing},
        joint_positions=np.zeros((0, 7)),
        commands=(),
        chunks=(),
        chunks_received_ns=(),
        statuses=(),
        tasks=(),
    )
    summary = judge(robot, empty)
    assert not summary.ok
    assert "FAILED" in table(summary)


def test_frames_that_the_policy_missed_are_counted():
    # three frames a status arrive until 4 s; from there on five fewer than were published
    statuses = [status(t / 10, 100 + t * 3 - (5 if t > 40 else 0)) for t in range(1, 80)]
    assert lost_frames(replace(good(), statuses=tuple(statuses))) == 10  # both cameras


def test_frame_under_way_is_not_lost():
    statuses = [status(t / 10, 100 + t * 3 - t % 2) for t in range(1, 80)]
    assert lost_frames(replace(good(), statuses=tuple(statuses))) == 0


def test_each_reason_is_counted_once_for_each_hold():
    run = status(1.0, 1)
    hold = status(1.0, 1, state=2, reason_code="camera_stale", reason="wrist: 300 ms")
    stop = status(1.0, 1, state=4, reason_code="stopped", reason="asked for")
    assert stops([run, hold, hold, run, hold, stop, stop]) == {
        "camera_stale": 2,
        "stopped": 1,
    }


def test_changed_chunks_count_as_interventions(robot):
    chunks = (chunk(), chunk(stretch=1.2), chunk(clipped_points=2))
    summary = judge(robot, replace(good(), chunks=chunks))
    assert summary.safety_interventions == 2
    assert (summary.slowed_p50, summary.slowed_max) == (1.0, 1.2)


def test_task_that_was_solved_once_is_a_success(robot):
    tasks = tuple(
        task(success=success, detail=detail)
        for success, detail in ((False, "can outside"), (True, "can inside"), (False, "moved"))
    )
    summary = judge(robot, replace(good(), tasks=tasks))
    assert summary.task_success
    assert summary.task_detail == "can inside"


def test_table_has_every_row_of_the_report(robot):
    text = table(judge(robot, good()))
    for row in (
        "stream image_1",
        "observation age",
        "observation skew",
        "inference",
        "overhead",
        "chunks",
        "largest seam jump",
        "safety interventions",
        "stops",
        "task",
    ):
        assert any(line.startswith(row) for line in text.splitlines()), row
    assert text.splitlines()[-1].endswith("ok")
