"""Datasets out of parts of others: what is left is what was there, and the old one is whole."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import encoded, schema

sys.path.insert(0, str(Path(__file__).parents[1] / "checker"))
import sound_dataset

from evo1_policy.robot_config import load_robot
from evo1_training.cli.check_dataset import main as checked
from evo1_training.cli.edit_dataset import main
from evo1_training.datasets.checker.checking import check_dataset
from evo1_training.datasets.lerobot.writing import open_dataset
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.folder import open_folder
from evo1_training.datasets.reader.pictures import FrameSource

COUNTS = (12, 9, 15)
CAMERAS = ("observation.images.image_1", "observation.images.image_2")


def write(root, version, storage="h264", first=0):
    writer = open_dataset(root, schema(storage), version=version, append=False)
    for number, count in enumerate(COUNTS, first):
        work = root.parent / f"work_{root.name}"
        writer.add(encoded(work, number, count, task=f"task {number}", storage=storage))
    writer.close()
    return root


@pytest.fixture(scope="module", params=["v2.1", "v3.0"])
def old(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("old") / "cans", request.param)


def rows(root):
    """States, instructions, and pictures of each frame."""
    folder = open_folder(root)
    columns = read_columns(folder, ["observation.state", "task_index"])
    source = FrameSource(folder)
    keys = folder.info.cameras
    images = [[source.read(key, row) for key in keys] for row in range(folder.rows)]
    tasks = [folder.tasks[number] for number in columns["task_index"].tolist()]
    return columns["observation.state"], tasks, np.array(images, np.int16)


def edit(*given):
    assert main([str(one) for one in given]) == 0


def sound(root):
    """Reads it as everybody does; returns the lengths of its episodes."""
    report = check_dataset(root)
    assert [one for one in report.findings if one.severity == "error"] == []
    return [episode.length for episode in open_folder(root).episodes]


def digest(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--delete", "1"], [*range(12), *range(21, 36)]),
        (["--keep", "1-2"], [*range(12, 36)]),
        (["--delete", "0", "--trim", "2:4-10"], [*range(12, 21), *range(25, 31)]),
        (["--split", "2:6"], [*range(36)]),
    ],
)
def test_what_is_left_are_the_same_rows_and_frames(tmp_path, old, given, kept):
    before = digest(old)
    edit(old, "--to", tmp_path / "new", *given)
    states, tasks, images = rows(old)
    found = rows(tmp_path / "new")
    np.testing.assert_array_equal(found[0], states[kept])
    assert found[1] == [tasks[row] for row in kept]
    np.testing.assert_array_equal(found[2], images[kept])  # cut at key frames
    assert sum(sound(tmp_path / "new")) == len(kept)
    assert digest(old) == before
    assert [one.name for one in tmp_path.iterdir()] == ["new"]


def test_between_key_frames_a_video_is_encoded_again(tmp_path, old):
    edit(old, "--to", tmp_path / "new", "--trim", "0:3-8", "--split", "2:5,10")
    assert sound(tmp_path / "new") == [5, 9, 5, 5, 5]
    kept = [*range(3, 8), *range(12, 36)]
    states, _, images = rows(old)
    found = rows(tmp_path / "new")
    np.testing.assert_array_equal(found[0], states[kept])
    assert np.abs(found[2] - images[kept]).mean() < 3


def test_tasks_are_named_anew(tmp_path, old):
    edit(old, "--to", tmp_path / "new", "--task", "pick", "--task", "2=place it", "--delete", "0")
    assert rows(tmp_path / "new")[1] == ["pick"] * 9 + ["place it"] * 15
    assert dict(open_folder(tmp_path / "new").tasks) == {0: "pick", 1: "place it"}
    sound(tmp_path / "new")


def test_datasets_are_joined(tmp_path, old):
    version = json.loads((old / "meta/info.json").read_text())["codebase_version"]
    other = write(tmp_path / "other", version, first=1)
    edit(old, other, "--to", tmp_path / "both", "--delete", "4")
    assert sound(tmp_path / "both") == [12, 9, 15, 12, 15]
    assert sorted(open_folder(tmp_path / "both").tasks.values()) == [f"task {k}" for k in range(4)]
    np.testing.assert_array_equal(rows(tmp_path / "both")[2][:36], rows(old)[2])


def test_a_camera_is_dropped_with_its_columns(tmp_path, old):
    edit(old, "--to", tmp_path / "new", "--drop-camera", "image_2")
    assert sound(tmp_path / "new") == list(COUNTS)
    folder = open_folder(tmp_path / "new")
    assert folder.info.cameras == CAMERAS[:1]
    assert not [key for key in folder.info.features if "image_2" in key]
    robot = load_robot(tmp_path / "new/meta/evo1/robot.yaml")
    assert [camera.name for camera in robot.cameras] == ["image_1"]
    assert main([str(old), "--to", str(tmp_path / "x"), "--drop-camera", "image_7"]) == 1


def test_statistics_are_those_of_what_is_left(tmp_path, old):
    edit(old, "--to", tmp_path / "new", "--keep", "1")
    alone = tmp_path / "alone"
    version = json.loads((old / "meta/info.json").read_text())["codebase_version"]
    writer = open_dataset(alone, schema(), version=version, append=False)
    writer.add(encoded(tmp_path / "work", 1, COUNTS[1], task="task 1"))
    writer.close()
    found, expected = (
        json.loads((root / "meta/stats.json").read_text()) for root in (tmp_path / "new", alone)
    )
    assert list(found) == list(expected)
    for name in (*CAMERAS, "observation.state", "action", "index"):
        for key, value in expected[name].items():
            if key.startswith("q") and name in CAMERAS and version == "v2.1":
                continue  # v2.1 keeps none of an episode
            np.testing.assert_allclose(found[name][key], value, atol=1e-6, err_msg=f"{name} {key}")
    names = (root / "meta/evo1/norm_stats.json" for root in (tmp_path / "new", alone))
    one, two = (json.loads(path.read_text())["xarm6"] for path in names)
    assert one["new"] == two["alone"]


def test_in_place_keeps_the_old_one_beside(tmp_path, capsys):
    root = write(tmp_path / "cans", "v2.1", "png")
    before = rows(root)
    edit(root, "--in-place", "--delete", "0")
    assert "cans.before_edit; delete it once" in capsys.readouterr().out
    assert sound(root) == [9, 15]
    for one, two in zip(rows(tmp_path / "cans.before_edit"), before, strict=True):
        np.testing.assert_array_equal(one, two)
    edit(root, "--in-place", "--delete", "0")
    assert sorted(path.name for path in tmp_path.glob("cans*")) == [
        "cans",
        "cans.before_edit",
        "cans.before_edit.2",
    ]


def test_frames_with_tasks_of_their_own_keep_them(tmp_path):
    root = tmp_path / "cans"
    writer = open_dataset(root, schema("png"), version="v2.1", append=False)
    one = encoded(tmp_path / "work", 0, 6, storage="png")
    writer.add(replace(one, tasks=("reach",) * 2 + ("lift",) * 4))
    writer.close()
    edit(root, "--to", tmp_path / "new", "--split", "0:3")
    assert rows(tmp_path / "new")[1] == ["reach"] * 2 + ["lift"] * 4
    assert [one.tasks for one in open_folder(tmp_path / "new").episodes] == [
        ("reach", "lift"),
        ("lift",),
    ]
    sound(tmp_path / "new")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--delete", "3"], "no episode 3; there are 0 to 2"),
        (["--trim", "0:5-13"], "it has frames 0 to 11"),
        (["--split", "0:0"], "the numbers must rise"),
        (["--delete", "0-2"], "no episode would be left"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(tmp_path, old, capsys, given, said):
    assert main([str(old), "--to", str(tmp_path / "new"), *given]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_not_touched(tmp_path, old, capsys):
    (tmp_path / "new").mkdir()
    assert main([str(old), "--to", str(tmp_path / "new"), "--delete", "1"]) == 1
    assert "exists already" in capsys.readouterr().err
    (tmp_path / ".other.editing").mkdir()
    (tmp_path / ".other.editing" / "precious").touch()
    assert main([str(old), "--to", str(tmp_path / "other"), "--delete", "1"]) == 1
    assert (tmp_path / ".other.editing" / "precious").exists()


def test_what_the_checker_advises_is_a_command_that_mends_it(tmp_path, capsys):
    root = write(tmp_path / "cans", "v2.1", "png")
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    states = table.column("observation.state").to_pylist()
    states[3][2] = float("nan")
    column = table.schema.get_field_index("observation.state")
    field = table.schema.field(column)
    pq.write_table(table.set_column(column, field, pa.array(states, field.type)), path)
    assert checked([str(root)]) == 1
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "to leave episodes" in one]
    words = shlex.split(line)
    assert main(words[words.index(str(root)) :]) == 0
    assert sound(root) == [12, 15]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("dtype", ["video", "image"])
def test_datasets_of_others_are_edited_too(tmp_path, version, dtype):
    root = sound_dataset.write(tmp_path / "hub", sound_dataset.Kind(version=version, dtype=dtype))
    edit(root, "--to", tmp_path / "new", "--delete", "0", "--split", "1:31")
    assert sound(tmp_path / "new") == [31, 35, 60]
    found, expected = rows(tmp_path / "new"), rows(root)
    np.testing.assert_array_equal(found[0], expected[0][60:])
    assert found[1] == expected[1][60:]
    assert np.abs(found[2] - expected[2][60:]).mean() < 3


def test_a_pipe_in_place_of_a_video_is_not_waited_for(tmp_path, capsys):
    root = write(tmp_path / "cans", "v2.1")
    path = next(root.glob("videos/*/*/*.mp4"))
    path.unlink()
    os.mkfifo(path)
    assert main([str(root), "--to", str(tmp_path / "new"), "--delete", "0"]) == 1
    assert f"{path}: no regular file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    ['{"a": "b"}', '{"episode_index": "0"}', '{"episode_index": 0, "offsets_ms": "x"}', "[]", "{"],
)
def test_a_list_of_recordings_that_says_nonsense_is_named(tmp_path, capsys, line):
    root = write(tmp_path / "cans", "v2.1")
    path = root / "meta" / "evo1" / "sources.jsonl"
    path.write_text(line)
    for words in ([str(root), "--delete", "0"], [str(root), str(root)]):
        assert main([*words, "--to", str(tmp_path / "new")]) == 1
        assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# A process of its own for each function that it dies in, before or after what that does.
DYING = """
import os, sys
from evo1_training.cli.edit_dataset import main
from evo1_training.datasets.lerobot import editing
def die(name, moment, given):
    inner = getattr(editing, name)
    def run(*given, **more):
        if moment == "after":
            inner(*given, **more)
        os.kill(os.getpid(), 9)
    setattr(editing, name, run)
    main(given)
    os._exit(0)
