"""What a trajectory controller says that it follows: <controller>/controller_state.

ros2_control's controllers publish control_msgs' type. Where that package is not installed no such
controller can run, and our simulation and drivers publish evo1_msgs' type with the same fields.
Whoever publishes or reads this topic takes the type from here.
"""

from rclpy.qos import QoSProfile, QoSReliabilityPolicy

try:
    from control_msgs.msg import JointTrajectoryControllerState as ControllerState
except ImportError:
    from evo1_msgs.msg import ControllerState

__all__ = ["ControllerState", "controller_state_qos"]


def controller_state_qos() -> QoSProfile:
    """Of whoever reads it: the newest one counts. Publishers are reliable, as ros2_control's."""
    return QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
