"""Writes small datasets in which nothing is wrong, and gives tests the means to break them."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FPS, LENGTHS = 30, (60, 66, 60)
HEIGHT, WIDTH = 48, 64
JOINTS = ("shoulder", "elbow", "gripper")
CAMERAS = ("observation.images.image_1", "observation.images.image_2")
TASKS = ("put the can into the box", "pour")
LAG = 3  # rows that the state follows the action
STARTS = np.cumsum([0, *LENGTHS]).tolist()
ROBOT = """
name: arm
embodiment: arm
rate_hz: 30
joints:
  - {name: shoulder, position: [-3, 3], velocity: 2, acceleration: 6}
  - {name: elbow, position: [-3, 3], velocity: 2, acceleration: 6}
  - {name: gripper, position: [-3, 3], velocity: 2, acceleration: 10}
cameras:
  - {name: image_1, topic: env/image_raw, type: sensor_msgs/msg/Image, max_age_ms: 150}
  - {name: image_2, topic: wrist/image_raw, type: sensor_msgs/msg/Image, max_age_ms: 150}
state: {topic: joint_states, max_age_ms: 100}
command: [{topic: arm/joint_trajectory, joints: [shoulder, elbow, gripper]}]
teleop: {topic: teleop/joint_trajectory}
home: {shoulder: 0, elbow: 0, gripper: 0}
max_skew_ms: 17
safety: {max_start_error_rad: 0.6, max_tracking_error_rad: 0.35}
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What to write."""

    version: str = "v2.1"
    dtype: str = "video"
    own: bool = False  # with the columns evo1.* and the robot file


def write(root: Path, kind: Kind = Kind()) -> Path:
    (root / "meta").mkdir(parents=True)
    (_write_v21 if kind.version == "v2.1" else _write_v30)(root, kind)
    write_json(root / "meta/info.json", info(kind))
    if kind.own:
        (root / "meta/evo1").mkdir()
        (root / "meta/evo1/robot.yaml").write_text(ROBOT)
    return root


def motion(episode: int, count: int):
    """State and action (T, 3) float32: the same motion, LAG rows apart."""
    seconds = (np.arange(count + LAG) + 100 * episode) / FPS
    curve = np.stack([np.sin(2.1 * seconds), 0.7 * np.cos(3.3 * seconds), np.sin(seconds)], -1)
    curve = curve.astype(np.float32)
    return curve[:-LAG], curve[LAG:]


def picture(row: int, camera: int):
    """A square that wanders over a gradient: no two frames are alike."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = np.linspace(20, 120, WIDTH, dtype=np.uint8)
    image[..., 1] = 60 + 40 * camera
    x, y = (row * 3) % (WIDTH - 10), (row * 2 + 7 * camera) % (HEIGHT - 10)
    image[y : y + 10, x : x + 10] = 250
    return image


def pictures(episode: int, camera: int):
    return [picture(row, camera) for row in range(STARTS[episode], STARTS[episode + 1])]


def table(episode: int, kind: Kind) -> pa.Table:
    state, action = motion(episode, LENGTHS[episode])
    frames = np.arange(LENGTHS[episode])
    columns = {"observation.state": vectors(state), "action": vectors(action)}
    if kind.dtype == "image":
        cell = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        for camera, key in enumerate(CAMERAS):
            cells = [{"bytes": png(one), "path": None} for one in pictures(episode, camera)]
            columns[key] = pa.array(cells, cell)
    if kind.own:
        ticks = 10**18 + frames * round(1e9 / FPS)
        columns["evo1.tick_ns"] = pa.array(ticks)
        columns["evo1.image_1.stamp_ns"] = pa.array(ticks)
        columns["evo1.image_2.stamp_ns"] = pa.array(ticks - 5_000_000)
        columns["evo1.joint_states.stamp_ns"] = pa.array(ticks - 2_000_000)
        columns["evo1.skew_ms"] = pa.array(np.full(len(frames), 5, np.float32))
        columns["evo1.held"] = pa.array(np.zeros(len(frames), np.bool_))
    columns["timestamp"] = pa.array((frames / FPS).astype(np.float32))
    columns["frame_index"] = pa.array(frames)
    columns["episode_index"] = pa.array(np.full(len(frames), episode))
    columns["index"] = pa.array(frames + STARTS[episode])
    columns["task_index"] = pa.array(np.full(len(frames), episode % len(TASKS)))
    return pa.table(columns)


def vectors(values):
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(values)), values.shape[1])


