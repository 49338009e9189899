"""The messages of an MCAP file, in the order they were written, up to a tear if there is one.

The mcap library reads each record; here they are found, bounded and skipped. Chunks are passed
over by their times, and a file that was cut off gives every chunk that is complete. No file asks
for more memory than a few times LIMIT_BYTES. Must not import ROS or torch.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError as LibraryError
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, Message, Metadata, Schema

from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer
from evo1_training.recording.mcap_writer import MAGIC

LIMIT_BYTES = 128 * 2**20  # of a record, and of an unpacked chunk
# Of all chunks together; packed images of one colour may well become a thousand times as large.
_FREE_BYTES, _GROWTH = 256 * 2**20, 1000
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _METADATA, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0C, 0x0F
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE_HEAD = 22  # bytes before a message's data
_METADATA_BYTES = 1 << 20
_LAST_NS = 2**62  # in the year 2116; differences of times stay within 64 bits


class McapError(ValueError):
    """A file that is damaged; the message says where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawMessage:
    """One message as it was received.

    Attributes:
        topic: resolved name.
        type: such as 'sensor_msgs/msg/Image'.
        log_ns: when it was received, the node's clock [ns].
        data: CDR, or its first bytes where only those were asked for.
    """

    topic: str
    type: str
    log_ns: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which messages to read.

    Attributes:
        topics: None for all.
        head_only: topics of which only the first bytes are given.
        head_bytes: how many.
        first_ns: chunks that end before are passed over [ns].
        last_ns: chunks that begin after are passed over [ns].
    """

    topics: frozenset[str] | None = None
    head_only: frozenset[str] = frozenset()
    head_bytes: int = 16
    first_ns: int = 0
    last_ns: int = 2**64


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A part of a file that cannot be read: its first byte, and why."""

    place: int
    problem: str

    def __str__(self) -> str:
        return f"damaged at byte {self.place}: {self.problem}"


