"""A bag of another recorder as an episode of ours: facts from a robot file and a map of topics.

What follows (alignment, gaps, actions, rejections) reads it as it reads our own. A message is
passed on byte for byte where it can be; positions under other names, or without any, become a
JointState or JointTrajectory in the robot's names. Must not import ROS or torch.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evo1_policy.observation import MOST_INSTRUCTION
from evo1_policy.perception.messages import MessageError, deserialize
from evo1_policy.robot_config import IMAGE_TYPES, RobotConfig, load_robot
from evo1_training.recording.bag_reader import Episode, as_recorded
from evo1_training.recording.cdr import JOINT_STATE, STRING, TRAJECTORY
from evo1_training.recording.episode import (
    EXTRA,
    STATE,
    EpisodeError,
    EpisodeFacts,
    Label,
    Outcome,
    Sidecar,
)
from evo1_training.recording.foreign_files import BagFiles
from evo1_training.recording.foreign_map import JointSource, TopicMap, place_topics, read_map
from evo1_training.recording.foreign_streams import Stream, beyond_limits, converted, streams_of
from evo1_training.recording.grade import grade_messages
from evo1_training.recording.mcap_records import RawMessage, Wanted

_SWITCHES = re.compile(r"std_msgs/msg/(Bool|String|U?Int\d+)")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class ForeignBags:
    """What is told of somebody else's bags, once for all of them.

    Attributes:
        robot: the robot file.
        map: of topics; an empty one finds the robot file's own.
        instruction: the task of every episode; empty: as the map says.
    """

    robot: RobotConfig
    map: TopicMap
    instruction: str = ""

    @classmethod
    def read(cls, robot_file: Path, map_file: Path | None, instruction: str) -> "ForeignBags":
        """Read the files.

        Raises:
            UntrustedError: one of them cannot be used; the message names file and key.
        """
        robot = load_robot(robot_file)
        found = TopicMap() if map_file is None else read_map(map_file, robot)
        return cls(robot=robot, map=found, instruction=instruction)

    def takes(self, bag: Path) -> "list[ForeignTake]":
        """The episodes of a bag, each graded as if it had been recorded here.

        Raises:
            EpisodeError: it cannot be read, a topic is missing, or there is no task.
        """
        files = BagFiles(bag)
        placed = place_topics(self.map, self.robot, files.topics, bag=bag)
        streams = streams_of(self.robot, placed, files.topics, bag)
        _check_names(files, streams, self.robot)
        _check_units(files, streams, self.robot)
        told = _told(files, placed)
        spans = _spans(files, placed, told.get(placed.episode_topic, []))
        several = bool(placed.episode_topic or placed.times_s)
        return [
            self._take(files, streams, span, number if several else None, told, placed)
            for number, span in enumerate(spans)
        ]

    def _take(
        self,
        files: BagFiles,
        streams: tuple[Stream, ...],
        span: tuple[int, int],
        number: int | None,
        told: Mapping[str, list[tuple[int, Any]]],
        placed: TopicMap,
    ) -> "ForeignTake":
        name = f"{files.bag.stem if files.bag.is_file() else files.bag.resolve().name}"
        label = name if number is None else f"{name}/{number}"
        words = [(at, str(said).strip()) for at, said in told.get(placed.instruction_topic, [])]
        started = [said for at, said in words if at <= span[0] and said]
        later = [Label(from_ns=at, instruction=said) for at, said in words if said]
        later = [one for one in later if span[0] < one.from_ns <= span[1]]
        fixed = (
            self.instruction
            or placed.instructions.get(label, placed.instructions.get(name, ""))
            or placed.instruction
        ).strip()
        said = started[-1] if started else later[0].instruction if later else ""
        instruction = fixed or said
        if not instruction or len(instruction) > MOST_INSTRUCTION:
            raise EpisodeError(
                f"{files.bag}: '{label}' has no instruction of at most {MOST_INSTRUCTION} "
                "characters; give --instruction TEXT, or write into the map 'instruction: TEXT', "
                "'instruction: {topic: /task}' or 'instruction: {file: tasks.yaml}'"
            )
        known = _NO_NAME.sub("_", label).lstrip("_.-")[:80] or "bag"
        facts = EpisodeFacts(
            episode_id=known,
            instruction=instruction,
            operator="",
            robot_text=self.robot.text,
            topics=tuple(stream.given for stream in streams),
            started_ns=span[0],
            started_utc=datetime.fromtimestamp(span[0] / 1e9, UTC).isoformat(timespec="seconds"),
        )
        take = ForeignTake(
            bag=files.bag,
            sidecar=Sidecar(facts=facts),
            robot=as_recorded(self.robot, [stream.given for stream in streams]),
            streams=streams,
            span_ns=span,
        )
        return replace(
            take, sidecar=take.sidecar.ended(_graded(take.open(files), () if fixed else later))
        )


@dataclass(frozen=True, kw_only=True)
class ForeignTake:
    """One episode of a bag, as a worker process needs it; times are the recorder's clock [ns]."""

    bag: Path
    sidecar: Sidecar
    robot: RobotConfig
    streams: tuple[Stream, ...]
    span_ns: tuple[int, int]

    def open(self, files: BagFiles | None = None) -> "ForeignEpisode":
        """Open it for reading.

        Raises:
            EpisodeError: the bag cannot be read any more.
        """
        return ForeignEpisode(
            folder=self.bag,
            sidecar=self.sidecar,
            robot=self.robot,
            torn=False,
            take=self,
            files=files or BagFiles(self.bag),
        )


