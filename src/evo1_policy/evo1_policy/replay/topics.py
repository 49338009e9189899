"""Where in a bag the chunks and what they were made of are. Must not import ROS or torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from evo1_policy.replay.bag import Bag, EpisodeNotes, ReplayError
from evo1_policy.robot_config import RobotConfig

CHUNK_TYPE = "evo1_msgs/msg/ActionChunk"
JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"


@dataclass(frozen=True, kw_only=True)
class BagTopics:
    """Resolved topics of one policy and its robot.

    Attributes:
        chunks: where the policy told of its chunks.
        cameras: resolved topic -> camera's name, in the robot file's order.
        joints: joint states.
    """

    chunks: str
    cameras: Mapping[str, str]
    joints: str

    @property
    def sensors(self) -> tuple[str, ...]:
        """Cameras and joints."""
        return (*self.cameras, self.joints)


def find_chunk_topic(bag: Bag, wanted: str = "") -> str:
    """Find the topic of the chunks.

    Args:
        bag: open.
        wanted: resolved name, where there are several; '' for the only one.

    Raises:
        ReplayError: there is none, or several, or the wanted one is not there.
    """
    found = sorted(topic for topic, kind in bag.topics.items() if kind == CHUNK_TYPE)
    if not found:
        raise ReplayError(
            f"{bag.path}: no message of type {CHUNK_TYPE}, so there is nothing to compare with; "
            "record while the policy runs (record:=true keeps policy/action_chunk by itself, "
            "ros2 bag record needs the topic)"
        )
    if wanted and wanted not in found:
        raise ReplayError(
            f"{bag.path}: no chunks on {wanted}; there are some on {', '.join(found)}"
        )
    if not wanted and len(found) > 1:
        raise ReplayError(
            f"{bag.path}: chunks of several policies: {', '.join(found)}; choose with --chunks"
        )
    return wanted or found[0]


def find_topics(
    bag: Bag, robot: RobotConfig, chunks: str, notes: EpisodeNotes | None
) -> BagTopics:
    """Find cameras and joint states of the policy that wrote the chunks.

    Where our recorder noted what each topic is for, that holds; else the robot file's names in
    the namespace of the policy node.

    Raises:
        ReplayError: one is missing or has another type.
    """
    roles = notes.topics if notes is not None else {}
    namespace = chunks.rsplit("/", 2)[0]

    def resolved(role: str, written: str) -> str:
        name = written if written.startswith("/") else f"{namespace}/{written}"
        return roles.get(role, name)

    cameras = {
        resolved(f"camera:{camera.name}", camera.topic): camera.name for camera in robot.cameras
    }
    for (topic, name), camera in zip(cameras.items(), robot.cameras, strict=True):
        _check(bag, topic, camera.type, f"camera '{name}'")
    joints = resolved("state", robot.state.topic)
    _check(bag, joints, JOINT_STATE_TYPE, "the joint states")
    return BagTopics(chunks=chunks, cameras=cameras, joints=joints)


def _check(bag: Bag, topic: str, kind: str, what: str) -> None:
    present = bag.topics.get(topic)
    if present is None:
        same = sorted(name for name, other in bag.topics.items() if other == kind)
        raise ReplayError(
            f"{bag.path}: {what}: no message on {topic} in the bag; of type {kind} it has "
            f"{', '.join(same) or 'none'}; give the robot file whose topics those are (--robot), "
            "or record this topic too"
        )
    if present != kind:
        raise ReplayError(
            f"{bag.path}: {what}: {topic} carries {present}, the robot file says {kind}; "
            "give the robot file of the recording (--robot)"
        )
