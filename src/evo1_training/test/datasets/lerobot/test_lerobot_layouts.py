"""The folders of v2.1 and v3.0, read back with plain pyarrow and PyAV."""

import json
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import ROBOT, encoded, joints, picture, schema

from evo1_training.datasets.lerobot import layouts
from evo1_training.datasets.lerobot.writing import open_dataset

PUT, POUR = "put the can into the box", "pour"
CAMERAS = ("observation.images.image_1", "observation.images.image_2")
COLUMNS = [
    "observation.state",
    "action",
    "evo1.tick_ns",
    "evo1.image_1.stamp_ns",
    "evo1.image_2.stamp_ns",
    "evo1.joint_states.stamp_ns",
    "evo1.skew_ms",
    "evo1.held",
    "evo1.intervention",
    "timestamp",
    "frame_index",
    "episode_index",
    "index",
    "task_index",
]


def make(tmp_path, version, counts=(5, 7, 4), *, storage="h264"):
    root = tmp_path / "data_set"
    writer = open_dataset(root, schema(storage), version=version, append=root.exists())
    first = len(writer.sources)
    for episode, count in enumerate(counts, first):
        task = PUT if episode % 2 == 0 else POUR
        item = encoded(tmp_path / "work", episode, count, task=task, storage=storage)
        assert writer.add(item) == episode
    writer.close()
    return root


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def read(root, name):
    return json.loads((root / name).read_text())


def read_lines(root, name):
    return [json.loads(line) for line in (root / name).read_text().splitlines()]


OWN_FILES = ["meta/evo1/norm_stats.json", "meta/evo1/robot.yaml", "meta/evo1/sources.jsonl"]


def test_v21_has_one_table_and_one_video_a_camera_for_each_episode(tmp_path):
    root = make(tmp_path, "v2.1", (5, 7))
    assert files(root) == [
        "data/chunk-000/episode_000000.parquet",
        "data/chunk-000/episode_000001.parquet",
        "meta/episodes.jsonl",
        "meta/episodes_stats.jsonl",
        *OWN_FILES,
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.jsonl",
        *(f"videos/chunk-000/{key}/episode_00000{i}.mp4" for key in CAMERAS for i in (0, 1)),
    ]


def test_v21_info(tmp_path):
    info = read(make(tmp_path, "v2.1"), "meta/info.json")
    features = info.pop("features")
    assert info == {
        "codebase_version": "v2.1",
        "robot_type": "xarm6",
        "total_episodes": 3,
        "total_frames": 16,
        "total_tasks": 2,
        "total_videos": 6,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": 30,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": (
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        ),
    }
    assert list(features) == COLUMNS[:2] + list(CAMERAS) + COLUMNS[2:]
    names = list(ROBOT.joint_names)
    assert features["action"] == {"dtype": "float32", "shape": [7], "names": names}
    assert features["index"] == {"dtype": "int64", "shape": [1], "names": None}
    assert features["observation.images.image_1"] == {
        "dtype": "video",
        "shape": [48, 64, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": 48,
            "video.width": 64,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": 30,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def test_v21_lists(tmp_path):
    root = make(tmp_path, "v2.1")
    assert read_lines(root, "meta/tasks.jsonl") == [
        {"task_index": 0, "task": PUT},
        {"task_index": 1, "task": POUR},
    ]
    assert read_lines(root, "meta/episodes.jsonl") == [
        {"episode_index": 0, "tasks": [PUT], "length": 5},
        {"episode_index": 1, "tasks": [POUR], "length": 7},
        {"episode_index": 2, "tasks": [PUT], "length": 4},
    ]
    assert read_lines(root, "meta/evo1/sources.jsonl")[1] == {
        "episode_index": 1,
        "source": "episode_000001#0",
    }
    stats = read_lines(root, "meta/episodes_stats.jsonl")[1]
    assert stats["episode_index"] == 1
    index = {"min": [5.0], "max": [11.0], "mean": [8.0], "std": [2.0], "count": [7]}
    assert stats["stats"]["index"] == index
    picture_stats = stats["stats"]["observation.images.image_1"]
    assert np.shape(picture_stats["mean"]) == (3, 1, 1)
    assert 0 <= np.min(picture_stats["min"]) <= np.max(picture_stats["max"]) <= 1


def test_lerobots_aggregation_finds_no_picture_key_with_another_shape(tmp_path):
    # It demands (3, 1, 1) of any key that contains "image", so columns of stamps have none.
    root = make(tmp_path, "v2.1")
    for key, item in read(root, "meta/stats.json").items():
        if "image" in key:
            assert np.shape(item["min"]) == (3, 1, 1), key


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_tables_have_lerobots_columns(tmp_path, version):
    root = make(tmp_path, version)
    rows = []
    for path in sorted((root / "data").glob("*/*.parquet")):
        table = pq.read_table(path)
        assert table.column_names == COLUMNS
        rows += table.to_pylist()
    assert [row["index"] for row in rows] == list(range(16))
    assert [row["episode_index"] for row in rows] == [0] * 5 + [1] * 7 + [2] * 4
    assert [row["task_index"] for row in rows] == [0] * 5 + [1] * 7 + [0] * 4
    assert [row["frame_index"] for row in rows[5:12]] == list(range(7))
    assert rows[6]["timestamp"] == float(np.float32(1 / 30))
    np.testing.assert_allclose(rows[6]["observation.state"], joints(1, 1), atol=1e-6)
    np.testing.assert_allclose(rows[6]["action"], joints(1, 2), atol=1e-6)


@pytest.mark.parametrize(("version", "kind"), [("v2.1", "Sequence"), ("v3.0", "List")])
def test_tables_tell_hugging_face_their_types(tmp_path, version, kind):
    root = make(tmp_path, version)
    schema_found = pq.read_schema(next((root / "data").glob("*/*.parquet")))
    types = json.loads(schema_found.metadata[b"huggingface"])["info"]["features"]
    assert list(types) == COLUMNS
    assert types["action"] == {
        "feature": {"dtype": "float32", "_type": "Value"},
        "length": 7,
        "_type": kind,
    }
    assert types["evo1.held"] == {"dtype": "bool", "_type": "Value"}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_png_datasets_have_no_videos(tmp_path, version):
    root = make(tmp_path, version, storage="png")
    assert not (root / "videos").exists()
    assert read(root, "meta/info.json")["video_path"] is None
    schema_found = pq.read_schema(next((root / "data").glob("*/*.parquet")))
    types = json.loads(schema_found.metadata[b"huggingface"])["info"]["features"]
    assert types["observation.images.image_1"] == {"_type": "Image"}


def test_v30_has_one_file_of_each_kind(tmp_path):
    root = make(tmp_path, "v3.0")
    assert files(root) == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        *OWN_FILES,
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        *(f"videos/{key}/chunk-000/file-000.mp4" for key in CAMERAS),
    ]
    table = pq.ParquetFile(root / "data/chunk-000/file-000.parquet")
    assert table.num_row_groups == 3  # one an episode


def test_v30_info(tmp_path):
    info = read(make(tmp_path, "v3.0"), "meta/info.json")
    info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "xarm6",
        "total_episodes": 3,
        "total_frames": 16,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 30,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }


