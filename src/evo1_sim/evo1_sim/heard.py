"""What a running robot's topics say: the plain facts of a graph. Must not import ROS."""

from collections.abc import Sequence
from dataclasses import dataclass, field

JOINT_STATE = "sensor_msgs/msg/JointState"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A topic on which something was published while somebody listened.

    Attributes:
        topic: relative to the robot's namespace.
        rate_hz: messages a second; 0 where fewer than two came.
        offset_ms: least of arrival minus stamp, to which a busy listener adds nothing; None where
            nothing came.
        positions: joint -> last position, of joint states [rad or m].
    """

    topic: str
    type: str
    rate_hz: float = 0.0
    offset_ms: float | None = None
    positions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Controller:
    """Who takes trajectories on a topic.

    Attributes:
        topic: relative to the robot's namespace.
        listeners: how many subscribe to it.
        joints: that it drives, as far as it says so; empty where it does not.
        update_rate_hz: of its controller manager; 0 where nobody says.
        reports: whether it publishes what it follows (controller_state).
    """

    topic: str
    listeners: int = 1
    joints: tuple[str, ...] = ()
    update_rate_hz: float = 0.0
    reports: bool = False


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A running robot, as others see it.

    Attributes:
        seconds: for how long somebody listened.
        description: the URDF that it publishes; '' where it publishes none.
    """

    seconds: float
    streams: tuple[Stream, ...] = ()
    controllers: tuple[Controller, ...] = ()
    description: str = ""

    def of(self, types: Sequence[str]) -> list[Stream]:
        """The streams of some types."""
        return [stream for stream in self.streams if stream.type in types]

    def stream(self, topic: str) -> Stream | None:
        """The stream on a topic."""
        return next((stream for stream in self.streams if stream.topic == topic), None)

    def controller(self, topic: str) -> Controller | None:
        """Who takes trajectories on a topic."""
        return next((one for one in self.controllers if one.topic == topic), None)
