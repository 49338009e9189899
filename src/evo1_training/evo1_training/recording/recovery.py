"""Makes an episode readable again that was cut off or damaged: every chunk that can be read stays.

The bag is copied into a temporary file, which then takes its place; what is replaced stays beside
it, and nothing is touched that another recorder or tool made. Must not import ROS or torch.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evo1_policy.perception.messages import MessageError, deserialize
from evo1_policy.robot_config import RobotConfigError, parse_robot
from evo1_policy.untrusted import parse_yaml
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
from evo1_training.recording.mcap_records import MAGIC, Damage, McapReader, Wanted, messages
from evo1_training.recording.mcap_writer import (
    METADATA,
    McapWriter,
    TopicQos,
    TopicSpec,
    write_metadata,
)
from evo1_training.recording.recoverable import (
    BACKUP_SUFFIX,
    TEMPORARY,
    Progress,
    check_ours,
    torn_copy,
)
from evo1_training.recording.stream_monitor import extra_topic

_CHUNK_BYTES = 4 * 2**20


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
    check_ours(folder)
    original = torn_copy(bag)
    if original.is_file():
        original.replace(bag)  # undo a recovery that was itself cut off
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
    if bag.is_file():
        os.link(bag, original)
    temporary.replace(bag)
    kept = [_keep(folder / name) for name in (METADATA, SIDECAR) if (folder / name).is_file()]
    write_metadata(copy.writer, custom_facts(sidecar.facts), name=bag.name)
    write_sidecar(folder, sidecar)
    if original.is_file():
        kept.insert(0, _backup(bag))
        original.rename(kept[0])
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
        return max(0, self.writer.last_ns - self._told().started_ns) / 1e9

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
    """Give a file that will be replaced a second name."""
    backup = _backup(path)
    os.link(path, backup)
    return backup


def _backup(path: Path) -> Path:
    """The first name for what a recovery replaces that is free."""
    number, name = 1, path.name + BACKUP_SUFFIX
    while path.with_name(name).exists():
        number += 1
        name = f"{path.name}{BACKUP_SUFFIX}.{number}"
    return path.with_name(name)


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
