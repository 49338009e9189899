"""Subscriptions to what anybody may send: bounded before it is decoded, and of one publisher.

rclpy decodes a message before it asks anybody: three million joints are seconds in which a node
hears nothing. So the bytes are taken as they come.

Of what a trajectory controller says that it follows, <controller>/controller_state, the type is
control_msgs'. Where that package is not installed no such controller can run, and our simulation
and drivers publish evo1_msgs' type with the same fields. Whoever publishes or reads this topic
takes the type from here.
"""

import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from evo1_policy.action_chunk import Floats
from evo1_policy.perception.messages import MessageError, read_joints
from evo1_policy.perception.sources import Sources
from evo1_policy.ros.movers import publishers_of
from evo1_policy.ros.qos import ARM_FAULT_TOPIC, OVERRIDABLE, fault_qos, joints_qos

try:
    from control_msgs.msg import JointTrajectoryControllerState as _ControllerState
except ImportError:
    from evo1_msgs.msg import ControllerState as _ControllerState
ControllerState: TypeAlias = _ControllerState

MOST_BYTES = 1 << 20  # of what is no image: a thousand points of fourteen joints are 0.5 M
REPEAT_S = 2.0  # a refusal that lasts is logged this often

# Gets names, positions (n,) [rad] and stamp [ns] of a usable message.
TakeJoints = Callable[[tuple[str, ...], Floats, int], object]


def decode(raw: bytes, kind: type, *, topic: str) -> Any:
    """A serialised message (CDR) of `kind` that is no image.

    Raises:
        MessageError: too long, or no such message.
    """
    if len(raw) > MOST_BYTES:
        raise MessageError(
            f"{topic}: a {kind.__name__} of {len(raw):,} bytes; at most {MOST_BYTES:,} are read"
        )
    try:
        return deserialize_message(raw, kind)
    except Exception as error:  # whatever the parser stumbles over
        said = str(error).partition("\n")[0]
        raise MessageError(f"{topic}: these bytes are no {kind.__name__}: {said}") from error


class Listener:
    """Makes a node's subscriptions, and knows whether one of them hears two that speak in turn.

    Args:
        node: owns them.
        refuse: told why a message is not used; not given, it is logged.
        group: callback group of all of them.
    """

    def __init__(
        self,
        node: Node,
        *,
        refuse: Callable[[str], object] | None = None,
        group: CallbackGroup | None = None,
    ) -> None:
        self._node = node
        self._refuse = refuse or self._log
        self._group = group
        self._sources = Sources()
        self._lock = threading.Lock()

    def hear(
        self,
        kind: type,
        topic: str,
        act: Callable[[Any, int], object],
        qos: QoSProfile,
        *,
        refuse: Callable[[str], object] | None = None,
        one_source: bool = False,
    ) -> Subscription:
        """Subscribe to a topic.

        Args:
            kind: of message.
            topic: as the node writes it.
            act: gets each usable message, and when it was sent by the sender's clock [ns].
            qos: may be overridden by parameters.
            refuse: of this topic.
            one_source: use nothing while two publishers send messages of the same joints.
        """
        resolved = self._node.resolve_topic_name(topic)
        refuse = refuse or self._refuse

        def on_message(raw: bytes, info: Mapping[str, Any]) -> None:
            try:
                message = decode(raw, kind, topic=resolved)
                if one_source:
                    self.admit(subscription, resolved, info, _joints_of(message))
            except MessageError as error:
                refuse(str(error))
            else:
                act(message, int(info["source_timestamp"] or 0))

        subscription = self.hear_raw(kind, topic, on_message, qos)
        return subscription

    def hear_joints(
        self,
        topic: str,
        joints: Collection[str],
        act: TakeJoints,
        *,
        refuse: Callable[[str], object] | None = None,
    ) -> Subscription:
        """Subscribe to measured joints; others than `joints` are left out."""
        resolved = self._node.resolve_topic_name(topic)
        refuse = refuse or self._refuse

        def on_joints(message: JointState, _: int) -> None:
            try:
                read = read_joints(message, topic=resolved, joints=joints)
            except MessageError as error:
                refuse(str(error))
            else:
                act(*read)

        return self.hear(
            JointState, topic, on_joints, joints_qos(), refuse=refuse, one_source=True
        )

    def hear_raw(
        self,
        kind: type,
        topic: str,
        act: Callable[[bytes, Mapping[str, Any]], object],
        qos: QoSProfile,
    ) -> Subscription:
        """Subscribe to a topic whose bytes are taken as they come."""
        return self._node.create_subscription(
            kind,
            topic,
            act,
            qos,
            callback_group=self._group,
            qos_overriding_options=OVERRIDABLE,
            raw=True,
        )

    def admit(
        self,
        subscription: Subscription,
        topic: str,
        info: Mapping[str, Any],
        kind: Hashable = (),
    ) -> None:
        """Look whether a message is of the publisher that was heard before.

        Raises:
            MessageError: there is another one, or may be.
        """
        with self._lock:
            refusal = self._sources.refusal(
                topic,
                publishers=subscription.get_publisher_count(),
                number=info.get("publication_sequence_number"),
                now_ns=time.monotonic_ns(),
                kind=kind,
            )
        if refusal:
            raise MessageError(refusal)

    def second_source(self) -> str | None:
        """Who speaks in turn on a topic that must have one source, by name; None: nobody."""
        with self._lock:
            topic = self._sources.second_source(time.monotonic_ns())
        return None if topic is None else second_source(self._node, topic)

    def _log(self, why: str) -> None:
        self._node.get_logger().warning(why, throttle_duration_sec=REPEAT_S)


def _joints_of(message: Any) -> tuple[str, ...]:
    return tuple(getattr(message, "name", ()) or getattr(message, "joint_names", ()))


def second_source(node: Node, topic: str) -> str:
    """Say who publishes on a topic that must have one source."""
    names = publishers_of(node, topic)
    if len(names) < 2:
        return f"there was more than one publisher on {topic}"
    if len(set(names)) == 1:
        return f"{len(names)} nodes called {names[0]} publish on {topic}; end all but one"
    return f"{' and '.join(sorted(set(names)))} publish on {topic}; end all but one"


def hear_faults(listener: Listener, node: Node, on_fault: Callable[[str], object]) -> Subscription:
    """Subscribe to why the arm's driver has stopped; '' where it goes on.

    That it goes on is believed where one node speaks alone: another's fault may be meant.
    """
    topic = node.resolve_topic_name(ARM_FAULT_TOPIC)

    def on_message(message: String, _: int) -> None:
        if message.data or len(set(publishers_of(node, topic))) < 2:
            on_fault(message.data)
        else:
            node.get_logger().warning(f"a fault is not over: {second_source(node, topic)}")

    qos = fault_qos()
    qos.depth = 10  # of two who speak at once, or spoke before we came, each one's last word
    return listener.hear(String, ARM_FAULT_TOPIC, on_message, qos)


def controller_state_qos() -> QoSProfile:
    """Of whoever reads it: the newest counts, but of two who speak at once both must be heard.

    Publishers are reliable, as ros2_control's.
    """
    return QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def listen_to_controllers(
    listener: Listener,
    topics: Sequence[str],
    on_state: Callable[[int, ControllerState, int], None],
) -> list[Subscription]:
    """Subscribe to the state of each command output's controller; told with its index."""
    qos = controller_state_qos()
    return [
        listener.hear(ControllerState, topic, partial(on_state, output), qos, one_source=True)
        for output, topic in enumerate(topics)
    ]