def png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def write_video(path: Path, images, *, fps: int = FPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 2
        stream.options = {"crf": "18", "preset": "ultrafast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def stats(tables: list[pa.Table], kind: Kind):
    found = {}
    for key in ("observation.state", "action"):
        rows = np.concatenate([np.array(one.column(key).to_pylist()) for one in tables])
        found[key] = {
            "min": rows.min(axis=0).tolist(),
            "max": rows.max(axis=0).tolist(),
            "mean": rows.mean(axis=0).tolist(),
            "std": rows.std(axis=0).tolist(),
            "count": [len(rows)],
        }
    for key in CAMERAS:
        found[key] = {name: [[[0.5]]] * 3 for name in ("min", "max", "mean", "std")}
        found[key]["count"] = [20]
    return found


def info(kind: Kind):
    vector = {"dtype": "float32", "shape": [len(JOINTS)], "names": list(JOINTS)}
    features = {"observation.state": dict(vector), "action": dict(vector)}
    for key in CAMERAS:
        names = ["height", "width", "channels"]
        features[key] = {"dtype": kind.dtype, "shape": [HEIGHT, WIDTH, 3], "names": names}
        if kind.dtype == "video":
            features[key]["info"] = {"video.fps": FPS}
    scalars = {"timestamp": "float32"}
    if kind.own:
        for name in ("tick_ns", "image_1.stamp_ns", "image_2.stamp_ns", "joint_states.stamp_ns"):
            scalars[f"evo1.{name}"] = "int64"
        scalars |= {"evo1.skew_ms": "float32", "evo1.held": "bool"}
    scalars |= dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    for key, dtype in scalars.items():
        features[key] = {"dtype": dtype, "shape": [1], "names": None}
    v21 = kind.version == "v2.1"
    file = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    episode = "episode_{episode_index:06d}"
    written = {
        "codebase_version": kind.version,
        "robot_type": "arm",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(LENGTHS)}"},
        "data_path": f"data/chunk-{{episode_chunk:03d}}/{episode}.parquet"
        if v21
        else f"data/{file}.parquet",
        "video_path": f"videos/chunk-{{episode_chunk:03d}}/{{video_key}}/{episode}.mp4"
        if v21
        else f"videos/{{video_key}}/{file}.mp4",
        "features": features,
    }
    if v21:
        written["total_videos"] = len(LENGTHS) * len(CAMERAS) * (kind.dtype == "video")
        written["total_chunks"] = 1
    return written


def _write_v21(root, kind):
    episodes, statistics = [], []
    for episode, length in enumerate(LENGTHS):
        rows = table(episode, kind)
        write_table(root / f"data/chunk-000/episode_{episode:06d}.parquet", rows)
        for camera, key in enumerate(CAMERAS if kind.dtype == "video" else ()):
            path = root / f"videos/chunk-000/{key}/episode_{episode:06d}.mp4"
            write_video(path, pictures(episode, camera))
        tasks = [TASKS[episode % len(TASKS)]]
        episodes.append({"episode_index": episode, "tasks": tasks, "length": length})
        statistics.append({"episode_index": episode, "stats": stats([rows], kind)})
    write_lines(root / "meta/episodes.jsonl", episodes)
    write_lines(root / "meta/episodes_stats.jsonl", statistics)
    tasks = [{"task_index": number, "task": task} for number, task in enumerate(TASKS)]
    write_lines(root / "meta/tasks.jsonl", tasks)


def _write_v30(root, kind):
    """Episodes 0 and 1 lie in one file, 2 in a second."""
    tables = [table(episode, kind) for episode in range(len(LENGTHS))]
    records = []
    for number, episodes in enumerate(([0, 1], [2])):
        part = pa.concat_tables([tables[episode] for episode in episodes])
        write_table(root / f"data/chunk-000/file-{number:03d}.parquet", part)
        for camera, key in enumerate(CAMERAS if kind.dtype == "video" else ()):
            images = [one for episode in episodes for one in pictures(episode, camera)]
            write_video(root / f"videos/{key}/chunk-000/file-{number:03d}.mp4", images)
        records += [_record(episode, number, episodes[0], kind) for episode in episodes]
    write_table(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(records))
    write_json(root / "meta/stats.json", stats(tables, kind))
    write_tasks(root, TASKS)


def write_tasks(root: Path, tasks, *, as_index: bool = True) -> None:
    numbers = pa.table({"task_index": list(range(len(tasks))), "task": list(tasks)})
    if as_index:
        pandas = {"index_columns": ["task"], "columns": [], "column_indexes": []}
        numbers = numbers.replace_schema_metadata({"pandas": json.dumps(pandas)})
    write_table(root / "meta/tasks.parquet", numbers)


def _record(episode, file, first_episode, kind):
    record = {
        "episode_index": episode,
        "tasks": [TASKS[episode % len(TASKS)]],
        "length": LENGTHS[episode],
        "data/chunk_index": 0,
        "data/file_index": file,
        "dataset_from_index": STARTS[episode],
        "dataset_to_index": STARTS[episode + 1],
    }
    for key in CAMERAS if kind.dtype == "video" else ():
        record |= {
            f"videos/{key}/chunk_index": 0,
            f"videos/{key}/file_index": file,
            f"videos/{key}/from_timestamp": (STARTS[episode] - STARTS[first_episode]) / FPS,
            f"videos/{key}/to_timestamp": (STARTS[episode + 1] - STARTS[first_episode]) / FPS,
        }
    return record


def write_table(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)


def write_json(path: Path, content) -> None:
    path.write_text(json.dumps(content, indent=1))


def write_lines(path: Path, records) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def edit_json(path: Path, change) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def edit_lines(path: Path, change) -> None:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    change(records)
    write_lines(path, records)


def edit_table(path: Path, **columns) -> None:
    """Replace columns; None takes one away; '__' in a name stands for '.', '___' for '/'."""
    rows = pq.read_table(path)
    for name, values in columns.items():
        name = name.replace("___", "/").replace("__", ".")
        place = rows.schema.get_field_index(name)
        if values is None:
            rows = rows.remove_column(place)
        elif place < 0:
            rows = rows.append_column(name, values)
        else:
            rows = rows.set_column(place, name, values)
    write_table(path, rows)
