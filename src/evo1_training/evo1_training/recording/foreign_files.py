"""The messages of a rosbag2 folder that any recorder wrote: MCAP and sqlite3, split, compressed.

What the files are is taken from the files: metadata.yaml may be missing, or say nothing, as after
a reindex. Only the order of the splits and compressed messages are told there. Must not import
ROS or torch.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from evo1_policy.paths import folders_below
from evo1_policy.untrusted import (
    MOST_YAML_BYTES,
    UntrustedError,
    parse_yaml,
    read_text,
    refuse_lfs_pointer,
)
from evo1_training.recording.episode import EpisodeError
from evo1_training.recording.mcap_records import (
    LIMIT_BYTES,
    McapError,
    McapReader,
    RawMessage,
    Wanted,
    messages,
)
from evo1_training.recording.mcap_writer import METADATA

_STORAGES = (".mcap", ".db3")
_PACKED = ".zstd"
_FREE_BYTES, _GROWTH = 1 << 30, 100  # a packed file of images becomes a few times as large
_BLOCK = 1 << 20


def bags_below(root: Path) -> list[Path]:
    """The bags below a folder, or itself where it is one; a file of messages is one, too.

    Raises:
        EpisodeError: there is none, or too much beside them.
    """
    if root.is_file() or _files_in(root):
        return [root]
    try:
        folders = [
            folder
            for folder, _, files in folders_below(root, "the bags")
            if any(_is_storage(folder / name) for name in files)
        ]
    except ValueError as error:
        raise EpisodeError(str(error)) from error
    if not folders:
        raise EpisodeError(f"{root}: no rosbag found; expected folders with .mcap or .db3 files")
    return sorted(folders)


class BagFiles:
    """One bag, opened for reading; packed files are unpacked once, into a temporary folder.

    Args:
        bag: the folder, or one file of messages.

    Raises:
        EpisodeError: no file of it can be read.
    """

    def __init__(self, bag: Path) -> None:
        self.bag = bag
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        information = _information(bag)
        self._packed_messages = str(information.get("compression_mode")).lower() == "message"
        self._paths = [self._plain(path) for path in _ordered(bag, information)]
        self.topics: dict[str, str] = {}  # type by name
        for path in self._paths:
            with _naming(path):
                self.topics |= (_mcap_topics if path.suffix == ".mcap" else _db3_topics)(path)

    def read(self, wanted: Wanted) -> Iterator[RawMessage]:
        """Give messages in the order of arrival.

        Raises:
            EpisodeError: a file is damaged, other than by having been cut off.
        """
        head_only = frozenset[str]() if self._packed_messages else wanted.head_only
        wanted = replace(wanted, head_only=head_only)
        for path in self._paths:
            with _naming(path):
                for message in (messages if path.suffix == ".mcap" else _db3_messages)(
                    path, wanted
                ):
                    if self._packed_messages:
                        message = replace(message, data=_unpack(message.data))
                    yield message

    def _plain(self, path: Path) -> Path:
        """A file itself, or what was packed in it."""
        with _naming(path):
            refuse_lfs_pointer(path)
            if path.suffix != _PACKED:
                return path
            if self._unpacked is None:
                self._unpacked = tempfile.TemporaryDirectory(prefix="evo1_bag_")
            return _unpack_file(path, Path(self._unpacked.name) / path.stem)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make one kind of error of what the storages' libraries raise, and name the file."""
    try:
        yield
    except EpisodeError:
        raise
    except Exception as error:
        named = str(error) if str(path) in str(error) else f"{path}: cannot be read: {error}"
        raise EpisodeError(named) from error


def _information(bag: Path) -> dict[str, Any]:
    """What metadata.yaml says; empty where there is none that can be read."""
    path = bag / METADATA
    if not path.is_file():
        return {}
    try:
        text = read_text(path, what="bag's metadata", max_bytes=MOST_YAML_BYTES)
        return dict(parse_yaml(text, source=str(path))["rosbag2_bagfile_information"])
    except (UntrustedError, LookupError, TypeError, ValueError):
        return {}


def _ordered(bag: Path, information: dict[str, Any]) -> list[Path]:
    """Its files in the order of recording: as told, else by the numbers in their names."""
    if bag.is_file():
        return [bag]
    found = _files_in(bag)
    if not found:
        raise EpisodeError(f"{bag}: holds no .mcap or .db3 file")
    told = information.get("relative_file_paths") or []
    names = [PurePath(str(name)).name for name in told] if isinstance(told, list) else []
    names = [one if (bag / one).is_file() else f"{one}{_PACKED}" for one in names]
    missing = [name for name in names if not (bag / name).is_file()]
    if missing:
        raise EpisodeError(
            f"{bag}: {METADATA} names {', '.join(missing[:3])}, which is not there; bring it, or "
            f"move {METADATA} away to read the files that are"
        )
    return [bag / name for name in names] or found


def _files_in(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if _is_storage(path)] if folder.is_dir() else []
    return sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)[-1:]])


def _is_storage(path: Path) -> bool:
    name = path.name.removesuffix(_PACKED)
    return name.endswith(_STORAGES) and not name.startswith(".") and path.is_file()


def _mcap_topics(path: Path) -> dict[str, str]:
    reader = McapReader(path, Wanted(topics=frozenset()))
    reader.describe_by_summary()
    if not reader.channels:  # cut off: what was written tells
        for _ in reader.messages():
            continue
    known = [one for one in reader.channels.values() if one.schema_id in reader.schemas]
    return {channel.topic: reader.schema(channel).name for channel in known}


def _db3_topics(path: Path) -> dict[str, str]:
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return {connection.topic: connection.msgtype for connection in reader.connections}


def _db3_messages(path: Path, wanted: Wanted) -> Iterator[RawMessage]:
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        asked = wanted.topics
        given = [one for one in reader.connections if asked is None or one.topic in asked]
        if not given:
            return
        last_ns = min(wanted.last_ns + 1, 2**63 - 1)
        for connection, log_ns, data in reader.messages(given, wanted.first_ns, last_ns):
            yield RawMessage(
                topic=connection.topic, type=connection.msgtype, log_ns=log_ns, data=data
            )


def _unpack(data: bytes) -> bytes:
    """A message that was packed on its own."""
    from zstandard import ZstdDecompressor

    found = ZstdDecompressor().stream_reader(data).read(LIMIT_BYTES + 1)
    if len(found) > LIMIT_BYTES:
        raise McapError(f"a message unpacks to more than {LIMIT_BYTES:,} bytes")
    return bytes(found)


def _unpack_file(path: Path, target: Path) -> Path:
    from zstandard import ZstdDecompressor

    left = _FREE_BYTES + _GROWTH * path.stat().st_size
    with path.open("rb") as packed, target.open("wb") as plain:
        source = ZstdDecompressor().stream_reader(packed)
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise McapError(f"unpacks to more than {_GROWTH} times its size")
            plain.write(block)
    return target