@dataclass(frozen=True, kw_only=True)
class ForeignEpisode(Episode):
    """An episode whose messages come out of somebody else's bag."""

    take: ForeignTake
    files: BagFiles

    @property
    def bag(self) -> Path:
        """The folder that holds the messages, or the one file."""
        return self.folder

    def read(self, wanted: Wanted) -> Iterator[RawMessage]:
        """Give messages in the order of arrival; see Episode.read."""
        first_ns, last_ns = self.take.span_ns
        asked: dict[str, list[Stream]] = {}
        for stream in self.take.streams:
            if wanted.topics is None or stream.given.name in wanted.topics:
                asked.setdefault(stream.source, []).append(stream)
        if not asked:
            return
        inner = replace(
            wanted,
            topics=frozenset(asked),
            head_only=frozenset(
                source
                for source, streams in asked.items()
                if all(one.given.name in wanted.head_only for one in streams)
            ),
            first_ns=max(wanted.first_ns, first_ns),
            last_ns=min(wanted.last_ns, last_ns),
        )
        for message in self.files.read(inner):
            if not first_ns <= message.log_ns <= last_ns:
                continue
            for stream in asked[message.topic]:
                data = converted(message, stream, self.robot)
                if data is not None:
                    given = stream.given
                    yield replace(message, topic=given.name, type=given.type, data=data)


def _check_names(files: BagFiles, streams: tuple[Stream, ...], robot: RobotConfig) -> None:
    """Refuse joints under other names at once, with what to write into the map.

    Raises:
        EpisodeError: of a topic of joints not one name is the robot's.
    """
    problems, lines = [], []
    for stream in streams:
        if stream.type != JOINT_STATE or stream.given.role == EXTRA:
            continue
        names = _names_in(files, stream)
        known = stream.joints.names if stream.joints and stream.joints.names else {}
        if not names or any(known.get(one, one) in robot.joint_names for one in names):
            continue
        first = robot.joint_names[0]
        fitting = [one.removesuffix(first) for one in names if one.endswith(first)]
        how = f"prefix: {fitting[-1]}" if fitting else f"joints: {{{first}: {names[:1]}, ...}}"
        problems.append(f"{stream.source} names {', '.join(names)}")
        lines.append(f"'{_key(stream)}: {{topic: {stream.source}, {how}}}'")
    if problems:
        raise EpisodeError(
            f"{files.bag}: {'; '.join(problems)}; the robot file has "
            f"{', '.join(robot.joint_names)}. Write into the map (--map) {'; '.join(lines)}"
        )


def _names_in(files: BagFiles, stream: Stream) -> list[str]:
    """The joints that the first message which can be read names."""
    for message in files.read(Wanted(topics=frozenset([stream.source]))):
        try:
            return list(deserialize(message.data, JOINT_STATE, topic=stream.source).name)
        except MessageError:
            continue
    return []


