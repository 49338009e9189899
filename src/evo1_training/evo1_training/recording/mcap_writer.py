"""Writes the bag of an episode: an MCAP file in chunks, and the metadata.yaml beside it.

The records are the mcap library's; its writer is not used because of what a disk can do. Here each
chunk is handed to the operating system whole, with one gathering write that copies no image, when
the caller says so and not when it is full; another thread may wait for the disk meanwhile; and a
chunk that did not fit is cut off again, so that what was written before stays readable. Not safe
for threads otherwise. Must not import ROS or torch.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from evo1_policy.paths import write_whole

MAGIC = b"\x89MCAP0\r\n"
METADATA = "metadata.yaml"
_METADATA_VERSION, _DISTRO = 9, "jazzy"
_MESSAGE_HEAD = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, log, publish time
_MESSAGE_FIELDS = 22  # bytes of a message record beside its data
# How rosbag2 writes "for ever".
_INFINITE = {"sec": 9223372036, "nsec": 854775807}
_VECTOR = 512  # buffers in one write; Linux takes 1024


@dataclass(frozen=True, kw_only=True)
class TopicQos:
    """What the publishers of a topic offer, as far as playing a bag needs it."""

    reliable: bool = True
    latched: bool = False
    depth: int = 10


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """A topic of a bag.

    Attributes:
        name: resolved name.
        type: such as 'sensor_msgs/msg/Image'.
        definition: the type's text, with those it contains.
        type_hash: RIHS01 hash of the type; '' where unknown.
        qos: of its publishers; None where unknown.
    """

    name: str
    type: str
    definition: str
    type_hash: str = ""
    qos: TopicQos | None = None

    def profiles(self) -> list[dict[str, Any]]:
        """The QoS as rosbag2 tells it."""
        if self.qos is None:
            return []
        return [
            {
                "history": "keep_last",
                "depth": self.qos.depth,
                "reliability": "reliable" if self.qos.reliable else "best_effort",
                "durability": "transient_local" if self.qos.latched else "volatile",
                "deadline": dict(_INFINITE),
                "lifespan": dict(_INFINITE),
                "liveliness": "automatic",
                "liveliness_lease_duration": dict(_INFINITE),
                "avoid_ros_namespace_conventions": False,
            }
        ]


class McapWriter:
    """One MCAP file.

    Args:
        path: the file; it must not exist.

    Raises:
        OSError: it exists or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: list[TopicSpec] = []  # by channel
        self.counts: dict[int, int] = {}  # messages by channel
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # tells 'recover' that it is not torn
        self._end = 0
        self._schemas: dict[str, Schema] = {}
        self._channels: list[Channel] = []
        self._chunk_indexes: list[ChunkIndex] = []
        self._metadata_indexes: list[MetadataIndex] = []
        self._chunk = _OpenChunk()
        try:
            self._write([MAGIC, _bytes(Header(profile="ros2", library="evo1_training"))])
        except OSError:
            self.abandon()
            raise

    @property
    def pending_bytes(self) -> int:
        """Size of the open chunk, which only memory holds."""
        return self._chunk.size

    @property
    def span_ns(self) -> tuple[int, int]:
        """When the first and the last message in the file were received [ns]; 0 without any."""
        first = min((chunk.message_start_time for chunk in self._chunk_indexes), default=0)
        last = max((chunk.message_end_time for chunk in self._chunk_indexes), default=0)
        return int(first), int(last)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._end

    def add_channel(self, topic: TopicSpec) -> int:
        """Describe a topic; returns the number that its messages carry."""
        schema = self._schemas.get(topic.type)
        if schema is None:
            schema = Schema(
                id=len(self._schemas) + 1,
                name=topic.type,
                encoding="ros2msg",
                data=topic.definition.encode(),
            )
            self._schemas[topic.type] = schema
            self._chunk.add(_bytes(schema))
        # As metadata.yaml says it: rosbags finds no message of a topic where they differ.
        profiles = yaml.safe_dump(topic.profiles(), sort_keys=False) if topic.qos else ""
        channel = Channel(
            id=len(self.topics),
            topic=topic.name,
            message_encoding="cdr",
            metadata={"offered_qos_profiles": profiles, "topic_type_hash": topic.type_hash},
            schema_id=schema.id,
        )
        self._channels.append(channel)
        self._chunk.add(_bytes(channel))
        self.topics.append(topic)
        self.counts[channel.id] = 0
        return int(channel.id)

    def add_message(
        self, channel: int, data: bytes, *, log_ns: int, publish_ns: int, sequence: int
    ) -> None:
        """Put a message into the open chunk; `flush` writes it."""
        head = _MESSAGE_HEAD.pack(
            Opcode.MESSAGE, _MESSAGE_FIELDS + len(data), channel, sequence, log_ns, publish_ns
        )
        self._chunk.add_message(channel, log_ns, head, data)
        self.counts[channel] += 1

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a named record of texts now, outside of any chunk."""
        record = _bytes(Metadata(name=name, metadata=dict(values)))
        self._metadata_indexes.append(
            MetadataIndex(offset=self._end, length=len(record), name=name)
        )
        self._write([record])

    def flush(self) -> None:
        """Write the open chunk.

        Raises:
            OSError: it did not fit; the file ends where it did before, and the chunk is lost.
        """
        if not self._chunk.indexes:  # a chunk without messages would have no time
            return
        chunk, self._chunk = self._chunk, _OpenChunk()
        head = chunk.head()
        length = len(head) + chunk.size
        place = self._end + length
        records, offsets = [], {}
        for index in chunk.indexes.values():
            records.append(_bytes(index))
            offsets[index.channel_id] = place
            place += len(records[-1])
        index = ChunkIndex(
            chunk_length=length,
            chunk_start_offset=self._end,
            compression="",
            compressed_size=chunk.size,
            message_end_time=chunk.last_ns,
            message_index_length=sum(map(len, records)),
            message_index_offsets=offsets,
            message_start_time=chunk.first_ns,
            uncompressed_size=chunk.size,
        )
        try:
            self._write([head, *chunk.buffers, *records])
        except OSError:
            for channel, lost in chunk.indexes.items():
                self.counts[channel] -= len(lost.records)
            raise
        self._chunk_indexes.append(index)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Write the open chunk and the summary, and wait for the disk.

        Raises:
            OSError: it did not fit; the file is readable by chunk only ('recover' completes it).
        """
        try:
            self.flush()
            self._write([_bytes(DataEnd(data_section_crc=0)), self._summary(), MAGIC])
            os.fsync(self._descriptor)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _summary(self) -> bytes:
        first_ns, last_ns = self.span_ns
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self.counts,
            chunk_count=len(self._chunk_indexes),
            message_count=sum(self.counts.values()),
            message_end_time=last_ns,
            message_start_time=first_ns,
            metadata_count=len(self._metadata_indexes),
            schema_count=len(self._schemas),
        )
        groups: dict[Opcode, Iterable[McapRecord]] = {
            Opcode.SCHEMA: self._schemas.values(),
            Opcode.CHANNEL: self._channels,
            Opcode.STATISTICS: [statistics],
            Opcode.CHUNK_INDEX: self._chunk_indexes,
            Opcode.METADATA_INDEX: self._metadata_indexes,
        }
        start = self._end + len(_bytes(DataEnd(data_section_crc=0)))
        body, offsets = RecordBuilder(), RecordBuilder()
        for opcode, group in groups.items():
            before = body.count
            for record in group:
                record.write(body)
            SummaryOffset(
                group_opcode=opcode, group_start=start + before, group_length=body.count - before
            ).write(offsets)
        offset_start = start + body.count
        summary = body.end() + offsets.end()
        foot = struct.pack("<BQQQ", Opcode.FOOTER, 20, start, offset_start)
        crc = zlib.crc32(foot, zlib.crc32(summary))
        return bytes(summary) + _bytes(
            Footer(summary_start=start, summary_offset_start=offset_start, summary_crc=crc)
        )

    def _write(self, buffers: Sequence[bytes]) -> None:
        """Write all or nothing."""
        try:
            for first in range(0, len(buffers), _VECTOR):
                _write_all(self._descriptor, buffers[first : first + _VECTOR])
        except OSError as error:
            error.filename = str(self.path)
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            raise
        self._end += sum(map(len, buffers))


