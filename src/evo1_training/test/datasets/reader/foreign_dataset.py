"""Writes datasets as other people have them: other names, units, widths, columns and templates."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LENGTH, EPISODES = 20, 3
SO101 = [
    f"{joint}.pos"
    for joint in (
        "shoulder_pan",
        "shoulder_lift",
        "elbow_flex",
        "wrist_flex",
        "wrist_roll",
        "gripper",
    )
]
SO100 = [
    f"{name.removesuffix('.pos')}_joint" for name in SO101
]  # as robots/so100.yaml names the same
ALOHA = [f"{side}.{j}" for side in ("left", "right") for j in (*"012345", "gripper")]
DEFAULTS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What write() puts on disk, in v2.1 with pictures in its tables.

    Attributes:
        vectors: names (as in info.json) and width of each vector.
        cameras: keys, and channels of each.
        scale: how far the numbers of a vector go from their middle.
        middle: of each number; of all where it is one.
        fps: frames a second.
        float64: tables hold lists of double, whatever info.json says.
        extra: a column that info.json does not name.
        version: codebase_version.
        chunk: how the templates call the chunk.
        tasks_of: task_index of the rows of an episode.
        statistics: whether meta/ has any.
    """

    vectors: Mapping[str, tuple[object, int]] = field(
        default_factory=lambda: {"observation.state": (SO101, 6), "action": (SO101, 6)}
    )
    cameras: Mapping[str, int] = field(
        default_factory=lambda: {"observation.images.front": 3, "observation.images.top": 3}
    )
    scale: float = 80.0
    middle: tuple[float, ...] = (0.0,)
    fps: int = 30
    float64: bool = False
    extra: bool = False
    version: str = "v2.1"
    chunk: str = "episode_chunk"
    tasks_of: tuple[int, ...] = (0,) * LENGTH
    statistics: bool = True


MIDDLE = (0.0, 0.0, 0.0, -1.6, 1.5, 0.9)  # between the limits of so100.yaml [rad]
IMAGES = {"observation.images.image_1": 3, "observation.images.image_2": 3}
KINDS = {
    "so101": Foreign(),
    "renamed": Foreign(
        vectors={"observation.state": (SO100, 6), "action": (SO100, 6)}, cameras=IMAGES
    ),
    "radians": Foreign(
        vectors={"observation.state": (SO100, 6), "action": (SO100, 6)},
        cameras=IMAGES,
        scale=1.0,
        middle=MIDDLE,
    ),
    "one_name": Foreign(
        vectors={"observation.state": (["state"], 6), "action": (["action"], 6)}, scale=1.5
    ),
    "no_names": Foreign(
        vectors={"observation.state": (None, 6), "action": (None, 6)},
        cameras=IMAGES,
        scale=1.0,
        middle=MIDDLE,
    ),
    "nested": Foreign(
        vectors={"observation.state": ([SO101], 6), "action": ([SO101], 6)}, scale=1.5
    ),
    "float64": Foreign(float64=True),
    "depth": Foreign(
        cameras={
            "observation.images.front": 3,
            "observation.images.front_depth": 1,
            "observation.images.top": 3,
        }
    ),
    "libero": Foreign(
        vectors={"state": (["state"], 8), "actions": (["actions"], 7)},
        cameras={"image": 3, "wrist_image": 3},
        scale=1.0,
        fps=10,
        version="v2.0",
        statistics=False,
    ),
    "aloha": Foreign(
        vectors=dict.fromkeys(
            ("observation.qpos", "observation.qvel", "observation.effort", "action"), (ALOHA, 14)
        ),
        cameras={f"observation.images.{c}": 3 for c in ("high", "left_wrist", "right_wrist")},
        scale=1.0,
        fps=50,
    ),
    "chunk_index": Foreign(chunk="chunk_index"),
    "extra_column": Foreign(extra=True),
    "several_tasks": Foreign(tasks_of=(0,) * 8 + (1,) * (LENGTH - 8)),
}
TASKS = ("pick up the block", "put it down")


