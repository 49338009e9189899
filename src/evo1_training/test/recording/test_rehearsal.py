"""Several processes that record into one folder."""

import pytest

from evo1_sim.world import WorldError
from evo1_training.cli.rehearse import main
from evo1_training.recording.rehearsal import Rehearsal, rehearse

pytestmark = pytest.mark.gl


def rehearsal(robots_dir, root, **more):
    choices = {
        "robot_file": robots_dir / "xarm6.yaml",
        "task": "",
        "root": root,
        "episodes": 3,
        "seed": 4,
        "width": 64,
        "height": 48,
    }
    return Rehearsal(**{**choices, **more})


def test_all_tasks_go_into_one_folder_one_after_the_other(tmp_path, monkeypatch):
    recorded = []
    monkeypatch.setattr(
        "evo1_training.recording.rehearsal.rehearse",
        lambda rehearsal, workers, advance: recorded.append(rehearsal) or 0,
    )
    root = ["--root", str(tmp_path), "--episodes", "2"]
    assert main(["--task", "all", *root]) == 0
    tasks = ["can_into_box", "pour", "hand_delivery", "can_stacking"]
    assert [one.task for one in recorded] == tasks
    assert {(one.root, one.episodes) for one in recorded} == {(tmp_path, 2)}
    recorded.clear()
    assert main(["--task", "pour", "--task", "hand_delivery", *root]) == 0
    assert [one.task for one in recorded] == ["pour", "hand_delivery"]


def test_parts_share_neither_seeds_nor_numbers(robots_dir, tmp_path):
    (tmp_path / "episode_000006").mkdir()
    parts = rehearsal(robots_dir, tmp_path, episodes=7, seed=10).shared_by(3)
    assert [part.episodes for part in parts] == [3, 2, 2]
    assert [part.first for part in parts] == [7, 10, 12]
    assert [(part.seed, part.seeds_apart) for part in parts] == [(10, 3), (11, 3), (12, 3)]
    assert len(rehearsal(robots_dir, tmp_path, episodes=2).shared_by(3)) == 2


def test_two_processes_add_to_a_folder_without_gaps(robots_dir, tmp_path):
    (tmp_path / "episode_000001").mkdir()
    told = []
    rehearse(rehearsal(robots_dir, tmp_path), 2, told.append)
    assert sum(told) == 3
    names = sorted(path.name for path in tmp_path.iterdir() if any(path.iterdir()))
    assert names == ["episode_000002", "episode_000003", "episode_000004"]


def test_what_a_process_finds_wrong_reaches_the_caller(robots_dir, tmp_path):
    wrong = rehearsal(robots_dir, tmp_path, task="dance")
    with pytest.raises(WorldError, match="dance"):
        rehearse(wrong, 2, lambda count: None)


def test_the_command_refuses_no_worker_at_all(capsys):
    assert main(["--workers", "0"]) == 2
    assert "--workers must be 1 or more" in capsys.readouterr().err
