"""The view's node hears joints and chunks over DDS, and draws them."""

import time

import numpy as np
import pytest

from evo1_policy.kinematics.model import arm_model
from evo1_policy.robot_config import load_robot

pytestmark = pytest.mark.ros

TIMEOUT_S = 20.0


def test_the_arm_its_chunk_and_its_obstacles_are_drawn(robots_dir):
    import rclpy
    from evo1_msgs.msg import ActionChunk
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
    from visualization_msgs.msg import Marker, MarkerArray

    from evo1_bringup.ros.arm_view_node import ArmViewNode

    path = robots_dir / "so100.yaml"
    robot = load_robot(path)
    context = rclpy.Context()
    rclpy.init(context=context)
    file = Parameter("robot_file", value=str(path))
    view = ArmViewNode(context=context, parameter_overrides=[file])
    person = rclpy.create_node("person", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(view)
    executor.add_node(person)
    drawn, around = {}, []
    person.create_subscription(
        MarkerArray, "arm_view/markers", lambda m: drawn.update({x.ns: m for x in m.markers}), 10
    )
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    person.create_subscription(MarkerArray, "arm_view/obstacles", around.append, latched)
    joints = person.create_publisher(JointState, robot.state.topic, 10)
    chunks = person.create_publisher(ActionChunk, "policy/action_chunk", 10)
    end = np.array(robot.home)
    end[0] += 0.5
    points = [JointTrajectoryPoint(positions=row.tolist()) for row in (np.array(robot.home), end)]
    proposed = JointTrajectory(joint_names=list(robot.joint_names), points=points)
    until = time.monotonic() + TIMEOUT_S
    try:
        while not ({"arm", "chunk", "ghost"} <= set(drawn) and around):
            assert time.monotonic() < until, (sorted(drawn), around)
            state = JointState(name=list(robot.joint_names), position=list(robot.home))
            state.header.stamp = person.get_clock().now().to_msg()
            joints.publish(state)
            chunks.publish(ActionChunk(proposed=proposed))  # a dry run: nothing was sent
            for _ in range(10):
                executor.spin_once(timeout_sec=0.02)
    finally:
        executor.shutdown()
        view.destroy_node()
        person.destroy_node()
        rclpy.shutdown(context=context)
    line = drawn["chunk"].markers[0]
    assert line.type == Marker.LINE_STRIP
    arm = arm_model(robot)
    for point, row in zip(line.points, (np.array(robot.home), end), strict=True):
        np.testing.assert_allclose([point.x, point.y, point.z], arm.forward(row).position)
    assert len(drawn["ghost"].markers) - 1 == len(drawn["arm"].markers)
    assert [marker.ns for marker in around[0].markers] == ["table"]
