"""The node at work: chunks move the arm, people change what it does."""

import numpy as np
import pytest
from command_checks import check_commands, wait_at_rest
from rclpy.parameter import Parameter
from scripted_policy import WavePolicy

pytestmark = pytest.mark.ros

IDLE, RUNNING, HOLDING = 0, 1, 2


def test_chunks_move_the_arm_along_the_policy(cell, robot, start_node):
    start_node()
    cell.wait_moving()
    cell.wait(
        lambda: np.abs(cell.arm.positions(cell.now_ns()) - robot.home).max() > 0.03,
        "the arm to move",
    )
    cell.wait(lambda: len(cell.chunks) >= 5, "five chunks")
    check_commands(cell)
    chunk = cell.chunks[-1]
    assert chunk.embodiment == "xarm6"
    assert chunk.instruction == "put the can into the box"
    assert chunk.model_hash == WavePolicy.model_hash
    assert tuple(chunk.proposed.joint_names) == robot.joint_names
    assert tuple(chunk.commanded.joint_names) == robot.joint_names
    assert [c.chunk_id for c in cell.chunks] == list(range(1, len(cell.chunks) + 1))
    assert max(c.seam.position_jump_rad for c in cell.chunks) <= 1e-6
    assert chunk.latency.inference_ms >= 50
    assert chunk.latency.total_ms >= chunk.latency.inference_ms
    parts = (
        chunk.latency.capture_to_receive_ms
        + chunk.latency.receive_to_infer_ms
        + chunk.latency.planning_ms
        + chunk.latency.publish_ms
    )
    assert parts == pytest.approx(chunk.latency.overhead_ms, abs=0.01)


