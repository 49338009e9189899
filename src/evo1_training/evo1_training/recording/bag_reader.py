"""A recorded episode, opened for reading: its facts, its robot, its messages.

Must not import ROS or torch.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evo1_policy.perception.messages import MessageError, deserialize
from evo1_policy.robot_config import RobotConfig, RobotConfigError, parse_robot
from evo1_training.recording.cdr import STRING
from evo1_training.recording.episode import (
    FACTS_TOPIC,
    SIDECAR,
    EpisodeError,
    RecordedTopic,
    Sidecar,
    bag_path,
    from_json,
    read_sidecar,
)
from evo1_training.recording.mcap_records import McapError, RawMessage, Wanted, is_torn, messages


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode on disk.

    Attributes:
        folder: where it is.
        sidecar: its facts and, once it ended, its outcome.
        robot: the robot file that it was recorded with; topics as written there.
        torn: the bag was cut off; what stands before the tear can be read.
    """

    folder: Path
    sidecar: Sidecar
    robot: RobotConfig
    torn: bool

    @property
    def bag(self) -> Path:
        """The file that holds the messages."""
        return bag_path(self.folder)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Give messages in file order, which is the order of arrival.

        Args:
            topics: resolved names; None for all.

        Raises:
            EpisodeError: the bag is damaged, other than by having been cut off.
        """
        return self.read(Wanted(topics=None if topics is None else frozenset(topics)))

    def read(self, wanted: Wanted) -> Iterator[RawMessage]:
        """Give messages in file order.

        Args:
            wanted: which, and how much of each.

        Raises:
            EpisodeError: the bag is damaged, other than by having been cut off.
        """
        try:
            yield from messages(self.bag, wanted)
        except (McapError, OSError) as error:
            raise EpisodeError(str(error)) from error

    def topic(self, role: str) -> RecordedTopic | None:
        """The topic with a role such as 'state' or 'camera:image_1'; None where there is none."""
        return next((topic for topic in self.sidecar.facts.topics if topic.role == role), None)

    def topics(self, role: str) -> tuple[RecordedTopic, ...]:
        """All topics whose role is this or begins with it and a colon."""
        return tuple(
            topic
            for topic in self.sidecar.facts.topics
            if topic.role == role or topic.role.startswith(f"{role}:")
        )


def open_episode(folder: Path) -> Episode:
    """Open an episode, whole or torn.

    Raises:
        EpisodeError: there is no bag, neither sidecar nor bag tell the facts, or the robot file
            in them cannot be used.
    """
    bag = bag_path(folder)
    try:
        torn = is_torn(bag)
    except FileNotFoundError as error:
        raise EpisodeError(
            f"{folder}: no bag; expected {bag.name} beside {SIDECAR}, as the recorder writes it"
        ) from error
    except (McapError, OSError) as error:
        raise EpisodeError(str(error)) from error
    sidecar = read_sidecar(folder) if (folder / SIDECAR).is_file() else _facts_in_bag(bag)
    try:
        robot = parse_robot(sidecar.facts.robot_text, source=f"{folder}: robot file")
    except RobotConfigError as error:
        raise EpisodeError(str(error)) from error
    packed = [topic for topic in sidecar.facts.topics if topic.packed]
    return Episode(folder=folder, sidecar=sidecar, robot=as_recorded(robot, packed), torn=torn)


def packed_cameras(episode: Episode) -> dict[str, str]:
    """How the recorder compressed raw images, by camera; other cameras are left out."""
    packed = [topic for topic in episode.sidecar.facts.topics if topic.packed]
    return {topic.role.removeprefix("camera:"): topic.packed for topic in packed}


def as_recorded(robot: RobotConfig, topics: Iterable[RecordedTopic]) -> RobotConfig:
    """The robot with its cameras' topics and types as they are in a bag.

    Args:
        robot: the robot file.
        topics: those that differ from it.
    """
    by_role = {topic.role: topic for topic in topics}
    cameras = [
        replace(camera, topic=found.name, type=found.type)
        if (found := by_role.get(f"camera:{camera.name}"))
        else camera
        for camera in robot.cameras
    ]
    return replace(robot, cameras=tuple(cameras))


def _facts_in_bag(bag: Path) -> Sidecar:
    """Read the facts from the first message of the bag."""
    try:
        for message in messages(bag, Wanted(topics=frozenset([FACTS_TOPIC]))):
            return facts_in(message.data, bag)
    except (McapError, OSError) as error:
        raise EpisodeError(str(error)) from error
    raise EpisodeError(
        f"{bag}: neither {SIDECAR} nor a message on {FACTS_TOPIC} tells what was recorded; "
        "only bags of this package's recorder can be used"
    )


def facts_in(data: bytes, bag: Path) -> Sidecar:
    """Read the message of a bag that tells its facts.

    Raises:
        EpisodeError: it is none.
    """
    try:
        text = deserialize(data, STRING, topic=FACTS_TOPIC).data
    except MessageError as error:
        raise EpisodeError(f"{bag}: {error}") from error
    return from_json(text, source=f"{bag}: {FACTS_TOPIC}")
