"""Create a LeRobot dataset, or add to one. Must not import ROS or torch.

After every `add` the dataset loads; a crash in between leaves it as of the last one (transaction).
"""

import fcntl
import json
import shutil
from pathlib import Path
from typing import IO, Any

from evo1_training.datasets.frames import DatasetSchema
from evo1_training.datasets.lerobot.contents import (
    INFO,
    ROBOT,
    SOURCES,
    STATS,
    Contents,
    DatasetWriteError,
    Layout,
    next_addition,
    read_contents,
)
from evo1_training.datasets.lerobot.encoding import EncodedEpisode
from evo1_training.datasets.lerobot.schema import MAX_SECONDS, Version, differences, features
from evo1_training.datasets.lerobot.transaction import (
    STAGING,
    Transaction,
    is_interrupted,
    recover,
)
from evo1_training.datasets.lerobot.v21 import LayoutV21
from evo1_training.datasets.lerobot.v30 import LayoutV30
from evo1_training.datasets.norm_stats import NORM_STATS, compute_statistics, official_norm_stats

_LOCK = "lock"


class DatasetWriter:
    """Adds encoded episodes to a dataset; made by open_dataset. One at a time for a folder."""

    def __init__(
        self, root: Path, schema: DatasetSchema, layout: Layout, contents: Contents, lock: IO[str]
    ) -> None:
        self._root = root
        self._schema = schema
        self._features = features(schema)
        self._layout = layout
        self._contents = contents
        self._lock = lock

    @property
    def sources(self) -> frozenset[str]:
        """What is in the dataset already."""
        return self._contents.sources

    def add(self, encoded: EncodedEpisode) -> int:
        """Append an episode; when this returns, it is on the disk and the dataset loads.

        Returns:
            Its episode_index.

        Raises:
            DatasetWriteError: it does not fit, is too long for LeRobot, or is there already.
            OSError: the disk is full or gone; the dataset is as it was.
        """
        self._check(encoded)
        addition = next_addition(self._contents, encoded)
        after = self._contents.with_episode(addition)
        place = addition.place
        transaction = Transaction(self._root)
        self._layout.stage(transaction, self._root, addition, after)
        if place.episode_index == 0:
            transaction.stage_text(ROBOT, self._schema.robot.text)
        source: dict[str, Any] = {
            "episode_index": place.episode_index,
            "source": encoded.source,
        }
        if encoded.offsets_ms:
            source["offsets_ms"] = dict(encoded.offsets_ms)
        transaction.stage_line(SOURCES, json.dumps(source, ensure_ascii=False))
        transaction.stage_text(STATS, _statistics_text(after))
        transaction.stage_text(INFO, _json(self._info(after)))
        transaction.commit()
        self._contents = after
        return place.episode_index

    def close(self) -> None:
        """Join small files where the format has large ones, and write exact quantiles.

        Raises:
            OSError: the disk is full or gone; the dataset loads nevertheless.
        """
        if self._lock.closed:
            return
        if self._contents.episodes:
            transaction = Transaction(self._root)
            self._layout.tidy(transaction, self._root)
            self._stage_exact_statistics(transaction)
            transaction.commit()
        shutil.rmtree(self._root / STAGING, ignore_errors=True)
        self._lock.close()

    def _stage_exact_statistics(self, transaction: Transaction) -> None:
        exact = compute_statistics(self._root)
        statistics = dict(self._contents.statistics)
        for name, item in exact.items():
            statistics[name] = statistics[name].with_quantiles(item.quantiles)
        self._contents = Contents(
            episodes=self._contents.episodes,
            frames=self._contents.frames,
            tasks=self._contents.tasks,
            sources=self._contents.sources,
            statistics=statistics,
        )
        transaction.stage_text(STATS, _statistics_text(self._contents))
        official = official_norm_stats(
            exact, embodiment=self._schema.robot.embodiment, dataset=self._root.resolve().name
        )
        transaction.stage_text(NORM_STATS, _json(official))

    def _info(self, contents: Contents) -> dict[str, Any]:
        return {
            "codebase_version": self._layout.version,
            "robot_type": self._schema.robot.name,
            "total_episodes": contents.episodes,
            "total_frames": contents.frames,
            "total_tasks": len(contents.tasks),
            **self._layout.info(contents),
            "fps": self._schema.fps,
            "splits": {"train": f"0:{contents.episodes}"},
            "features": self._features,
        }

    def _check(self, encoded: EncodedEpisode) -> None:
        if self._lock.closed:
            raise DatasetWriteError(f"{self._root}: closed; open it again to add to it")
        if encoded.source in self._contents.sources:
            raise DatasetWriteError(f"{self._root}: {encoded.source} is in it already")
        found = differences(encoded.features, self._features)
        if encoded.fps != self._schema.fps:
            found.append(f"fps is {self._schema.fps} in the dataset, here {encoded.fps}")
        if found:
            raise DatasetWriteError(
                f"{encoded.folder}: does not fit into {self._root}: {'; '.join(found)}"
            )
        seconds = encoded.length / encoded.fps
        if seconds > MAX_SECONDS:
            raise DatasetWriteError(
                f"{encoded.source}: {seconds:.0f} s long; LeRobot keeps times as float32 and "
                f"rejects episodes beyond {MAX_SECONDS:.0f} s: split it"
            )


