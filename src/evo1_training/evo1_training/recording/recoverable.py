"""Whether an episode needs recovery, and whether it may have it. Must not import ROS or torch."""

import fcntl
from collections.abc import Callable
from pathlib import Path

from evo1_policy.paths import confined
from evo1_policy.untrusted import UntrustedError, parse_yaml, read_text
from evo1_training.recording.episode import (
    SIDECAR,
    EpisodeError,
    ForeignSchemaError,
    bag_path,
    read_sidecar,
)
from evo1_training.recording.mcap_records import (
    MAGIC,
    Damage,
    McapError,
    McapReader,
    Wanted,
    is_torn,
)
from evo1_training.recording.mcap_writer import METADATA

TORN_SUFFIX = ".torn"  # the original while a recovery is under way
BACKUP_SUFFIX = ".before_recover"
TEMPORARY = ".recovering.mcap"
_BAG_SUFFIXES = {".mcap", ".db3", ".zstd", ".zst", ".lz4", ".gz"}
_METADATA_BYTES = 256 << 10

Progress = Callable[[int], object]  # bytes read since the last call


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
    check_ours(folder)
    if torn_copy(bag).is_file():
        return "an earlier recovery of it was cut off"
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


def torn_copy(bag: Path) -> Path:
    """Where the original of a bag is while it is being recovered."""
    return bag.with_name(bag.name + TORN_SUFFIX)


def check_ours(folder: Path) -> None:
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
        and not path.name.startswith((f"{bag.name}{TORN_SUFFIX}", f"{bag.name}{BACKUP_SUFFIX}"))
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
    elif not torn_copy(bag).is_file():
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
