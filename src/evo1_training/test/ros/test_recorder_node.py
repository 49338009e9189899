import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
from evo1_msgs.msg import RecorderStatus
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import camera_qos
from evo1_training.recording.episode import FACTS_TOPIC, bag_path, read_sidecar

pytestmark = pytest.mark.ros


def saved(answer):
    assert answer.success, answer.message
    return Path(answer.message.split()[1].rstrip(":"))


def stamps_in_bag(folder, topic):
    """Stamps of a topic, as rosbags reads them."""
    with AnyReader([folder]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [
            message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            for c, _, raw in reader.messages(connections)
            for message in [reader.deserialize(raw, c.msgtype)]
        ]


def test_take_holds_every_message_that_was_sent_and_its_label(publish, recorder):
    robot, node = publish(), recorder()
    node.record(2.0)
    folder = saved(node.ask("save"))
    sidecar = read_sidecar(folder)
    assert sidecar.facts.instruction == "put the cube into the box"
    assert sidecar.facts.operator == "Ada"
    assert sidecar.outcome is not None
    assert sum(stream.lost for stream in sidecar.outcome.streams) == 0
    ended_ns = sidecar.outcome.ended_ns
    for topic in ("/env_camera/image_raw", "/wrist_camera/image_raw", "/joint_states"):
        found = stamps_in_bag(folder, topic)
        due = [s for s in robot.sent[topic] if found[0] <= s < ended_ns - 10**8]
        assert set(due) <= set(found)
        assert len(due) > 50
    with bag_path(folder).open("rb") as file:
        reader = make_reader(file)
        topics = {channel.topic: message for _, channel, message in reader.iter_messages()}
        assert json.loads(topics[FACTS_TOPIC].data[8:-1])["facts"]["episode_id"] == folder.name
        assert "/robot_description" in topics


def test_latched_topic_is_in_every_bag(publish, recorder):
    publish()
    node = recorder()
    for _ in range(2):
        node.record(1.5)  # a busy machine takes its time to subscribe again
        folder = saved(node.ask("save"))
        with AnyReader([folder]) as reader:
            counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts["/robot_description"] == 1


def test_take_waits_for_a_camera_and_says_so(publish, recorder):
    robot = publish()
    robot.silent.add("image_2")
    node = recorder()
    assert node.ask("start").success
    node.wait(
        lambda: node.status.state == RecorderStatus.WAITING and "image_2" in node.status.reason,
        "the reason",
    )
    robot.silent.clear()
    node.wait_for(RecorderStatus.RECORDING)


def test_camera_that_vanishes_is_warned_about_and_graded(publish, recorder, capfd):
    robot, node = publish(), recorder()
    node.record(0.5)
    robot.silent.add("image_1")
    node.wait(lambda: node.status.duration_s > 1.6, "the take to go on")
    problems = {stream.name: stream.problem for stream in node.status.streams}
    assert "old" in problems["image_1"]
    assert node.ask("save").success
    assert "image_1: /env_camera/image_raw: newest stamp is" in "".join(capfd.readouterr())


def test_two_cameras_on_a_topic_are_no_take(publish, recorder):
    robot, node = publish(), recorder()
    node.record(0.3)
    with second_camera(robot):
        node.wait(lambda: "end all but one" in node.status.reason, "the end of the take")
        assert "/second_camera" in node.status.reason
        assert "/env_camera/image_raw" in node.status.reason
        node.wait_for(RecorderStatus.IDLE)
        assert node.ask("start").success
        node.wait(
            lambda: (
                node.status.state == RecorderStatus.WAITING
                and "/second_camera" in node.status.reason
            ),
            "the reason",
        )
    node.wait_for(RecorderStatus.RECORDING)


@contextmanager
def second_camera(robot):
    """Another node that publishes pictures, as old as the time, on a camera's topic."""
    node = rclpy.create_node("second_camera", context=robot.context)
    camera = node.create_publisher(Image, "env_camera/image_raw", camera_qos())
    closing = threading.Event()

    def run():
        while not closing.wait(1 / 30):
            message = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(9216))
            message.header.stamp = time_message(time.time_ns())
            camera.publish(message)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    closing.set()
    thread.join()
    node.destroy_node()


def test_discard_delete_and_record_again_use_the_number_again(publish, recorder, tmp_path):
    publish()
    node = recorder()
    assert not node.ask("save").success
    assert not node.ask("delete_last").success
    node.record(0.3)
    assert not node.ask("delete_last").success
    answer = node.ask("discard")
    assert answer.success, answer.message
    node.record(0.3)
    assert node.say("pour").message.endswith("from the next take on")
    first = saved(node.ask("save"))
    assert first.name == "episode_000000"
    assert read_sidecar(first).facts.instruction == "put the cube into the box"
    node.record(0.3)
    second = saved(node.ask("save"))
    assert read_sidecar(second).facts.instruction == "pour"
    assert node.ask("delete_last").success
    assert not second.exists()
    assert len(list((tmp_path / "episodes" / ".trash").glob("*/episode_*"))) == 2


def test_deactivating_saves_the_running_take(publish, recorder, tmp_path):
    publish()
    node = recorder()
    node.record(0.5)
    node.rest()
    sidecar = read_sidecar(tmp_path / "episodes" / "episode_000000")
    assert sidecar.outcome is not None
    assert not node.ask("start").success


def test_topics_and_labels_that_appear_during_a_take_are_recorded(publish, recorder):
    from std_msgs.msg import String

    robot = publish()
    node = recorder(extra_topics=["/notes/*"], compress="*=jpeg:80")
    node.record(0.3)
    assert node.say("lift it", "now").message == "from now on: 'lift it'"
    told = robot.node.create_publisher(String, "instruction", 10)
    node.wait(told.get_subscription_count, "the subscription")
    time.sleep(0.1)
    told.publish(String(data="put it down"))
    node.wait(lambda: node.status.instruction == "put it down", "the label")
    publisher = robot.node.create_publisher(String, "notes/one", 10)
    node.wait(publisher.get_subscription_count, "the subscription")
    time.sleep(0.1)
    publisher.publish(String(data="look"))
    node.wait(
        lambda: any(s.topic == "/notes/one" and s.received for s in node.status.streams), "it"
    )
    folder = saved(node.ask("save"))
    assert "/notes/one" in [topic.name for topic in read_sidecar(folder).facts.topics]
    with AnyReader([folder]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert counts["/notes/one"] == counts["/instruction"] == 1
    assert counts["/env_camera/image_raw/compressed"] > 20
    sidecar = read_sidecar(folder)
    assert sidecar.facts.instruction == "put the cube into the box"
    labels = [label.instruction for label in sidecar.outcome.labels]
    assert labels == ["lift it", "put it down"]
    assert not node.say("lift it", "now").success  # no take runs
