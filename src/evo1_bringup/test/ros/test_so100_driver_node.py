"""The SO-100 driver as a node: topics, transitions and recovery, on the emulated bus."""

import threading
import time

import numpy as np
import pytest
from so100_rig import START

from evo1_bringup.drivers import so100_arm
from evo1_sim.servo_bus.so100_calibration import save_calibration

pytestmark = pytest.mark.ros

TICK = 2 * np.pi / 4096
TIMEOUT_S = 20.0


class Client:
    """The driver node in this process, and somebody who talks to it."""

    def __init__(self, rig, robots_dir, folder):
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from lifecycle_msgs.srv import ChangeState
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.parameter import Parameter
        from rclpy.qos import QoSProfile, QoSReliabilityPolicy
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, String
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory

        from evo1_bringup.ros.so100_driver_node import So100DriverNode
        from evo1_policy.ros.listening import ControllerState, controller_state_qos
        from evo1_policy.ros.qos import ARM_FAULT_TOPIC, fault_qos

        self.rig, self.robot = rig, rig.robot
        calibration = folder / "arm.json"
        save_calibration(calibration, rig.servos)
        given = {
            "robot_file": str(robots_dir / "so100.yaml"),
            "port": str(rig.port.link),
            "calibration": str(calibration),
            "reply_timeout_ms": 200.0,  # a busy machine is slow, not stalled
        }
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.driver = So100DriverNode(
            context=self.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        )
        self.node = rclpy.create_node("client", context=self.context)
        self.states, self.diagnostics = [], {}
        self.node.create_subscription(JointState, "joint_states", self.states.append, 50)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.faults = []
        self.node.create_subscription(
            String, ARM_FAULT_TOPIC, lambda message: self.faults.append(message.data), fault_qos()
        )
        self.controller = []
        self.node.create_subscription(
            ControllerState,
            self.robot.command[0].state_topic,
            self.controller.append,
            controller_state_qos(),
        )
        best_effort = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self.stop = self.node.create_publisher(Bool, "stop", best_effort)
        topic = self.robot.command[0].topic
        self.commands = self.node.create_publisher(JointTrajectory, topic, 10)
        self.recover = self.node.create_client(Trigger, "so100_driver/recover")
        self.changes = self.node.create_client(ChangeState, "so100_driver/change_state")
        self._executors = [SingleThreadedExecutor(context=self.context) for _ in range(2)]
        self._executors[0].add_node(self.driver)
        self._executors[1].add_node(self.node)
        self._open = True
        self._threads = [
            threading.Thread(target=self._spin, args=(executor,), daemon=True)
            for executor in self._executors
        ]

    def start(self):
        assert self.driver.start()
        for thread in self._threads:
            thread.start()
        self.wait(lambda: len(self.states) > 5, "joint states")
        self.wait(lambda: self.commands.get_subscription_count() > 0, "driver that listens")

    def close(self):
        import rclpy

        self._open = False
        for thread in self._threads:
            if thread.is_alive():
                thread.join(TIMEOUT_S)
        self.driver.finish()
        for executor in self._executors:
            executor.shutdown()
        self.driver.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def send(self, positions, seconds):
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        point = JointTrajectoryPoint(positions=list(positions), velocities=[0.0] * 6)
        point.time_from_start.sec, rest = divmod(round(seconds * 1e9), 10**9)
        point.time_from_start.nanosec = rest
        self.commands.publish(
            JointTrajectory(joint_names=list(self.robot.joint_names), points=[point])
        )

    def say_stop(self, stopped):
        from std_msgs.msg import Bool

        self.wait(lambda: self.stop.get_subscription_count() > 0, "driver that hears stop")
        self.stop.publish(Bool(data=stopped))

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f"no {what}; {self.diagnostics}"
            time.sleep(0.01)

    def change(self, transition):
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        self.wait(self.changes.service_is_ready, "lifecycle service")
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self.changes.call_async(request)
        self.wait(future.done, "answer")
        return future.result().success

    def call_recover(self):
        from std_srvs.srv import Trigger

        future = self.recover.call_async(Trigger.Request())
        self.wait(future.done, "answer")
        return future.result()

    def says(self, name):
        return self.diagnostics[name].message if name in self.diagnostics else ""

    def _on_diagnostics(self, message):
        for status in message.status:
            self.diagnostics[status.name] = status

    def _spin(self, executor):
        while self._open:
            executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def client(rig, robots_dir, tmp_path):
    client = Client(rig, robots_dir, tmp_path)
    yield client
    client.close()