def write(root: Path, kind: str | Foreign) -> Path:
    """Write a dataset of EPISODES episodes of LENGTH frames."""
    what = KINDS[kind] if isinstance(kind, str) else kind
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(_info(what), indent=1))
    _lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": t} for i, t in enumerate(TASKS)])
    episodes = [
        {
            "episode_index": e,
            "tasks": [TASKS[i] for i in sorted(set(what.tasks_of))],
            "length": LENGTH,
        }
        for e in range(EPISODES)
    ]
    _lines(root / "meta/episodes.jsonl", episodes)
    tables = [_table(what, e) for e in range(EPISODES)]
    for e, table in enumerate(tables):
        pq.write_table(table, root / f"data/chunk-000/episode_{e:06d}.parquet")
    if what.statistics:
        stats = [{"episode_index": e, "stats": _stats(what, t)} for e, t in enumerate(tables)]
        _lines(root / "meta/episodes_stats.jsonl", stats)
    return root


def numbers(what: Foreign, key: str, episode: int) -> np.ndarray:
    """(LENGTH, D) float32."""
    _, width = what.vectors[key]
    frames = np.arange(LENGTH)[:, None] + (3 if "action" in key else 0)
    swing = what.scale * np.sin(frames / 15 + np.arange(width) + episode)
    return np.asarray(what.middle + swing, np.float32)


def _info(what: Foreign) -> dict[str, object]:
    axes = ["height", "width", "channels"]
    features = {
        key: {"dtype": "image", "shape": [24, 32, channels], "names": axes}
        for key, channels in what.cameras.items()
    }
    features |= {
        key: {"dtype": "float32", "shape": [width], "names": names}
        for key, (names, width) in what.vectors.items()
    }
    features |= {
        key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in DEFAULTS.items()
    }
    chunk = "{" + what.chunk + ":03d}"
    return {
        "codebase_version": what.version,
        "robot_type": "so101_follower",
        "total_episodes": EPISODES,
        "total_frames": EPISODES * LENGTH,
        "total_tasks": len(TASKS),
        "total_videos": 0,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": what.fps,
        "splits": {"train": f"0:{EPISODES}"},
        "data_path": f"data/chunk-{chunk}/episode_{{episode_index:06d}}.parquet",
        "video_path": f"videos/chunk-{chunk}/{{video_key}}/episode_{{episode_index:06d}}.mp4",
        "features": features,
    }


def _table(what: Foreign, episode: int) -> pa.Table:
    frames = np.arange(LENGTH)
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        key: pa.array([{"bytes": _png(i, channels), "path": None} for i in frames], cell)
        for key, channels in what.cameras.items()
    }
    for key in what.vectors:
        values = numbers(what, key, episode)
        columns[key] = (
            pa.array(values.astype(float).tolist(), pa.list_(pa.float64()))
            if what.float64
            else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        )
    if what.extra:
        columns["reward"] = pa.array(frames / LENGTH)
    columns |= {
        "timestamp": pa.array((frames / what.fps).astype(np.float32)),
        "frame_index": pa.array(frames),
        "episode_index": pa.array(np.full(LENGTH, episode)),
        "index": pa.array(episode * LENGTH + frames),
        "task_index": pa.array(list(what.tasks_of)),
    }
    return pa.table(columns)


def _stats(what: Foreign, table: pa.Table) -> dict[str, object]:
    stats = {}
    for key in (*what.vectors, *DEFAULTS):
        v = np.array(table.column(key).to_pylist(), np.float64).reshape(LENGTH, -1)
        found = {"min": v.min(0), "max": v.max(0), "mean": v.mean(0), "std": v.std(0)}
        stats[key] = {name: value.tolist() for name, value in found.items()} | {"count": [LENGTH]}
    for key, channels in what.cameras.items():
        levels = {"min": 0.16, "max": 0.86, "mean": 0.22, "std": 0.2}
        stats[key] = {name: [[[level]]] * channels for name, level in levels.items()}
        stats[key]["count"] = [LENGTH]
    return stats


def _png(row: int, channels: int) -> bytes:
    image = np.full((24, 32, 3), 40, np.uint8)
    image[8:16, row % 24 : row % 24 + 8] = 220
    buffer = io.BytesIO()
    Image.fromarray(image if channels == 3 else image[..., 0]).save(buffer, "png")
    return buffer.getvalue()


def _lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
