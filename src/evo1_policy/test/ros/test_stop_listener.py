"""How a node hears `stop`, and who else is there, over real DDS and real datagrams."""

import os
import socket
import threading
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from evo1_policy import stop_line
from evo1_policy.ros.movers import other_movers, other_publishers
from evo1_policy.ros.stop_listener import MoverThereError, StopListener

pytestmark = pytest.mark.ros

TIMEOUT_S = 10.0


def wait(condition, what):
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.01)


class Spun:
    """A node in a context of its own, which spins in a thread unless told not to."""

    def __init__(self, name, namespace="", *, spin=True):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(name, namespace=namespace, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard = []
        self.listener = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        if spin:
            self._thread.start()

    def listen(self, **options):
        self.listener = StopListener(
            self.node,
            on_stop=lambda: (self.heard.append(True) is None, "STOPPED"),
            on_clear=lambda: self.heard.append(False),
            **options,
        )

    def _spin(self):
        while not self._ending.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self._ending.set()
        if self._thread.ident:
            self._thread.join(TIMEOUT_S)
        if self.listener:
            self.listener.close()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def spun():
    made = []

    def make(*names, **options):
        made.append(Spun(*names, **options))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.mark.parametrize("reliability", ["BEST_EFFORT", "RELIABLE"])
def test_a_publisher_of_any_reliability_is_heard_and_answered(spun, reliability):
    arm, person = spun("policy", "left"), spun("person", "left")
    arm.listen()
    answers = []
    person.node.create_subscription(String, "stopped", lambda m: answers.append(m.data), 10)
    qos = QoSProfile(depth=1, reliability=QoSReliabilityPolicy[reliability])
    stop = person.node.create_publisher(Bool, "stop", qos)
    wait(lambda: stop.get_subscription_count() == 1, "listener")
    wait(lambda: person.node.count_publishers("stopped") == 1, "answerer")
    stop.publish(Bool(data=True))
    wait(lambda: arm.heard == [True], "stop")
    stop.publish(Bool(data=False))
    wait(lambda: arm.heard == [True, False], "clear")
    wait(lambda: answers == [f"/left/policy (pid {os.getpid()}): STOPPED"], "answer")


def test_a_datagram_stops_and_goes_out_on_the_topic_for_the_drivers(spun):
    arm, driver = spun("policy", "left"), spun("driver", "left")
    arm.listen()
    driver.listen(part="driver")
    wait(lambda: driver.node.count_publishers("stop") == 2, "discovery")
    wait(lambda: arm.node.count_subscribers("stop") == 2, "discovery")
    address = stop_line.address_of(arm.context.get_domain_id(), "/left")
    answers = stop_line.tell(stop_line.STOP, [address], TIMEOUT_S)
    assert answers == {address: f"/left/policy (pid {os.getpid()}): STOPPED"}
    wait(lambda: True in driver.heard, "stop of the driver")


def test_a_stop_from_a_socket_without_an_address_is_obeyed_and_the_next_one_too(spun):
    arm = spun("policy", "left")
    arm.listen()
    address = stop_line.address_of(arm.context.get_domain_id(), "/left")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(b"", address)
        line.sendto(stop_line.STOP, address)
    wait(lambda: True in arm.heard, "stop")
    answers = stop_line.tell(stop_line.STOP, [address], TIMEOUT_S)
    assert answers == {address: f"/left/policy (pid {os.getpid()}): STOPPED"}


def test_a_second_mover_in_a_namespace_is_refused_by_the_firsts_name(spun):
    first, second = spun("policy", "left"), spun("teleop_relay", "left", spin=False)
    first.listen()
    assert other_movers(second.node, []) == [f"/left/policy (pid {os.getpid()})"]
    with pytest.raises(MoverThereError, match=r"'/left' has a mover already: /left/policy"):
        second.listen()
    elsewhere = spun("policy", "right")
    elsewhere.listen()
    assert not elsewhere.heard


def test_a_node_alone_finds_nobody_not_even_itself(spun):
    arm = spun("policy", spin=False)
    arm.node.create_publisher(JointTrajectory, "arm/joint_trajectory", 10)
    assert other_movers(arm.node, ["arm/joint_trajectory"]) == []
    assert other_publishers(arm.node, ["arm/joint_trajectory"]) == []


@pytest.mark.parametrize("name", ["policy", "moveit"])
def test_who_publishes_on_the_command_topic_is_found_whatever_its_name(spun, name):
    arm = spun("policy", spin=False)
    other = spun(name)
    other.node.create_publisher(JointTrajectory, "arm/joint_trajectory", 10)
    topics = ["arm/joint_trajectory"]
    wait(lambda: other_publishers(arm.node, topics) == [f"/{name}"], "other")
    assert other_movers(arm.node, topics) == [f"/{name}"]


def nodes_in(node, namespace):
    """How many are known; the root has those of other tests' processes too."""
    return [place for _, place in node.get_node_names_and_namespaces()].count(namespace)


def test_a_twin_that_publishes_nothing_yet_is_found(spun):
    arm = spun("policy", "twins", spin=False)
    spun("policy", "twins")
    wait(lambda: nodes_in(arm.node, "/twins") == 2, "twin")
    assert other_movers(arm.node, []) == ["/twins/policy"]


def test_who_does_not_answer_any_more_does_not_keep_the_next_one_out(spun):
    spun("policy", "ghosts", spin=False)  # as the graph shows one that was killed
    arm = spun("policy", "ghosts", spin=False)
    wait(lambda: nodes_in(arm.node, "/ghosts") == 2, "ghost")
    assert other_movers(arm.node, []) == []
