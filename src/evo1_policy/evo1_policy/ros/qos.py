"""Which quality of service each kind of topic has. All of them can be overridden by parameters.

A parameter `qos_overrides.<topic>.<publisher|subscription>.<depth|history|reliability>` wins.
A profile is reliable and volatile where nothing else is written.
"""

from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

STOP_TOPIC = "stop"  # std_msgs/Bool: true: come to rest now and stay; false: free to move again
STOP_ANSWER_TOPIC = "stopped"  # std_msgs/String: who heard a stop, and what it does since
ARM_FAULT_TOPIC = "arm_fault"  # std_msgs/String: why the arm's driver has stopped, or nothing

INTERVENTION_TOPIC = "~/intervention"  # evo1_msgs/Intervention: a person takes over, hands back
JOY_TOPIC = "joy"  # sensor_msgs/Joy: the dead-man button

_BEST_EFFORT = QoSReliabilityPolicy.BEST_EFFORT
_LATCHED = QoSDurabilityPolicy.TRANSIENT_LOCAL

OVERRIDABLE = QoSOverridingOptions.with_default_policies()


def camera_qos() -> QoSProfile:
    """Images: a late frame is worth less than the next one, so best effort."""
    return QoSProfile(depth=5, reliability=_BEST_EFFORT)


def state_qos() -> QoSProfile:
    """Joint states: reliable, and a short queue, because a backlog makes every sample old."""
    return QoSProfile(depth=4)


def joints_qos() -> QoSProfile:
    """Joint states, for listeners: whatever their publisher promises, and room for a busy one.

    A broadcaster at 500 Hz fills it in 0.1 s.
    """
    return QoSProfile(depth=50, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def words_qos() -> QoSProfile:
    """Instructions: rare and precious."""
    return QoSProfile(depth=10)


def stop_qos() -> QoSProfile:
    """Subscriptions to `stop`: a best-effort one hears best-effort and reliable publishers."""
    return QoSProfile(depth=10, reliability=_BEST_EFFORT)


def fault_qos() -> QoSProfile:
    """Faults of the arm: whoever comes later hears the newest one too."""
    return QoSProfile(depth=1, durability=_LATCHED)


def intervention_qos() -> QoSProfile:
    """Take-overs: none may be lost, and whoever comes later hears of the last ones too."""
    return QoSProfile(depth=10, durability=_LATCHED)


def joy_qos() -> QoSProfile:
    """The gamepad repeats itself: the newest message counts."""
    return QoSProfile(depth=1, reliability=_BEST_EFFORT)


def command_qos() -> QoSProfile:
    """Commands: reliable, and volatile so that no controller ever executes an old one."""
    return QoSProfile(depth=10)


def report_qos() -> QoSProfile:
    """Chunks, status and diagnostics: for people and logs."""
    return QoSProfile(depth=10)
