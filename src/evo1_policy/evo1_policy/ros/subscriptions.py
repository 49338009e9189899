"""What the node listens to while it is active; images are kept as they come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, Joy
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.action_chunk import Floats
from evo1_policy.control.teleop_target import read_target
from evo1_policy.perception.frames import Frame
from evo1_policy.perception.messages import (
    MessageError,
    deserialize,
    prepare_reading,
    stamp_ns,
)
from evo1_policy.robot_config import JOINT_STREAM, CameraConfig, RobotConfig
from evo1_policy.ros.listening import Listener, listen_to_controllers
from evo1_policy.ros.qos import JOY_TOPIC, camera_qos, joy_qos, state_qos
from evo1_policy.ros.reading_thread import ReadingThread
from evo1_policy.ros.runner import Runner

_IMAGE_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}


def resolve_topics(node: Node, robot: RobotConfig) -> RobotConfig:
    """Return the robot file with the topics that sensors really have here, for messages."""
    resolve = node.resolve_topic_name
    return replace(
        robot,
        cameras=tuple(replace(camera, topic=resolve(camera.topic)) for camera in robot.cameras),
        state=replace(robot.state, topic=resolve(robot.state.topic)),
    )


class Sensors:
    """Subscriptions to cameras, joint states and people's hands; an image steps the loop at once.

    Args:
        node: owns the subscriptions.
        listener: makes them, in the callback group ReadElsewhere.
        robot: the robot file with its topics as written, so that remappings apply.
        runner: gets the messages, images not decoded, on the reading thread.
        now_ns: the node's clock.
        on_failure: called from the reading thread with what should never be raised.
        takeover: listen to a person's targets.
        dead_man: listen to the gamepad.
    """

    def __init__(
        self,
        node: Node,
        *,
        listener: Listener,
        robot: RobotConfig,
        runner: Runner,
        now_ns: Callable[[], int],
        on_failure: Callable[[BaseException], None],
        takeover: bool = True,
        dead_man: bool = False,
    ) -> None:
        self._node = node
        self._runner = runner
        self._now_ns = now_ns
        self._listener = listener
        prepare_reading()
        # people first, then joints: they are read in this order, and frames wait for their joints
        urgent: list[Subscription] = [
            *self._hear_people(robot.teleop_topic if takeover else "", joy=dead_man),
            self._listener.hear_joints(
                robot.state.topic,
                robot.joint_names,
                self._on_joints,
                refuse=partial(runner.reject, JOINT_STREAM),
            ),
            *listen_to_controllers(
                self._listener,
                [output.state_topic for output in robot.command],
                lambda output, message, _: runner.add_held(output, message, now_ns()),
            ),
        ]
        cameras = [self._hear_camera(camera) for camera in robot.cameras]
        self._subscriptions = [*urgent, *cameras]
        self._thread = ReadingThread(
            self._subscriptions, node.context, on_failure, urgent=len(urgent)
        )

    def close(self) -> None:
        """Stop listening."""
        self._thread.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _hear_people(self, teleop_topic: str, *, joy: bool) -> list[Subscription]:
        subscriptions = []
        if joy:
            subscriptions.append(
                self._listener.hear(
                    Joy,
                    JOY_TOPIC,
                    lambda message, _: self._runner.add_buttons(message.buttons),
                    joy_qos(),
                )
            )
        if teleop_topic:
            subscriptions.append(
                self._listener.hear(
                    JointTrajectory,
                    teleop_topic,
                    lambda message, _: self._runner.add_target(read_target(message)),
                    state_qos(),
                    one_source=True,
                )
            )
        return subscriptions

    def _hear_camera(self, camera: CameraConfig) -> Subscription:
        topic = self._node.resolve_topic_name(camera.topic)

        def on_image(raw: bytes, info: Mapping[str, Any]) -> None:
            received_ns = self._now_ns()
            try:
                self._listener.admit(subscription, topic, info)
                message = deserialize(raw, camera.type, topic=topic)
                frame = Frame(message, topic=topic)
            except MessageError as error:
                self._runner.reject(camera.name, str(error))
            else:
                self._runner.add_image(
                    camera.name,
                    frame,
                    stamp_ns=stamp_ns(message.header.stamp),
                    received_ns=received_ns,
                )

        kind = _IMAGE_TYPES[camera.type]
        subscription = self._listener.hear_raw(kind, camera.topic, on_image, camera_qos())
        return subscription

    def _on_joints(self, names: Sequence[str], positions: Floats, stamp_ns: int) -> None:
        self._runner.add_joints(names, positions, stamp_ns=stamp_ns, received_ns=self._now_ns())