def is_torn(path: Path) -> bool:
    """Whether a file was cut off: it does not end as a closed file does.

    Raises:
        McapError: it does not begin as an MCAP file, or is none at all.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise McapError(f"{path}: no regular file")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            try:
                refuse_lfs_pointer(path)
            except UntrustedError as error:
                raise McapError(str(error)) from error
            raise McapError(f"{path}: no MCAP file; its first bytes are wrong")
        if file.seek(0, io.SEEK_END) < 2 * len(MAGIC):
            return True
        file.seek(-len(MAGIC), io.SEEK_END)
        return file.read() != MAGIC


def messages(path: Path, wanted: Wanted) -> Iterator[RawMessage]:
    """Give the messages of a file in file order.

    Raises:
        McapError: the file is damaged, other than by having been cut off.
        OSError: it cannot be read.
    """
    torn = is_torn(path)
    reader = McapReader(path, wanted)
    for record in reader.messages():
        if isinstance(record, Message):
            channel = reader.channels[record.channel_id]
            yield RawMessage(
                topic=channel.topic,
                type=reader.schema(channel).name,
                log_ns=record.log_time,
                data=record.data,
            )
        elif torn:
            return  # the tear need not be at the end: a disk writes as it likes
        else:
            raise McapError(f"{path}: {record}; 'recover' keeps what can be read")


class McapReader:
    """Reads one file from its beginning; iterate `messages` once.

    Args:
        path: the file; it must begin as an MCAP file.
        wanted: of heads and what is passed over no checksum is looked at.
        progress: told how many more bytes were read.
    """

    def __init__(
        self, path: Path, wanted: Wanted, progress: Callable[[int], object] = lambda _: None
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._progress = progress
        self._allowed = 0  # bytes that chunks may still unpack to
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}  # what describes the messages given so far
        self.metadata: list[Metadata] = []

    def schema(self, channel: Channel) -> Schema:
        """The type of a channel's messages."""
        return self.schemas[channel.schema_id]

    def describe_by_summary(self) -> None:
        """Take the channels from a closed file's end, too: its beginning may be damaged."""
        with (
            self._path.open("rb") as file,
            suppress(LibraryError, ValueError, struct.error, OSError),
        ):
            summary = SeekingReader(file, record_size_limit=LIMIT_BYTES).get_summary()
            if summary is not None:
                self.schemas.update(summary.schemas)
                self.channels.update(summary.channels)

    def messages(self) -> Iterator[Message | Damage]:
        """Give every wanted message, or the damage that stands in its place.

        A chunk that is damaged is passed over; where a record cannot be told from the next one,
        the damage is the last that is given.

        Raises:
            OSError: the file cannot be read.
        """
        with self._path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            self._allowed = _FREE_BYTES + _GROWTH * size
            place = file.seek(len(MAGIC))
            while True:
                try:
                    opcode, length = _head(file, size)
                    if opcode == _DATA_END:
                        return
                except McapError as error:
                    yield Damage(place=place, problem=str(error))
                    return
                try:
                    if opcode == _CHUNK:
                        yield from self._chunk(file, length)
                    else:
                        yield from self._record(file, opcode, length)
                except (LibraryError, ValueError, struct.error, OverflowError) as error:
                    yield Damage(place=place, problem=str(error) or type(error).__name__)
                self._progress(_RECORD.size + length)
                place = file.seek(place + _RECORD.size + length)

    def _chunk(self, file: BinaryIO, length: int) -> Iterator[Message]:
        _check_size("a chunk", length)
        chunk = Chunk.read(ReadDataStream(io.BytesIO(file.read(length))))
        wanted = self._wanted
        data = self._unpacked(chunk)
        crc = 0 if wanted.head_only else chunk.uncompressed_crc
        if crc and zlib.crc32(data) != crc:
            raise McapError("a chunk's checksum is wrong")
        stream, place = io.BytesIO(data), 0
        outside = (
            chunk.message_end_time < wanted.first_ns or chunk.message_start_time > wanted.last_ns
        )
        while place < len(data):
            opcode, length = _head(stream, len(data))
            place = stream.tell() + length
            if not (outside and opcode == _MESSAGE):  # channels may be described here only
                yield from self._record(stream, opcode, length)
            stream.seek(place)

    def _record(self, stream: BinaryIO, opcode: int, length: int) -> Iterator[Message]:
        if opcode == _MESSAGE:
            (number,) = struct.unpack("<H", stream.read(2))
            channel = self.channels.get(number)
            if channel is None or channel.schema_id not in self.schemas:
                raise McapError(f"a message of channel {number}, which nothing describes")
            wanted = self._wanted
            if wanted.topics is not None and channel.topic not in wanted.topics:
                return
            if channel.topic in wanted.head_only:
                length = min(length, _MESSAGE_HEAD + wanted.head_bytes)
            _check_size("a message", length)
            stream.seek(-2, io.SEEK_CUR)
            message = Message.read(ReadDataStream(stream), max(length, _MESSAGE_HEAD))
            if message.log_time > _LAST_NS:
                raise McapError(f"a message of the time {message.log_time} ns")
            yield message
        elif opcode in (_SCHEMA, _CHANNEL):
            _check_size("a description", length)
            inner = ReadDataStream(io.BytesIO(stream.read(length)))
            if opcode == _SCHEMA:
                schema = Schema.read(inner)
                self.schemas[schema.id] = schema
            else:
                channel = Channel.read(inner)
                self.channels[channel.id] = channel
        elif opcode == _METADATA and length <= _METADATA_BYTES:
            self.metadata.append(Metadata.read(ReadDataStream(io.BytesIO(stream.read(length)))))

    def _unpacked(self, chunk: Chunk) -> bytes:
        """The records of a chunk; what is larger than it says, or than any chunk, is refused."""
        if not chunk.compression:
            return bytes(chunk.data)
        size = chunk.uncompressed_size
        _check_size("a chunk", size)
        self._allowed -= size
        if self._allowed < 0:
            raise McapError(f"its chunks unpack to more than {_GROWTH} times the file")
        try:
            if chunk.compression == "lz4":
                from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped,unused-ignore]

                data = bytes(LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1))
            elif chunk.compression == "zstd":
                from zstandard import ZstdDecompressor

                data = ZstdDecompressor().stream_reader(chunk.data).read(size + 1)
            else:
                raise McapError(f"packed with '{chunk.compression[:20]}', not with lz4 or zstd")
        except ImportError as error:
            raise McapError(
                f"packed with {chunk.compression}: pip install {error.name}"
            ) from error
        except Exception as error:  # each library has errors of its own
            raise McapError(f"a chunk cannot be unpacked: {error}") from error
        if len(data) != size:
            raise McapError(f"a chunk does not unpack to the {size:,} bytes that it names")
        return data


def _check_size(what: str, size: int) -> None:
    if size > LIMIT_BYTES:
        raise McapError(f"{what} of {size:,} bytes; at most {LIMIT_BYTES:,} are read")


def _head(stream: BinaryIO, end: int) -> tuple[int, int]:
    """Opcode and length of the record that begins here."""
    head = stream.read(_RECORD.size)
    if len(head) < _RECORD.size:
        raise McapError("it ends within a record")
    opcode, length = _RECORD.unpack(head)
    if not 0 < opcode <= _DATA_END and opcode < 0x80:
        raise McapError(f"no record begins with {opcode:#04x}")
    if stream.tell() + length > end:
        raise McapError("it ends within a record")
    return opcode, length
