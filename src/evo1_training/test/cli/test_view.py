"""view as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bag_writing import NAMES, steady, write_episode

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "checker"))
from sound_dataset import Kind, write

from evo1_training.cli.view import main


@pytest.fixture
def recordings(tmp_path):
    for number in (4, 5):
        write_episode(tmp_path / f"demos/episode_{number:06d}", steady(0.5))
    return tmp_path / "demos"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_newest_recording_is_shown(recordings, tmp_path):
    assert main([str(recordings), "--out", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == [
        "episode_000005_contact_sheet.png",
        "episode_000005_joints.png",
    ]


def test_recording_is_chosen_by_number(recordings, tmp_path):
    assert main([str(recordings), "--episode", "4", "--out", str(tmp_path / "out")]) == 0
    assert "episode_000004_joints.png" in names(tmp_path / "out")


def test_unknown_number_names_those_that_exist(recordings, tmp_path, capsys):
    assert main([str(recordings), "--episode", "9", "--out", str(tmp_path)]) == 1
    assert (
        "no episode_000009; there are episode_000004 .. episode_000005" in capsys.readouterr().err
    )


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("own", [False, True])
def test_episode_of_a_dataset_is_shown(tmp_path, version, own):
    root = write(tmp_path / "cans", Kind(version=version, own=own))
    assert main([str(root), "--episode", "2", "--out", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == [
        "cans_episode_000002_contact_sheet.png",
        "cans_episode_000002_joints.png",
    ]


def test_broken_dataset_is_one_line_on_stderr(tmp_path, capsys):
    root = write(tmp_path / "cans", Kind(dtype="image"))
    (root / "data/chunk-000/episode_000000.parquet").unlink()
    assert main([str(root), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_rerun_that_is_not_installed_says_how_to(recordings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main([str(recordings), "--rerun", "--out", str(tmp_path / "out")]) == 1
    assert "pip install rerun-sdk" in capsys.readouterr().err


def test_rerun_that_is_too_old_says_so(recordings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", SimpleNamespace(__version__="0.20.0"))
    arguments = [str(recordings), "--rrd", str(tmp_path / "a.rrd"), "--out", str(tmp_path)]
    assert main(arguments) == 1
    assert "rerun-sdk 0.20.0 is too old; expected 0.23" in capsys.readouterr().err


def test_rerun_file_holds_cameras_joints_and_instruction(recordings, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk, an optional dependency, is not installed")
    file = tmp_path / "episode.rrd"
    assert main([str(recordings), "--rrd", str(file), "--out", str(tmp_path)]) == 0
    listed = subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "print", str(file)],
        env=os.environ | {"HOME": str(tmp_path)},  # rerun writes its settings there
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = ["/cameras/image_1", "/cameras/image_2", "/instruction"]
    paths += [f"/joints/{joint}/{kind}" for joint in NAMES for kind in ("state", "action")]
    for path in paths:
        assert f" - {path} - " in listed, listed


def test_no_pictures_is_wrong_usage(recordings):
    with pytest.raises(SystemExit) as stopped:
        main([str(recordings), "--columns", "0"])
    assert stopped.value.code == 2
