"""What a trajectory controller says that it follows: <controller>/controller_state.

ros2_control's controllers publish control_msgs' type. Where that package is not installed no such
controller can run, and our simulation and drivers publish evo1_msgs' type with the same fields.
Whoever publishes or reads this topic takes the type from here.
"""

from collections.abc import Callable, Sequence

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription

__all__ = ["ControllerState", "controller_state_qos", "listen_to_controllers"]

try:
    from control_msgs.msg import JointTrajectoryControllerState as ControllerState
except ImportError:
    from evo1_msgs.msg import ControllerState


def controller_state_qos() -> QoSProfile:
    """Of whoever reads it: the newest one counts. Publishers are reliable, as ros2_control's."""
    return QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def listen_to_controllers(
    node: Node,
    topics: Sequence[str],
    on_state: Callable[[int, ControllerState], None],
    group: CallbackGroup | None = None,
) -> list[Subscription]:
    """Subscribe to the state of each command output's controller; told with its index."""

    def listen(output: int, topic: str) -> Subscription:
        return node.create_subscription(
            ControllerState,
            topic,
            lambda message: on_state(output, message),
            controller_state_qos(),
            callback_group=group,
        )

    return [listen(output, topic) for output, topic in enumerate(topics)]
