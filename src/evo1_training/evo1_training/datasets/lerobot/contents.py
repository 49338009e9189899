"""What a dataset holds, as far as adding to it needs to know. Must not import ROS or torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evo1_policy.interface import Interface
from evo1_policy.untrusted import parse_json, read_json, read_text
from evo1_training.datasets.lerobot.encoding import EncodedEpisode
from evo1_training.datasets.lerobot.schema import DatasetSchema, Version, arrow_schema, features
from evo1_training.datasets.lerobot.staging import DatasetWriteError
from evo1_training.datasets.lerobot.statistics import Statistics, merged, of_values
from evo1_training.datasets.lerobot.tables import Place, index_columns
from evo1_training.datasets.reader.info import read_info
from evo1_training.datasets.reader.layouts import read_tasks
from evo1_training.datasets.reader.problems import Refusing

INFO, STATS = "meta/info.json", "meta/stats.json"
OWN, SOURCES = "meta/evo1", "meta/evo1/sources.jsonl"  # what we add
CHUNK = 1000  # episodes (v2.1) or files (v3.0) a folder
_SOURCES_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Addition:
    """An episode and where it comes to stand.

    Attributes:
        encoded: the episode.
        place: its numbers.
        statistics: of its features, LeRobot's own columns included.
    """

    encoded: EncodedEpisode
    place: Place
    statistics: Mapping[str, Statistics]


@dataclass(kw_only=True)
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
    tasks: list[str] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    statistics: dict[str, Statistics] = field(default_factory=dict)

    def add(self, encoded: EncodedEpisode) -> Addition:
        """Take an episode in; returns where it comes to stand."""
        self.tasks += [task for task in encoded.instructions if task not in self.tasks]
        numbers = [self.tasks.index(task) for task in encoded.tasks]
        place = Place(
            episode_index=self.episodes,
            first_index=self.frames,
            task_index=np.array(numbers) if numbers else self.tasks.index(encoded.instruction),
        )
        index = index_columns(place, 0, encoded.length, encoded.fps)
        statistics = {
            **encoded.statistics,
            **{name: of_values(np.asarray(values)) for name, values in index.items()},
        }
        for name, item in statistics.items():
            before = [self.statistics[name]] if name in self.statistics else []
            self.statistics[name] = merged([*before, item])
        self.episodes += 1
        self.frames += encoded.length
        self.sources.add(encoded.source)
        return Addition(encoded=encoded, place=place, statistics=statistics)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What all episodes of a dataset have in common.

    Attributes:
        features: as in info.json.
        fps: frames a second.
        robot_type: name of the robot; empty where nobody told it.
        interface: of its robot or benchmark; None where it does not say.
        columns: of the tables; None: those of the features.
    """

    features: dict[str, dict[str, Any]]
    fps: int
    robot_type: str
    interface: Interface | None = None
    columns: pa.Schema | None = None

    @classmethod
    def of(cls, schema: DatasetSchema) -> "Identity":
        """That of our own recordings.

        Raises:
            SchemaError: a robot or camera that no LeRobot dataset can hold.
        """
        return cls(
            features=features(schema),
            fps=schema.fps,
            robot_type=schema.interface.name,
            interface=schema.interface,
        )

    def table(self, version: Version) -> pa.Schema:
        """The columns of the tables, in LeRobot's types."""
        return self.columns or arrow_schema(self.features, version)


def read_contents(root: Path) -> Contents:
    """What a dataset of ours holds.

    Raises:
        DatasetWriteError: a file of it is missing or cannot be read.
    """
    try:
        sources = read_text(root / SOURCES, what="list of episodes", max_bytes=_SOURCES_BYTES)
        stats = read_json(root / STATS, what="statistics of the dataset")
        info = read_info(root, Refusing())
        assert info is not None  # else it was refused
        tasks = read_tasks(info, Refusing())
        return Contents(
            episodes=info.counts["total_episodes"],
            frames=info.counts["total_frames"],
            tasks=[tasks[index] for index in range(len(tasks))],
            sources={
                str(parse_json(line, source=SOURCES)["source"]) for line in sources.splitlines()
            },
            statistics={name: Statistics.from_dict(item) for name, item in stats.items()},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetWriteError(
            f"{root}: cannot be added to: {error}; only datasets of this converter can, choose "
            "another folder"
        ) from error
