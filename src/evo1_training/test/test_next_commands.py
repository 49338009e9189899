"""What the commands tell people to type next."""

import dataclasses

import pytest

from evo1_policy.robot_config import load_robot
from evo1_training.next_commands import after_training, command

STACKING = "stack the red can on the blue can"


@pytest.fixture
def robots(robots_dir, installed_robots):
    return {path.stem: load_robot(path) for path in robots_dir.glob("*.yaml")}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put programs of these names on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(*names):
        for name in names:
            (tmp_path / name).touch(mode=0o755)

    return install


@pytest.mark.parametrize(
    ("programs", "typed"),
    [
        (("ros2", "evo1"), "ros2 run evo1_training check_dataset DIR"),
        (("evo1",), "evo1 check-dataset DIR"),
        ((), "python -m evo1_training.cli.check_dataset DIR"),
    ],
)
def test_a_command_is_spelled_as_this_machine_knows_it(install, programs, typed):
    install(*programs)
    assert command("check_dataset", "DIR") == typed


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("my data", "'my data'"),
        ("a;rm -rf b", "'a;rm -rf b'"),
        ("it's", "'it'\"'\"'s'"),
        ("~/set", "~/set"),
        ("~/my set", "~/'my set'"),
        ("$(x)`y`", "'$(x)`y`'"),
        ("a\nb\x1b[2J", "'a\\nb\\x1b[2J'"),
        ("", "''"),
    ],
)
def test_words_are_quoted_as_a_shell_takes_them(install, robots, word, typed):
    install("evo1")
    assert command("train", "--dataset", word) == f"evo1 train --dataset {typed}"
    said = after_training(robots["so100"], word, {f"pick {word}"})[-1]
    assert said.endswith(f"checkpoint:={typed}")


def test_a_policy_is_evaluated_and_launched_on_the_task_of_its_data(install, robots):
    install("evo1")
    assert after_training(robots["xarm6"], "runs/best", {STACKING}) == [
        "evo1 evaluate --checkpoint runs/best --task can_stacking",
        "evo1 launch xarm6 task:=can_stacking checkpoint:=runs/best",
    ]


def test_words_of_no_simulated_task_are_told_to_the_arm(install, robots):
    install("ros2")
    assert after_training(robots["so100"], "best", {"wave", "pour"}) == [
        "ros2 launch evo1_bringup so100.launch.py instruction:=pour checkpoint:=best"
    ]


def test_a_robot_without_a_launch_of_its_name_is_launched_by_its_file(install, robots):
    install("evo1")
    assert after_training(robots["ur5e"], "best", {"wave"}) == [
        "evo1 launch policy robot_file:=ur5e instruction:=wave checkpoint:=best"
    ]
    mine = dataclasses.replace(robots["ur5e"], name="mine")
    assert after_training(mine, "best", {"wave"}) == [
        "evo1 launch policy robot_file:=best/robot.yaml instruction:=wave checkpoint:=best"
    ]
    beside = dataclasses.replace(mine, urdf="/home/me/mine.urdf", text="urdf: mine.urdf")
    assert after_training(beside, "best", {"wave"}) == [
        "evo1 launch policy robot_file:=mine.yaml instruction:=wave checkpoint:=best"
    ]
    slower = dataclasses.replace(robots["so100"], text="rate_hz: 10")  # under the shipped name
    assert after_training(slower, "best", {"wave"}) == [
        "evo1 launch so100 robot_file:=best/robot.yaml instruction:=wave checkpoint:=best"
    ]