def test_v30_tasks_have_the_instruction_as_pandas_index(tmp_path):
    table = pq.read_table(make(tmp_path, "v3.0") / "meta/tasks.parquet")
    assert table.to_pydict() == {"task_index": [0, 1], "task": [PUT, POUR]}
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_v30_episodes_say_where_their_frames_are(tmp_path):
    root = make(tmp_path, "v3.0")
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["length"] for row in rows] == [5, 7, 4]
    assert [row["tasks"] for row in rows] == [[PUT], [POUR], [PUT]]
    assert [row["dataset_from_index"] for row in rows] == [0, 5, 12]
    assert [row["dataset_to_index"] for row in rows] == [5, 12, 16]
    key = "videos/observation.images.image_2"
    assert [row[f"{key}/from_timestamp"] for row in rows] == [0.0, 5 / 30, 12 / 30]
    assert [row[f"{key}/to_timestamp"] for row in rows] == [5 / 30, 12 / 30, 16 / 30]
    for prefix in ("data", key, "meta/episodes"):
        assert {row[f"{prefix}/chunk_index"] for row in rows} == {0}
        assert {row[f"{prefix}/file_index"] for row in rows} == {0}
    assert rows[1]["stats/index/min"] == [5.0]
    assert np.shape(rows[1]["stats/observation.images.image_1/q99"]) == (3, 1, 1)


@pytest.mark.parametrize("runs", [[(5, 7, 4)], [(5, 7), (4,)]])
def test_v30_video_frames_are_where_the_episodes_say(tmp_path, runs):
    for counts in runs:
        root = make(tmp_path, "v3.0", counts)
    info = read(root, "meta/info.json")
    paths = sorted((root / "meta/episodes").glob("*/*.parquet"))
    for row in (row for path in paths for row in pq.read_table(path).to_pylist()):
        for camera, key in enumerate(CAMERAS):
            where = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            path = root / info["video_path"].format(video_key=key, **where)
            start = round(row[f"videos/{key}/from_timestamp"] * 30)
            shown = decode(path)[start : start + row["length"]]
            for index, (time, image) in enumerate(shown):
                assert time == Fraction(start + index, 30)
                expected = picture(row["episode_index"], index, camera).astype(float)
                assert np.mean((image - expected) ** 2) < 26  # 34 dB


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (frame.pts * stream.time_base, frame.to_ndarray(format="rgb24"))
            for frame in container.decode(stream)
        ]


def test_v30_keeps_files_below_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "VIDEO_LIMIT_MB", 0.015)
    monkeypatch.setattr(layouts, "DATA_LIMIT_MB", 0.015)
    root = make(tmp_path, "v3.0", (8,) * 6)
    data = sorted((root / "data").glob("*/*"))
    videos = sorted((root / "videos" / CAMERAS[0]).glob("*/*"))
    assert 1 < len(data) < 6
    assert 1 < len(videos) < 6
    assert all(path.stat().st_size < 0.02 * 1024**2 for path in data)  # as encoded, 0.015
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    firsts = [row for row in rows if row[f"videos/{CAMERAS[0]}/from_timestamp"] == 0]
    assert len(firsts) == len(videos)
    indices = [index for path in data for index in pq.read_table(path)["index"].to_pylist()]
    assert indices == list(range(48))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_appending_gives_the_dataset_that_one_run_gives(tmp_path, version):
    whole = make(tmp_path / "a", version, (5, 7, 4))
    parts = make(tmp_path / "b", version, (5,))
    first = {name: (parts / name).read_bytes() for name in files(parts) if "meta" not in name}
    make(tmp_path / "b", version, (7, 4))
    tables = [
        pa.concat_tables([pq.read_table(path) for path in sorted(root.glob("data/*/*"))])
        for root in (whole, parts)
    ]
    assert tables[0].equals(tables[1])
    assert {name: (parts / name).read_bytes() for name in first} == first
    if version == "v2.1":
        assert files(parts) == files(whole)
    for name in files(whole):
        if name.endswith(("info.json", ".jsonl", "tasks.parquet", "norm_stats.json")):
            assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