def test_it_follows_falls_silent_when_unplugged_and_recovers_when_a_person_says_so(client):
    rig = client.rig
    client.start()
    np.testing.assert_allclose(client.states[-1].position, START, atol=2 * TICK)
    assert client.states[-1].name == list(client.robot.joint_names)
    away = START + np.array([0.4, 0, 0, 0, 0, 0.3])
    client.send(away, 0.5)
    client.wait(lambda: abs(client.states[-1].position[0] - away[0]) < 4 * TICK, "motion")
    assert client.call_recover().message == "nothing to recover from: following"

    rig.port.unplug()
    arm = "so100_driver: arm"
    client.wait(lambda: client.says(arm).startswith("port_lost"), "reason")
    assert client.diagnostics[arm].level == b"\x02"
    client.wait(lambda: client.faults and "port_lost" in client.faults[-1], "fault")
    heard = len(client.states)
    client.send(START, 0.2)
    time.sleep(0.3)
    assert len(client.states) == heard  # nothing stale
    assert not client.call_recover().success
    rig.port.plug()
    time.sleep(0.2)
    assert len(client.states) == heard
    assert client.call_recover().success
    client.wait(lambda: len(client.states) > heard + 5, "joint states after recovery")
    np.testing.assert_allclose(client.states[-1].position, away, atol=4 * TICK)
    assert client.faults[-1] == ""
    client.send(START, 0.5)
    client.wait(lambda: abs(client.states[-1].position[0] - START[0]) < 4 * TICK, "motion again")


def test_lifecycle_leaves_the_arm_limp_and_starts_again(client, monkeypatch):
    from lifecycle_msgs.msg import Transition

    monkeypatch.setattr(so100_arm, "HIGHEST_SOUGHT_ID", 7)  # no other id answers: each is a wait
    rig = client.rig
    client.start()
    client.send(START + np.array([0.8, 0, 0, 0, 0, 0]), 1.0)
    client.wait(lambda: client.states[-1].position[0] > START[0] + 0.1, "motion")
    assert client.change(Transition.TRANSITION_DEACTIVATE)
    assert rig.arm.torques() == [False] * 6
    stands = rig.arm.positions()
    assert client.change(Transition.TRANSITION_ACTIVATE)
    np.testing.assert_allclose(rig.arm.goals(), stands, atol=6 * TICK)
    assert client.change(Transition.TRANSITION_DEACTIVATE)
    assert client.change(Transition.TRANSITION_CLEANUP)
    rig.bus().close()  # nobody has the port
    rig.faults.silent.add(2)
    assert not client.change(Transition.TRANSITION_CONFIGURE)


def test_a_stop_from_any_publisher_latches_until_it_is_cleared(client):
    client.start()
    away = START + np.array([0.9, 0, 0, 0, 0, 0])
    client.send(away, 1.5)
    client.wait(lambda: client.controller[-1].reference.positions[0] > START[0] + 0.1, "motion")
    assert list(client.controller[-1].joint_names) == list(client.robot.joint_names)
    moving = client.controller[-1]
    assert moving.reference.velocities[0] > 0.0
    np.testing.assert_allclose(moving.feedback.positions, moving.reference.positions, atol=0.3)
    client.say_stop(True)
    client.wait(lambda: not any(client.controller[-1].reference.velocities), "rest")
    rests = client.controller[-1].reference.positions[0]
    assert rests < away[0] - 0.05
    client.send(away, 0.5)
    time.sleep(0.5)
    assert client.controller[-1].reference.positions[0] == pytest.approx(rests, abs=1e-9)
    arm = "so100_driver: arm"
    client.wait(lambda: client.says(arm).startswith("stopped by a person"), "word of it")
    client.say_stop(False)
    client.wait(lambda: client.says(arm) == "holding", "end of the latch")
    client.send(START, 0.5)
    client.wait(lambda: abs(client.states[-1].position[0] - START[0]) < 4 * TICK, "motion again")


def test_numbers_that_no_joint_could_mean_leave_the_bus_thread_alive(client):
    client.start()
    for value in (1e308, -1e308, float("nan"), float("inf")):
        client.send([value, *START[1:]], 1.0)
    heard = len(client.states)
    client.wait(lambda: len(client.states) > heard + 5, "joint states")
    client.send(START + np.array([0.2, 0, 0, 0, 0, 0]), 0.5)
    client.wait(lambda: client.states[-1].position[0] > START[0] + 0.1, "motion")
    assert not any(client.faults)


def test_a_mistake_on_the_bus_thread_is_said_on_arm_fault_and_the_arm_stays_held(client):
    client.start()

    class Broken:
        def read(self, *_, **__):
            raise OverflowError("cannot convert float infinity to integer")

    driver = client.driver._configured.driver
    whole, driver._arm.read = driver._arm.read, Broken().read
    client.wait(lambda: client.faults and "driver_error" in client.faults[-1], "fault")
    assert "OverflowError" in client.faults[-1]
    assert client.rig.arm.torques() == [True] * 6
    driver._arm.read = whole
    heard = len(client.states)
    time.sleep(0.2)
    assert len(client.states) == heard  # nothing goes on by itself
    assert client.call_recover().success
    client.wait(lambda: len(client.states) > heard + 5, "joint states after recovery")


def test_a_parameter_is_refused_while_it_would_be_ignored(client):
    from rclpy.parameter import Parameter

    hotter = Parameter("temperature_stop", value=60.0)
    (taken,) = client.driver.set_parameters([hotter])  # before it is configured
    assert taken.successful
    client.start()
    (refused,) = client.driver.set_parameters([Parameter("temperature_stop", value=69.0)])
    assert not refused.successful
    assert "temperature_stop: read when the node starts" in refused.reason
    assert client.driver.get_parameter("temperature_stop").value == 60.0
