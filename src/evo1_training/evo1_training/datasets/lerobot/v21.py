"""LeRobot v2.1: a table and a video a camera for each episode. Must not import ROS or torch."""

import json
from pathlib import Path
from typing import Any

from evo1_training.datasets.lerobot.contents import CHUNK, Addition, Contents
from evo1_training.datasets.lerobot.schema import Version, video_keys
from evo1_training.datasets.lerobot.tables import complete_table
from evo1_training.datasets.lerobot.transaction import Transaction

DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_EPISODES, _TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"
_STATISTICS = "meta/episodes_stats.jsonl"


class LayoutV21:
    """Writes what is particular to v2.1."""

    version: Version = "v2.1"

    def __init__(self, features: dict[str, dict[str, Any]]) -> None:
        self._features = features
        self._videos = video_keys(features)

    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that are v2.1's, and the paths."""
        return {
            "total_videos": contents.episodes * len(self._videos),
            "total_chunks": -(-contents.episodes // CHUNK),
            "chunks_size": CHUNK,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._videos else None,
        }

    def tasks(self, root: Path) -> tuple[str, ...]:
        """The instructions in the order of task_index."""
        lines = (root / _TASKS).read_text(encoding="utf-8").splitlines()
        found = {item["task_index"]: item["task"] for item in map(json.loads, lines)}
        return tuple(found[index] for index in range(len(found)))

    def stage(
        self, transaction: Transaction, root: Path, addition: Addition, after: Contents
    ) -> None:
        """Stage the files of an episode, and its lines in the lists."""
        encoded, place = addition.encoded, addition.place
        index = place.episode_index
        where = {"episode_chunk": index // CHUNK, "episode_index": index}
        complete_table(
            encoded.table,
            transaction.stage(DATA_PATH.format(**where)),
            features=self._features,
            version=self.version,
            place=place,
            fps=encoded.fps,
        )
        for key in self._videos:
            transaction.stage_copy(VIDEO_PATH.format(video_key=key, **where), encoded.video(key))
        statistics = {
            name: item.to_dict(quantiles=False) for name, item in addition.statistics.items()
        }
        episode = {"tasks": [encoded.instruction], "length": encoded.length}
        _add_line(transaction, _EPISODES, {"episode_index": index, **episode})
        _add_line(transaction, _STATISTICS, {"episode_index": index, "stats": statistics})
        if addition.new_task:
            task = {"task_index": place.task_index, "task": encoded.instruction}
            _add_line(transaction, _TASKS, task)

    def tidy(self, transaction: Transaction, root: Path) -> None:
        """Nothing: one file an episode is what v2.1 wants."""


def _add_line(transaction: Transaction, relative: str, record: dict[str, Any]) -> None:
    transaction.stage_line(relative, json.dumps(record, ensure_ascii=False))