class _OpenChunk:
    """Records that are not written yet."""

    def __init__(self) -> None:
        self.buffers: list[bytes] = []
        self.size = 0
        self.first_ns = 0
        self.last_ns = 0
        self.indexes: dict[int, MessageIndex] = {}

    def add(self, *buffers: bytes) -> None:
        self.buffers += buffers
        self.size += sum(map(len, buffers))

    def add_message(self, channel: int, log_ns: int, head: bytes, data: bytes) -> None:
        self.first_ns = min(self.first_ns, log_ns) if self.indexes else log_ns
        self.last_ns = max(self.last_ns, log_ns)
        if channel not in self.indexes:
            self.indexes[channel] = MessageIndex(channel_id=channel, records=[])
        self.indexes[channel].records.append((log_ns, self.size))
        self.add(head, data)

    def head(self) -> bytes:
        """The chunk record up to its records."""
        crc = 0
        for buffer in self.buffers:
            crc = zlib.crc32(buffer, crc)
        fields = struct.pack("<QQQII", self.first_ns, self.last_ns, self.size, crc, 0)
        length = len(fields) + 8 + self.size
        return struct.pack("<BQ", Opcode.CHUNK, length) + fields + struct.pack("<Q", self.size)


def _write_all(descriptor: int, buffers: Sequence[bytes]) -> None:
    left = sum(map(len, buffers))
    views = [memoryview(buffer) for buffer in buffers]
    while left:
        written = os.writev(descriptor, views)
        left -= written
        while views and written >= len(views[0]):  # a write may end anywhere
            written -= len(views.pop(0))
        if views:
            views[0] = views[0][written:]


