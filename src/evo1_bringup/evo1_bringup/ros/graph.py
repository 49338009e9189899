"""Listens to whatever a running robot publishes, and asks its controllers who they are.

The facts (evo1_sim.heard) are judged elsewhere.
"""

import time
from collections import defaultdict
from functools import partial
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from evo1_bringup.ros.commands import command_node, spin_for
from evo1_policy.perception.messages import MessageError, head_stamp_ns
from evo1_policy.ros.listening import ControllerState, decode
from evo1_sim.heard import IMAGES, JOINT_STATE, TRAJECTORY, Controller, Graph, Stream

_DISCOVERY_S = 1.5
_ANSWER_S = 1.0
_MOST_STREAMS = 60
_DESCRIPTION = "robot_description"
_TELEOP = "teleop"  # the demonstrator's topic: what takes it drives no joint itself
_KINDS = {JOINT_STATE: JointState, IMAGES[0]: Image, IMAGES[1]: CompressedImage}


class _Heard:
    """What came on one topic."""

    def __init__(self) -> None:
        self.arrivals_s: list[float] = []
        self.offsets_ms: list[float] = []
        self.positions: dict[str, float] = {}

    def take(self, topic: str, kind: str, raw: bytes) -> None:
        """One message, as bytes."""
        try:
            stamp_ns = head_stamp_ns(raw, topic=topic)
            if kind == JOINT_STATE:
                message = decode(raw, JointState, topic=topic)
                self.positions |= dict(zip(message.name, message.position, strict=False))
        except MessageError:
            return
        self.arrivals_s.append(time.monotonic())
        self.offsets_ms.append((time.time_ns() - stamp_ns) * 1e-6)

    def stream(self, topic: str, kind: str) -> Stream:
        """The facts."""
        way_s = self.arrivals_s[-1] - self.arrivals_s[0] if self.arrivals_s else 0.0
        return Stream(
            topic=topic,
            type=kind,
            rate_hz=(len(self.arrivals_s) - 1) / way_s if way_s > 0 else 0.0,
            offset_ms=min(self.offsets_ms) if self.offsets_ms else None,
            positions=self.positions,
        )


def listen(namespace: str, seconds: float) -> Graph:
    """Hear the topics of a namespace for a while.

    Args:
        namespace: of the robot; topics are told relative to it. '' is the root.
        seconds: how long [s].
    """
    root = f"/{namespace.strip('/')}".rstrip("/") + "/"
    with command_node() as node:
        spin_for(node, _DISCOVERY_S)
        topics = {
            name.removeprefix(root): types[0]
            for name, types in node.get_topic_names_and_types()
            if name.startswith(root)
        }
        streams = [
            (topic, kind)
            for topic, kind in sorted(topics.items())
            if kind in _KINDS and node.count_publishers(root + topic)
        ]
        heard: defaultdict[str, _Heard] = defaultdict(_Heard)
        any_qos = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        for topic, kind in streams[:_MOST_STREAMS]:
            take = partial(heard[topic].take, topic, kind)
            node.create_subscription(_KINDS[kind], root + topic, take, any_qos, raw=True)
        description: list[str] = []
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(
            String, root + _DESCRIPTION, lambda message: description.append(message.data), latched
        )
        reports = _hear_reports(node, root, topics)
        spin_for(node, seconds)
        return Graph(
            seconds=seconds,
            streams=tuple(heard[topic].stream(topic, kind) for topic, kind in streams),
            controllers=tuple(
                _controller(node, root, topic, reports)
                for topic, kind in sorted(topics.items())
                if kind == TRAJECTORY
                and _TELEOP not in topic
                and node.count_subscribers(root + topic)
            ),
            description=description[-1] if description else "",
        )


def _hear_reports(node: Node, root: str, topics: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Joints by controller, filled while the node is served."""
    joints: dict[str, tuple[str, ...]] = {}

    def take(name: str, message: Any) -> None:
        joints[name] = tuple(message.joint_names)

    for topic, kind in topics.items():
        name, _, last = topic.rpartition("/")
        if last == "controller_state" and kind.endswith(f"/{ControllerState.__name__}"):
            node.create_subscription(ControllerState, root + topic, partial(take, name), 10)
    return joints


def _controller(
    node: Node, root: str, topic: str, reports: dict[str, tuple[str, ...]]
) -> Controller:
    """Who listens on a topic; a ros2_control controller is asked for its joints."""
    name = topic.rpartition("/")[0]
    joints = reports.get(name) or tuple(_parameter(node, root + name, "joints") or ())
    rate = _parameter(node, f"{root}controller_manager", "update_rate")
    return Controller(
        topic=topic,
        listeners=node.count_subscribers(root + topic),
        joints=joints,
        update_rate_hz=float(rate or 0.0),
        reports=name in reports,
    )


def _parameter(node: Node, owner: str, name: str) -> Any:
    """A parameter of a node; None where nobody answers."""
    client = node.create_client(GetParameters, f"{owner}/get_parameters")
    if not spin_for(node, 0.3, client.service_is_ready):
        return None
    future = client.call_async(GetParameters.Request(names=[name]))
    if not spin_for(node, _ANSWER_S, future.done) or not future.result().values:
        return None
    value = future.result().values[0]
    return list(value.string_array_value) or value.integer_value or value.double_value or None
