"""A process that is killed outright is noticed and named by those that needed it."""

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.gl]

NOTICED_S = 10.0  # a busy machine; docs/safety.md tells what was measured
READY_S = 90.0


class Ears:
    """What policy, recorder and relay say."""

    def __init__(self):
        import rclpy
        from evo1_msgs.msg import PolicyStatus, RecorderStatus
        from std_msgs.msg import String

        from evo1_policy.ros.qos import fault_qos

        self._rclpy, self._context = rclpy, rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("ears", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.policy, self.relay, self.problems = "", "", ""
        self.heard_recorder = False
        listen = self.node.create_subscription
        listen(PolicyStatus, "policy/status", self._on_policy, 10)
        listen(RecorderStatus, "recorder/status", self._on_recorder, 10)
        listen(String, "teleop_relay/status", self._on_relay, fault_qos())

    def _on_policy(self, message):
        self.policy = f"{message.state} {message.reason_code}: {message.reason}"

    def _on_recorder(self, message):
        self.problems = " | ".join(stream.problem for stream in message.streams)
        self.heard_recorder = True

    def _on_relay(self, message):
        self.relay = message.data

    def said(self):
        return f"policy {self.policy}; recorder {self.problems}; relay {self.relay}"

    def wait(self, condition, seconds):
        """Seconds until it holds."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < seconds, self.said()
            self._executor.spin_once(timeout_sec=0.05)
        return time.monotonic() - begun

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self._rclpy.shutdown(context=self._context)


@pytest.fixture
def ears():
    made = Ears()
    yield made
    made.close()


def kill(ears, supervisor, label):
    """Once it is known who publishes, and nothing is amiss: looked at once a second."""
    end = time.monotonic() + 1.5
    ears.wait(lambda: time.monotonic() > end and f"/{label}" not in ears.said(), READY_S)
    os.kill(supervisor.pids()[label], signal.SIGKILL)


def running(robot, **options):
    from described import system_of

    from evo1_bringup.supervisor import Supervisor

    return Supervisor(system_of(robot, **options), printer=lambda *_: None, grace_s=3.0)


def test_a_killed_simulation_is_named_by_policy_and_recorder(ears, tmp_path, record_property):
    options = {"record": "true", "record_root": str(tmp_path), "autostart": "true"}
    with running("xarm6", **options) as supervisor:
        ears.wait(lambda: ears.policy.startswith("1 "), READY_S)
        ears.wait(lambda: ears.heard_recorder and not ears.problems.strip(" |"), READY_S)
        kill(ears, supervisor, "sim_robot")
        policy_s = ears.wait(lambda: "/sim_robot" in ears.policy, NOTICED_S)
        assert ears.policy.startswith("2 ")
        recorder_s = policy_s + ears.wait(lambda: "/sim_robot" in ears.problems, NOTICED_S)
        record_property("policy_s", policy_s)
        record_property("recorder_s", recorder_s)


@pytest.mark.parametrize("teleop", ["true", "false"], ids=["relay", "policy"])
def test_a_killed_servo_driver_is_named_by_whoever_moves_the_arm(ears, teleop, record_property):
    options = {"port": "emulated", "teleop": teleop, "autostart": "true"}
    if teleop == "true":
        del options["autostart"]
    with running("so100", **options) as supervisor:
        if teleop == "true":
            ears.wait(lambda: ears.relay.startswith("waiting"), READY_S)
        else:
            ears.wait(lambda: ears.policy.startswith("1 "), READY_S)
        kill(ears, supervisor, "so100_driver")
        noticed_s = ears.wait(lambda: "/so100_driver" in ears.policy + ears.relay, NOTICED_S)
        record_property("noticed_s", noticed_s)
