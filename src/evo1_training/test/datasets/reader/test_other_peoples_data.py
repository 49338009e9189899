"""What real datasets contain: each is checked, shown and read, or refused with what to do."""

import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreign_dataset import ALOHA, KINDS, LENGTH, SO101, TASKS, numbers, write
from small_dataset import SmallDataset, edit_info, level, write_video
from small_dataset import write as write_small

from evo1_training.datasets.checker.checking import check_dataset
from evo1_training.datasets.reader import DatasetError, open_folder
from evo1_training.datasets.reader.suites import Suite
from evo1_training.viewing.in_dataset import view_dataset

QPOS = Suite(name="custom", state=("observation.qpos",))
LIBERO = Suite(name="custom", state=("state",), action=("actions",))
STATE_6 = tuple(f"observation.state[{j}]" for j in range(6))
# kind: columns of state and action, what check-dataset finds of the format (never an error but
# where LeRobot stumbles), and what view draws.
TAKEN = {
    "so101": (Suite(), set(), tuple(SO101)),
    "one_name": (Suite(), {"names"}, tuple(f"action[{j}]" for j in range(6))),
    "no_names": (Suite(), set(), tuple(f"action[{j}]" for j in range(6))),
    "nested": (Suite(), set(), tuple(SO101)),
    "float64": (Suite(), {"dtype-width"}, tuple(SO101)),
    "depth": (Suite(), {"depth"}, tuple(SO101)),
    "extra_column": (Suite(), {"columns-extra"}, tuple(SO101)),
    "several_tasks": (Suite(), set(), tuple(SO101)),
    "chunk_index": (Suite(), {"template"}, tuple(SO101)),
    "aloha": (QPOS, {"policy-feature"}, tuple(ALOHA)),
    "libero": (
        LIBERO,
        {"policy-feature", "old-version", "names"},
        tuple(f"state[{j}]" for j in range(8)) + tuple(f"actions[{j}]" for j in range(7)),
    ),
}
OF_THE_FORMAT = {"names", "dtype-width", "depth", "columns-extra", "policy-feature", "old-version"}


@pytest.mark.parametrize("kind", TAKEN)
def test_kind_is_checked_shown_and_read(tmp_path, open_samples, kind):
    suite, expected, joints = TAKEN[kind]
    root = write(tmp_path / kind, kind)

    found = check_dataset(root, quick=True).findings
    assert {one.code for one in found if one.severity == "error"} == expected - OF_THE_FORMAT
    assert {one.code for one in found} & (OF_THE_FORMAT | {"template"}) == expected

    view = view_dataset(root, 1, columns=2)
    assert view.joints == joints
    drawn = np.isfinite(view.state.values).any(axis=0) | np.isfinite(view.action.values).any(
        axis=0
    )
    assert drawn.all()
    assert len(view.cameras) == len([c for c in KINDS[kind].cameras.values() if c == 3])

    samples = open_samples(root, spec={"suite": suite}, image_size=16)
    sample = samples[LENGTH + 2]
    assert sample.state == pytest.approx(numbers(KINDS[kind], suite.state[0], 1)[2])
    assert sample.actions[1] == pytest.approx(numbers(KINDS[kind], suite.action[0], 1)[3])
    assert sample.images.shape == (len(view.cameras), 16, 16, 3)


def test_tasks_are_those_of_each_frame(tmp_path, open_samples):
    root = write(tmp_path / "d", "several_tasks")
    samples = open_samples(root, image_size=16)
    assert [samples[row].instruction for row in (7, 8)] == list(TASKS)
    assert view_dataset(root, 0, columns=1).title == "; ".join(TASKS)


def test_what_view_draws_in_place_of_the_usual_columns_is_said(tmp_path):
    remarks = view_dataset(write(tmp_path / "d", "aloha"), 0, columns=1).remarks
    assert "no observation.state, observation.qpos is shown" in remarks


def test_missing_counts_are_a_note_and_the_dataset_is_read(v21):
    info = json.loads((v21 / "meta/info.json").read_text())
    for key in ("total_episodes", "total_frames", "total_tasks", "chunks_size"):
        del info[key]
    (v21 / "meta/info.json").write_text(json.dumps(info))
    assert open_folder(v21).rows == 16
    found = {(one.code, one.severity) for one in check_dataset(v21, quick=True).findings}
    assert ("counts", "note") in found


def test_shuffled_tasks_without_an_index_name_go_by_their_number(v30, open_samples):
    shuffled = {"task_index": [1, 0], "__index_level_0__": ["pour", "put the can into the box"]}
    pq.write_table(pa.table(shuffled), v30 / "meta/tasks.parquet")
    samples = open_samples(v30)
    assert [samples[row].instruction for row in (0, 5)] == ["put the can into the box", "pour"]
    codes = {one.code for one in check_dataset(v30, quick=True).findings}
    assert {"tasks-order", "tasks-index"} <= codes  # LeRobot counts rows
    assert view_dataset(v30, 1, columns=1).title == "pour"


