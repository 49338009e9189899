"""Who else moves this arm: an arm has one master, and a second one is refused by name."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

from evo1_policy import stop_line

_NAME = re.compile(r"[\w/]+")
_NOT_NAMED_YET = "_NODE_NAME_UNKNOWN_"  # rcl's, where a topic was discovered before its node
ANSWER_S = 2.0  # a node that is alive answers sooner
# Whoever only looks: recorders, viewers, command lines. None of them moves an arm.
ONLOOKERS = ("recorder", "rosbag2", "_ros2cli", "foxglove", "rviz", "rqt", "plotjuggler", "evo1_")


def publishers_of(node: Node, topic: str) -> list[str]:
    """The full name of each publisher of a resolved topic, as far as discovered."""
    return [_full_name(info) for info in node.get_publishers_info_by_topic(topic)]


class Senders:
    """Who published topics, also once they are gone: what fell silent is told with its node.

    Args:
        node: that listens.
        topics: as it writes them.
    """

    def __init__(self, node: Node, topics: Iterable[str]) -> None:
        self._node = node
        self._names = dict.fromkeys((node.resolve_topic_name(topic) for topic in topics), "")

    def look(self) -> None:
        """See who is there; for a timer, since asking the graph takes its time."""
        for topic in self._names:
            if names := publishers_of(self._node, topic):
                self._names[topic] = " and ".join(sorted(set(names)))

    def named(self, text: str) -> str:
        """What is said of topics, with who published them."""
        said = set(_NAME.findall(text))
        who = {name for topic, name in self._names.items() if said & {topic, topic.lstrip("/")}}
        who -= {"", *said}
        return f"{text}; it came from {' and '.join(sorted(who))}" if who else text


def controllers_of(node: Node, command_topic: str, state_topic: str) -> set[str]:
    """Who follows the commands on a topic, by full name.

    A controller says what it follows: it subscribes to the one and publishes the other. Where
    nobody does, any subscriber counts that does not only look.
    """
    listeners = {
        _full_name(info): info.node_name
        for info in node.get_subscriptions_info_by_topic(command_topic)
    }
    speakers = set(publishers_of(node, state_topic))
    if speakers:
        return set(listeners) & speakers
    return {full for full, name in listeners.items() if not name.startswith(ONLOOKERS)}


def _full_name(info: TopicEndpointInfo) -> str:
    if info.node_name == _NOT_NAMED_YET:
        return "a node whose name is not known yet"
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def other_publishers(node: Node, command_topics: Sequence[str]) -> list[str]:
    """Who else publishes on the topics, by full name, from what has been discovered so far.

    Another node with this one's name is told by that name.

    Args:
        node: of the arm.
        command_topics: as the node writes them.
    """
    own, others = Counter(publisher.topic_name for publisher in node.publishers), set[str]()
    for topic in map(node.resolve_topic_name, command_topics):
        names = Counter(publishers_of(node, topic))
        names[node.get_fully_qualified_name()] -= own[topic]
        others |= {name for name, count in names.items() if count > 0}
    return sorted(others)


def other_movers(node: Node, command_topics: Sequence[str]) -> list[str]:
    """Who else moves this arm, by full name; for the time before the node itself can.

    To be called before the node makes its StopListener, from its executor or without one. Nodes of
    this machine are found at once. Those of others are as far as they have been discovered, and
    are asked for a sign of life: the graph keeps what was killed for 20 s.

    Args:
        node: of the arm.
        command_topics: as the node writes them.
    """
    domain, namespace = node.context.get_domain_id(), node.get_namespace()
    address = stop_line.address_of(domain, namespace)
    if address in stop_line.claimed(domain, namespace):
        answer = stop_line.tell(stop_line.WHO, [address], ANSWER_S)[address]
        return [answer or f"one in namespace '{namespace}' that does not answer"]
    names = Counter(node.get_fully_qualified_node_names())
    own = node.get_fully_qualified_name()
    twins = [own] if names[own] > 1 else []
    suspects = {*twins, *other_publishers(node, command_topics)}
    return sorted(name for name in suspects if _lives(node, name))


def _lives(node: Node, name: str) -> bool:
    """Whether a node other than this one, which must not be spinning, answers by that name."""
    asker = rclpy.create_node(
        f"evo1_roll_call_{os.getpid()}", context=node.context, start_parameter_services=False
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(asker)
    try:
        client = asker.create_client(GetParameters, f"{name}/get_parameters")
        if not client.wait_for_service(timeout_sec=ANSWER_S):
            return False
        future = client.call_async(GetParameters.Request())
        executor.spin_until_future_complete(future, timeout_sec=ANSWER_S)
        return bool(future.done())
    finally:
        executor.shutdown()
        asker.destroy_node()
