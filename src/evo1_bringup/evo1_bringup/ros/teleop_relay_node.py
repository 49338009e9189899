"""Between a demonstrator and the arm: targets in, checked trajectories for the controllers out.

It stands where the policy node stands otherwise. What it follows, and what it refuses, is decided
by evo1_policy.control.teleop; this is the wiring, and the latch of a stop.
"""

import re
import time
from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.action_chunk import Floats
from evo1_policy.control.held import HeldStates
from evo1_policy.control.signals import SafeTrajectory
from evo1_policy.control.teleop import RefusedTarget, TeleopFollower, TeleopState
from evo1_policy.control.teleop_target import read_target
from evo1_policy.observation import JointSample
from evo1_policy.perception.buffers import JointBuffer, Stream
from evo1_policy.robot_config import JOINT_STREAM
from evo1_policy.ros.listening import ControllerState, Listener, listen_to_controllers
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.movers import Senders, other_movers, other_publishers
from evo1_policy.ros.parameters import robot_parameter
from evo1_policy.ros.process import full_name, run_node, steady_timer
from evo1_policy.ros.publishing import command_encoders
from evo1_policy.ros.qos import OVERRIDABLE, command_qos, fault_qos, report_qos
from evo1_policy.ros.services import Answer, offer
from evo1_policy.ros.status import diagnostic_array, status
from evo1_policy.ros.stop_listener import MoverThereError, StopListener

WATCH_PERIOD_S = 0.04
DIAGNOSTICS_EVERY = 25  # watch periods
STATUS_EVERY = 10  # watch periods: whoever was killed is missed (teleop_node.SILENT_S)
REPEAT_S = 2.0  # a problem that lasts is logged this often
DISCOVERY_S = 1.0  # for another machine's mover to be known before this one begins
_NUMBER = re.compile(r"\d+")  # a reason with another number is no news


