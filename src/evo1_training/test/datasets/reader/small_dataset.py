"""Writes small LeRobot datasets with nothing but pyarrow and PyAV.

Every frame is one grey level that names its row and camera, so that a test can tell which frame
was read; state and action count up with the row.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

JOINTS = ("joint1", "joint2", "gripper")
HEIGHT, WIDTH = 48, 64
TASKS = ("put the can into the box", "pour")


@dataclass(frozen=True, kw_only=True)
class SmallDataset:
    """What write() puts on disk."""

    layout: str = "v2.1"
    lengths: tuple[int, ...] = (5, 7, 4)
    cameras: tuple[str, ...] = ("image_1", "image_2")
    dtype: str = "video"
    codec: str = "libx264"
    keyframes: int = 2
    b_frames: int = 0
    fps: int = 30
    joints: tuple[str, ...] = JOINTS
    size: tuple[int, int] = (HEIGHT, WIDTH)
    held: bool = False
    driven: tuple[int, int] = ()  # frames of each episode from, to which a person corrected
    robot_type: str = "xarm6"
    scale: float = 1.0  # of state and action


def level(row, camera):
    """Grey level of a frame; neighbours differ by more than a codec does."""
    return 20 + (row * 37 + 90 * camera) % 211


def picture(row, camera, size=(HEIGHT, WIDTH)):
    return np.full((*size, 3), level(row, camera), np.uint8)


def state_of(row, width=3):
    return np.array([row + j / 10 for j in range(width)], np.float32)


def action_of(row, width=3):
    return state_of(row, width) + np.float32(0.5)


def write(root: Path, what: SmallDataset = SmallDataset()) -> Path:
    (root / "meta").mkdir(parents=True)
    if what.layout == "v2.1":
        _write_v21(root, what)
    else:
        _write_v30(root, what)
    write_info(root, what)
    return root


def edit_info(root, **changes):
    path = root / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def table(what: SmallDataset, rows, episode, first_row) -> pa.Table:
    numbers = np.arange(len(rows))
    width = len(what.joints)
    columns = {
        "observation.state": vectors(_stack(state_of, rows, width, what.scale)),
        "action": vectors(_stack(action_of, rows, width, what.scale)),
    }
    if what.driven:
        person = (numbers >= what.driven[0]) & (numbers < what.driven[1])
        columns["evo1.intervention"] = pa.array(person.tolist())
    if what.held:
        columns["evo1.held"] = pa.array((numbers % 3 == 1).tolist())
    if what.dtype == "image":
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        for number, camera in enumerate(what.cameras):
            cells = [{"bytes": png(picture(row, number, what.size)), "path": None} for row in rows]
            columns[f"observation.images.{camera}"] = pa.array(cells, kind)
    columns |= {
        "timestamp": pa.array((numbers / what.fps).astype(np.float32)),
        "frame_index": pa.array(numbers),
        "episode_index": pa.array(np.full(len(rows), episode)),
        "index": pa.array(numbers + first_row),
        "task_index": pa.array(np.full(len(rows), episode % len(TASKS))),
    }
    return pa.table(columns)


def _stack(values_of, rows, width, scale):
    return np.stack([values_of(row, width) for row in rows]) * np.float32(scale)


def vectors(values):
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def write_video(path, levels, what: SmallDataset):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(what.codec, rate=what.fps)
        stream.height, stream.width = what.size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = what.keyframes
        stream.max_b_frames = what.b_frames
        stream.options = {"crf": "10", "preset": "ultrafast"}
        stream.codec_context.thread_count = 1
        for value in levels:
            image = np.full((*what.size, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_info(root, what: SmallDataset):
    vector = {"dtype": "float32", "shape": [len(what.joints)], "names": list(what.joints)}
    features = {"observation.state": vector, "action": vector}
    for camera in what.cameras:
        features[f"observation.images.{camera}"] = {
            "dtype": what.dtype,
            "shape": [*what.size, 3],
            "names": ["height", "width", "channels"],
        }
        if what.dtype == "video":
            features[f"observation.images.{camera}"]["info"] = {"video.fps": what.fps}
    if what.driven:
        features["evo1.intervention"] = {"dtype": "bool", "shape": [1], "names": None}
    if what.held:
        features["evo1.held"] = {"dtype": "bool", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for key in ("frame_index", "episode_index", "index", "task_index"):
        features[key] = {"dtype": "int64", "shape": [1], "names": None}
    v21 = what.layout == "v2.1"
    video = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    info = {
        "codebase_version": what.layout,
        "robot_type": what.robot_type,
        "total_episodes": len(what.lengths),
        "total_frames": sum(what.lengths),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "fps": what.fps,
        "splits": {"train": f"0:{len(what.lengths)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        if v21
        else "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": video
        if v21
        else "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4))


def _write_v21(root, what):
    first_row = 0
    lines = []
    for episode, length in enumerate(what.lengths):
        rows = range(first_row, first_row + length)
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(what, rows, episode, first_row), path)
        for number, camera in enumerate(what.cameras if what.dtype == "video" else ()):
            folder = root / "videos/chunk-000" / f"observation.images.{camera}"
            levels = [level(row, number) for row in rows]
            write_video(folder / f"episode_{episode:06d}.mp4", levels, what)
        task = TASKS[episode % len(TASKS)]
        lines.append({"episode_index": episode, "tasks": [task], "length": length})
        first_row += length
    _write_lines(root / "meta/episodes.jsonl", lines)
    tasks = [{"task_index": number, "task": task} for number, task in enumerate(TASKS)]
    _write_lines(root / "meta/tasks.jsonl", tasks)


def _write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _write_v30(root, what):
    """The first two episodes lie in one file, the others in a second."""
    starts = np.cumsum([0, *what.lengths]).tolist()
    files = [list(range(min(2, len(what.lengths)))), list(range(2, len(what.lengths)))]
    records = []
    for number, episodes in enumerate(filter(None, files)):
        path = root / f"data/chunk-000/file-{number:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = [table(what, range(starts[e], starts[e + 1]), e, starts[e]) for e in episodes]
        with pq.ParquetWriter(path, tables[0].schema) as writer:
            for part in tables:
                writer.write_table(part)
        rows = range(starts[episodes[0]], starts[episodes[-1] + 1])
        for index, camera in enumerate(what.cameras if what.dtype == "video" else ()):
            video = root / f"videos/observation.images.{camera}/chunk-000/file-{number:03d}.mp4"
            write_video(video, [level(row, index) for row in rows], what)
        records += [_record_v30(what, e, number, starts, rows[0]) for e in episodes]
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records), path)
    tasks = pa.table({"task_index": list(range(len(TASKS))), "task": list(TASKS)})
    pq.write_table(tasks, root / "meta/tasks.parquet")


def _record_v30(what, episode, file, starts, first_row):
    record = {
        "episode_index": episode,
        "tasks": [TASKS[episode % len(TASKS)]],
        "length": what.lengths[episode],
        "data/chunk_index": 0,
        "data/file_index": file,
        "dataset_from_index": starts[episode],
        "dataset_to_index": starts[episode + 1],
    }
    if what.dtype == "video":
        for camera in what.cameras:
            key = f"videos/observation.images.{camera}"
            record |= {
                f"{key}/chunk_index": 0,
                f"{key}/file_index": file,
                f"{key}/from_timestamp": (starts[episode] - first_row) / what.fps,
                f"{key}/to_timestamp": (starts[episode + 1] - first_row) / what.fps,
            }
    return record
