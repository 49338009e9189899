"""A new dataset out of parts of others: episodes left out, split, trimmed, named anew, joined.

The datasets that are read are never changed; what is made of them appears whole or not at all.
Must not import ROS or torch.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_policy.interface import INTERFACE, ROBOT
from evo1_policy.paths import free_name
from evo1_training.datasets.lerobot.contents import OWN, SOURCES, STATS, Identity
from evo1_training.datasets.lerobot.edit_source import EditError, Source
from evo1_training.datasets.lerobot.encoding import EncodedEpisode
from evo1_training.datasets.lerobot.schema import INDEX_COLUMNS, differences
from evo1_training.datasets.lerobot.staging import (
    DatasetWriteError,
    link_or_copy,
    locked,
    telling_where,
)
from evo1_training.datasets.lerobot.statistics import PictureStatistics, Statistics, of_values
from evo1_training.datasets.lerobot.tables import ROWS_WITH_PICTURES, read_vectors
from evo1_training.datasets.lerobot.video import cut_video
from evo1_training.datasets.lerobot.writing import NORM_STATS, open_dataset
from evo1_training.datasets.reader.layouts import Episode

MARK = ".editing"  # in a folder that an edit is making
BACKUP = ".before_edit"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is to be done; episodes are numbers of the datasets as they are, counted on.

    Attributes:
        delete: episodes to leave out.
        keep: the only episodes to keep; empty: all.
        tasks: (episodes, task): their new label; no episodes: of all.
        trims: (first, end) frames to keep, by episode.
        splits: frames at which an episode is cut, by episode.
        drop_cameras: by the last part of their key, or the whole.
    """

    delete: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()
    tasks: tuple[tuple[frozenset[int], str], ...] = ()
    trims: Mapping[int, tuple[int, int]] | None = None
    splits: Mapping[int, tuple[int, ...]] | None = None
    drop_cameras: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Frames first .. end - 1 of an episode, and their new label; empty: as it is."""

    source: Source
    episode: Episode
    first: int
    end: int
    task: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is the episode."""
        return (self.first, self.end) == (0, self.episode.length)


def plan(sources: Sequence[Source], edit: Edit) -> list[Piece]:
    """What the new dataset is made of, in order.

    Raises:
        EditError: an episode or frame that is not there, or nothing is left.
    """
    every = [(source, episode) for source in sources for episode in source.folder.episodes]
    trims, splits = edit.trims or {}, edit.splits or {}
    named = [*edit.delete, *edit.keep, *trims, *splits]
    named += [number for numbers, _ in edit.tasks for number in numbers]
    wrong = sorted({number for number in named if not 0 <= number < len(every)})
    if wrong:
        raise EditError(f"no episode {wrong[0]}; there are 0 to {len(every) - 1}")
    pieces = []
    for number, (source, episode) in enumerate(every):
        if number in edit.delete or (edit.keep and number not in edit.keep):
            continue
        first, end = trims.get(number, (0, episode.length))
        edges = [first, *splits.get(number, ()), end]
        if sorted(set(edges)) != edges or first < 0 or end > episode.length:
            raise EditError(
                f"episode {number}: cannot be cut at {', '.join(map(str, edges))}; it has frames "
                f"0 to {episode.length - 1}, and the numbers must rise"
            )
        chosen = [task for numbers, task in edit.tasks if not numbers or number in numbers]
        for begin, stop in itertools.pairwise(edges):
            task = chosen[-1] if chosen else ""
            pieces.append(Piece(source=source, episode=episode, first=begin, end=stop, task=task))
    if not pieces:
        raise EditError("no episode would be left")
    return pieces


