"""What the policy node tells of take-overs, through the recorder, as the conversion reads it."""

import time
from pathlib import Path

import numpy as np
import pytest
import rclpy

from evo1_policy.control.signals import LoopState, LoopStatus, StopCode, StopReason
from evo1_policy.ros.outputs import Interventions
from evo1_training.datasets.action_curve import read_interventions
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.mcap_records import Wanted

pytestmark = pytest.mark.ros

S = 1_000_000_000
DRIVING = LoopStatus(
    state=LoopState.TAKEOVER,
    reason=StopReason(code=StopCode.TAKEOVER, message="a person drives"),
    lead_ms=0.0,
    takeovers=1,
)
BACK = LoopStatus(state=LoopState.RUNNING, reason=None, lead_ms=0.0, takeovers=1)


@pytest.fixture
def interventions():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("policy", context=context)
    yield Interventions(node, 1)
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_bag_tells_when_a_person_drove(interventions, publish, recorder):
    publish()
    interventions.follow(DRIVING, 5 * S)  # before the take, and latched
    interventions.follow(BACK, 7 * S)
    node = recorder()
    node.record(1.0)
    interventions.follow(DRIVING, 9 * S)
    node.wait(lambda: node.status.duration_s >= 2.0, "the second take-over")
    answer = node.ask("save")
    folder = Path(answer.message.split()[1].rstrip(":"))
    found = read_interventions(open_episode(folder))
    assert found is not None
    times = np.array([4, 6, 8, 10]) * S
    assert found.at(times).tolist() == [False, True, False, True]


def test_a_take_of_a_take_over_starts_with_what_came_before_it(interventions, publish, recorder):
    publish()
    node = recorder(pre_roll_s=1.5)
    time.sleep(2.0)
    taken_over_ns = time.time_ns()
    interventions.follow(DRIVING, taken_over_ns)
    time.sleep(1.0)
    node.record(0.5)
    answer = node.ask("save")
    folder = Path(answer.message.split()[1].rstrip(":"))
    messages = list(open_episode(folder).read(Wanted()))
    times = {message.topic: message.log_ns for message in reversed(messages)}
    for topic in ("/joint_states", "/env_camera/image_raw"):
        before_s = (taken_over_ns - times[topic]) / S
        assert 1.0 < before_s <= 1.6, topic
