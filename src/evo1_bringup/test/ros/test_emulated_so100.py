"""The whole hardware path without hardware: simulation, emulated bus, real driver, policy."""

import time

import numpy as np
import pytest

from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import describe

pytestmark = [pytest.mark.ros, pytest.mark.gl]

TIMEOUT_S = 120.0
HOLDING = 2


class Watcher:
    """Hears the policy's status and the joints, in a context of its own."""

    def __init__(self):
        import rclpy
        from evo1_msgs.msg import PolicyStatus
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState

        self._rclpy, self._context = rclpy, rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("watcher", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.status, self.positions = None, []
        self._node.create_subscription(PolicyStatus, "policy/status", self._hear, 10)
        self._node.create_subscription(
            JointState, "joint_states", lambda m: self.positions.append(list(m.position)), 10
        )

    def _hear(self, status):
        self.status = status

    @property
    def chunks(self):
        return self.status.chunks_published if self.status else 0

    @property
    def moved(self):
        return len(self.positions) and np.ptp(self.positions, axis=0).max() > 0.02

    def wait(self, condition, what, system):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert system.exited() is None, system.exited()
            assert time.monotonic() < end, f"no {what}; {self.status}"
            self._executor.spin_once(timeout_sec=0.1)

    def close(self):
        self._executor.shutdown()
        self._node.destroy_node()
        self._rclpy.shutdown(context=self._context)


@pytest.fixture
def watcher():
    watcher = Watcher()
    yield watcher
    watcher.close()


@pytest.fixture
def options(tmp_path, robots_dir):
    """Small images, and patience with a busy machine."""
    patient = tmp_path / "patient.yaml"
    text = (robots_dir / "so100.yaml").read_text()
    patient.write_text(text.replace("max_age_ms: 1", "max_age_ms: 10"))
    small = {"camera_width": "64", "camera_height": "48"}
    return parse_options("so100", {"port": "emulated", "robot_file": str(patient), **small})


def test_the_arm_holds_when_its_cable_is_pulled_and_goes_on_when_a_person_says_so(
    watcher, options
):
    from evo1_bringup.ros import commands

    person, lines = commands.Target(timeout_s=TIMEOUT_S), []
    system = describe("so100", options)
    with Supervisor(system, printer=lambda label, line: lines.append(line)) as running:
        watcher.wait(lambda: watcher.chunks >= 2, "chunk", running)
        watcher.wait(lambda: watcher.moved, "motion", running)
        assert commands.plug_arm(person, plugged=False).success
        watcher.wait(lambda: watcher.status.reason_code == "arm_fault", "fault", running)
        assert watcher.status.state == HOLDING
        assert "port_lost" in watcher.status.reason
        assert commands.plug_arm(person, plugged=True).success
        assert commands.recover_arm(person).success
        chunks, watcher.positions = watcher.chunks, []
        watcher.wait(lambda: watcher.chunks > chunks + 1, "chunk after recovery", running)
        watcher.wait(lambda: watcher.moved, "motion after recovery", running)
    assert any("torque off: the arm goes limp" in line for line in lines)
