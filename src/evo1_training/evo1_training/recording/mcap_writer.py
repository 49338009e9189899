"""Writes an MCAP file in chunks, each handed to the operating system whole.

Messages are gathered by reference and written with one gathering write a chunk, so an image is
never copied here. What was written before an error stays readable: a chunk that did not fit is
cut off again. Not safe for threads. Must not import ROS or torch.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAGIC = b"\x89MCAP0\r\n"
PROFILE = "ros2"
LIBRARY = "evo1_training"
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
_MESSAGE_INDEX, _CHUNK_INDEX, _STATISTICS = 0x07, 0x08, 0x0B
_METADATA, _METADATA_INDEX, _SUMMARY_OFFSET, _DATA_END = 0x0C, 0x0D, 0x0E, 0x0F
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
        self.counts: dict[int, int] = {}
        self.first_ns = 0
        self.last_ns = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # tells 'recover' that it is not torn
        self._end = 0
        self._any = False  # message so far
        self._schemas: dict[str, int] = {}
        self._summary_schemas: list[bytes] = []
        self._summary_channels: list[bytes] = []
        self._chunk_indexes: list[bytes] = []
        self._metadata_indexes: list[bytes] = []
        self._chunk = _OpenChunk()
        try:
            self._write([MAGIC, _record(_HEADER, _text(PROFILE) + _text(LIBRARY))])
        except OSError:
            self.abandon()
            raise

    @property
    def pending_bytes(self) -> int:
        """Size of the open chunk, which only memory holds."""
        return self._chunk.size

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._end

    def add_channel(self, topic: TopicSpec) -> int:
        """Describe a topic; returns the number that its messages carry."""
        if topic.type not in self._schemas:
            number = len(self._schemas) + 1
            self._schemas[topic.type] = number
            text = _text(topic.type) + _text("ros2msg") + _text(topic.definition)
            schema = _record(_SCHEMA, struct.pack("<H", number) + text)
            self._summary_schemas.append(schema)
            self._chunk.add(schema)
        channel = len(self.topics)
        # As metadata.yaml says it: rosbags finds no message of a topic where they differ.
        profiles = yaml.safe_dump(topic.profiles(), sort_keys=False) if topic.qos else ""
        record = _record(
            _CHANNEL,
            struct.pack("<HH", channel, self._schemas[topic.type])
            + _text(topic.name)
            + _text("cdr")
            + _text_map({"offered_qos_profiles": profiles, "topic_type_hash": topic.type_hash}),
        )
        self._summary_channels.append(record)
        self._chunk.add(record)
        self.topics.append(topic)
        self.counts[channel] = 0
        return channel

    def add_message(
        self, channel: int, data: bytes, *, log_ns: int, publish_ns: int, sequence: int
    ) -> None:
        """Put a message into the open chunk; `flush` writes it."""
        self.first_ns = min(self.first_ns, log_ns) if self._any else log_ns
        self._any = True
        self.last_ns = max(self.last_ns, log_ns)
        head = _MESSAGE_HEAD.pack(
            _MESSAGE, _MESSAGE_FIELDS + len(data), channel, sequence, log_ns, publish_ns
        )
        self._chunk.add_message(channel, log_ns, head, data)
        self.counts[channel] += 1

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a named record of texts now, outside of any chunk."""
        record = _record(_METADATA, _text(name) + _text_map(values))
        self._metadata_indexes.append(
            _record(_METADATA_INDEX, struct.pack("<QQ", self._end, len(record)) + _text(name))
        )
        self._write([record])

    def flush(self) -> None:
        """Write the open chunk.

        Raises:
            OSError: it did not fit; the file ends where it did before, and the chunk is lost.
        """
        if not self._chunk.entries:  # a chunk without messages would have no time
            return
        chunk, self._chunk = self._chunk, _OpenChunk()
        start = self._end
        head = chunk.head()
        indexes, offsets = chunk.indexes(start + len(head) + chunk.size)
        try:
            self._write([head, *chunk.buffers, *indexes])
        except OSError:
            for channel, entries in chunk.entries.items():
                self.counts[channel] -= len(entries) // 2
            raise
        self._chunk_indexes.append(
            _record(
                _CHUNK_INDEX,
                struct.pack("<QQQQ", chunk.first_ns, chunk.last_ns, start, len(head) + chunk.size)
                + _bytes(b"".join(struct.pack("<HQ", *item) for item in offsets.items()))
                + struct.pack("<Q", sum(map(len, indexes)))
                + _text("")
                + struct.pack("<QQ", chunk.size, chunk.size),
            )
        )

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
            self._write([_record(_DATA_END, struct.pack("<I", 0)), *self._summary(), MAGIC])
            os.fsync(self._descriptor)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _summary(self) -> list[bytes]:
        start = self._end + len(_record(_DATA_END, bytes(4)))
        groups = (
            (_SCHEMA, b"".join(self._summary_schemas)),
            (_CHANNEL, b"".join(self._summary_channels)),
            (_STATISTICS, self._statistics()),
            (_CHUNK_INDEX, b"".join(self._chunk_indexes)),
            (_METADATA_INDEX, b"".join(self._metadata_indexes)),
        )
        offsets, place = [], start
        for opcode, group in groups:
            if group:
                offsets.append(
                    _record(_SUMMARY_OFFSET, struct.pack("<BQQ", opcode, place, len(group)))
                )
                place += len(group)
        body = b"".join(group for _, group in groups) + b"".join(offsets)
        foot = struct.pack("<BQQQ", _FOOTER, 20, start, place)
        return [body, foot, struct.pack("<I", zlib.crc32(foot, zlib.crc32(body)))]

    def _statistics(self) -> bytes:
        counts = b"".join(struct.pack("<HQ", *item) for item in self.counts.items())
        return _record(
            _STATISTICS,
            struct.pack(
                "<QHIIIIQQ",
                sum(self.counts.values()),
                len(self._summary_schemas),
                len(self._summary_channels),
                0,
                len(self._metadata_indexes),
                len(self._chunk_indexes),
                self.first_ns,
                self.last_ns,
            )
            + _bytes(counts),
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
        self.entries: dict[int, list[int]] = {}  # channel -> log time, offset, log time, ...

    def add(self, *buffers: bytes) -> None:
        self.buffers += buffers
        self.size += sum(map(len, buffers))

    def add_message(self, channel: int, log_ns: int, head: bytes, data: bytes) -> None:
        self.first_ns = min(self.first_ns, log_ns) if self.entries else log_ns
        self.last_ns = max(self.last_ns, log_ns)
        self.entries.setdefault(channel, []).extend((log_ns, self.size))
        self.add(head, data)

    def head(self) -> bytes:
        """The chunk record up to its records."""
        crc = 0
        for buffer in self.buffers:
            crc = zlib.crc32(buffer, crc)
        fields = struct.pack("<QQQI", self.first_ns, self.last_ns, self.size, crc) + _text("")
        length = len(fields) + 8 + self.size
        return struct.pack("<BQ", _CHUNK, length) + fields + struct.pack("<Q", self.size)

    def indexes(self, place: int) -> tuple[list[bytes], dict[int, int]]:
        """The index records that follow the chunk, and where they will stand, by channel."""
        records, offsets = [], {}
        for channel, entries in self.entries.items():
            packed = struct.pack(f"<{len(entries)}Q", *entries)
            record = _record(_MESSAGE_INDEX, struct.pack("<H", channel) + _bytes(packed))
            records.append(record)
            offsets[channel] = place
            place += len(record)
        return records, offsets


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


def _record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def _bytes(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _text(text: str) -> bytes:
    return _bytes(text.encode())


def _text_map(values: Mapping[str, str]) -> bytes:
    return _bytes(b"".join(_text(key) + _text(value) for key, value in values.items()))
