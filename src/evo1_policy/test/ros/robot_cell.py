"""The other side of the policy node: cameras, joint states, controllers and a client, on real DDS.

Runs in a context and thread of its own. Everything can be switched off or bent while it runs.
"""

import threading
import time
from array import array

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from evo1_msgs.action import RunPolicy
from evo1_msgs.msg import ActionChunk, Intervention, PolicyStatus
from evo1_msgs.srv import SetInstruction
from kinematic_arm import KinematicArm
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.control.teleop_target import TeleopWindow
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import ARM_FAULT_TOPIC, fault_qos, intervention_qos

TIMEOUT_S = 10.0
IMAGE_SIZE = (48, 64)  # rows, columns: the content does not matter here


def target_message(target):
    """What a demonstrator sends for a TeleopTarget."""
    message = JointTrajectory(joint_names=list(target.joint_names))
    message.header.stamp = time_message(target.stamp_ns)
    for offset_ns, row in zip(target.offsets_ns, target.positions, strict=True):
        point = JointTrajectoryPoint(positions=row.tolist())
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(offset_ns, 10**9)
        message.points.append(point)
    return message


class RobotCell:
    """Public switches: cameras, joints, hidden_joints, shuffle, encoding, time_offset_ns.

    `hand` is None, or a function from seconds to joint positions that a person asks for; `buttons`
    None, or those of a gamepad.
    """

    def __init__(self, robot, capture, *, publish_clock=False):
        self._capture, self._log = capture, ""
        self.robot = robot
        self.cameras = {camera.name for camera in robot.cameras}
        self.joints = True
        self.hidden_joints = set()
        self.shuffle = False
        self.joint_messages = 1  # parts of the joints in messages of their own
        self.encoding = {camera.name: "rgb8" for camera in robot.cameras}
        self.time_offset_ns = 0
        self.shove_rad = 0.0  # the first joint is not where it was commanded
        self.chunks, self.previews, self.feedback = [], [], []
        self.commands = {command.topic: [] for command in robot.command}
        self.statuses, self.interventions = [], []
        self.hand = self.buttons = None
        self._diagnostics = {}
        self.arm = KinematicArm(robot.joint_names, robot.home)
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("cell", context=self._context)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._make_publishers(publish_clock)
        self._make_listeners()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._open = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self):
        self._open = False
        self._thread.join(TIMEOUT_S)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    # -- what a test asks --------------------------------------------------------------

    def wait(self, condition, what, timeout_s=TIMEOUT_S):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {timeout_s} s for {what}; {self.told()}"
            time.sleep(0.005)

    def wait_state(self, state, code="", timeout_s=TIMEOUT_S):
        self.wait(
            lambda: (s := self.status) and s.state == state and s.reason_code == code,
            f"state {state} '{code}'",
            timeout_s,
        )
        return self.status

    def wait_moving(self):
        """Until a chunk that is made from now on was executed."""
        self.wait_state(PolicyStatus.RUNNING)
        count = len(self.chunks)
        self.wait(lambda: len(self.chunks) >= count + 2, "two new chunks")

    def resume(self):
        """What was stopped stays so until a person says otherwise."""
        self.wait(lambda: "resume to go on" in self.status.reason, "words on what to do")
        assert not self.status.recovers_by_itself
        assert self.status.state == PolicyStatus.HOLDING
        answer = self.call("resume")
        assert answer.success, answer.message
        self.wait_moving()

    def call(self, name):
        client = self._triggers[name]
        return self._call(client, Trigger.Request())

    def set_instruction(self, text, transition=""):
        request = SetInstruction.Request(instruction=text, transition=transition)
        return self._call(self._set_instruction, request)

    def change_state(self, label):
        number = getattr(Transition, f"TRANSITION_{label.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        assert self._call(self._change_state, request).success, label

    def diagnostic(self, name):
        return self._diagnostics.get(name, DiagnosticStatus())

    def say(self, text):
        self._instruction.publish(String(data=text))

    def stop_by_topic(self):
        self._stop.publish(Bool(data=True))

    def send_goal(self, **goal):
        assert self._action.wait_for_server(TIMEOUT_S)
        future = self._action.send_goal_async(
            RunPolicy.Goal(**goal), lambda m: self.feedback.append(m.feedback)
        )
        return self._result(future)

    def result_of(self, goal_handle):
        return self._result(goal_handle.get_result_async())

    def cancel(self, goal_handle):
        return self._result(goal_handle.cancel_goal_async())

    def tell_fault(self, text):
        self._fault.publish(String(data=text))

    def remove_controller(self):
        self.node.destroy_subscription(self._controllers.pop())

    def add_controller(self):
        self._add_controller(self.robot.command[-1])

    def logged(self, text):
        self._log += self._capture.readouterr().err
        return text in self._log

    def told(self):
        status = self.status
        if status is None:
            return "no status yet"
        problems = [stream.problem for stream in status.streams if stream.problem]
        return f"status {status.state} '{status.reason_code}': {status.reason} {problems}"

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else None

    def now_ns(self):
        return time.time_ns() + self.time_offset_ns

    # -- inside ------------------------------------------------------------------------

    def _make_publishers(self, publish_clock):
        node, robot = self.node, self.robot
        best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self._fault = node.create_publisher(String, ARM_FAULT_TOPIC, fault_qos())
        self._image_publishers = {
            camera.name: node.create_publisher(Image, camera.topic, best_effort)
            for camera in robot.cameras
        }
        rows, columns = IMAGE_SIZE
        self._pixels = array("B", bytes(range(256)) * (rows * columns * 3 // 256))
        self._joint_publisher = node.create_publisher(JointState, robot.state.topic, 10)
        self._instruction = node.create_publisher(String, "instruction", 10)
        self._stop = node.create_publisher(Bool, "stop", 10)
        self._joy = node.create_publisher(Joy, "joy", 1)
        self._teleop = node.create_publisher(JointTrajectory, robot.teleop_topic, 10)
        self._window = TeleopWindow(robot.joint_names)
        node.create_timer(1 / 50, self._publish_person, clock=self._steady)
        node.create_timer(1 / 30, self._publish_images, clock=self._steady)
        node.create_timer(1 / 50, self._publish_joints, clock=self._steady)
        if publish_clock:
            self._clock = node.create_publisher(ClockMessage, "/clock", 10)
            node.create_timer(1 / 100, self._publish_clock, clock=self._steady)

    def _make_listeners(self):
        node = self.node
        self._controllers = []
        for command in self.robot.command:
            self._add_controller(command)
        node.create_subscription(ActionChunk, "policy/action_chunk", self.chunks.append, 50)
        node.create_subscription(PolicyStatus, "policy/status", self.statuses.append, 50)
        node.create_subscription(JointTrajectory, "policy/preview", self.previews.append, 50)
        node.create_subscription(
            Intervention, "policy/intervention", self.interventions.append, intervention_qos()
        )
        self._triggers = {
            name: node.create_client(Trigger, f"policy/{name}")
            for name in ("pause", "resume", "stop", "clear_stop", "take_over", "hand_back")
        }
        self._set_instruction = node.create_client(SetInstruction, "policy/set_instruction")
        self._change_state = node.create_client(ChangeState, "policy/change_state")
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._action = ActionClient(node, RunPolicy, "policy/run_policy")

    def _on_diagnostics(self, message):
        self._diagnostics.update({status.name: status for status in message.status})

    def _add_controller(self, command):
        def on_command(message):
            self.commands[command.topic].append(message)
            self.arm.execute(message, self.now_ns())

        self._controllers.append(
            self.node.create_subscription(JointTrajectory, command.topic, on_command, 10)
        )

    def _publish_person(self):
        hand, now_ns = self.hand, self.now_ns()
        if hand is not None:
            self._teleop.publish(target_message(self._window.push(hand(now_ns / 1e9), now_ns)))
        if self.buttons is not None:
            self._joy.publish(Joy(buttons=self.buttons))

    def publish_joints_best_effort(self):
        """As some drivers do; who asks for reliable messages hears nothing."""
        qos = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        topic = self.robot.state.topic
        reliable = self._joint_publisher
        self._joint_publisher = self.node.create_publisher(JointState, topic, qos)
        self.node.destroy_publisher(reliable)  # two on one topic would be two arms

    def _publish_images(self):
        now_ns = self.now_ns()
        rows, columns = IMAGE_SIZE
        for camera, publisher in self._image_publishers.items():
            if camera not in self.cameras:
                continue
            message = Image(height=rows, width=columns, encoding=self.encoding[camera])
            message.step = columns * 3
            message.data = self._pixels
            self._stamp(message, now_ns)
            publisher.publish(message)

    def _publish_joints(self):
        if not self.joints:
            return
        now_ns = self.now_ns()
        positions = self.arm.positions(now_ns)
        positions[0] += self.shove_rad
        order = list(range(len(positions)))
        if self.shuffle:
            order = list(np.random.default_rng(now_ns % 2**32).permutation(order))
        names = self.robot.joint_names
        for part in np.array_split(order, self.joint_messages):
            shown = [k for k in part if names[k] not in self.hidden_joints]
            if not shown:
                continue
            message = JointState(
                name=[names[k] for k in shown], position=[float(positions[k]) for k in shown]
            )
            self._stamp(message, now_ns)
            self._joint_publisher.publish(message)

    def _publish_clock(self):
        sec, nanosec = divmod(self.now_ns(), 10**9)
        message = ClockMessage()
        message.clock.sec, message.clock.nanosec = sec, nanosec
        self._clock.publish(message)

    def _stamp(self, message, now_ns):
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)

    def _call(self, client, request):
        assert client.wait_for_service(TIMEOUT_S), client.srv_name
        return self._result(client.call_async(request))

    def _result(self, future):
        self.wait(future.done, "an answer")
        return future.result()

    def _spin(self):
        while self._open:
            self._executor.spin_once(timeout_sec=0.1)
