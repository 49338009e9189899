import threading
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from evo1_policy.ros.reading_thread import ReadElsewhere, ReadingThread

pytestmark = pytest.mark.ros
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


def wait_until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("reader", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


class Reader:
    def __init__(self, node, callback):
        self.failures = []
        group = ReadElsewhere()
        self.subscription = node.create_subscription(
            String, "words", callback, RELIABLE, callback_group=group
        )
        self.thread = ReadingThread([self.subscription], node.context, self.failures.append)


def test_messages_come_in_order_on_one_thread_that_is_not_the_executors(node):
    heard, threads = [], set()

    def hear(message):
        heard.append(message.data)
        threads.add(threading.current_thread())

    reader = Reader(node, hear)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    publisher = node.create_publisher(String, "words", RELIABLE)
    wait_until(publisher.get_subscription_count, "the subscription")
    for number in range(50):
        publisher.publish(String(data=str(number)))
        executor.spin_once(timeout_sec=0)
    wait_until(lambda: len(heard) == 50, "50 messages")
    reader.thread.close()
    assert heard == [str(number) for number in range(50)]
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    executor.shutdown()


def test_what_a_callback_raises_is_told(node):
    def fail(message):
        raise ValueError(message.data)

    reader = Reader(node, fail)
    publisher = node.create_publisher(String, "words", RELIABLE)
    wait_until(publisher.get_subscription_count, "the subscription")
    publisher.publish(String(data="no"))
    wait_until(lambda: reader.failures, "the failure")
    assert [str(error) for error in reader.failures] == ["no"]
    reader.thread.close()


def test_publisher_whose_qos_does_not_fit_is_warned_about(node, capfd):
    reader = Reader(node, lambda message: None)
    node.create_publisher(String, "words", BEST_EFFORT)
    text = ""

    def warned():
        nonlocal text
        text += "".join(capfd.readouterr())
        return "incompatible QoS" in text

    wait_until(warned, "the warning")
    reader.thread.close()


def test_after_close_no_callback_runs(node):
    heard = []
    reader = Reader(node, heard.append)
    publisher = node.create_publisher(String, "words", RELIABLE)
    wait_until(publisher.get_subscription_count, "the subscription")
    reader.thread.close()
    publisher.publish(String(data="late"))
    time.sleep(0.2)
    assert heard == []


def test_callback_with_two_arguments_gets_the_message_information(node):
    heard = []
    reader = Reader(node, lambda message, info: heard.append((message.data, info)))
    publisher = node.create_publisher(String, "words", RELIABLE)
    wait_until(publisher.get_subscription_count, "the subscription")
    publisher.publish(String(data="first"))
    wait_until(lambda: heard, "the message")
    reader.thread.close()
    text, info = heard[0]
    assert (text, info["publication_sequence_number"]) == ("first", 1)


def test_urgent_messages_are_all_read_before_the_next_of_the_others(node):
    order, failures = [], []
    blocked, go_on = threading.Event(), threading.Event()

    def hear_other(message):
        order.append(message.data)
        blocked.set()
        assert go_on.wait(10)

    group = ReadElsewhere()
    urgent = node.create_subscription(
        String, "urgent", lambda m: order.append(m.data), RELIABLE, callback_group=group
    )
    other = node.create_subscription(String, "other", hear_other, RELIABLE, callback_group=group)
    thread = ReadingThread([urgent, other], node.context, failures.append, urgent=1)
    publishers = [node.create_publisher(String, name, RELIABLE) for name in ("urgent", "other")]
    for publisher in publishers:
        wait_until(publisher.get_subscription_count, "the subscription")
    publishers[1].publish(String(data="first"))
    assert blocked.wait(20)
    for _ in range(3):
        publishers[1].publish(String(data="other"))
    for _ in range(50):
        publishers[0].publish(String(data="urgent"))
    time.sleep(0.5)  # until DDS has brought them all
    go_on.set()
    wait_until(lambda: len(order) == 54, "all messages")
    thread.close()
    assert failures == []
    assert order == ["first", *["urgent"] * 50, *["other"] * 3]
