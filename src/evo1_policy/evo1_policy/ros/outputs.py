"""The publishers of the policy node. With dry_run no command topic is even created."""

from diagnostic_msgs.msg import DiagnosticArray
from evo1_msgs.msg import ActionChunk, PolicyStatus
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.action_chunk import ActionChunk as Chunk
from evo1_policy.control.signals import InferenceRequest, SafeTrajectory, SeamReport
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.chunk_times import ChunkTimes
from evo1_policy.ros.diagnostics import diagnostics_message
from evo1_policy.ros.listening import second_source
from evo1_policy.ros.movers import (
    Senders,
    controllers_of,
    other_publishers,
    publishers_of,
)
from evo1_policy.ros.process import full_name
from evo1_policy.ros.publishing import ChunkWriter, ModelFacts
from evo1_policy.ros.qos import ARM_FAULT_TOPIC, OVERRIDABLE, command_qos, report_qos
from evo1_policy.ros.status import StatusFacts, status_message
from evo1_policy.ros.trajectory_cdr import command_encoders

_LAST_COMMAND = Duration(seconds=0.5)


class Outputs:
    """Sends checked trajectories to the arm, and reports to people.

    Args:
        node: owns the publishers.
        robot: the robot file.
        model: stands in every chunk report.
        dry_run: send no command, publish a preview instead.
    """

    def __init__(
        self,
        node: Node,
        *,
        robot: RobotConfig,
        model: ModelFacts,
        dry_run: bool,
    ) -> None:
        self._node = node
        self._encoders = command_encoders(
            robot.joint_names, [output.joints for output in robot.command]
        )
        self._chunk_writer = ChunkWriter(robot, model)
        self._commands = [
            _publisher(node, JointTrajectory, command.topic)
            for command in (() if dry_run else robot.command)
        ]
        self._preview = _publisher(node, JointTrajectory, "~/preview") if dry_run else None
        self._chunk = _publisher(node, ActionChunk, "~/action_chunk")
        self._status = _publisher(node, PolicyStatus, "~/status")
        self._diagnostics = _publisher(node, DiagnosticArray, "/diagnostics")
        self._states = [node.resolve_topic_name(output.state_topic) for output in robot.command]
        self._images = [node.resolve_topic_name(camera.topic) for camera in robot.cameras]
        self._joints = node.resolve_topic_name(robot.state.topic)
        self._senders = Senders(node, [*self._images, self._joints, *self._states])
        self._faults = node.resolve_topic_name(ARM_FAULT_TOPIC)
        self._without_controller: str | None = None
        self._second_source: str | None = None

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
        self._second_source = self._find_second_source(joint_parts)
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

    def second_source(self) -> str | None:
        """Say who else moves this arm, or speaks for a controller or a camera; None: nobody."""
        return self._second_source

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
        if self._preview is not None:
            self._preview.publish(self._chunk_writer.preview(command))
            return
        # encode everything, then publish everything: the outputs start together
        messages = [encoder.encode(command.trajectory) for encoder in self._encoders]
        for publisher, message in zip(self._commands, messages, strict=True):
            publisher.publish(message)

    def report_chunk(
        self,
        *,
        chunk_id: int,
        chunk: Chunk,
        request: InferenceRequest,
        command: SafeTrajectory,
        seam: SeamReport,
        times: ChunkTimes,
    ) -> None:
        """Publish what was proposed, what was sent and how long it took."""
        self._chunk.publish(
            self._chunk_writer.write(
                chunk_id=chunk_id,
                chunk=chunk,
                request=request,
                command=command,
                seam=seam,
                times=times,
            )
        )

    def report_status(self, facts: StatusFacts) -> None:
        """Publish the node's status."""
        self._status.publish(status_message(facts))

    def tell_end(self, why: str) -> None:
        """Say that the node ends because something failed."""
        status = PolicyStatus(state=PolicyStatus.STOPPED, reason_code="ended", reason=why)
        self._status.publish(status)

    def report_diagnostics(self, facts: StatusFacts) -> None:
        """Publish the same as diagnostics."""
        self._diagnostics.publish(diagnostics_message(facts, full_name(self._node)))

    def close(self) -> None:
        """Destroy the publishers once the last command has arrived."""
        for publisher in self._commands:
            publisher.wait_for_all_acked(_LAST_COMMAND)
        publishers = [*self._commands, self._chunk, self._status, self._diagnostics]
        if self._preview is not None:
            publishers.append(self._preview)
        for publisher in publishers:
            self._node.destroy_publisher(publisher)


def _no_controller(topic: str) -> str:
    return (
        f"no controller listens on {topic}; start the controller, or correct this output's topic "
        "in the robot file"
    )


def _publisher(node: Node, kind: type, topic: str) -> Publisher:
    qos = command_qos() if kind is JointTrajectory else report_qos()
    return node.create_publisher(kind, topic, qos, qos_overriding_options=OVERRIDABLE)
