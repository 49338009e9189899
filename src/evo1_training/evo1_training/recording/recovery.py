"""Makes an episode readable again that was cut off, up to its last complete chunk.

The bag is copied up to the tear into a temporary file, which then takes its place; until
everything is written the original stays beside it. Must not import ROS or torch.
"""

import fcntl
import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from evo1_policy.robot_config import RobotConfig, RobotConfigError, parse_robot
from evo1_training.recording.bag_metadata import (
    METADATA,
    BagContents,
    BagTopic,
    TopicQos,
    qos_text,
    write_metadata,
)
from evo1_training.recording.bag_writer import RESERVE, STRING_TYPE, string_cdr
from evo1_training.recording.definitions import definition
from evo1_training.recording.episode import (
    FACTS_TOPIC,
    SIDECAR,
    EpisodeError,
    EpisodeFacts,
    RecordedTopic,
    Sidecar,
    bag_path,
    from_json,
    read_sidecar,
    to_json,
    write_sidecar,
)
from evo1_training.recording.grade import outcome
from evo1_training.recording.mcap_records import MAGIC, McapError, is_torn
from evo1_training.recording.mcap_writer import ChannelFacts, McapWriter
from evo1_training.recording.stream_monitor import StreamMonitor, extra_topic

TORN_SUFFIX = ".torn"
_TEMPORARY = ".recovering.mcap"
_CHUNK_BYTES = 4 * 2**20

Progress = Callable[[int], object]  # bytes read since the last call


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What was recovered: messages by topic, the time they span [s], and the new grade."""

    messages: int
    duration_s: float
    grade: str
    reasons: tuple[str, ...]


def needs_recovery(folder: Path) -> bool:
    """Whether an episode was cut off: its bag is torn, or its end was never written.

    Raises:
        EpisodeError: it is being recorded right now, or has no bag.
    """
    bag = bag_path(folder)
    _restore_original(bag)
    if not bag.is_file():
        if (folder / SIDECAR).is_file():
            return True  # cut off before the bag was begun
        raise EpisodeError(f"{folder}: no bag; expected {bag.name}")
    if _is_being_written(bag):
        raise EpisodeError(f"{folder}: is being recorded right now; save or discard the take")
    if _is_torn(bag) or not (folder / METADATA).is_file():
        return True
    try:
        return read_sidecar(folder).outcome is None
    except EpisodeError:
        return True


def recover(folder: Path, *, progress: Progress = lambda _: None) -> Recovery:
    """Make an episode readable again.

    Args:
        folder: the episode.
        progress: told how many more bytes of the bag were read.

    Raises:
        EpisodeError: neither sidecar nor bag tell what was recorded; nothing was changed.
        OSError: the disk is full or gone; the original is still there.
    """
    bag = bag_path(folder)
    _restore_original(bag)
    temporary = folder / _TEMPORARY
    temporary.unlink(missing_ok=True)
    (folder / RESERVE).unlink(missing_ok=True)
    try:
        copy = _Copy(folder, temporary)
        copy.run(progress)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sidecar = copy.sidecar()
    original = bag.with_name(bag.name + TORN_SUFFIX)
    if bag.is_file():
        os.link(bag, original)
    temporary.replace(bag)
    write_metadata(folder, copy.contents())
    write_sidecar(folder, sidecar)
    original.unlink(missing_ok=True)
    ended = sidecar.outcome
    assert ended is not None  # it was graded just now
    return Recovery(
        messages=sum(stream.messages for stream in ended.streams),
        duration_s=copy.duration_s,
        grade=ended.grade,
        reasons=ended.reasons,
    )


class _Copy:
    """One bag on its way into another file, watched as if it were being recorded."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._folder = folder
        self._source = bag_path(folder)
        self._facts = self._known_facts()
        self._robot: RobotConfig | None = None
        self._monitor: StreamMonitor | None = None
        self._target = target
        self._topics: list[BagTopic] = []  # by channel of the target
        self._counts: Mapping[int, int] = {}
        self._first_ns = self._last_ns = 0
        self._span: tuple[int, int] | None = None  # without the facts

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        first, last = self._span or (0, 0)
        return (last - first) / 1e9

    def run(self, progress: Progress) -> None:
        """Copy every complete chunk."""
        writer = McapWriter(self._target)
        try:
            self._copy(writer, progress)
            if self._facts is None:
                raise EpisodeError(
                    f"{self._folder}: neither {SIDECAR} nor a message on {FACTS_TOPIC} tells what "
                    "was recorded; only episodes of this package's recorder can be recovered"
                )
            self._watcher()
            if FACTS_TOPIC not in {topic.name for topic in self._topics}:
                self._add_facts(writer)
            writer.close()
        finally:
            writer.abandon()
        self._counts = dict(writer.counts)
        self._first_ns, self._last_ns = writer.first_ns, writer.last_ns

    def contents(self) -> BagContents:
        """What metadata.yaml tells."""
        facts = self._told()
        return BagContents(
            file=self._source.name,
            topics=[
                replace(topic, messages=self._counts[channel])
                for channel, topic in enumerate(self._topics)
            ],
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            custom={"episode_id": facts.episode_id, "instruction": facts.instruction},
        )

    def sidecar(self) -> Sidecar:
        """The facts, with a grade for what was recovered."""
        monitor = self._watcher()
        end_ns = self._span[1] if self._span else self._told().started_ns
        written = {topic.name: self._counts[channel] for channel, topic in enumerate(self._topics)}
        facts = replace(self._told(), topics=monitor.topics)
        watched = monitor.end(end_ns)
        ended = outcome(self._parsed(), watched, written=written, recovered=True)
        return Sidecar(facts=facts, outcome=ended)

    def _copy(self, writer: McapWriter, progress: Progress) -> None:
        schemas: dict[int, Any] = {}
        channels: dict[int, int] = {}
        sequences: dict[int, int] = {}
        for record in _records(self._source, progress):
            kind = type(record).__name__
            if kind == "Schema":
                schemas[record.id] = record
            elif kind == "Channel" and record.id not in channels:
                channels[record.id] = self._add_channel(writer, record, schemas[record.schema_id])
            elif kind == "Metadata":
                writer.add_metadata(record.name, record.metadata)
            elif kind == "Message":
                channel = channels[record.channel_id]
                sequences[channel] = sequences.get(channel, -1) + 1
                writer.add_message(
                    channel,
                    record.data,
                    log_ns=record.log_time,
                    publish_ns=record.publish_time,
                    sequence=sequences[channel],
                )
                self._watch(self._topics[channel], record.data, record.log_time)
                if writer.pending_bytes >= _CHUNK_BYTES:
                    writer.flush()

    def _add_channel(self, writer: McapWriter, channel: Any, schema: Any) -> int:
        self._topics.append(
            BagTopic(
                name=channel.topic,
                type=schema.name,
                type_hash=channel.metadata.get("topic_type_hash", ""),
                qos=_qos(channel.metadata.get("offered_qos_profiles", "")),
            )
        )
        return writer.add_channel(
            ChannelFacts(
                topic=channel.topic,
                type=schema.name,
                definition=schema.data.decode(),
                metadata=channel.metadata,
            )
        )

    def _add_facts(self, writer: McapWriter) -> None:
        """Put the label into a bag that holds nothing, because it was cut off at once."""
        facts = self._told()
        topic = BagTopic(name=FACTS_TOPIC, type=STRING_TYPE, qos=TopicQos(latched=True, depth=1))
        self._topics.append(topic)
        channel = writer.add_channel(
            ChannelFacts(
                topic=topic.name,
                type=topic.type,
                definition=definition(topic.type),
                # as metadata.yaml says it: rosbags finds no message of a topic where they differ
                metadata={"offered_qos_profiles": qos_text(topic.qos)},
            )
        )
        now_ns, text = facts.started_ns, string_cdr(to_json(Sidecar(facts=facts)))
        writer.add_message(channel, text, log_ns=now_ns, publish_ns=now_ns, sequence=0)

    def _watch(self, topic: BagTopic, data: bytes, log_ns: int) -> None:
        if topic.name == FACTS_TOPIC:
            if self._facts is None:
                text = data[8:-1].decode()  # encapsulation and length; final zero
                self._facts = from_json(text, source=f"{self._source}: {FACTS_TOPIC}").facts
            return
        monitor = self._watcher()
        if self._span is None:
            monitor.begin(log_ns)
            self._span = (log_ns, log_ns)
        if topic.name not in {known.name for known in monitor.topics}:
            latched = topic.qos is not None and topic.qos.latched
            extra = extra_topic(topic.name, topic.type, latched=latched)
            monitor.set_topics((*monitor.topics, extra))
        monitor.add(topic.name, data, log_ns)
        self._span = (min(self._span[0], log_ns), max(self._span[1], log_ns))

    def _known_facts(self) -> EpisodeFacts | None:
        try:
            return read_sidecar(self._folder).facts
        except EpisodeError:
            return None

    def _told(self) -> EpisodeFacts:
        if self._facts is None:
            raise EpisodeError(f"{self._folder}: messages came before the facts")
        return self._facts

    def _parsed(self) -> RobotConfig:
        if self._robot is None:
            try:
                self._robot = parse_robot(
                    self._told().robot_text, source=f"{self._folder}: robot file"
                )
            except RobotConfigError as error:
                raise EpisodeError(str(error)) from error
        return self._robot

    def _watcher(self) -> StreamMonitor:
        if self._monitor is None:
            topics: tuple[RecordedTopic, ...] = self._told().topics
            self._monitor = StreamMonitor(self._parsed(), topics)
        return self._monitor


