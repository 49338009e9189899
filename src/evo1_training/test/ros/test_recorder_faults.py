import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
from evo1_msgs.action import RecordEpisode
from evo1_msgs.msg import RecorderStatus
from mcap.reader import make_reader
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from evo1_training.cli.recover import main as recover_main
from evo1_training.recording.episode import bag_path, read_sidecar

pytestmark = pytest.mark.ros


@pytest.fixture
def largest_file():
    """Lower the largest size of a file, as a full disk would; lifted after the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_ends_the_take_with_what_it_has_and_the_node_lives(
    publish, recorder, largest_file, tmp_path
):
    publish(size=(320, 240))
    node = recorder()
    node.record(0.5)
    folder = tmp_path / "episodes" / "episode_000000"
    largest_file(bag_path(folder).stat().st_size + 3_000_000)
    node.wait(lambda: any(s.state == RecorderStatus.FAULT for s in node.statuses), "the fault", 30)
    node.wait_for(RecorderStatus.IDLE)
    assert "File too large" in node.status.reason
    largest_file(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    sidecar = read_sidecar(folder)
    assert sidecar.outcome.grade == "fail"
    assert "cut short" in sidecar.outcome.reasons[0]
    with bag_path(folder).open("rb") as file:
        assert sum(1 for _ in make_reader(file).iter_messages()) > 50
    node.record(0.3)
    assert node.ask("save").success


class GoalClient:
    def __init__(self, node):
        self._node = node
        self._client = ActionClient(node.person, RecordEpisode, "recorder/record_episode")
        self.feedback = []

    def send(self, **goal):
        assert self._client.wait_for_server(10)
        sent = self._client.send_goal_async(
            RecordEpisode.Goal(**goal), feedback_callback=self.feedback.append
        )
        self._node.wait(sent.done, "an answer to the goal")
        return sent.result()

    def result(self, handle):
        result = handle.get_result_async()
        self._node.wait(result.done, "the result")
        return result.result().result

    def cancel(self, handle):
        self._node.wait(handle.cancel_goal_async().done, "the cancel")


def test_goal_records_for_its_time_with_its_own_label_and_topics(publish, recorder):
    publish()
    node = recorder()
    client = GoalClient(node)
    assert not client.send(instruction="").accepted
    handle = client.send(
        instruction="pour", operator_name="Grace", max_duration_s=0.8, extra_topics=["/rosout"]
    )
    assert handle.accepted
    assert not client.send(instruction="another").accepted
    result = client.result(handle)
    assert result.success, result.reason
    assert result.messages > 50
    assert client.feedback
    facts = read_sidecar(Path(result.path)).facts
    assert (facts.instruction, facts.operator) == ("pour", "Grace")
    assert "/rosout" in {topic.name for topic in facts.topics}


def test_cancelled_goal_saves_what_it_has(publish, recorder):
    publish()
    node = recorder()
    client = GoalClient(node)
    handle = client.send(instruction="pour")
    node.wait(lambda: node.status.duration_s > 0.3, "a while")
    client.cancel(handle)
    assert client.result(handle).success
    assert node.status.episodes_saved == 1


def test_goal_whose_take_is_discarded_fails(publish, recorder):
    publish()
    node = recorder()
    client = GoalClient(node)
    handle = client.send(instruction="pour")
    node.wait_for(RecorderStatus.RECORDING)
    assert node.ask("discard").success
    result = client.result(handle)
    assert (result.success, result.reason) == (False, "discarded")


def test_start_without_a_label_is_refused(publish, recorder):
    publish()
    node = recorder(instruction="")
    answer = node.ask("start")
    assert not answer.success
    assert "no instruction" in answer.message
    assert node.say("pour").success
    assert node.ask("start").success


def test_nearly_full_disk_refuses_to_start(publish, recorder):
    publish()
    node = recorder(min_free_gb=1e6)
    answer = node.ask("start")
    assert not answer.success
    assert "min_free_gb" in answer.message


def test_a_parameter_takes_effect_or_is_refused(publish, recorder):
    from rclpy.parameter import Parameter

    publish()
    node = recorder()
    (refused,) = node.node.set_parameters([Parameter("operator_name", value="Bob")])
    assert not refused.successful
    assert "operator_name: read when the node starts" in refused.reason
    (empty,) = node.node.set_parameters([Parameter("instruction", value=" ")])
    assert not empty.successful
    (taken,) = node.node.set_parameters([Parameter("instruction", value="pour")])
    assert taken.successful
    node.wait(lambda: node.status and node.status.instruction == "pour", "the new label")


@pytest.fixture
def recording_process(publish, robots_dir, tmp_path):
    """A recorder in a process of its own, in the middle of a take."""
    publish()
    command = [sys.executable, "-m", "evo1_training.ros.recorder_node", "--ros-args"]
    for name, value in {
        "robot_file": robots_dir / "so100.yaml",
        "root": tmp_path,
        "instruction": "pour",
        "min_free_gb": 0.0,
    }.items():
        command += ["-p", f"{name}:={value}"]
    context = rclpy.Context()
    rclpy.init(context=context)
    person = rclpy.create_node("person", context=context)
    client = person.create_client(Trigger, "recorder/start")
    bag = bag_path(tmp_path / "episode_000000")
    process = subprocess.Popen(command)
    try:
        assert client.wait_for_service(30)
        client.call_async(Trigger.Request())
        end = time.monotonic() + 30
        while not bag.is_file() or bag.stat().st_size < 500_000:
            assert time.monotonic() < end
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()
        person.destroy_node()
        rclpy.shutdown(context=context)


def test_killed_recorder_leaves_an_episode_that_recover_makes_readable(
    recording_process, tmp_path
):
    os.kill(recording_process.pid, signal.SIGKILL)
    killed_ns = time.time_ns()
    recording_process.wait()
    assert recover_main([str(tmp_path)]) == 0
    folder = tmp_path / "episode_000000"
    sidecar = read_sidecar(folder)
    assert sidecar.facts.instruction == "pour"
    assert sidecar.outcome.recovered
    with bag_path(folder).open("rb") as file:
        times = [message.log_time for _, _, message in make_reader(file).iter_messages()]
    assert killed_ns - max(times) < 1_000_000_000


def test_interrupted_recorder_saves_its_take(recording_process, tmp_path):
    recording_process.send_signal(signal.SIGINT)
    assert recording_process.wait(30) == 0
    outcome = read_sidecar(tmp_path / "episode_000000").outcome
    assert outcome is not None
    assert not outcome.recovered


def test_a_recorder_that_ends_says_why_on_its_own_topic(publish, recorder):
    publish()
    node = recorder()
    node.record(0.2)

    why = "recorder ends: OSError: [Errno 5] Input/output error: '/episodes\n[INFO] all is well'"
    node._executor.create_task(lambda: node.node.tell_end(why))
    node.wait(
        lambda: any(
            one.state == RecorderStatus.FAULT
            and one.reason.startswith("recorder ends: OSError: [Errno 5] Input/output")
            and one.reason.isprintable()
            for one in node.statuses
        ),
        "its last words",
    )
    node.rest()
    node.wait(lambda: node.status.reason == "the recorder was deactivated", "the reason")
    assert node.status.state == RecorderStatus.IDLE
