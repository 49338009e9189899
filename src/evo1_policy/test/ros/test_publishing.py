"""Trajectories and chunks as messages: literals in, literals out."""

import numpy as np
import pytest

from evo1_policy.action_chunk import ActionChunk, Guidance
from evo1_policy.control.meters import ChunkTimes
from evo1_policy.control.signals import (
    InferenceRequest,
    LoopOutput,
    LoopState,
    LoopStatus,
    SeamReport,
)
from evo1_policy.observation import Observation
from evo1_policy.ros.publishing import TrajectoryWriter, latency_message, time_message

pytestmark = pytest.mark.ros

MS = 1_000_000


def write(writer, positions, velocities=None, start_ns=5 * 10**9 + 7, step_ns=40 * MS):
    return writer.write(
        start_ns=start_ns, step_ns=step_ns, positions=positions, velocities=velocities
    )


def test_message_has_the_joints_stamp_and_times():
    writer = TrajectoryWriter(["c", "a"])
    positions = np.array([[3.0, 1.0], [6.0, 4.0]])
    message = write(writer, positions, positions * 10)
    assert message.joint_names == ["c", "a"]
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 7)
    assert message.header.frame_id == ""
    assert [list(point.positions) for point in message.points] == [[3.0, 1.0], [6.0, 4.0]]
    assert [list(point.velocities) for point in message.points] == [[30.0, 10.0], [60.0, 40.0]]
    times = [(p.time_from_start.sec, p.time_from_start.nanosec) for p in message.points]
    assert times == [(0, 0), (0, 40 * MS)]


def test_reused_message_keeps_nothing_of_a_longer_one():
    writer = TrajectoryWriter(["a"])
    write(writer, np.arange(50.0)[:, None], np.ones((50, 1)))
    message = write(writer, np.array([[7.0], [8.0]]))
    assert [list(point.positions) for point in message.points] == [[7.0], [8.0]]
    assert [list(point.velocities) for point in message.points] == [[], []]


def test_another_step_gives_other_times():
    writer = TrajectoryWriter(["a"])
    write(writer, np.zeros((40, 1)))
    message = write(writer, np.zeros((40, 1)), step_ns=500 * MS)
    last = message.points[-1].time_from_start
    assert (last.sec, last.nanosec) == (19, 500 * MS)


def test_latency_parts_add_up():
    times = ChunkTimes(
        stamp_ns=0,
        received_ns=3 * MS,
        started_ns=4 * MS,
        finished_ns=94 * MS,
        planned_ns=96 * MS,
        published_ns=97 * MS,
    )
    message = latency_message(times)
    assert message.capture_to_receive_ms == 3.0
    assert message.receive_to_infer_ms == 1.0
    assert message.inference_ms == 90.0
    assert message.planning_ms == 2.0
    assert message.publish_ms == 1.0
    assert message.overhead_ms == 7.0
    assert message.total_ms == 97.0


def test_negative_time_becomes_the_epoch():
    assert time_message(-5).sec == 0


def guided_request(state):
    """From two frames and a joint sample, bound to two points."""
    stamps = {"joint_states": 990_000_000, "image_2": 10**9 + 1, "image_1": 10**9}
    return InferenceRequest(
        request_id=1,
        observation=Observation(
            images={},
            state=state,
            instruction="pour",
            stamp_ns=10**9,
            received_ns=0,
            skew_ns=0,
            source_stamps_ns=stamps,
        ),
        guidance=Guidance(actions=np.arange(14.0).reshape(2, 7), weights=np.array([1.0, 0.5])),
    )


def test_chunk_report_carries_proposal_command_and_seam(robot):
    from evo1_msgs.msg import ActionChunk as Message

    from evo1_policy.action_chunk import Trajectory
    from evo1_policy.control.limits import Limits
    from evo1_policy.control.safety import check
    from evo1_policy.ros.publishing import ChunkWriter

    home = np.array(robot.home)
    trajectory = Trajectory(
        first_tick=3,
        step_ns=robot.step_ns,
        positions=np.tile(home, (2, 1)),
        velocities=np.zeros((2, 7)),
    )
    command = check(trajectory, Limits.of(robot))
    chunk = ActionChunk(
        actions=np.tile(home, (4, 1)),
        start_ns=0,
        step_ns=robot.step_ns,
        observation_stamp_ns=10**9,
        instruction="pour",
    )
    times = ChunkTimes(
        stamp_ns=0, received_ns=0, started_ns=0, finished_ns=0, planned_ns=0, published_ns=0
    )
    message = ChunkWriter(
        robot, Message(model_hash="abc", seed=7, denoising_steps=4, device="cpu")
    ).write(
        5,
        guided_request(home),
        LoopOutput(
            command=command,
            infer=None,
            chunk=chunk,
            seam=SeamReport(stretch=1.5, dropped_actions=2),
            status=LoopStatus(state=LoopState.RUNNING, reason=None, lead_ms=0.0),
        ),
        times,
    )
    assert (message.chunk_id, message.instruction, message.model_hash) == (5, "pour", "abc")
    assert message.header.stamp.sec == 1
    assert len(message.proposed.points) == 4
    assert len(message.commanded.points) == 2
    assert message.seam.stretch == 1.5
    assert message.seam.dropped_actions == 2
    assert (message.seed, message.denoising_steps, message.device) == (7, 4, "cpu")
    assert [(one.sec, one.nanosec) for one in message.source_stamps] == [
        (1, 0),
        (1, 1),
        (0, 990_000_000),
    ]
    assert list(message.state) == list(robot.home)
    assert list(message.guidance) == list(range(14))
    assert list(message.guidance_weights) == [1.0, 0.5]