def test_each_camera_has_files_and_times_of_its_own(v30, open_samples):
    key = "observation.images.image_2"
    levels = [level(row, 1) for row in range(16)]
    write_video(v30 / f"videos/{key}/chunk-000/file-000.mp4", levels, SmallDataset())
    (v30 / f"videos/{key}/chunk-000/file-001.mp4").unlink()
    path = v30 / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    for name, values in (
        ("file_index", [0, 0, 0]),
        ("from_timestamp", [0.0, 5 / 30, 12 / 30]),
        ("to_timestamp", [5 / 30, 12 / 30, 16 / 30]),
    ):
        place = table.column_names.index(f"videos/{key}/{name}")
        table = table.set_column(place, f"videos/{key}/{name}", pa.array(values))
    pq.write_table(table, path)
    samples = open_samples(v30)
    for row in (15, 12, 11, 5, 0):
        found = samples[row].images.mean(axis=(1, 2, 3))
        assert np.abs(found - [level(row, 0), level(row, 1)]).max() < 6
    codes = {one.code for one in check_dataset(v30, quick=True).findings}
    assert not [code for code in codes if code.startswith("video")]
    first = view_dataset(v30, 2, columns=2).pictures[1]  # the second camera's
    assert abs(first.image.mean() - level(12, 1)) < 6


@pytest.mark.parametrize("fps", [10, 50])
def test_other_rates_are_read(tmp_path, open_samples, fps):
    root = write_small(tmp_path / "d", SmallDataset(fps=fps))
    assert abs(open_samples(root)[11].images[0].mean() - level(11, 0)) < 6
    codes = {one.code for one in check_dataset(root, quick=True).findings}
    assert not codes & {"timestamps", "video-times", "video-rate"}
    assert view_dataset(root, 1, columns=1).duration_s == pytest.approx(6 / fps)


VIDEO = "videos/chunk-000/observation.images.image_1/episode_000000.mp4"


def shift(path, frames):
    """Copy a video's packets to other times."""
    source = path.rename(path.with_suffix(".source.mp4"))
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        ticks = round(frames / 30 / old.streams.video[0].time_base)
        for packet in old.demux(video=0):
            if packet.pts is not None:
                packet.pts, packet.dts, packet.stream = (
                    packet.pts + ticks,
                    packet.dts + ticks,
                    stream,
                )
                new.mux(packet)
    source.unlink()


def test_video_that_starts_late_is_named_so(v21, open_samples):
    shift(v21 / VIDEO, 2)
    samples = open_samples(v21)
    with pytest.raises(
        DatasetError, match=r"the video starts at 0\.066\d s, expected 0"
    ) as refused:
        samples[0]
    assert "fps" not in str(refused.value)
    found = [one for one in check_dataset(v21, quick=True).findings if one.code == "video-times"]
    assert "the video starts at 0.066" in found[0].what
    with pytest.raises(DatasetError, match=r"the video starts at 0\.066"):
        view_dataset(v21, 0)


def test_frames_that_an_edit_list_cuts_away_do_not_count(tmp_path, open_samples):
    root = write_small(tmp_path / "d", SmallDataset(lengths=(5, 7)))
    write_video(root / VIDEO, [200, *(level(row, 0) for row in range(5))], SmallDataset())
    shift(root / VIDEO, -1)
    samples = open_samples(root)
    assert [abs(samples[row].images[0].mean() - level(row, 0)) < 6 for row in range(5)] == [
        True
    ] * 5
    codes = {one.code for one in check_dataset(root).findings}
    assert not codes & {"video-frames", "video-times"}
    assert abs(view_dataset(root, 0, columns=1).pictures[0].image.mean() - level(0, 0)) < 6


@pytest.mark.parametrize("file", ["data/chunk-000/episode_000001.parquet", VIDEO])
def test_git_lfs_pointers_are_called_so(v21, file):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 82515\n"
    (v21 / file).write_text(pointer)
    with pytest.raises(DatasetError, match=r"a Git LFS pointer .* git lfs pull"):
        view_dataset(v21, 0)
    found = [one for one in check_dataset(v21, quick=True).findings if "LFS" in one.what]
    assert [one.code for one in found] in (["data-unreadable"], ["video-unreadable"])


def test_statistics_that_are_missing_do_not_keep_it_from_being_read(tmp_path, open_samples):
    root = write(tmp_path / "d", "so101")
    (root / "meta/episodes_stats.jsonl").unlink()
    assert len(open_samples(root, image_size=16)) == 3 * LENGTH
    assert "stats-missing" in {one.code for one in check_dataset(root, quick=True).findings}
    assert view_dataset(root, 0, columns=1).joints == tuple(SO101)


def test_a_column_that_v30_does_not_name_is_an_error_there_and_left_aside_here(
    tmp_path, open_samples
):
    root = write_small(tmp_path / "d", SmallDataset(layout="v3.0", dtype="image"))
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.append_column("reward", pa.array([0.5] * len(table))), path)
    found = {(one.code, one.severity) for one in check_dataset(root, quick=True).findings}
    assert ("columns", "error") in found
    assert len(open_samples(root)) == 16
    assert view_dataset(root, 0, columns=1).joints == ("joint1", "joint2", "gripper")


def test_video_rate_that_info_json_contradicts_is_refused(v21):
    info = json.loads((v21 / "meta/info.json").read_text())
    info["features"]["observation.images.image_1"]["info"] = {"video.fps": 20}
    edit_info(v21, features=info["features"])
    with pytest.raises(DatasetError, match=r"image_1\.info\.video\.fps: 20, but fps is 30"):
        open_folder(v21)
