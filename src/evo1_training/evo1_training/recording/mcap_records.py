"""The messages of an MCAP file, in the order they were written, up to a tear if there is one.

Reads what converting needs and no more: a header can be looked at without its image, a chunk
passed over by its times, and a file that was cut off gives every chunk that is complete.
Must not import ROS or torch.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_LAST_OPCODE = 0x0F
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQI")  # first and last log time, size and CRC when unpacked


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
        head_only: topics of which only the first bytes are read; the rest is passed over.
        head_bytes: how many.
        first_ns: chunks that end before are passed over [ns].
        last_ns: chunks that begin after are passed over [ns].
    """

    topics: frozenset[str] | None = None
    head_only: frozenset[str] = frozenset()
    head_bytes: int = 16
    first_ns: int = 0
    last_ns: int = 2**63


def is_torn(path: Path) -> bool:
    """Whether a file was cut off: it does not end as a closed file does.

    Raises:
        McapError: it does not begin as an MCAP file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise McapError(f"{path}: no MCAP file; its first bytes are wrong")
        file.seek(0, io.SEEK_END)
        if file.tell() < 2 * len(MAGIC):
            return True
        file.seek(-len(MAGIC), io.SEEK_END)
        return file.read() != MAGIC


class McapRecords:
    """Reads one file from its beginning; iterate `messages` once."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self._path = path
        self._wanted = wanted
        self._types: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}

    def messages(self) -> Iterator[RawMessage]:
        """Give the messages in file order.

        Raises:
            McapError: the file is damaged, other than by having been cut off.
        """
        torn = is_torn(self._path)
        with self._path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(len(MAGIC))
            while True:
                place = file.tell()
                try:
                    record = _next_record(file, size)
                    if record is None:
                        raise McapError("the file ends within a record")
                    if record[0] == _DATA_END:
                        return
                    yield from self._record(file, *record)
                except (McapError, struct.error, EOFError, UnicodeDecodeError) as error:
                    if torn:
                        return  # the tear need not be at the end: a disk writes as it likes
                    raise McapError(
                        f"{self._path}: damaged at byte {place}: {error}; 'recover' keeps what "
                        "stands before it"
                    ) from error
                file.seek(place + _RECORD.size + record[1])

    def _record(self, file: BinaryIO, opcode: int, length: int) -> Iterator[RawMessage]:
        if opcode == _CHUNK:
            yield from self._chunk(file, length)
        elif opcode == _MESSAGE:
            message = self._message(file, length)
            if message is not None:
                yield message
        elif opcode in (_SCHEMA, _CHANNEL):
            self._describe(opcode, file.read(length))

    def _chunk(self, file: BinaryIO, length: int) -> Iterator[RawMessage]:
        start = file.tell()
        first_ns, last_ns, size, crc = _CHUNK_HEAD.unpack(file.read(_CHUNK_HEAD.size))
        (name_length,) = struct.unpack("<I", file.read(4))
        compression = file.read(name_length).decode()
        (packed_size,) = struct.unpack("<Q", file.read(8))
        if file.tell() - start + packed_size != length:
            raise McapError("a chunk's lengths disagree")
        wanted = self._wanted
        if last_ns < wanted.first_ns or first_ns > wanted.last_ns:
            # its channels may be described here for the first time
            wanted = Wanted(topics=frozenset())
        skim = not compression and (wanted.head_only or wanted.topics == frozenset())
        if skim:
            yield from self._inner(file, file.tell() + packed_size, wanted)
            return
        data = _unpack(file.read(packed_size), compression, size)
        if crc and zlib.crc32(data) != crc:
            raise McapError("a chunk's checksum is wrong")
        yield from self._inner(io.BytesIO(data), len(data), wanted)

    def _inner(self, stream: BinaryIO, end: int, wanted: Wanted) -> Iterator[RawMessage]:
        """Read the records of a chunk, from the file itself or from memory."""
        whole, self._wanted = self._wanted, wanted
        try:
            place = stream.tell()
            while place < end:
                record = _next_record(stream, end)
                if record is None:
                    raise McapError("a chunk ends within a record")
                opcode, length = record
                place = stream.tell() + length
                if opcode == _MESSAGE:
                    message = self._message(stream, length)
                    if message is not None:
                        yield message
                elif opcode in (_SCHEMA, _CHANNEL):
                    self._describe(opcode, stream.read(length))
                stream.seek(place)
        finally:
            self._wanted = whole

    def _message(self, stream: BinaryIO, length: int) -> RawMessage | None:
        channel, _, log_ns, _ = _MESSAGE_HEAD.unpack(stream.read(_MESSAGE_HEAD.size))
        if channel not in self._channels:
            raise McapError(f"a message of channel {channel}, which nothing describes")
        topic, type_name = self._channels[channel]
        wanted = self._wanted
        if wanted.topics is not None and topic not in wanted.topics:
            return None
        size = length - _MESSAGE_HEAD.size
        if topic in wanted.head_only:
            size = min(size, wanted.head_bytes)
        return RawMessage(topic=topic, type=type_name, log_ns=log_ns, data=stream.read(size))

    def _describe(self, opcode: int, data: bytes) -> None:
        (number,) = struct.unpack_from("<H", data)
        if opcode == _SCHEMA:
            self._types[number] = _string(data, 2)[0]
            return
        (schema,) = struct.unpack_from("<H", data, 2)
        self._channels[number] = (_string(data, 4)[0], self._types.get(schema, ""))


def _next_record(stream: BinaryIO, end: int) -> tuple[int, int] | None:
    """Opcode and length of the record that begins here; None where it is not complete."""
    head = stream.read(_RECORD.size)
    if len(head) < _RECORD.size:
        return None
    opcode, length = _RECORD.unpack(head)
    if not 0 < opcode <= _LAST_OPCODE and opcode < 0x80:
        raise McapError(f"no record begins with {opcode:#04x}")
    return None if stream.tell() + length > end else (opcode, length)


def _string(data: bytes, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, offset)
    end = offset + 4 + length
    return data[offset + 4 : end].decode(), end


def _unpack(data: bytes, compression: str, size: int) -> bytes:
    """Decompress a chunk."""
    if not compression:
        return data
    try:
        if compression == "lz4":
            import lz4.frame  # type: ignore[import-untyped,unused-ignore]

            return bytes(lz4.frame.decompress(data))
        if compression == "zstd":
            import zstandard

            return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except ImportError as error:
        raise McapError(
            f"a chunk is packed with {compression}: pip install {error.name}"
        ) from error
    except Exception as error:  # each library has errors of its own
        raise McapError(f"a chunk cannot be unpacked: {error}") from error
    raise McapError(f"a chunk is packed with '{compression}'; known are lz4 and zstd")
