"""Makes an episode readable again that was cut off or damaged: every chunk that can be read stays.

The bag is copied into a temporary file, which then takes its place; what is replaced stays beside
it, and nothing is touched that another recorder or tool made. Must not import ROS or torch.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evo1_policy.paths import confined, free_name
from evo1_policy.perception.messages import MessageError, deserialize
from evo1_policy.robot_config import RobotConfigError, parse_robot
from evo1_policy.untrusted import UntrustedError, parse_yaml, read_text
from evo1_training.recording.bag_reader import facts_in
from evo1_training.recording.bag_writer import RESERVE, custom_facts, string_topic
from evo1_training.recording.cdr import STRING, string_cdr
from evo1_training.recording.episode import (
    FACTS_TOPIC,
    LABEL_TOPIC,
    OWN_TOPICS,
    SIDECAR,
    EpisodeError,
    EpisodeFacts,
    ForeignSchemaError,
    Label,
    Sidecar,
    bag_path,
    read_sidecar,
    to_json,
    write_sidecar,
)
from evo1_training.recording.grade import grade_messages
from evo1_training.recording.mcap_records import (
    Damage,
    McapError,
    McapReader,
    Wanted,
    is_torn,
    messages,
)
from evo1_training.recording.mcap_writer import (
    MAGIC,
    METADATA,
    McapWriter,
    TopicQos,
    TopicSpec,
    write_metadata,
)
from evo1_training.recording.stream_monitor import extra_topic

BACKUP_SUFFIX = ".before_recover"
TEMPORARY = ".recovering.mcap"
_BAG_SUFFIXES = {".mcap", ".db3", ".zstd", ".zst", ".lz4", ".gz"}
_METADATA_BYTES = 256 << 10

_CHUNK_BYTES = 4 * 2**20
Progress = Callable[[int], object]  # bytes read since the last call


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What was recovered.

    Attributes:
        messages: how many there are now.
        duration_s: from the first of them to the last.
        grade: the new one.
        reasons: for it.
        damage: parts of the bag that could not be read.
        kept: what was replaced, under its new name.
    """

    messages: int
    duration_s: float
    grade: str
    reasons: tuple[str, ...]
    damage: tuple[Damage, ...]
    kept: tuple[Path, ...]


def needs_recovery(folder: Path, *, progress: Progress = lambda _: None) -> str:
    """Why an episode must be recovered; empty where it is in order. Changes nothing.

    Args:
        folder: the episode.
        progress: told how many more bytes of the bag were read.

    Raises:
        EpisodeError: it is being recorded right now, has no bag, or is none of our recorder's.
        OSError: it cannot be read.
    """
    bag = bag_path(folder)
    _check_ours(folder)
    if not bag.is_file():
        return "cut off before the bag was begun"
    if _is_torn(bag):
        return "cut off"
    if not (folder / METADATA).is_file():
        return f"{METADATA} is missing"
    for record in McapReader(bag, Wanted(), progress).messages():
        if isinstance(record, Damage):
            return str(record)
    try:
        return "" if read_sidecar(folder).outcome else "cut off before it was graded"
    except ForeignSchemaError:
        raise
    except EpisodeError as error:
        return str(error)


def recover(folder: Path, *, progress: Progress = lambda _: None) -> Recovery:
    """Make an episode readable again.

    Args:
        folder: the episode.
        progress: told how many more bytes of the bag were read.

    Raises:
        EpisodeError: neither sidecar nor bag tell what was recorded, or the bag is none of our
            recorder's; nothing was changed.
        OSError: the disk is full or gone; the original is still there.
    """
    bag = bag_path(folder)
    _check_ours(folder)
    temporary = folder / TEMPORARY
    temporary.unlink(missing_ok=True)
    try:
        copy = _Copy(folder, temporary)
        copy.run(progress)
        sidecar = copy.sidecar()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    (folder / RESERVE).unlink(missing_ok=True)
    old = [path for path in (bag, folder / METADATA, folder / SIDECAR) if path.is_file()]
    kept = [_keep(path) for path in old]
    (folder / METADATA).unlink(missing_ok=True)  # without it the episode needs recovery
    temporary.replace(bag)
    write_sidecar(folder, sidecar)
    write_metadata(copy.writer, custom_facts(sidecar.facts), name=bag.name)
    ended = sidecar.outcome
    assert ended is not None  # it was graded just now
    return Recovery(
        messages=sum(stream.messages for stream in ended.streams),
        duration_s=copy.duration_s,
        grade=ended.grade,
        reasons=ended.reasons,
        damage=tuple(copy.damage),
        kept=tuple(kept),
    )