def _check_units(files: BagFiles, streams: tuple[Stream, ...], robot: RobotConfig) -> None:
    """Refuse numbers that no joint of the robot file could mean, such as degrees.

    Every message is looked at: reading the bag costs far more.

    Raises:
        EpisodeError: names topic, joints, their range and limits, and what to write into the map.
    """
    problems, lines = [], []
    for stream in streams:
        if stream.given.role == EXTRA or stream.given.type not in (JOINT_STATE, TRAJECTORY):
            continue
        found: dict[str, tuple[float, float]] = {}
        for message in files.read(Wanted(topics=frozenset([stream.source]))):
            data = converted(message, stream, robot)
            if data is None:
                continue
            try:
                content = deserialize(data, stream.given.type, topic=stream.source)
            except MessageError:
                continue
            for name, value in _positions(content):
                low, high = found.get(name, (value, value))
                found[name] = min(low, value), max(high, value)
        if listing := beyond_limits(found, robot):
            source = stream.joints or JointSource(topic=stream.source)
            problems.append(f"{stream.source}: {'; '.join(listing)}")
            lines.append(f"'{source.line(_key(stream), 'deg')}'")
    if problems:
        raise EpisodeError(
            f"{files.bag}: beyond what the robot file's joints can mean in radians: "
            f"{'; '.join(problems)}; are these degrees or percent? Write into the map (--map) "
            f"{'; '.join(lines)}, or units by joint (docs/datasets.md)"
        )


def _key(stream: Stream) -> str:
    """Of the map, under which a stream of joints is named."""
    return "state" if stream.given.role == STATE else "action"


def _positions(content: Any) -> Iterator[tuple[str, float]]:
    """Joints and finite positions of a JointState or of the points of a JointTrajectory."""
    points = getattr(content, "points", None)
    rows = [(content.name, content.position)] if points is None else []
    rows += [(content.joint_names, one.positions) for one in points or ()]
    for names, values in rows:
        if len(names) == len(values):
            pairs = zip(names, map(float, values), strict=True)
            yield from ((name, value) for name, value in pairs if math.isfinite(value))


def _told(files: BagFiles, placed: TopicMap) -> dict[str, list[tuple[int, Any]]]:
    """What was said on the topics of task and episodes: arrivals [ns] and values."""
    topics = {one for one in (placed.instruction_topic, placed.episode_topic) if one}
    for topic in topics:
        kind = files.topics[topic]
        if not _SWITCHES.fullmatch(kind) or (topic == placed.instruction_topic != STRING != kind):
            raise EpisodeError(f"{files.bag}: {topic} carries {kind}; expected {STRING} or Bool")
    said: dict[str, list[tuple[int, Any]]] = {}
    for message in files.read(Wanted(topics=frozenset(topics))) if topics else ():
        try:
            value = deserialize(message.data, message.type, topic=message.topic).data
        except MessageError as error:
            raise EpisodeError(f"{files.bag}: {error}") from error
        said.setdefault(message.topic, []).append((message.log_ns, value))
    return said


def _spans(
    files: BagFiles, placed: TopicMap, switched: list[tuple[int, Any]]
) -> list[tuple[int, int]]:
    """First and last moment of each episode [ns]."""
    every = frozenset(files.topics)
    first, last = 2**63, 0
    for message in files.read(Wanted(topics=every, head_only=every, head_bytes=0)):
        first, last = min(first, message.log_ns), max(last, message.log_ns)
    if not last:
        raise EpisodeError(f"{files.bag}: no message was recorded")
    if placed.times_s:
        return [(first + round(a * 1e9), first + round(b * 1e9)) for a, b in placed.times_s]
    if not placed.episode_topic:
        return [(first, last)]
    spans: list[tuple[int, int]] = []
    begun: tuple[int, Any] | None = None
    for at, value in [*switched, (last + 1, None)]:
        value = value.strip() if isinstance(value, str) else value
        if begun is not None and value != begun[1]:
            spans.append((begun[0], at - 1))
            begun = None
        if begun is None and value:
            begun = (at, value)
    if not spans:
        raise EpisodeError(f"{files.bag}: {placed.episode_topic} began no episode")
    return spans


def _graded(episode: ForeignEpisode, labels: Sequence[Label]) -> Outcome:
    """The grade that the recorder would have given, from when every needed stream was there."""
    topics = [one for one in episode.sidecar.facts.topics if one.role != EXTRA]
    awaited = [one.name for one in topics if one.role == STATE or one.type in IMAGE_TYPES]
    return grade_messages(episode.robot, topics, episode.read, awaited=awaited, labels=labels)
