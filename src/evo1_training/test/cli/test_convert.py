"""The convert command: what it says, and its exit status."""

import json
from pathlib import Path

import pytest
from bag_writing import ROBOT_TEXT, steady, write_episode
from foreign_bags import driven, write_bag

from evo1_training.cli import convert as command


def run(*arguments) -> int:
    return command.main([*map(str, arguments), "--workers", "1", "--storage", "png"])


def test_report_counts_what_was_done_and_says_what_to_type_next(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # neither ros2 nor evo1
    write_episode(tmp_path / "demos" / "episode_000000", steady(2.0, lost={10, 11, 45}))
    split = ("--gaps", "split", "--min-frames", 12)
    assert run(tmp_path / "demos", "--to", tmp_path / "dataset", *split) == 0
    said = capsys.readouterr().out
    for line in (
        "recorded episodes   1",
        "dataset episodes    2",
        "frames              47  (1.6 s)",
        "gaps                2  (0.17 s, split)",
        "dropped frames      10",
        "x real time",
        "10 frames at 0.0 s dropped: fewer than 12 in a row (--min-frames)",
        f"next:  python -m evo1_training.cli.check_dataset {tmp_path / 'dataset'}",
        f"train --stage 1 --dataset {tmp_path / 'dataset'}",
    ):
        assert line in said, said


def test_one_bad_episode_makes_the_exit_status_1_and_is_listed(tmp_path, capsys):
    write_episode(tmp_path / "demos" / "episode_000000", steady(1.0))
    write_episode(tmp_path / "demos" / "episode_000001", steady(1.0), robot_text="name: x\n")
    assert run(tmp_path / "demos", "--to", tmp_path / "dataset") == 1
    said = capsys.readouterr()
    assert "not converted:\n  episode_000001: robot file" in said.out
    assert "episode_000001: not converted" in said.err
    assert len(list(tmp_path.glob("dataset/data/*/*.parquet"))) == 1


def test_error_is_one_line_without_a_traceback(tmp_path, capsys):
    assert run(tmp_path, "--to", tmp_path / "dataset") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"convert: {tmp_path}: no episode found")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "wrong", [["--shards", "3/2"], ["--min-frames", "0"], ["--format", "v2.0"], ["--gaps", "fill"]]
)
def test_wrong_usage_exits_with_2(tmp_path, wrong):
    with pytest.raises(SystemExit) as stopped:
        command.main([str(tmp_path), "--to", str(tmp_path / "out"), *wrong])
    assert stopped.value.code == 2


def test_shard_says_how_to_go_on(tmp_path, capsys):
    write_episode(tmp_path / "demos" / "episode_000000", steady(1.0))
    assert run(tmp_path / "demos", "--to", tmp_path / "dataset", "--shards", "1/2") == 0
    assert "the same command without --shards assembles" in capsys.readouterr().out
    assert not Path(tmp_path / "dataset" / "meta").exists()


def test_what_an_episode_says_reaches_the_terminal_without_its_controls(tmp_path, capsys):
    odd = "x\x1b[2J\n[INFO] all is well\u202e"
    text = f"name: {json.dumps(odd)}\n"
    write_episode(tmp_path / "demos" / "episode_000000", steady(1.0))
    write_episode(tmp_path / "demos" / "episode_000001", steady(1.0), robot_text=text)
    write_episode(tmp_path / "demos" / "episode_000002", steady(1.0), instruction=odd)
    write_episode(tmp_path / "demos" / "episode_000003", steady(1.0), instruction="x" * 1001)
    assert run(tmp_path / "demos", "--to", tmp_path / "my; set") == 1
    said = capsys.readouterr()
    for shown in (said.out, said.err):
        assert not set("\x1b\u202e") & set(shown)
        assert "\n[INFO]" not in shown
    assert "the instruction is longer than 1000 characters" in said.out
    assert f"check_dataset '{tmp_path}/my; set'" in said.out.replace(
        "check-dataset", "check_dataset"
    )


def test_one_message_in_degrees_is_found_and_what_all_bags_lack_is_said_once(tmp_path, capsys):
    robot = tmp_path / "robot.yaml"
    robot.write_text(ROBOT_TEXT)
    for k in range(5):
        recording = driven("own", 0.2 + 0.1 * k)
        recording.joints(55, [1000 + k, 0.0])  # in a single message, another in each bag
        write_bag(tmp_path / "bags" / f"take_{k}", recording)
    asked = (tmp_path / "bags", "--robot", robot, "--to", tmp_path / "data")
    assert run(*asked, "--instruction", "pick") == 1
    said = capsys.readouterr().err
    assert said.count("are these degrees or percent?") == 2  # at once, and at the end
    assert "5 episodes, take_0 to take_4: beyond what" in said
    assert "1000, limits -10 .. 10" in said