def _records(path: Path, progress: Progress) -> Iterator[Any]:
    """Give the records of a bag up to its tear; a chunk whose checksum is wrong is the tear."""
    from mcap.exceptions import McapError as LibraryError
    from mcap.stream_reader import StreamReader

    size = path.stat().st_size if path.is_file() else 0
    if size < len(MAGIC):
        return
    with path.open("rb") as file:
        reader = StreamReader(_Counted(file, progress), validate_crcs=True, record_size_limit=size)
        records = iter(reader.records)
        while True:
            try:
                record = next(records)
            except (StopIteration, LibraryError, ValueError, struct.error, EOFError):
                return
            yield record
            if type(record).__name__ == "DataEnd":
                return


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: Any, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._file.readinto(buffer))
        self._progress(count)
        return count


def _qos(text: str) -> TopicQos | None:
    profiles = yaml.safe_load(text) if text else None
    if not profiles:
        return None
    first = profiles[0]
    return TopicQos(
        reliable=first["reliability"] == "reliable",
        latched=first["durability"] == "transient_local",
        depth=int(first["depth"]),
    )


def _is_torn(bag: Path) -> bool:
    try:
        return is_torn(bag)
    except McapError:
        if bag.stat().st_size < len(MAGIC):
            return True  # power was cut before anything reached the disk
        raise EpisodeError(f"{bag}: no MCAP file; its first bytes are wrong") from None


def _is_being_written(bag: Path) -> bool:
    with bag.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _restore_original(bag: Path) -> None:
    """Undo a recovery that was itself cut off."""
    original = bag.with_name(bag.name + TORN_SUFFIX)
    if original.is_file():
        original.replace(bag)
