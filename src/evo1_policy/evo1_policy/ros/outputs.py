"""The publishers of the policy node. With dry_run no command topic is even created."""

from diagnostic_msgs.msg import DiagnosticArray
from evo1_msgs.msg import ActionChunk, Intervention, PolicyStatus
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.control.meters import ChunkTimes
from evo1_policy.control.signals import (
    InferenceRequest,
    LoopOutput,
    LoopState,
    LoopStatus,
    SafeTrajectory,
)
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.listening import second_source
from evo1_policy.ros.movers import (
    Senders,
    controllers_of,
    other_publishers,
    publishers_of,
)
from evo1_policy.ros.publishing import ChunkWriter, command_encoders, time_message
from evo1_policy.ros.qos import (
    ARM_FAULT_TOPIC,
    INTERVENTION_TOPIC,
    OVERRIDABLE,
    command_qos,
    intervention_qos,
    report_qos,
)

_LAST_COMMAND = Duration(seconds=0.5)


class Outputs:
    """Sends checked trajectories to the arm, and reports to people.

    Args:
        node: owns the publishers.
        robot: the robot file.
        model: what every chunk report says of the model; the same message is filled each time.
        dry_run: send no command, publish a preview instead.

    Attributes:
        status: publisher of ~/status.
        diagnostics: publisher of the same for monitors.
        second_source: who else moves this arm, or speaks for a controller or a camera, as seen by
            look_around; None: nobody.
    """

    def __init__(
        self,
        node: Node,
        *,
        robot: RobotConfig,
        model: ActionChunk,
        dry_run: bool,
    ) -> None:
        self._node = node
        joints = [robot.joint_names] if dry_run else [each.joints for each in robot.command]
        self._encoders = command_encoders(robot.joint_names, joints)
        self._chunk_writer = ChunkWriter(robot, model)
        self._commands = [
            _publisher(node, JointTrajectory, command.topic)
            for command in (() if dry_run else robot.command)
        ]
        self._trajectories = self._commands or [_publisher(node, JointTrajectory, "~/preview")]
        self._chunk = _publisher(node, ActionChunk, "~/action_chunk")
        self.status = _publisher(node, PolicyStatus, "~/status")
        self.diagnostics = _publisher(node, DiagnosticArray, "/diagnostics")
        self._states = [node.resolve_topic_name(output.state_topic) for output in robot.command]
        self._images = [node.resolve_topic_name(camera.topic) for camera in robot.cameras]
        self._joints = node.resolve_topic_name(robot.state.topic)
        self._senders = Senders(node, [*self._images, self._joints, *self._states])
        self._faults = node.resolve_topic_name(ARM_FAULT_TOPIC)
        self._without_controller: str | None = None
        self.second_source: str | None = None

    def look_around(self, joint_parts: int) -> None:
        """See who else is there; for a timer, since asking the graph takes its time.

        Args:
            joint_parts: how many nodes may each send a part of the joints.
        """
        self._without_controller = next(
            (
                publisher.topic_name
                for publisher, state in zip(self._commands, self._states, strict=False)
                if not controllers_of(self._node, publisher.topic_name, state)
            ),
            None,
        )
        self.second_source = self._find_second_source(joint_parts)
        self._senders.look()

    def named(self, problem: str) -> str:
        """A problem with topics, with who published them."""
        return self._senders.named(problem)

    def controller_problem(self) -> str | None:
        """Say which command output has no controller, or None."""
        for publisher in self._commands:
            if publisher.get_subscription_count() == 0:
                return _no_controller(publisher.topic_name)
        return _no_controller(self._without_controller) if self._without_controller else None

    def _find_second_source(self, joint_parts: int) -> str | None:
        for topic in (publisher.topic_name for publisher in self._commands):
            if others := other_publishers(self._node, [topic]):
                who = " and ".join(others)
                return f"{who} also publishes on {topic}: an arm has one master; end one of them"
        for topic, allowed in (
            *((topic, 1) for topic in (*self._states, *self._images, self._faults)),
            (self._joints, joint_parts),
        ):
            # a driver that was started again is known twice for a while, by one name
            if len(set(publishers_of(self._node, topic))) > max(allowed, 1):
                return second_source(self._node, topic)
        return None

    def send(self, command: SafeTrajectory) -> None:
        """Publish a trajectory to the controllers, or as a preview."""
        # encode everything, then publish everything: the outputs start together
        messages = [encoder.encode(command.trajectory) for encoder in self._encoders]
        for publisher, message in zip(self._trajectories, messages, strict=True):
            publisher.publish(message)

    def report_chunk(
        self, chunk_id: int, request: InferenceRequest, output: LoopOutput, times: ChunkTimes
    ) -> None:
        """Publish what was proposed, what was sent and how long it took."""
        self._chunk.publish(self._chunk_writer.write(chunk_id, request, output, times))

    def close(self) -> None:
        """Destroy the publishers once the last command has arrived."""
        for publisher in self._commands:
            publisher.wait_for_all_acked(_LAST_COMMAND)
        for publisher in [*self._trajectories, self._chunk, self.status, self.diagnostics]:
            self._node.destroy_publisher(publisher)


def _no_controller(topic: str) -> str:
    return (
        f"no controller listens on {topic}; start the controller, or correct this output's topic "
        "in the robot file"
    )


def _publisher(node: Node, kind: type, topic: str) -> Publisher:
    qos = command_qos() if kind is JointTrajectory else report_qos()
    return node.create_publisher(kind, topic, qos, qos_overriding_options=OVERRIDABLE)


class Interventions:
    """Tells when a person takes over and hands back, for the recorder and for training.

    On the latched topic `~/intervention`: one message at each beginning and end.

    Args:
        node: owns the publisher.
        now_ns: the node's clock [ns].
    """

    def __init__(self, node: Node, now_ns: int) -> None:
        self._node = node
        self._publisher = node.create_publisher(
            Intervention,
            INTERVENTION_TOPIC,
            intervention_qos(),
            qos_overriding_options=OVERRIDABLE,
        )
        self._active = 0  # number of the one that runs
        self._tell(now_ns, active=False, number=0, reason="the policy node has started")

    def follow(self, status: LoopStatus, now_ns: int) -> None:
        """Publish what began or ended with this status."""
        driving = status.takeovers if status.state is LoopState.TAKEOVER else 0
        before, self._active = self._active, driving
        if before == driving:
            return
        reason = status.reason.message if status.reason else ""
        if before:
            self._tell(now_ns, active=False, number=before, reason=reason)
        if driving:
            self._tell(now_ns, active=True, number=driving, reason=reason)

    def close(self, now_ns: int) -> None:
        """Withdraw the topic; a take-over that runs ends."""
        if self._active:
            self._tell(now_ns, active=False, number=self._active, reason="the node ends")
        self._node.destroy_publisher(self._publisher)

    def _tell(self, now_ns: int, *, active: bool, number: int, reason: str) -> None:
        message = Intervention(
            active=active, source="teleop" if number else "", reason=reason, number=number
        )
        message.header.stamp = time_message(now_ns)
        self._publisher.publish(message)
