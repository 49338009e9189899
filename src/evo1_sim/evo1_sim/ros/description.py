"""What robot_state_publisher is for a real arm: robot_description and the links' frames on tf."""

import importlib
from dataclasses import replace

import mujoco
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from std_msgs.msg import Header, String

from evo1_policy.action_chunk import Floats
from evo1_policy.kinematics.model import (
    MOST_MODEL_BYTES,
    ArmModel,
    ModelError,
    arm_model,
    find_model,
)
from evo1_policy.robot_config import RobotConfig
from evo1_policy.untrusted import UntrustedError, read_text

BASE_FRAME = "base_link"  # REP 105: the root of an arm's frames
DESCRIPTION_TOPIC = "robot_description"
TF_TOPIC = "tf"  # relative: below a namespace each arm has its own


class DescriptionPublisher:
    """Publishes a simulated arm's URDF once, for late listeners too, and its frames on tf.

    The frames come from the robot file's `urdf`, else from safety.collision.model, where tf2_msgs
    is installed. What is missing is logged: nothing that moves an arm waits for any of it.

    Args:
        node: publishes.
        robot: the robot file.
    """

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        self._node = node
        self._arm: ArmModel | None = None
        if robot.urdf:
            latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
            self._description = node.create_publisher(String, DESCRIPTION_TOPIC, latched)
        try:
            if robot.urdf:
                path = find_model(robot.urdf)
                text = read_text(path, what="URDF", max_bytes=MOST_MODEL_BYTES)
                self._description.publish(String(data=text))
            self._message = importlib.import_module("tf2_msgs.msg").TFMessage
            self._arm = described_arm(robot)
        except (ModelError, UntrustedError) as error:
            node.get_logger().warning(f"{DESCRIPTION_TOPIC} and {TF_TOPIC}: {error}")
        except ImportError:
            node.get_logger().info(f"tf2_msgs is not installed: no frames on {TF_TOPIC}")
        if self._arm is not None:
            self._frames = node.create_publisher(self._message, TF_TOPIC, QoSProfile(depth=100))

    def publish_frames(self, positions: Floats, stamp: Time) -> None:
        """Publish where all links are, if anybody listens.

        Args:
            positions: (D,) of the robot file's joints [each joint's unit].
            stamp: when they were measured.
        """
        if self._arm is not None and self._frames.get_subscription_count():
            transforms = link_frames(self._arm, positions, stamp)
            self._frames.publish(self._message(transforms=transforms))


def described_arm(robot: RobotConfig) -> ArmModel | None:
    """The model whose links become frames; None where the robot file names none.

    Raises:
        ModelError: it cannot be used.
    """
    if robot.urdf:  # as robot_description has it, whatever is used against collisions
        return arm_model(replace(robot, safety=replace(robot.safety, collision=None)))
    return arm_model(robot) if robot.safety.collision else None


def link_frames(arm: ArmModel, positions: Floats, stamp: Time) -> list[TransformStamped]:
    """Each link in its parent's frame; the root is base_link, the frame that the model stands in.

    Args:
        arm: the model; it is placed at the positions.
        positions: (D,) of the robot file's joints [each joint's unit].
        stamp: of every transform.
    """
    arm.place(positions)
    model, data = arm.model, arm.data
    names = [model.body(body).name or f"body_{body}" for body in range(model.nbody)]
    rooted = BASE_FRAME in names  # a URDF with the usual root, which needs no parent
    names[0] = BASE_FRAME
    transforms = []
    for body in range(1, model.nbody):
        parent = int(model.body_parentid[body])
        if parent == 0 and rooted:
            continue
        place, turn, back = np.zeros(3), np.zeros(4), np.zeros(4)
        mujoco.mju_negQuat(back, data.xquat[parent])
        mujoco.mju_rotVecQuat(place, data.xpos[body] - data.xpos[parent], back)
        mujoco.mju_mulQuat(turn, back, data.xquat[body])
        transform = TransformStamped(
            header=Header(frame_id=names[parent], stamp=stamp), child_frame_id=names[body]
        )
        transform.transform.translation = Vector3(**xyz(place))
        transform.transform.rotation = quaternion(turn)
        transforms.append(transform)
    return transforms


def xyz(values: Floats) -> dict[str, float]:
    """The fields of a Point or a Vector3, from (3,)."""
    return {axis: float(value) for axis, value in zip("xyz", values, strict=True)}


def quaternion(values: Floats) -> Quaternion:
    """From (4,) of MuJoCo, which writes the real part first, ROS last."""
    w, x, y, z = (float(value) for value in values)
    return Quaternion(x=x, y=y, z=z, w=w)