for case in sys.argv[1:]:
    name, moment, root = case.split(",")
    pid = os.fork() or die(name, moment, [root, "--in-place", "--delete", "0"])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
"""
MOMENTS = [("_encoded", "after"), ("_set_aside", "before"), ("_set_aside", "after")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder for each moment, with a dataset in it whose edit was killed."""
    folders = {one: tmp_path_factory.mktemp("killed") for one in MOMENTS}
    first = write(tmp_path_factory.mktemp("whole") / "cans", "v2.1", "png")
    cases = []
    for (name, moment), folder in folders.items():
        shutil.copytree(first, folder / "cans")
        cases.append(f"{name},{moment},{folder / 'cans'}")
    subprocess.run([sys.executable, "-c", DYING, *cases], check=True)
    return rows(first), folders


@pytest.mark.parametrize(("name", "moment"), MOMENTS)
def test_killed_at_any_moment_the_old_one_is_whole_and_the_same_call_goes_on(
    killed, capsys, name, moment
):
    before, folders = killed
    folder = folders[name, moment]
    root, backup = folder / "cans", folder / "cans.before_edit"
    given = [str(root), "--in-place", "--delete", "0"]
    assert backup.exists() == (moment == "after" and name == "_set_aside")
    np.testing.assert_array_equal(rows(backup if backup.exists() else root)[0], before[0])
    if backup.exists():  # between the two renames
        assert main(given) == 1
        assert f"rename {backup} back" in capsys.readouterr().err
        backup.rename(root)
    assert main(given) == 0
    assert sound(root) == [9, 15]
    assert not list(folder.glob(".cans*"))
