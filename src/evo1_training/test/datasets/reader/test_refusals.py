"""Datasets that cannot be used: every error names the file and what was expected."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_dataset import SmallDataset, edit_info, vectors, write, write_video

from evo1_training.datasets.checker.checking import check_dataset
from evo1_training.datasets.reader import DatasetError, open_folder

DATA_V21 = "data/chunk-000/episode_000001.parquet"
DATA_V30 = "data/chunk-000/file-001.parquet"
VIDEO_V21 = "videos/chunk-000/observation.images.image_1/episode_000001.mp4"
VIDEO_V30 = "videos/observation.images.image_1/chunk-000/file-001.mp4"


def edit_table(path, **columns):
    table = pq.read_table(path)
    for key, values in columns.items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        table = table.set_column(table.column_names.index(key), key, array)
    pq.write_table(table, path)


def cut(path, keep=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def test_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"info\.json: missing; expected the folder of a"):
        open_folder(tmp_path)


@pytest.mark.parametrize("version", ["v1.6", "v3.1", "3"])
def test_other_versions_are_refused(v21, version):
    edit_info(v21, codebase_version=version)
    with pytest.raises(DatasetError, match=r"codebase_version: expected v2\.1 or v3\.0, got"):
        open_folder(v21)


def test_v20_is_read_like_v21(v21):
    edit_info(v21, codebase_version="v2.0")
    assert open_folder(v21).info.layout == "v2.1"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fps", 0, "fps: expected a whole number above 0, got 0"),
        ("fps", 29.97, r"fps: expected a whole number above 0, got 29\.97"),
        ("fps", True, "fps: expected"),
        ("features", [], "features: expected an object, got"),
        ("data_path", "data/{episode}.parquet", "data_path: cannot fill"),
        ("video_path", None, "video_path: expected a template"),
        ("total_episodes", 4, "total_episodes: 4, but meta/ has 3"),
        ("total_frames", 17, "total_frames: 17, but meta/ has 16"),
    ],
)
def test_wrong_keys_of_info_are_named(v21, key, value, message):
    edit_info(v21, **{key: value})
    with pytest.raises(DatasetError, match=message):
        open_folder(v21)


def test_info_without_a_key_is_refused(v21):
    path = v21 / "meta/info.json"
    info = json.loads(path.read_text())
    del info["fps"]
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"info\.json: fps: expected a whole"):
        open_folder(v21)


@pytest.mark.parametrize(
    "file", ["meta/info.json", "meta/episodes.jsonl", "meta/tasks.jsonl", DATA_V21, VIDEO_V21]
)
def test_missing_file_of_v21_is_named(v21, file):
    (v21 / file).unlink()
    with pytest.raises(DatasetError, match=file):
        open_folder(v21)


@pytest.mark.parametrize("file", ["meta/tasks.parquet", DATA_V30, VIDEO_V30])
def test_missing_file_of_v30_is_named(v30, file):
    (v30 / file).unlink()
    with pytest.raises(DatasetError, match=file):
        open_folder(v30)


def test_dataset_that_was_never_finalised_is_refused(v30):
    (v30 / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DatasetError, match="not finalised"):
        open_folder(v30)


@pytest.mark.parametrize("file", [DATA_V21, VIDEO_V21, "meta/info.json", "meta/episodes.jsonl"])
def test_file_that_was_cut_off_is_named(v21, file):
    cut(v21 / file)
    with pytest.raises(DatasetError, match=file):
        open_folder(v21)


def test_video_without_its_last_bytes_is_refused(v30):
    cut(v30 / VIDEO_V30, keep=0.99)
    with pytest.raises(DatasetError, match=rf"{VIDEO_V30}: cut off"):
        open_folder(v30)


def test_table_that_no_episode_names_is_refused(v21):
    (v21 / "data/chunk-000/episode_000009.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"episode_000009\.parquet: no episode of meta/"):
        open_folder(v21)


@pytest.mark.parametrize("layout", ["v2.1", "v3.0"])
def test_dataset_that_was_only_created_is_refused(tmp_path, layout):
    root = write(tmp_path / layout, SmallDataset(layout=layout))
    edit_info(root, total_episodes=0, total_frames=0)
    for path in [*root.glob("data/*/*"), *root.glob("meta/episodes*"), *root.glob("meta/tasks*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(
        DatasetError, match=r"info\.json: total_episodes: 0, the dataset has no epi"
    ):
        open_folder(root)
    (finding,) = check_dataset(root).findings
    assert (finding.code, finding.severity) == ("empty", "error")


def test_missing_episode_is_named(v21):
    path = v21 / "meta/episodes.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DatasetError, match="total_episodes: 3, but meta/ has 2"):
        open_folder(v21)


def test_table_with_fewer_rows_than_promised_is_refused(v21, open_samples):
    path = v21 / DATA_V21
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    with pytest.raises(DatasetError, match=rf"{DATA_V21}: 5 rows, but meta/ promises 7"):
        open_samples(v21)


def test_rows_in_the_wrong_order_are_refused(v21, open_samples):
    edit_table(v21 / DATA_V21, frame_index=[0, 1, 2, 4, 3, 5, 6])
    with pytest.raises(DatasetError, match=r"frame_index: row 3 has 4, expected 3"):
        open_samples(v21)


def test_rows_of_v30_that_are_not_at_their_index_are_refused(v30, open_samples):
    edit_table(v30 / DATA_V30, index=[0, 1, 2, 3])
    with pytest.raises(DatasetError, match=r"index: row 0 has 0, expected 12"):
        open_samples(v30)


def test_times_of_another_rate_are_refused(v21, open_samples):
    edit_table(v21 / DATA_V21, timestamp=(np.arange(7) / 25).astype(np.float32))
    with pytest.raises(DatasetError, match=r"timestamp: row 1 is at 0\.0400 s, expected 0\.0333"):
        open_samples(v21)


def test_video_of_another_rate_is_refused(v21, open_samples):
    write_video(v21 / VIDEO_V21, range(40, 75, 5), SmallDataset(fps=25))
    samples = open_samples(v21)
    with pytest.raises(DatasetError, match=r"episode_000001\.mp4: no frame at 0\.0333 s"):
        samples[6]


def test_video_rate_that_contradicts_fps_is_refused(tmp_path):
    root = write(tmp_path / "d", SmallDataset(fps=25))
    edit_info(root, fps=30)
    with pytest.raises(DatasetError, match=r"image_1\.info\.video\.fps: 25, but fps is 30"):
        open_folder(root)


def test_video_shorter_than_its_episode_is_refused(v21, open_samples):
    write_video(v21 / VIDEO_V21, [40, 50, 60], SmallDataset())
    samples = open_samples(v21)
    samples[7]
    with pytest.raises(DatasetError, match=r"no frame at 0\.1000 s: it ends before"):
        samples[8]
    samples[7]  # and goes on with what is there


def test_video_with_damaged_contents_is_refused(v21, open_samples):
    path = v21 / VIDEO_V21
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 600] = bytes(600)
    path.write_bytes(data)
    samples = open_samples(v21)
    with pytest.raises(DatasetError, match=r"episode_000001\.mp4"):
        [samples[row] for row in range(5, 12)]


def test_nan_is_named_with_its_row_and_joint(v21, open_samples):
    values = np.zeros((7, 3), np.float32)
    values[4, 2] = np.nan
    edit_table(v21 / DATA_V21, action=vectors(values))
    with pytest.raises(DatasetError, match=r"action: row 4 is not finite at gripper"):
        open_samples(v21)


def test_text_in_place_of_numbers_is_refused(v21, open_samples):
    edit_table(v21 / DATA_V21, action=[str(row) for row in range(7)])
    with pytest.raises(DatasetError, match=r"action: dtype object, but info\.json says float32"):
        open_samples(v21)


def test_another_width_than_promised_is_refused(v21, open_samples):
    edit_table(v21 / DATA_V21, action=vectors(np.zeros((7, 2), np.float32)))
    with pytest.raises(DatasetError, match=r"action: 2 numbers a frame, .* shape \[3\]"):
        open_samples(v21)


def test_rows_of_different_widths_are_refused(v21, open_samples):
    rows = [[0.0, 1.0, 2.0]] * 5 + [[0.0, 1.0], [0.0, 1.0, 2.0, 3.0]]
    edit_table(v21 / DATA_V21, action=pa.array(rows, pa.list_(pa.float32())))
    with pytest.raises(DatasetError, match=r"action: rows of \[2, 3, 4\] numbers"):
        open_samples(v21)


def test_lists_of_one_width_are_as_good_as_fixed_ones(v21, open_samples):
    rows = [[0.0, 1.0, 2.0]] * 7
    edit_table(v21 / DATA_V21, action=pa.array(rows, pa.list_(pa.float32())))
    assert open_samples(v21)[5].actions[0].tolist() == [0.0, 1.0, 2.0]


def test_row_without_a_value_is_refused(v21, open_samples):
    rows = [[0.0, 1.0, 2.0]] * 6 + [None]
    edit_table(v21 / DATA_V21, action=pa.array(rows, pa.list_(pa.float32())))
    with pytest.raises(DatasetError, match="action: some rows have no value"):
        open_samples(v21)


def test_task_that_nobody_described_is_refused(v21, open_samples):
    edit_table(v21 / DATA_V21, task_index=[5] * 7)
    with pytest.raises(DatasetError, match=r"task_index: row 0 has 5, a task that meta/ does"):
        open_samples(v21)


def test_feature_that_is_not_there_is_named_with_those_that_are(v21, open_samples):
    with pytest.raises(DatasetError, match=r"features: no 'observation\.images\.top'; there are"):
        open_samples(v21, spec={"view_map": {"image_1": "observation.images.top"}})


def test_picture_that_cannot_be_read_is_named(tmp_path, open_samples):
    root = write(tmp_path / "d", SmallDataset(dtype="image"))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = [{"bytes": b"\x89PNG no more", "path": None}] * 7
    edit_table(root / DATA_V21, **{"observation.images.image_1": pa.array(cells, kind)})
    samples = open_samples(root)
    with pytest.raises(DatasetError, match=r"image_1: row 2: not a readable picture"):
        samples[7]