def test_status_tells_streams_and_figures(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.wait(lambda: cell.status.inference_ms_p50 >= 50, "latency figures")
    status = cell.status
    assert status.robot == "xarm6"
    assert [s.name for s in status.streams] == ["image_1", "image_2", "joint_states"]
    assert [s.topic for s in status.streams] == [
        "/env_camera/image_raw",
        "/wrist_camera/image_raw",
        "/joint_states",
    ]
    assert all(s.received > 0 and s.rejected == 0 for s in status.streams)
    assert 0 <= status.observation_age_ms < 1000
    assert 0 <= status.observation_skew_ms <= 17
    assert status.overhead_ms_p95 >= status.overhead_ms_p50 > 0
    assert 0 < status.duty <= 1


def test_instruction_by_service_and_by_topic_is_in_the_next_chunk(cell, start_node):
    start_node()
    cell.wait_moving()
    answer = cell.set_instruction("  pour the water ")
    assert answer.success
    assert "put the can into the box" in answer.message
    cell.wait(lambda: cell.chunks[-1].instruction == "pour the water", "the new instruction")
    cell.say("hand over the can")
    cell.wait(lambda: cell.chunks[-1].instruction == "hand over the can", "the topic's words")
    cell.wait(lambda: cell.status.instruction == "hand over the can", "the status")


def test_an_unknown_transition_is_refused_with_the_list(cell, start_node):
    start_node(execution_mode="ensemble")
    cell.wait_moving()
    answer = cell.set_instruction("pour the water", transition="now")
    assert not answer.success
    assert "flush, blend, finish, got 'now'" in answer.message
    assert cell.status.mode == cell.chunks[-1].mode == "ensemble"
    assert max(chunk.seam.jerk_rad_s3 for chunk in cell.chunks) > 0.0
    assert cell.set_instruction("pour the water", transition="flush").success
    cell.wait(lambda: cell.chunks[-1].instruction == "pour the water", "the new instruction")
    assert cell.diagnostic("policy: seams").level == b"\x00"


def test_the_pace_changes_by_service_and_by_parameter_and_shows_in_the_chunks(cell, start_node):
    node = start_node(speed=0.5).node
    cell.wait_moving()

    def paced(speed):
        first, second = (
            point.time_from_start.sec + point.time_from_start.nanosec / 1e9
            for point in cell.chunks[-1].proposed.points[:2]
        )
        return second - first == pytest.approx(1 / 30 / speed, abs=1e-3)

    assert paced(0.5)
    answer = cell.set_speed(0.2)
    assert answer.success, answer.message
    assert answer.message == "20 % of the policy's pace, before 50 %"
    cell.wait(lambda: paced(0.2), "chunks at a fifth of the pace")
    cell.wait(lambda: cell.status.speed == pytest.approx(0.2), "the status")
    for wrong in (0.0, 20.0, float("nan")):
        answer = cell.set_speed(wrong)
        assert not answer.success
        assert "speed: expected 0.1 to 1, got" in answer.message
    node.set_parameters([Parameter("speed", value=1.0)])
    cell.wait(lambda: paced(1.0), "chunks at full pace")


def test_empty_instruction_is_refused(cell, start_node):
    start_node()
    cell.wait_moving()
    answer = cell.set_instruction("   ")
    assert not answer.success
    assert "empty" in answer.message


def test_node_without_an_instruction_waits_for_one(cell, start_node):
    start_node(instruction="")
    cell.wait_state(IDLE)
    assert not cell.call("resume").success
    cell.say("pour the water")
    cell.wait_moving()


def test_pause_holds_and_resume_continues(cell, start_node):
    start_node()
    cell.wait_moving()
    answer = cell.call("pause")
    assert answer.success
    assert "paused" in answer.message
    cell.wait_state(HOLDING, "paused")
    wait_at_rest(cell)
    assert cell.call("resume").success
    cell.wait_moving()


def test_node_without_autostart_waits_for_resume(cell, start_node):
    start_node(autostart=False)
    cell.wait_state(IDLE)
    cell.wait(lambda: cell.status.observation_age_ms >= 0, "observations")
    assert not any(cell.commands.values())
    assert cell.call("resume").success
    cell.wait_moving()


def test_dry_run_computes_chunks_and_sends_no_command(cell, start_node):
    node = start_node(dry_run=True)
    cell.wait(lambda: len(cell.chunks) >= 2 and len(cell.previews) >= 2, "chunks and previews")
    assert cell.status.dry_run
    assert not any(cell.commands.values())
    offered = {name for name, _ in node.node.get_topic_names_and_types()}
    publishers = [node.node.count_publishers(c.topic) for c in cell.robot.command]
    assert publishers == [0, 0]
    assert "/policy/preview" in offered


def test_joint_order_shuffled_in_the_message_changes_nothing(cell, robot, start_node):
    cell.shuffle = True
    start_node()
    cell.wait_moving()
    cell.wait(lambda: len(cell.chunks) >= 5, "five chunks")
    check_commands(cell)
    assert cell.status.state == RUNNING
    assert max(c.seam.position_jump_rad for c in cell.chunks) <= 1e-6


def test_unknown_encoding_is_named_with_its_topic(cell, start_node):
    cell.encoding["image_2"] = "16UC1"
    start_node()
    cell.wait_state(HOLDING, "camera_stale")
    cell.wait(lambda: cell.status.streams[1].problem, "the stream's problem")
    assert "/wrist_camera/image_raw" in cell.status.streams[1].problem
    assert "16UC1" in cell.status.streams[1].problem
    assert not any(cell.commands.values())


def test_deactivating_brings_the_arm_to_rest(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.change_state("deactivate")
    wait_at_rest(cell)
    sent = [len(messages) for messages in cell.commands.values()]
    cell.change_state("activate")
    cell.wait_moving()
    assert [len(messages) for messages in cell.commands.values()] > sent


def test_diagnostics_name_the_stream_that_died(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.cameras.discard("image_1")
    cell.wait_state(HOLDING, "camera_stale")
    cell.wait(lambda: cell.diagnostic("policy: image_1").level == b"\x02", "the error level")
    # The stream is late a moment before the loop holds: a report in between says so.
    cell.wait(lambda: cell.diagnostic("policy: loop").level == b"\x01", "the loop's warning")
    assert "/env_camera/image_raw" in cell.diagnostic("policy: loop").message
    assert cell.diagnostic("policy: controllers").level == b"\x00"
    values = {pair.key: pair.value for pair in cell.diagnostic("policy: loop").values}
    model = "package://evo1_policy/models/xarm6.xml"
    assert values["collisions"] == f"checked by {model}: itself, table"
    assert cell.status.collisions == values["collisions"]


def test_what_a_thread_meets_unexpectedly_ends_the_spinning_with_the_arm_at_rest(start_node, cell):
    node = start_node()
    cell.wait_moving()

    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    node.node._active.runner.add_image = broken
    cell.wait(lambda: node.failure is not None, "the spinning to end")
    assert "a bug" in str(node.failure)
    node.node.rest()  # as the process does when its spinning ends
    wait_at_rest(cell)
