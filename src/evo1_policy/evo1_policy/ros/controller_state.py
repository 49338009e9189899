"""What a trajectory controller says that it follows: <controller>/controller_state.

ros2_control's controllers publish control_msgs' type. Where that package is not installed no such
controller can run, and our simulation and drivers publish evo1_msgs' type with the same fields.
Whoever publishes or reads this topic takes the type from here.
"""

from collections.abc import Callable, Sequence
from functools import partial

from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription

from evo1_policy.ros.listening import Listener

__all__ = ["ControllerState", "controller_state_qos", "listen_to_controllers"]

try:
    from control_msgs.msg import JointTrajectoryControllerState as ControllerState
except ImportError:
    from evo1_msgs.msg import ControllerState


def controller_state_qos() -> QoSProfile:
    """Of whoever reads it: the newest one counts. Publishers are reliable, as ros2_control's."""
    return QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def listen_to_controllers(
    listener: Listener,
    topics: Sequence[str],
    on_state: Callable[[int, ControllerState, int], None],
) -> list[Subscription]:
    """Subscribe to the state of each command output's controller; told with its index."""
    qos = controller_state_qos()
    return [
        listener.hear(ControllerState, topic, partial(on_state, output), qos, one_source=True)
        for output, topic in enumerate(topics)
    ]
