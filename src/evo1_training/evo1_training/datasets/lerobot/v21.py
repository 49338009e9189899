"""LeRobot v2.1: a table and a video a camera for each episode. Must not import ROS or torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evo1_policy.untrusted import MOST_JSON_BYTES, parse_json, read_text
from evo1_training.datasets.lerobot.contents import CHUNK, Addition, Contents, Identity
from evo1_training.datasets.lerobot.schema import Version, video_keys
from evo1_training.datasets.lerobot.staging import Staging
from evo1_training.datasets.lerobot.tables import complete_tables

DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_EPISODES, _TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"
_STATISTICS = "meta/episodes_stats.jsonl"


class LayoutV21:
    """Writes what is particular to v2.1."""

    version: Version = "v2.1"

    def __init__(self, identity: Identity) -> None:
        self._columns = identity.table(self.version)
        self._videos = video_keys(identity.features)

    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that are v2.1's, and the paths."""
        return {
            "total_videos": contents.episodes * len(self._videos),
            "total_chunks": -(-contents.episodes // CHUNK),
            "chunks_size": CHUNK,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._videos else None,
        }

    def tasks(self, root: Path) -> list[str]:
        """The instructions in the order of task_index."""
        text = read_text(root / _TASKS, what="list of instructions", max_bytes=MOST_JSON_BYTES)
        lines = [parse_json(line, source=_TASKS) for line in text.splitlines()]
        found = {item["task_index"]: str(item["task"]) for item in lines}
        return [found[index] for index in range(len(found))]

    def stage(
        self, staging: Staging, root: Path, additions: Sequence[Addition], after: Contents
    ) -> None:
        """Stage the files of new episodes, and their lines in the lists."""
        episodes, statistics = [], []
        for addition in additions:
            encoded, index = addition.encoded, addition.place.episode_index
            where = {"episode_chunk": index // CHUNK, "episode_index": index}
            complete_tables(
                [(encoded.table, addition.place)],
                staging.file(DATA_PATH.format(**where)),
                schema=self._columns,
                fps=encoded.fps,
            )
            for key in self._videos:
                staging.copy(VIDEO_PATH.format(video_key=key, **where), encoded.video(key))
            episode = {"tasks": list(encoded.instructions), "length": encoded.length}
            episodes.append({"episode_index": index, **episode})
            stats = {
                name: item.to_dict(quantiles=False) for name, item in addition.statistics.items()
            }
            statistics.append({"episode_index": index, "stats": stats})
        staging.lines(_EPISODES, _lines(episodes))
        staging.lines(_STATISTICS, _lines(statistics))
        tasks = [{"task_index": index, "task": task} for index, task in enumerate(after.tasks)]
        staging.text(_TASKS, "".join(f"{line}\n" for line in _lines(tasks)))


def _lines(records: Sequence[dict[str, Any]]) -> list[str]:
    return [json.dumps(record, ensure_ascii=False) for record in records]
