"""A recorder node and a robot around it, in threads of this process, over real DDS."""

import gc
import importlib.util
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
PROFILE = Path(__file__).parents[3] / "evo1_bringup" / "config" / "fastdds.xml"
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(PROFILE))  # discovery in 0.1 s
if not all(importlib.util.find_spec(name) for name in ("rclpy", "evo1_msgs")):
    collect_ignore_glob = ["test_*.py"]  # they import message packages at the top


class RunningRecorder:
    """A recorder node that spins in a thread, and a client of its services."""

    def __init__(self, **parameters):
        import rclpy
        from evo1_msgs.msg import RecorderStatus
        from evo1_msgs.srv import SetInstruction
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.parameter import Parameter
        from std_srvs.srv import Trigger

        from evo1_training.ros.recorder_node import RecorderNode

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = RecorderNode(
            context=self.context,
            parameter_overrides=[
                Parameter(name, value=value) for name, value in parameters.items()
            ],
        )
        self.started = self.node.start()
        self.person = rclpy.create_node("person", context=self.context)
        self.statuses = []
        self.person.create_subscription(
            RecorderStatus, "recorder/status", self.statuses.append, 10
        )
        self._clients = {
            name: self.person.create_client(Trigger, f"recorder/{name}")
            for name in ("start", "save", "discard", "delete_last")
        }
        self._set_instruction = self.person.create_client(
            SetInstruction, "recorder/set_instruction"
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._executor.add_node(self.person)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else None

    def ask(self, name):
        """Call a service; returns its answer."""
        from std_srvs.srv import Trigger

        client = self._clients[name]
        assert client.wait_for_service(10)
        return self._answer(client.call_async(Trigger.Request()), name)

    def say(self, instruction, transition=""):
        from evo1_msgs.srv import SetInstruction

        assert self._set_instruction.wait_for_service(10)
        request = SetInstruction.Request(instruction=instruction, transition=transition)
        return self._answer(self._set_instruction.call_async(request), "set_instruction")

    def wait_for(self, state, seconds=20):
        self.wait(lambda: self.status and self.status.state == state, f"state {state}", seconds)

    def wait(self, condition, what, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}; {self.status}"
            time.sleep(0.01)

    def record(self, seconds):
        """Start a take and let it run; it is not ended."""
        from evo1_msgs.msg import RecorderStatus

        answer = self.ask("start")
        assert answer.success, answer.message
        self.wait_for(RecorderStatus.RECORDING)
        self.wait(lambda: self.status.duration_s >= seconds, f"{seconds} s")

    def rest(self):
        """Deactivate the node, on the thread that serves it."""
        task = self._executor.create_task(self.node.rest)
        self.wait(task.done, "the node to be inactive")

    def close(self):
        import rclpy

        self._stop.set()
        self._thread.join(10)
        self.node.finish()
        self._executor.shutdown()
        self.person.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _answer(self, future, what):
        self.wait(future.done, f"an answer of {what}")
        return future.result()

    def _spin(self):
        while not self._stop.is_set():
            self._executor.spin_once()


@pytest.fixture
def robot(robots_dir):
    from evo1_policy.robot_config import load_robot

    return load_robot(robots_dir / "so100.yaml")


@pytest.fixture
def publish(robot):
    """Start the robot's publishers."""
    from recorded_robot import RecordedRobot

    running = []

    def start(**settings):
        shown = robot
        if settings.get("compressed"):
            cameras = [replace(camera, topic=camera.topic) for camera in robot.cameras]
            shown = replace(robot, cameras=tuple(cameras))
        running.append(RecordedRobot(shown, **settings))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def recorder(robots_dir, tmp_path):
    """Start recorder nodes that save below tmp_path; closed after the test."""
    running = []

    def start(**parameters):
        settings = {
            "robot_file": str(robots_dir / "so100.yaml"),
            "root": str(tmp_path / "episodes"),
            "instruction": "put the cube into the box",
            "operator_name": "Ada",
            "min_free_gb": 0.0,
            **parameters,
        }
        running.append(RunningRecorder(**settings))
        return running[-1]

    yield start
    for one in running:
        one.close()
    running.clear()
    gc.collect()  # a participant lives as long as anything of its node
