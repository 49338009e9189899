"""Tells when a person takes over and hands back, for the recorder and for training."""

from evo1_msgs.msg import Intervention
from rclpy.node import Node

from evo1_policy.control.signals import LoopState, LoopStatus
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import INTERVENTION_TOPIC, OVERRIDABLE, intervention_qos


class Interventions:
    """The latched topic `~/intervention`: one message at each beginning and end.

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