class _Copy:
    """One bag on its way into another file."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._folder = folder
        self._source = bag_path(folder)
        self._facts: EpisodeFacts | None = None
        try:
            self._facts = read_sidecar(folder).facts
        except ForeignSchemaError:
            raise
        except EpisodeError:
            pass  # the bag tells them, too
        self.writer = McapWriter(target)
        self._labels: list[Label] = []
        self.damage: list[Damage] = []

    @property
    def duration_s(self) -> float:
        """From the beginning of the take to the last message."""
        return max(0, self.writer.span_ns[1] - self._told().started_ns) / 1e9

    def run(self, progress: Progress) -> None:
        """Copy every complete chunk."""
        try:
            self._copy(progress)
            facts = self._told()
            if FACTS_TOPIC not in {topic.name for topic in self.writer.topics}:
                # the label, for a bag that holds nothing because it was cut off at once
                channel = self.writer.add_channel(string_topic(FACTS_TOPIC))
                text, now_ns = string_cdr(to_json(Sidecar(facts=facts))), facts.started_ns
                self.writer.add_message(
                    channel, text, log_ns=now_ns, publish_ns=now_ns, sequence=0
                )
            self.writer.close()
        finally:
            self.writer.abandon()

    def sidecar(self) -> Sidecar:
        """The facts, with a grade for what was recovered."""
        facts = self._told()
        try:
            robot = parse_robot(facts.robot_text, source=f"{self._folder}: robot file")
        except RobotConfigError as error:
            raise EpisodeError(str(error)) from error
        known = {*OWN_TOPICS, *(topic.name for topic in facts.topics)}
        extra = [
            extra_topic(one.name, one.type, latched=one.qos is not None and one.qos.latched)
            for one in self.writer.topics
            if one.name not in known
        ]
        topics = (*facts.topics, *extra)
        ended = grade_messages(
            robot,
            topics,
            lambda wanted: messages(self.writer.path, wanted),
            recovered=True,
            labels=self._labels,
        )
        return Sidecar(facts=replace(facts, topics=topics), outcome=ended)

    def _copy(self, progress: Progress) -> None:
        if not self._source.is_file() or self._source.stat().st_size < len(MAGIC):
            return
        writer = self.writer
        reader = McapReader(self._source, Wanted(), progress)
        reader.describe_by_summary()
        numbers: dict[tuple[str, str], int] = {}
        for record in reader.messages():
            if isinstance(record, Damage):
                self.damage.append(record)
                continue
            channel = reader.channels[record.channel_id]
            schema = reader.schemas[channel.schema_id]
            key = channel.topic, schema.name
            if key not in numbers:
                numbers[key] = writer.add_channel(_topic(channel, schema))
            number = numbers[key]
            writer.add_message(
                number,
                record.data,
                log_ns=record.log_time,
                publish_ns=record.publish_time,
                sequence=writer.counts[number],
            )
            self._look_at(channel.topic, record.data, record.log_time)
            if writer.pending_bytes >= _CHUNK_BYTES:
                writer.flush()
        for noted in reader.metadata:
            writer.add_metadata(noted.name, noted.metadata)

    def _look_at(self, topic: str, data: bytes, log_ns: int) -> None:
        """Read what the recorder itself said."""
        if topic == FACTS_TOPIC and self._facts is None:
            self._facts = facts_in(data, self._source).facts
        elif topic == LABEL_TOPIC:
            with suppress(MessageError):
                text = deserialize(data, STRING, topic=topic).data
                self._labels.append(Label(from_ns=log_ns, instruction=text))

    def _told(self) -> EpisodeFacts:
        if self._facts is None:
            raise EpisodeError(
                f"{self._folder}: neither {SIDECAR} nor a message on {FACTS_TOPIC} tells what "
                "was recorded; only episodes of this package's recorder can be recovered"
            )
        return self._facts


def _topic(channel: Any, schema: Any) -> TopicSpec:
    return TopicSpec(
        name=channel.topic,
        type=schema.name,
        definition=schema.data.decode(errors="replace"),
        type_hash=channel.metadata.get("topic_type_hash", ""),
        qos=_qos(channel.metadata.get("offered_qos_profiles", ""), channel.topic),
    )


def _keep(path: Path) -> Path:
    """Give a file that will be replaced a second name, the first that is free."""
    backup = free_name(path, BACKUP_SUFFIX)
    os.link(path, backup)
    return backup


def _qos(text: str, topic: str) -> TopicQos | None:
    try:
        first = parse_yaml(text, source=f"{topic}: offered_qos_profiles")[0]
        return TopicQos(
            reliable=first["reliability"] == "reliable",
            latched=first["durability"] == "transient_local",
            depth=int(first["depth"]),
        )
    except (ValueError, LookupError, TypeError):
        return None  # unknown, as for a topic whose publishers told nothing


def _check_ours(folder: Path) -> None:
    """Refuse what this package's recorder did not leave: nobody else's bag is written anew.

    Raises:
        EpisodeError: see needs_recovery.
    """
    bag = bag_path(folder)
    others = sorted(
        path.name
        for path in folder.iterdir()
        if _BAG_SUFFIXES.intersection(path.suffixes)
        and path.name not in (bag.name, TEMPORARY)
        and not path.name.startswith(f"{bag.name}{BACKUP_SUFFIX}")
    )
    if others:
        unpack = "" if Path(others[0]).suffix in (".mcap", ".db3") else ": decompress it first"
        raise EpisodeError(
            f"{folder}: holds {', '.join(map(repr, others[:3]))} beside or in place of "
            f"{bag.name}, which no recorder of this package wrote; nothing was changed{unpack}"
        )
    if bag.is_symlink():
        confined(folder, bag.name, f"{folder}: the bag")
    if bag.is_file():
        if _is_being_written(bag):
            raise EpisodeError(f"{folder}: is being recorded right now; save or discard the take")
        _check_metadata(folder, bag)
        _is_torn(bag)
    else:
        _check_begun(folder)


def _check_metadata(folder: Path, bag: Path) -> None:
    path = folder / METADATA
    if not path.is_file():
        return
    try:
        text = read_text(path, what="bag's metadata", max_bytes=_METADATA_BYTES)
        facts = parse_yaml(text, source=str(path))["rosbag2_bagfile_information"]
        files, packed = facts["relative_file_paths"], facts["compression_mode"]
    except (UntrustedError, LookupError, TypeError):
        return  # cut off itself; it is kept beside the new one
    if packed or files != [bag.name]:
        raise EpisodeError(
            f"{path}: tells of {f'a bag packed by {packed}' if packed else f'{files!r:.200}'}, "
            f"which no recorder of this package wrote; expected {bag.name} only. Nothing was "
            "changed"
        )


def _check_begun(folder: Path) -> None:
    """Where there is no bag, only a take that was cut off at once can be completed."""
    lost = EpisodeError(
        f"{folder}: no bag; expected {bag_path(folder).name}: it was moved or removed, and "
        "nothing can be recovered without it"
    )
    if not (folder / SIDECAR).is_file() or (folder / METADATA).is_file():
        raise lost
    if read_sidecar(folder).outcome is not None:
        raise lost


def _is_torn(bag: Path) -> bool:
    try:
        return is_torn(bag)
    except McapError as error:
        with bag.open("rb") as file:
            begun = file.read(len(MAGIC) + 1)
        if len(begun) <= len(MAGIC) and MAGIC.startswith(begun.rstrip(b"\0")):
            return True  # power was cut before anything reached the disk
        raise EpisodeError(str(error)) from None


def _is_being_written(bag: Path) -> bool:
    with bag.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