def open_dataset(
    root: Path, schema: DatasetSchema, *, version: Version, append: bool
) -> DatasetWriter:
    """Create a dataset, or open one to add to it.

    Args:
        root: its folder; entries whose name begins with a dot are nobody's business.
        schema: of every episode.
        version: of LeRobot's format.
        append: whether `root` may hold a dataset of this schema and version already. A change
            to it that was cut off is finished first.

    Raises:
        DatasetWriteError: the folder holds something else, another schema, or is in use.
        SchemaError: a robot or camera that no LeRobot dataset can hold.
    """
    found = features(schema)
    layout: Layout = LayoutV21(found) if version == "v2.1" else LayoutV30(found)
    if (root / INFO).is_file() and not append:
        raise DatasetWriteError(
            f"{root}: holds a dataset already; append to it, or choose another folder"
        )
    _check_no_stranger(root)
    lock = _lock(root)
    try:
        recover(root)
        contents = _contents(root, schema, layout)
    except BaseException:
        lock.close()
        raise
    return DatasetWriter(root, schema, layout, contents, lock)


def _check_no_stranger(root: Path) -> None:
    if (root / INFO).is_file() or not root.exists() or is_interrupted(root):
        return
    if not root.is_dir():
        raise DatasetWriteError(f"{root}: is a file; expected a folder for the dataset")
    present = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    if present:
        raise DatasetWriteError(
            f"{root}: holds {', '.join(present[:3])} but no {INFO}: no dataset, or one that was "
            "written half by another program; choose another folder, or delete this one"
        )


def _lock(root: Path) -> IO[str]:
    folder = root / STAGING
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / _LOCK).open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise DatasetWriteError(
            f"{root}: another process is adding to it; wait until it has ended"
        ) from error
    return lock


def _contents(root: Path, schema: DatasetSchema, layout: Layout) -> Contents:
    path = root / INFO
    if not path.is_file():
        return Contents()
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version, fps, present = info["codebase_version"], info["fps"], info["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetWriteError(f"{path}: cannot be read: {error!r}; restore it") from error
    if version != layout.version:
        raise DatasetWriteError(
            f"{path}: codebase_version is {version}, asked for is {layout.version}; a dataset "
            "has one version"
        )
    found = differences(features(schema), present)
    if fps != schema.fps:
        found.append(f"fps is {fps} in the dataset, here {schema.fps}")
    if info.get("robot_type") != schema.robot.name:
        found.append(
            f"robot_type is {info.get('robot_type')} in the dataset, here {schema.robot.name}"
        )
    if found:
        raise DatasetWriteError(f"{path}: another schema: {'; '.join(found)}")
    return read_contents(root, layout, info)


def _statistics_text(contents: Contents) -> str:
    return _json({name: item.to_dict() for name, item in contents.statistics.items()})


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=4, ensure_ascii=False) + "\n"