class TeleopRelayNode(CleanLog, Node):
    """Node `teleop_relay`.

    Args:
        arguments: go to the node's constructor.

    Raises:
        ParameterError: robot_file is missing.
        RobotConfigError: the robot file cannot be used.
        MoverThereError: somebody else moves this arm.
    """

    def __init__(self, **arguments: object) -> None:
        super().__init__("teleop_relay", **arguments)
        self._robot = robot_parameter(self)
        self._follower = TeleopFollower(self._robot)
        self._joints = JointBuffer(
            Stream(
                JOINT_STREAM, self._robot.state.topic, round(self._robot.state.max_age_ms * 1e6)
            ),
            self._robot.joint_names,
        )
        outputs = [output.joints for output in self._robot.command]
        self._encoders = command_encoders(self._robot.joint_names, outputs)
        self._held = HeldStates(self._robot.joint_names, outputs)
        self._told = self._stopped = ""
        self._received = self._refused = self._ticks = 0
        self._make_interfaces()
        self._tell()
        self.get_logger().info(
            f"{self._robot.name}: following {self.resolve_topic_name(self._robot.teleop_topic)}"
        )

    @property
    def follower(self) -> TeleopFollower:
        """What decides."""
        return self._follower

    def _make_interfaces(self) -> None:
        time.sleep(DISCOVERY_S)
        topics = [output.topic for output in self._robot.command]
        if others := other_movers(self, topics):
            raise MoverThereError(
                f"this arm is moved already, by {', '.join(others)}; end it first"
            )
        self._stop_listener = StopListener(self, on_stop=self._stop, on_clear=self._clear_stop)
        self._commands = [
            self.create_publisher(
                JointTrajectory, output.topic, command_qos(), qos_overriding_options=OVERRIDABLE
            )
            for output in self._robot.command
        ]
        states = [output.state_topic for output in self._robot.command]
        self._senders = Senders(self, [self._robot.state.topic, *states])
        self._status = self.create_publisher(String, "~/status", fault_qos())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", report_qos())
        self._listener = listener = Listener(self)
        listen_to_controllers(listener, states, self._on_controller)
        names, refuse = self._robot.joint_names, self._on_refused_joints
        listener.hear_joints(self._robot.state.topic, names, self._on_joints, refuse=refuse)
        listener.hear(
            JointTrajectory,
            self._robot.teleop_topic,
            self._on_target,
            command_qos(),
            refuse=self._on_refused_target,
            one_source=True,
        )
        for name, act in (
            ("pause", self._pause),
            ("resume", self._resume),
            ("stop", self._stop),
            ("clear_stop", self._clear_stop),
        ):
            offer(self, f"~/{name}", act)
        steady_timer(self, WATCH_PERIOD_S, self._watch)

    def tell_end(self, why: str) -> None:
        """Say on ~/status that the node ends."""
        self._status.publish(String(data=f"STOPPED: {why}"))

    def destroy_node(self) -> None:
        """Give everything back."""
        self._stop_listener.close()
        super().destroy_node()

    # -- events ----------------------------------------------------------------------------

    def _on_target(self, message: JointTrajectory, _: int) -> None:
        self._received += 1
        verdict: SafeTrajectory | RefusedTarget = RefusedTarget(reason=self._stopped)
        if not self._stopped:
            verdict = self._follower.take(read_target(message), self._measured(), self._now_ns())
        if isinstance(verdict, RefusedTarget):
            self._on_refused_target(f"{self._robot.teleop_topic}: {verdict.reason}")
            return
        self._send(verdict)

    def _on_refused_target(self, why: str) -> None:
        self._refused += 1
        self.get_logger().warning(f"not followed: {why}", throttle_duration_sec=REPEAT_S)

    def _on_controller(self, output: int, message: ControllerState, _: int) -> None:
        self._held.add(output, message, self._now_ns())
        self._follower.held = self._held.state(self._now_ns())

    def _on_joints(self, names: Sequence[str], positions: Floats, stamp: int) -> None:
        self._joints.add(names, positions, stamp_ns=stamp, received_ns=self._now_ns())

    def _on_refused_joints(self, why: str) -> None:
        self._joints.stream.reject(why)
        self.get_logger().warning(why, throttle_duration_sec=REPEAT_S)

    def _watch(self) -> None:
        self._follower.held = self._held.state(self._now_ns())  # also that it fell silent
        self._send(self._follower.watch(self._measured(), self._now_ns()))
        self._tell()
        self._ticks += 1
        if self._ticks % STATUS_EVERY == 0:
            self._status.publish(String(data=self._told))
        if self._ticks % DIAGNOSTICS_EVERY == 0:
            self._diagnostics.publish(self._diagnose())
            self._senders.look()
            others = other_publishers(self, [output.topic for output in self._robot.command])
            problem = self._listener.second_source()
            if others:
                problem = f"{', '.join(others)} moves this arm too; end it"
            if problem and not self._follower.fault:
                self._pause()
                self.get_logger().error(f"held: {problem}, then evo1 resume")

    def _pause(self) -> Answer:
        self._send(self._follower.pause(self._now_ns()))
        return True, self._tell()

    def _resume(self) -> Answer:
        if not self._stopped:
            self._follower.resume()
        return not self._stopped, self._tell()

    def _stop(self) -> Answer:
        self._stopped = "stopped by request; evo1 clear-stop, then evo1 resume go on"
        return self._pause()

    def _clear_stop(self) -> Answer:
        if self._stopped:
            self._stopped = ""
            self._stop_listener.tell_cleared()
        return True, self._tell()

    # -- what follows ----------------------------------------------------------------------

    def _send(self, command: SafeTrajectory | None) -> None:
        if command is None:
            return
        # encode everything, then publish everything: the outputs start together
        messages = [encoder.encode(command.trajectory) for encoder in self._encoders]
        for publisher, message in zip(self._commands, messages, strict=True):
            publisher.publish(message)

    def _measured(self) -> JointSample | None:
        if np.isnan(self._joints.newest).any():
            return None
        return JointSample(
            positions=self._joints.newest.copy(), stamp_ns=int(self._joints.newest_ns.min())
        )

    def _tell(self) -> str:
        """Log and publish the state where it changed; return it in words."""
        state, reason = self._follower.state(self._now_ns()), self._follower.reason
        reason = self._senders.named(reason or self._silence())
        text = f"{state.value}: {reason}" if reason else state.value
        text = f"STOPPED: {self._stopped}" if self._stopped else text
        if _NUMBER.sub("", text) == _NUMBER.sub("", self._told):
            return text
        self._told = text
        self._status.publish(String(data=text))
        if state is TeleopState.HOLDING:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)
        return text

    def _silence(self) -> str:
        """That the arm's driver has fallen silent, be it that nobody demonstrates."""
        measured, state = self._measured(), self._robot.state
        age_ms = 0.0 if measured is None else (self._now_ns() - measured.stamp_ns) / 1e6
        return f"{state.topic} is {age_ms:.0f} ms old" if age_ms > state.max_age_ms else ""

    def _diagnose(self) -> DiagnosticArray:
        state = self._follower.state(self._now_ns())
        deaf = [item.topic_name for item in self._commands if not item.get_subscription_count()]
        level, text = DiagnosticStatus.OK, self._told
        if state is TeleopState.HOLDING:
            level = DiagnosticStatus.WARN
        if deaf:
            level, text = DiagnosticStatus.ERROR, f"no controller listens on {deaf[0]}"
        counts = {
            "targets received": str(self._received),
            "targets refused": str(self._refused),
            "joint states rejected": str(self._joints.stream.rejected),
        }
        return diagnostic_array(
            [status("following", level, text, counts)],
            node=full_name(self),
            hardware=self._robot.name,
            now_ns=self._now_ns(),
        )

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; return the exit code."""
    return run_node(TeleopRelayNode, name="teleop_relay", arguments=arguments)
