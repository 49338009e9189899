"""A policy node and a robot cell around it, in threads of this process, over real DDS."""

import gc
import importlib.util
import os
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
PROFILE = Path(__file__).parents[3] / "evo1_bringup" / "config" / "fastdds.xml"
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(PROFILE))  # discovery in 0.1 s
if not all(importlib.util.find_spec(name) for name in ("rclpy", "evo1_msgs")):
    collect_ignore_glob = ["test_*.py"]  # they import message packages at the top


class RunningNode:
    """A policy node that spins in a thread; `configured` and `active` as in its lifecycle."""

    def __init__(self, policy_factory, *, start=True, **parameters):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.parameter import Parameter

        from evo1_policy.ros.policy_node import PolicyNode

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = PolicyNode(
            policy_factory,
            context=self._context,
            parameter_overrides=[
                Parameter(name, value=value) for name, value in parameters.items()
            ],
        )
        self.started = self.node.start() if start else None
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.failure = None  # what ended the spinning
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join(10)
        self.node.finish()
        self._executor.shutdown()
        self.node.destroy_node()
        import rclpy

        rclpy.shutdown(context=self._context)

    def _spin(self):
        try:
            while not self._stop.is_set():
                self._executor.spin_once()
        except RuntimeError as error:
            self.failure = error


@pytest.fixture
def robot(robots_dir):
    from evo1_policy.robot_config import load_robot

    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture
def cell(robot, capfd):
    from robot_cell import RobotCell

    cell = RobotCell(robot, capfd)
    yield cell
    cell.close()


@pytest.fixture
def start_node(robots_dir):
    """Start policy nodes with a policy and parameters; closed after the test."""
    from scripted_policy import WavePolicy

    running = []

    def start(policy=WavePolicy, **parameters):
        parameters.setdefault("resume_within_s", 60.0)  # a busy machine makes short gaps long
        settings = {
            "robot_file": str(robots_dir / "xarm6.yaml"),
            "instruction": "put the can into the box",
            "autostart": True,
            **parameters,
        }
        made = []

        def factory(robot, _):
            made.append(policy(robot))
            return made[0]

        node = RunningNode(factory, **settings)
        node.policy = made[0] if made else None
        running.append(node)
        return node

    yield start
    for node in running:
        node.close()
    running.clear()
    gc.collect()  # a participant lives as long as anything of its node
