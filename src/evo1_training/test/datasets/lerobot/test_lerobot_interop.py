"""The real LeRobot clients load what we write; they live in venvs of their own.

scripts/setup_lerobot.sh makes the venvs; EVO1_LEROBOT21_PYTHON and EVO1_LEROBOT30_PYTHON name
their interpreters.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_episodes import encoded, joints, picture, schema

from evo1_training.datasets.lerobot.editing import Edit, write_edited
from evo1_training.datasets.lerobot.writing import open_dataset

READER = Path(__file__).parent / "read_with_lerobot.py"
CLIENTS = {"v2.1": "EVO1_LEROBOT21_PYTHON", "v3.0": "EVO1_LEROBOT30_PYTHON"}
LENGTHS, TASKS = (12, 7, 9), ("put the can into the box", "pour", "put the can into the box")


def client(version):
    python = os.environ.get(CLIENTS[version])
    if not python:
        pytest.skip(f"{CLIENTS[version]} is not set; scripts/setup_lerobot.sh makes its venv")
    return python


def write(tmp_path, version, storage):
    root = tmp_path / "made"
    writer = open_dataset(root, schema(storage), version=version, append=False)
    for episode, (length, task) in enumerate(zip(LENGTHS, TASKS, strict=True)):
        item = encoded(tmp_path / "work", episode, length, task=task, storage=storage)
        writer.add(item)
    writer.close()
    return root


def run(command, folder):
    leaking = ("PYTHONPATH", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH")
    environment = {key: value for key, value in os.environ.items() if key not in leaking}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def load(python, root, folder):
    out = folder / "found.npz"
    run([python, READER, root, out], folder)
    with np.load(out) as found:
        return dict(found)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("storage", ["h264", "av1", "png"])
def test_lerobot_returns_what_was_recorded(tmp_path, version, storage):
    python = client(version)
    root = write(tmp_path, version, storage)
    found = load(python, root, tmp_path)
    assert found["episodes"] == 3
    assert found["fps"] == 30
    row = 0
    for episode, length in enumerate(LENGTHS):
        for index in range(length):
            check_row(found, row, episode, index, storage)
            row += 1
    assert len(found["index"]) == row
    stats = json.loads(str(found["stats"]))
    states = np.concatenate([[joints(e, i) for i in range(n)] for e, n in enumerate(LENGTHS)])
    np.testing.assert_allclose(stats["observation.state"]["mean"], states.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["observation.state"]["std"], states.std(0), atol=1e-6)
    assert np.shape(stats["observation.images.image_1"]["mean"]) == (3, 1, 1)


def check_row(found, row, episode, index, storage):
    length = LENGTHS[episode]
    np.testing.assert_allclose(found["observation.state"][row], joints(episode, index), atol=1e-6)
    last = length - 1
    actions = [joints(episode, min(index + k, last) + 1) for k in range(5)]
    np.testing.assert_allclose(found["action"][row], actions, atol=1e-6)
    assert found["action_is_pad"][row].tolist() == [index + k > last for k in range(5)]
    assert found["tasks"][row] == TASKS[episode]
    assert found["timestamp"][row] == np.float32(index / 30)
    assert (found["episode_index"][row], found["frame_index"][row]) == (episode, index)
    assert found["evo1.held"][row] == (index == 3)
    for camera, key in enumerate(("image_1", "image_2")):
        image = found[f"observation.images.{key}"][row].transpose(1, 2, 0) * 255.0
        expected = picture(episode, index, camera).astype(float)
        error = np.mean((image - expected) ** 2)
        assert error < (0.01 if storage == "png" else 26)  # 26: 34 dB


def test_lerobot_converts_our_v21_to_v30(tmp_path):
    python = client("v3.0")
    root = write(tmp_path, "v2.1", "h264")
    code = (
        "import sys, torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "for operator in ('nms', 'qnms'):\n"
        "    library.define(operator + '(Tensor a, Tensor b, float c) -> Tensor')\n"
        "from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset\n"
        "convert_dataset('made', root=sys.argv[1], push_to_hub=False)\n"
    )
    run([python, "-c", code, root.parent], tmp_path)
    found = load(python, root, tmp_path)
    assert json.loads((root / "meta/info.json").read_text())["codebase_version"] == "v3.0"
    for row, (episode, index) in enumerate(
        (e, i) for e, n in enumerate(LENGTHS) for i in range(n)
    ):
        check_row(found, row, episode, index, "h264")


EDIT = Edit(
    delete=frozenset({1}),
    splits={0: (5,)},
    trims={2: (2, 8)},
    tasks=((frozenset({2}), "lift"),),
    drop_cameras=("image_2",),
)
# (episode, first frame, end, task) of what the edit leaves of LENGTHS
LEFT = ((0, 0, 5, TASKS[0]), (0, 5, 12, TASKS[0]), (2, 2, 8, "lift"))


@pytest.fixture(scope="module", params=["v2.1", "v3.0"])
def edited(request, tmp_path_factory):
    """A dataset of ours after an edit, and beside it the file that `evo1 adopt` writes."""
    client(request.param)  # nothing is written for nobody
    folder = tmp_path_factory.mktemp("edited")
    root = folder / "edited"
    write_edited([write(folder, request.param, "h264")], EDIT, root)
    (folder / "edited.evo1.yaml").write_text("robot: xarm6\n")
    return request.param, root


def test_lerobot_returns_what_an_edit_left(edited, tmp_path):
    version, root = edited
    found = load(client(version), root, tmp_path)
    assert found["episodes"] == len(LEFT)
    assert "observation.images.image_2" not in found
    row = 0
    for number, (episode, first, end, task) in enumerate(LEFT):
        for frame in range(first, end):
            state = found["observation.state"][row]
            np.testing.assert_allclose(state, joints(episode, frame), atol=1e-6)
            assert found["tasks"][row] == task
            assert found["timestamp"][row] == np.float32((frame - first) / 30)
            assert found["episode_index"][row] == number
            image = found["observation.images.image_1"][row].transpose(1, 2, 0) * 255.0
            assert np.mean((image - picture(episode, frame, 0)) ** 2) < 40  # encoded twice: 32 dB
            row += 1
    assert len(found["index"]) == row


INFO = {
    *("codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks"),
    *("chunks_size", "fps", "splits", "data_path", "video_path", "features"),
}
INDEX = {
    "timestamp": "float32",
    **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
}
LISTED = {
    *("episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"),
    *("data/chunk_index", "data/file_index"),
    *("meta/episodes/chunk_index", "meta/episodes/file_index"),
}
VIDEO = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


def test_an_edited_dataset_is_what_the_format_describes(edited):
    """As facts of the format say; LeRobot itself is not asked."""
    version, root = edited
    info = json.loads((root / "meta/info.json").read_text())
    own = {"total_videos", "total_chunks"}
    if version == "v3.0":
        own = {"data_files_size_in_mb", "video_files_size_in_mb"}
    assert set(info) == INFO | own
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 18, 2)
    assert info["splits"] == {"train": "0:3"}
    last = list(info["features"])[-5:]
    assert {key: info["features"][key]["dtype"] for key in last} == INDEX
    assert all(info["features"][key]["shape"] == [1] for key in last)
    tables = [pq.read_table(path) for path in sorted(root.glob("data/*/*.parquet"))]
    columns = [key for key, one in info["features"].items() if one["dtype"] != "video"]
    for table in tables:
        assert table.column_names == columns
        described = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert list(described) == columns
    rows = [row for table in tables for row in table.select(last).to_pylist()]
    assert [row["index"] for row in rows] == list(range(18))
    assert [row["episode_index"] for row in rows] == [0] * 5 + [1] * 7 + [2] * 6
    assert all(abs(row["timestamp"] - row["frame_index"] / 30) < 1e-4 for row in rows)
    (check_v21 if version == "v2.1" else check_v30)(root, info)


def check_v21(root, info):
    assert (info["total_videos"], info["total_chunks"]) == (3, 1)
    assert len(list(root.glob("**/*.parquet"))) == len(list(root.glob("**/*.mp4"))) == 3
    lists = ("episodes", "episodes_stats", "tasks")
    episodes, stats, tasks = (
        [json.loads(line) for line in (root / f"meta/{one}.jsonl").read_text().splitlines()]
        for one in lists
    )
    assert [(one["episode_index"], one["length"]) for one in episodes] == [(0, 5), (1, 7), (2, 6)]
    assert tasks == [{"task_index": 0, "task": TASKS[0]}, {"task_index": 1, "task": "lift"}]
    for one, length in zip(stats, (5, 7, 6), strict=True):
        assert set(INDEX) <= set(one["stats"])
        for key, found in one["stats"].items():
            assert set(found) == {"min", "max", "mean", "std", "count"}
            assert found["count"] == [length]
            if "image" in key and not key.startswith("evo1."):
                assert np.shape(found["mean"]) == (3, 1, 1)


def check_v30(root, info):
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    camera = {f"videos/observation.images.image_1/{name}" for name in VIDEO}
    assert {key for key in rows[0] if not key.startswith("stats/")} == LISTED | camera
    assert [row["dataset_to_index"] for row in rows] == [5, 12, 18]
    for row in rows:
        start, end = (row[f"videos/observation.images.image_1/{name}"] for name in VIDEO[2:])
        assert end - start == pytest.approx(row["length"] / 30)
    tasks = pq.read_table(root / "meta/tasks.parquet")
    assert tasks.schema.pandas_metadata["index_columns"] == ["task"]
    assert tasks.column("task_index").to_pylist() == [0, 1]
    assert tasks.column("task").to_pylist() == [TASKS[0], "lift"]
    assert (root / "meta/stats.json").is_file()
