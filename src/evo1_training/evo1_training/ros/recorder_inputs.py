"""Raw subscriptions to everything that is recorded, and what DDS lost of it.

They follow the graph: a topic that appears is taken in, and a subscription whose quality of
service does not fit its publishers is made anew, of the publishers' kind.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription

from evo1_policy.perception.messages import MessageError, deserialize, read_joints
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.listening import Listener
from evo1_policy.ros.movers import Senders
from evo1_policy.ros.reading_thread import ReadElsewhere, ReadingThread
from evo1_training.recording.episode import STATE, RecordedTopic
from evo1_training.recording.session import Session
from evo1_training.recording.take import SessionReport
from evo1_training.ros.recorder_topics import GraphTopic, message_class, view_graph


@dataclass(kw_only=True)
class _Listening:
    """One subscription, and the numbers that its publisher gave the messages."""

    subscription: Subscription
    qos: QoSProfile
    latched: bool
    publishers: frozenset[bytes]
    sequence: int = 0  # of the last message; 0: none yet


class Inputs:
    """The recorder's subscriptions, read on a thread of their own.

    Args:
        node: owns them.
        robot: the robot file; topics as written.
        session: gets every message, on the reading thread.
        now_ns: the node's clock.
        on_failure: called from the reading thread with what should never be raised.
    """

    def __init__(
        self,
        node: Node,
        *,
        robot: RobotConfig,
        session: Session,
        now_ns: Callable[[], int],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._node = node
        self._robot = robot
        self._session = session
        self._now_ns = now_ns
        self._on_failure = on_failure
        self._group = ReadElsewhere()
        self._listener = Listener(node)
        cameras = [camera.topic for camera in robot.cameras]
        self._senders = Senders(node, [*cameras, robot.state.topic])
        self._listening: dict[str, _Listening] = {}
        self._thread: ReadingThread | None = None
        self._warned: set[str] = set()

    def refresh(self, patterns: Sequence[str], *, recording: bool) -> None:
        """Follow the graph.

        Args:
            patterns: of topics beside those of the robot file.
            recording: leave every subscription that hears something as it is.
        """
        view = view_graph(self._node, self._robot, patterns)
        self._senders.look()
        for warning in view.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._node.get_logger().warning(warning)
        self._session.set_inputs(view.topics, view.notices)
        wanted = {topic.topic.name: topic for topic in view.topics}
        stale = [
            name
            for name, listening in self._listening.items()
            if (name not in wanted and not recording)
            or (name in wanted and _differs(listening, wanted[name], recording=recording))
        ]
        missing = [name for name in wanted if name not in self._listening or name in stale]
        for name, topic in wanted.items():
            if name in self._listening and self._listening[name].publishers != topic.publishers:
                self._listening[name].publishers = topic.publishers
                self._listening[name].sequence = 0
        if stale or missing:
            self._renew(stale, [wanted[name] for name in missing])

    def hear_latched_again(self, patterns: Sequence[str]) -> None:
        """Subscribe anew to the latched topics, so that DDS gives their messages once more."""
        latched = [name for name, listening in self._listening.items() if listening.latched]
        if latched:
            view = view_graph(self._node, self._robot, patterns)
            topics = [topic for topic in view.topics if topic.topic.name in latched]
            self._renew([topic.topic.name for topic in topics], topics)

    def second_source(self) -> str | None:
        """Who speaks in turn on a topic of which a dataset takes one source; None: nobody."""
        return self._listener.second_source()

    def named(self, report: SessionReport) -> SessionReport:
        """What is said of streams, with who published them."""
        streams = [
            replace(stream, problem=self._senders.named(stream.problem))
            for stream in report.streams
        ]
        return replace(report, streams=streams)

    def close(self) -> None:
        """Stop listening."""
        self._renew(list(self._listening), [])

    def _renew(self, old: Sequence[str], new: Sequence[GraphTopic]) -> None:
        """Replace some subscriptions; what the others hear meanwhile waits in DDS."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None
        for name in old:
            self._node.destroy_subscription(self._listening.pop(name).subscription)
        for topic in new:
            self._listening[topic.topic.name] = self._listen(topic)
        if self._listening:
            self._thread = ReadingThread(
                [listening.subscription for listening in self._listening.values()],
                self._node.context,
                self._on_failure,
            )

    def _listen(self, topic: GraphTopic) -> _Listening:
        name = topic.topic.name

        def on_message(raw: bytes, info: dict[str, int | None]) -> None:
            received_ns = self._now_ns()
            self._count_lost(name, info.get("publication_sequence_number"))
            self._look_at_source(topic.topic, raw, info)
            self._session.receive(
                name, raw, received_ns=received_ns, publish_ns=info["source_timestamp"] or 0
            )

        def on_lost(event: QoSMessageLostInfo) -> None:
            if not self._numbered(name):  # else the numbers tell
                self._session.lose(name, event.total_count_change)

        return _Listening(
            subscription=self._node.create_subscription(
                message_class(topic.topic.type),
                topic.written,
                on_message,
                topic.qos,
                callback_group=self._group,
                event_callbacks=SubscriptionEventCallbacks(message_lost=on_lost),
                raw=True,
            ),
            qos=topic.qos,
            latched=topic.topic.latched,
            publishers=topic.publishers,
        )

    def _look_at_source(
        self, topic: RecordedTopic, raw: bytes, info: dict[str, int | None]
    ) -> None:
        """See whether two publishers of a camera, or of the same joints, speak in turn."""
        listening = self._listening.get(topic.name)
        if listening is None or not topic.role.startswith((STATE, "camera:")):
            return
        several = listening.subscription.get_publisher_count() > 1
        with suppress(MessageError):  # what cannot be used is counted elsewhere
            kind: Sequence[str] = ()
            if several and topic.role == STATE:
                message = deserialize(raw, topic.type, topic=topic.name)
                kind = read_joints(message, topic=topic.name)[0]
            self._listener.admit(listening.subscription, topic.name, info, tuple(kind))

    def _numbered(self, name: str) -> bool:
        listening = self._listening.get(name)
        return listening is not None and listening.sequence > 0 and len(listening.publishers) == 1

    def _count_lost(self, name: str, sequence: int | None) -> None:
        """Compare the publisher's own count of its messages with what arrives."""
        listening = self._listening.get(name)
        if listening is None or sequence is None or len(listening.publishers) != 1:
            return
        before, listening.sequence = listening.sequence, sequence
        if 0 < before < sequence - 1:
            self._session.lose(name, sequence - before - 1)


def _differs(listening: _Listening, wanted: GraphTopic, *, recording: bool) -> bool:
    """Whether a subscription should be made anew."""
    if not wanted.publishers:
        return False
    ours, theirs = listening.qos, wanted.qos
    if ours.reliability == theirs.reliability and ours.durability == theirs.durability:
        return False
    unheard = (
        ours.reliability is QoSReliabilityPolicy.RELIABLE
        and theirs.reliability is not QoSReliabilityPolicy.RELIABLE
    ) or (
        ours.durability is QoSDurabilityPolicy.TRANSIENT_LOCAL
        and theirs.durability is not QoSDurabilityPolicy.TRANSIENT_LOCAL
    )
    return unheard or not recording