def write_edited(
    roots: Sequence[Path],
    edit: Edit,
    target: Path,
    *,
    in_place: bool = False,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[list[Piece], Path | None]:
    """Make a dataset of others.

    Args:
        roots: the datasets; the first gives format, features and robot file.
        edit: what to do.
        target: the new dataset; with `in_place` the only one of `roots`.
        in_place: put it in the old one's place, which is kept beside it.
        advance: told how many episodes of how many are done.

    Returns:
        What it is made of, and where the old one is now.

    Raises:
        EditError: it cannot be made.
        DatasetError: a dataset is damaged.
        DatasetWriteError: they do not fit together.
        OSError: the disk is full or gone.
    """
    target = target.resolve()
    if target.exists() and not in_place:
        raise EditError(f"{target}: exists already; choose another folder, or --in-place")
    backup = target.with_name(target.name + BACKUP)
    if in_place and not target.exists() and backup.exists():
        raise EditError(f"{target}: an edit was cut off; rename {backup} back, which is whole")
    sources = [Source(root) for root in roots]
    pieces = plan(sources, edit)
    drop = sources[0].cameras(edit.drop_cameras) if edit.drop_cameras else []
    identity = sources[0].identity(drop)
    for other in sources[1:]:
        _check_fits(sources[0], other, identity, drop)
    with _making(target) as folder:
        new, work = folder / "new" / target.name, folder / "work"
        writer = open_dataset(new, identity, version=sources[0].folder.info.layout, append=False)
        try:
            names: set[str] = set()
            for number, piece in enumerate(pieces):
                writer.add(_encoded(piece, number, identity, work / f"{number:06d}", names))
                advance(number + 1, len(pieces))
            writer.close()
        finally:
            writer.abandon()
        _copy_others(sources[0].root, new)
        kept = _set_aside(target) if in_place else None
        new.rename(target)
    return pieces, kept


def _encoded(
    piece: Piece, number: int, identity: Identity, folder: Path, names: set[str]
) -> EncodedEpisode:
    """A piece as an episode of its own, below a folder."""
    source, episode = piece.source, piece.episode
    folder.mkdir(parents=True)
    told = source.told.get(episode.index, {})
    name = str(told.get("source", f"{source.root.resolve().name}/{episode.index}"))
    name = name if piece.whole else f"{name}@{piece.first}-{piece.end}"
    if name in names:
        name = f"{name}+{number}"
    names.add(name)
    with telling_where(folder):
        tasks = _write_table(piece, identity, folder / "table.parquet")
    task = piece.task or (tasks[0] if tasks else "")
    encoded = EncodedEpisode(
        folder=folder,
        source=name,
        instruction=task,
        fps=identity.fps,
        length=piece.end - piece.first,
        offsets_ms=told.get("offsets_ms", {}),
        packed=told.get("images_compressed_while_recorded", {}),
        features=identity.features,
        statistics={},
        tasks=() if piece.task or len(set(tasks)) < 2 else tuple(tasks),
    )
    for key, item in identity.features.items():
        if item["dtype"] == "video":
            span = episode.videos[key]
            if piece.whole and span.end_s is None:  # a file of its own
                link_or_copy(span.path, encoded.video(key))
                continue
            cut_video(
                span.path,
                encoded.video(key),
                first_s=span.start_s + piece.first / identity.fps,
                frames=encoded.length,
                fps=identity.fps,
            )
    return replace(encoded, statistics=_statistics(piece, identity, encoded.table))


def _write_table(piece: Piece, identity: Identity, target: Path) -> list[str]:
    """Copy the rows of a piece; returns the task of each."""
    source, episode = piece.source, piece.episode
    assert identity.columns is not None  # of every dataset that is read
    wanted = [field for field in identity.columns if field.name not in INDEX_COLUMNS]
    file = pq.ParquetFile(episode.data_path)
    tables = source.folder.data_files
    before = episode.first_row - next(one.first_row for one in tables if episode in one.episodes)
    first, end = before + piece.first, before + piece.end
    tasks: list[str] = []
    schema = pa.schema(wanted)
    pictures = any(pa.types.is_struct(field.type) for field in wanted)
    rows = 0
    with pq.ParquetWriter(target, schema) as writer:
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            begin, stop = max(first - rows, 0), min(end - rows, count)
            rows += count
            if begin >= stop:
                continue
            table = file.read_row_group(group).slice(begin, stop - begin)
            if "task_index" in table.column_names:
                numbers = table.column("task_index").to_pylist()
                tasks += [source.folder.tasks.get(one, "") for one in numbers]
            writer.write_table(
                table.select(schema.names).cast(schema),
                row_group_size=ROWS_WITH_PICTURES if pictures else None,
            )
    return tasks or [*episode.tasks[:1]] * (piece.end - piece.first)


def _statistics(piece: Piece, identity: Identity, table: Path) -> dict[str, Statistics]:
    """Of every feature that has some in the source; those of pictures anew where it is cut."""
    source = piece.source
    found: dict[str, Statistics] = {}
    for key, item in identity.features.items():
        if key in INDEX_COLUMNS:
            continue
        feature = source.folder.info.features.get(key)
        if feature is not None and feature.is_camera:
            known = source.pictures.get(piece.episode.index, {}).get(key)
            found[key] = known if known is not None and piece.whole else _seen(piece, key)
        elif item["dtype"].startswith("float") and not key.startswith("evo1."):
            found[key] = of_values(read_vectors(table, [key])[key])
    return found


def _seen(piece: Piece, key: str) -> Statistics:
    pictures = PictureStatistics()
    start = piece.episode.first_row
    for row in range(start + piece.first, start + piece.end):
        pictures.add(piece.source.frames.read(key, row))
    return pictures.statistics()


def _check_fits(first: Source, other: Source, identity: Identity, drop: Sequence[str]) -> None:
    theirs = other.identity(drop)
    found = differences(theirs.features, identity.features)
    if theirs.fps != identity.fps:
        found.append(f"fps is {theirs.fps}, not {identity.fps}")
    if other.folder.info.layout != first.folder.info.layout:
        found.append(f"format is {other.folder.info.version}, not {first.folder.info.version}")
    if theirs.interface != identity.interface:
        found.append("it has another robot file, or interface")
    if found:
        raise EditError(f"{other.root}: cannot be joined to {first.root}: {'; '.join(found)}")


def _copy_others(root: Path, new: Path) -> None:
    """Take along what an edit does not make: a model of the arm's origin, a README, a mapping."""
    made = {f"{OWN}/{ROBOT}", f"{OWN}/{INTERFACE}", SOURCES, STATS, NORM_STATS}
    for path in [*root.iterdir(), *(root / "meta" / "evo1").glob("*")]:
        relative = path.relative_to(root)
        if path.is_file() and relative.as_posix() not in made:
            (new / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, new / relative)


def _set_aside(root: Path) -> Path:
    """Rename the old dataset to the first name that is free."""
    return root.rename(free_name(root, BACKUP))


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """A folder beside the new dataset, on the same disk; what a killed edit left there goes.

    Raises:
        DatasetWriteError: another edit works there, or the folder is somebody else's.
    """
    folder = target.parent / f".{target.name}{MARK}"
    lock = folder / "lock"
    if folder.exists() and not lock.is_file():
        raise DatasetWriteError(f"{folder}: no edit left this; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(lock, DatasetWriteError(f"{target}: another edit is writing it; wait")):
        for path in folder.iterdir():
            if path.name in ("new", "work"):
                shutil.rmtree(path)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
