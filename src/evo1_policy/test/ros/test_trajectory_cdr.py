"""The bytes of a command read as the message that rclpy would have sent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.action_chunk import Trajectory
from evo1_policy.ros.publishing import TrajectoryEncoder, TrajectoryWriter, command_encoders

pytestmark = pytest.mark.ros

NAMES = st.lists(st.text("abcé_12", min_size=1, max_size=9), min_size=1, max_size=8, unique=True)


@settings(max_examples=100, deadline=None)
@given(
    names=NAMES, count=st.integers(1, 40), seed=st.integers(0, 99), tick=st.integers(0, 6 * 10**10)
)
def test_bytes_read_as_the_message_that_rclpy_would_send(names, count, seed, tick):
    rng = np.random.default_rng(seed)
    columns = list(rng.permutation(len(names)))
    trajectory = Trajectory(
        first_tick=tick,
        step_ns=33_333_333,
        positions=rng.normal(size=(count, len(names))),
        velocities=rng.normal(size=(count, len(names))),
    )
    message = TrajectoryWriter(names).write(
        start_ns=trajectory.start_ns,
        step_ns=trajectory.step_ns,
        positions=trajectory.positions[:, columns],
        velocities=trajectory.velocities[:, columns],
    )
    encoded = TrajectoryEncoder(names, columns).encode(trajectory)
    assert deserialize_message(encoded, JointTrajectory) == message


def test_each_output_gets_its_own_joints():
    positions = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    trajectory = Trajectory(
        first_tick=50, step_ns=20_000_000, positions=positions, velocities=positions * 0.1
    )
    arm, gripper = (
        deserialize_message(encoder.encode(trajectory), JointTrajectory)
        for encoder in command_encoders(("a", "b", "c"), (("a", "c"), ("b",)))
    )
    assert (arm.header.stamp.sec, arm.header.stamp.nanosec, arm.header.frame_id) == (1, 0, "")
    assert arm.joint_names == ["a", "c"]
    assert [list(point.positions) for point in arm.points] == [[1.0, 3.0], [4.0, 6.0]]
    assert gripper.joint_names == ["b"]
    assert [list(point.velocities) for point in gripper.points] == [[0.2], [0.5]]
    times = [(p.time_from_start.sec, p.time_from_start.nanosec) for p in gripper.points]
    assert times == [(0, 0), (0, 20_000_000)]