def _bytes(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())


def write_metadata(
    writer: McapWriter, custom: Mapping[str, str], *, name: str = "", sync: bool = True
) -> None:
    """Write metadata.yaml as ROS 2 Jazzy does, whole or not at all.

    Args:
        writer: of the bag that it stands beside.
        custom: texts of our own.
        name: of the bag, where it was renamed since.
        sync: wait for the disk; what is written while recording begins can be rebuilt.

    Raises:
        OSError: the disk is full or gone.
    """
    name = name or writer.path.name
    first_ns, last_ns = writer.span_ns
    facts = {
        "starting_time": {"nanoseconds_since_epoch": first_ns},
        "duration": {"nanoseconds": last_ns - first_ns},
        "message_count": sum(writer.counts.values()),
    }
    topics = [
        {
            "topic_metadata": {
                "name": topic.name,
                "type": topic.type,
                "serialization_format": "cdr",
                "offered_qos_profiles": topic.profiles(),
                "type_description_hash": topic.type_hash,
            },
            "message_count": writer.counts[channel],
        }
        for channel, topic in enumerate(writer.topics)
    ]
    tree = {
        "version": _METADATA_VERSION,
        "storage_identifier": "mcap",
        **facts,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [name],
        "files": [{"path": name, **deepcopy(facts)}],  # YAML would refer to itself
        "custom_data": dict(custom),
        "ros_distro": _DISTRO,
    }
    information = {"rosbag2_bagfile_information": tree}
    text = yaml.safe_dump(information, sort_keys=False, allow_unicode=True)
    write_whole(writer.path.with_name(METADATA), text, sync=sync)
