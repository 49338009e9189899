"""What a simulated arm publishes in place of robot_state_publisher."""

from dataclasses import replace

import numpy as np
import pytest

from evo1_policy.kinematics.model import arm_model
from evo1_policy.robot_config import load_robot

pytestmark = pytest.mark.ros


def test_a_late_listener_hears_the_urdf_in_the_namespace_of_the_arm(listener, robots_dir):
    import rclpy
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    from evo1_sim.ros.description import DescriptionPublisher

    node = rclpy.create_node("sim_robot", namespace="late")
    try:
        DescriptionPublisher(node, load_robot(robots_dir / "ur5e.yaml"))
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        heard = listener.listen(String, "/late/robot_description", latched)
        listener.wait(lambda: heard, "description")
    finally:
        node.destroy_node()
    assert heard[0].data == (robots_dir / "urdf" / "ur5e.urdf").read_text()


def test_a_file_that_went_away_is_a_warning_and_an_arm_without_a_urdf_has_no_description(
    ros, robots_dir
):
    import rclpy
    from builtin_interfaces.msg import Time

    from evo1_sim.ros.description import DescriptionPublisher

    node = rclpy.create_node("sim_robot", namespace="bare")
    robot = load_robot(robots_dir / "ur5e.yaml")
    try:
        publisher = DescriptionPublisher(node, replace(robot, urdf=""))
        assert node.count_publishers("/bare/robot_description") == 0
        DescriptionPublisher(node, replace(robot, urdf="/nowhere.urdf"))
        publisher.publish_frames(np.array(robot.home), Time())  # nothing to say, and no error
    finally:
        node.destroy_node()


def matrix_of(transform):
    w, x, y, z = (getattr(transform.rotation, axis) for axis in "wxyz")
    place = transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + 2 * np.array(
        [
            [-y * y - z * z, x * y - w * z, x * z + w * y],
            [x * y + w * z, -x * x - z * z, y * z - w * x],
            [x * z - w * y, y * z + w * x, -x * x - y * y],
        ]
    )
    matrix[:3, 3] = (place.x, place.y, place.z)
    return matrix


@pytest.mark.parametrize("name", ["ur5e", "fr3", "xarm6"])
def test_the_frames_are_one_tree_from_base_link_that_ends_as_the_model_has_it(name, robots_dir):
    from builtin_interfaces.msg import Time

    from evo1_sim.ros.description import described_arm, link_frames

    robot = load_robot(robots_dir / f"{name}.yaml")
    arm = described_arm(robot)
    positions = np.array(robot.home) + 0.01
    frames = {one.child_frame_id: one for one in link_frames(arm, positions, Time(sec=7))}
    assert "base_link" not in frames  # it is the root
    assert {one.header.stamp.sec for one in frames.values()} == {7}
    plain = arm_model(robot)
    plain.place(positions)
    body = plain.model.body(int(plain.model.jnt_bodyid[plain.joints[5]]))
    frame, matrix = body.name, np.eye(4)
    while frame != "base_link":
        matrix = matrix_of(frames[frame].transform) @ matrix
        frame = frames[frame].header.frame_id
    np.testing.assert_allclose(matrix[:3, 3], plain.data.xpos[body.id], atol=1e-9)
    np.testing.assert_allclose(matrix[:3, :3].ravel(), plain.data.xmat[body.id], atol=1e-9)
