"""What a dataset holds, as far as adding to it needs to know. Must not import ROS or torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from evo1_training.datasets.lerobot.encoding import EncodedEpisode
from evo1_training.datasets.lerobot.schema import Version
from evo1_training.datasets.lerobot.statistics import Statistics, merged, of_values
from evo1_training.datasets.lerobot.tables import Place, index_columns
from evo1_training.datasets.lerobot.transaction import Transaction

INFO, STATS = "meta/info.json", "meta/stats.json"
ROBOT, SOURCES = "meta/evo1/robot.yaml", "meta/evo1/sources.jsonl"
CHUNK = 1000  # episodes (v2.1) or files (v3.0) a folder


class DatasetWriteError(ValueError):
    """A dataset that cannot be written; the message names the folder and what to do."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in a dataset.

    Attributes:
        episodes: how many.
        frames: how many, over all episodes.
        tasks: the instructions; the position is the task_index.
        sources: what the episodes were made of.
        statistics: over all episodes, by feature.
    """

    episodes: int = 0
    frames: int = 0
    tasks: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset()
    statistics: Mapping[str, Statistics] = field(default_factory=dict)

    def with_episode(self, addition: "Addition") -> "Contents":
        """The same after an episode was added."""
        encoded = addition.encoded
        parts = {
            name: [self.statistics[name], item] if name in self.statistics else [item]
            for name, item in addition.statistics.items()
        }
        return replace(
            self,
            episodes=self.episodes + 1,
            frames=self.frames + encoded.length,
            tasks=(*self.tasks, encoded.instruction) if addition.new_task else self.tasks,
            sources=self.sources | {encoded.source},
            statistics={name: merged(items) for name, items in parts.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Addition:
    """An episode and where it comes to stand.

    Attributes:
        encoded: the episode.
        place: its numbers.
        statistics: of its features, LeRobot's own columns included.
        new_task: whether its instruction is the first of its kind.
    """

    encoded: EncodedEpisode
    place: Place
    statistics: Mapping[str, Statistics]
    new_task: bool


class Layout(Protocol):
    """What differs between the versions."""

    version: Version

    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that the other version lacks, and the paths."""

    def tasks(self, root: Path) -> tuple[str, ...]:
        """The instructions of a dataset in the order of task_index."""

    def stage(
        self, transaction: Transaction, root: Path, addition: Addition, after: Contents
    ) -> None:
        """Stage the files of an episode, and what lists it."""

    def tidy(self, transaction: Transaction, root: Path) -> None:
        """Stage what makes a finished dataset better than one that grows."""


def next_addition(contents: Contents, encoded: EncodedEpisode) -> Addition:
    """Where an episode comes to stand in a dataset."""
    new_task = encoded.instruction not in contents.tasks
    task = len(contents.tasks) if new_task else contents.tasks.index(encoded.instruction)
    place = Place(episode_index=contents.episodes, first_index=contents.frames, task_index=task)
    index = index_columns(place, 0, encoded.length, encoded.fps)
    statistics = {
        **encoded.statistics,
        **{name: of_values(np.asarray(values)) for name, values in index.items()},
    }
    return Addition(encoded=encoded, place=place, statistics=statistics, new_task=new_task)


def read_contents(root: Path, layout: Layout, info: Mapping[str, Any]) -> Contents:
    """What a dataset of ours holds.

    Raises:
        DatasetWriteError: a file of it is missing or cannot be read.
    """
    try:
        lines = (root / SOURCES).read_text(encoding="utf-8").splitlines()
        stats = json.loads((root / STATS).read_text(encoding="utf-8"))
        return Contents(
            episodes=int(info["total_episodes"]),
            frames=int(info["total_frames"]),
            tasks=layout.tasks(root),
            sources=frozenset(json.loads(line)["source"] for line in lines),
            statistics={name: Statistics.from_dict(item) for name, item in stats.items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetWriteError(
            f"{root}: cannot be added to: {error}; only datasets of this converter can, choose "
            "another folder"
        ) from error
