"""The evo1 command line."""

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from typing import get_args

import pytest

from evo1_bringup.cli import PROGRAMS, UsageError, build_parser, main, parse_assignments
from evo1_bringup.system import arguments_of, launchable
from evo1_sim.tasks import DISTURBANCES
from evo1_training.cli.evaluate import CONDITIONS, VIDEOS
from evo1_training.evaluation.rollouts import Keep

COMMANDS = next(action.choices for action in build_parser()._actions if action.choices)


def test_assignments_keep_everything_behind_the_first_sign():
    assert parse_assignments(["instruction:=a := b", "seed:=3"]) == {
        "instruction": "a := b",
        "seed": "3",
    }


@pytest.mark.parametrize("word", ["seed=3", "seed", ":=3"])
def test_assignment_of_another_form_is_refused(word):
    with pytest.raises(UsageError, match=r"expected name:=value"):
        parse_assignments([word])


def test_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="seed: given twice"):
        parse_assignments(["seed:=1", "seed:=2"])


@pytest.mark.parametrize("name", launchable())
def test_show_args_lists_every_option(name, capsys):
    assert main(["launch", name, "--show-args"]) == 0
    shown = capsys.readouterr().out
    for option in arguments_of(name):
        assert f"  {option.name}  (default: '{option.default}')" in shown
        assert option.description in shown


def test_dry_list_says_what_would_start(capsys):
    assert main(["launch", "xarm6", "--dry-list", "seed:=5"]) == 0
    shown = capsys.readouterr().out
    assert "ros2 run evo1_sim sim_robot" in shown
    assert "ros2 run evo1_policy policy_node" in shown
    assert "seed: 5" in shown


def test_namespace_may_be_given_as_to_every_other_command(capsys):
    assert main(["launch", "xarm6", "--dry-list", "--namespace", "left", "seed:=5"]) == 0
    assert "ros2 run evo1_policy policy_node in /left" in capsys.readouterr().out
    assert main(["launch", "xarm6", "--namespace", "left", "namespace:=right"]) == 2
    assert "namespace: given twice" in capsys.readouterr().err


@pytest.mark.ros
def test_command_with_a_namespace_that_cannot_be_says_so(capsys):
    assert main(["pause", "--namespace", "left arm"]) == 2
    assert "'left arm' is no ROS name" in capsys.readouterr().err


def test_wrong_option_ends_with_2_and_its_name(capsys):
    assert main(["launch", "xarm6", "sped:=5"]) == 2
    assert "sped: no option of xarm6" in capsys.readouterr().err


def test_program_that_is_not_built_ends_with_2(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert main(["launch", "xarm6"]) == 2
    assert "'evo1_sim' has no executable 'sim_robot'; build" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_help_is_a_sentence_and_an_example_of_what_is_typed(name, capsys):
    with pytest.raises(SystemExit):
        main([*name.split(), "--help"])
    shown = capsys.readouterr().out
    sentence, examples = shown.partition("\n\n")[2].split("examples:\n")
    assert sentence[0].isupper()
    assert sentence.partition("\n\n")[0].endswith(".")
    assert f"evo1 {name}" in examples


@pytest.mark.parametrize(
    ("words", "meant"), [("status --folow", "--follow"), ("launch xarm6 --dri-list", "--dry-list")]
)
def test_an_unknown_option_of_a_command_is_told_with_the_nearest(words, meant, capsys):
    with pytest.raises(SystemExit):
        main(words.split())
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


def test_a_program_of_another_package_gets_the_rest_of_the_line_as_it_is(tmp_path):
    program = tmp_path / "lib" / "evo1_sim" / "demonstrate"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    program.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-m", "evo1_bringup", "demonstrate", "--seed", "5", "--help"],
        env={**os.environ, "AMENT_PREFIX_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (3, "--seed 5 --help\n")


def test_a_program_that_is_not_built_says_how_to_get_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert main(["convert", "--help"]) == 2
    assert "'evo1_training' has no executable 'convert'" in capsys.readouterr().err


@pytest.mark.ros
def test_command_without_a_policy_says_who_is_missing(capsys):
    assert main(["pause", "--timeout", "0.2"]) == 2
    assert (
        "nobody offers /policy/pause or /teleop_relay/pause after 0.2 s" in capsys.readouterr().err
    )


def test_a_second_launch_in_a_namespace_starts_nothing(capsys, monkeypatch):
    from evo1_policy import stop_line

    domain = 2_000_000 + os.getpid()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    with stop_line.claim(stop_line.address_of(domain, "/left")):
        assert main(["launch", "xarm6", "namespace:=left"]) == 2
    said = capsys.readouterr()
    assert "moves an arm in namespace '/left' already; end it" in said.err
    assert not said.out


def test_a_policy_that_is_idle_says_how_it_starts():
    commands = pytest.importorskip("evo1_bringup.ros.commands")
    from evo1_msgs.msg import PolicyStatus

    line = commands.status_line(PolicyStatus(state=PolicyStatus.IDLE))
    assert line.startswith("IDLE: at rest; evo1 resume starts it | chunks 0")


def test_the_status_says_whether_collisions_are_checked():
    commands = pytest.importorskip("evo1_bringup.ros.commands")
    from evo1_msgs.msg import PolicyStatus

    checked = PolicyStatus(collisions="checked by arm.xml: itself, table")
    assert "collisions checked by arm.xml: itself, table" in commands.status_lines(checked)
    assert "collisions not told: an older policy node" in commands.status_lines(PolicyStatus())


@pytest.mark.parametrize("missing", [["rclpy"], ["rclpy", "numpy", "yaml"]])
def test_a_stop_is_out_on_this_machine_before_anything_is_imported(missing, tmp_path):
    from evo1_policy import stop_line

    domain = 2_000_000 + os.getpid()
    heard = []
    with stop_line.claim(stop_line.address_of(domain, "/left")) as line:

        def answer():
            word, asker = line.recvfrom(64)
            heard.append(word)
            line.sendto(b"/left/policy (pid 1): STOPPED", asker)

        thread = threading.Thread(target=answer)
        thread.start()
        for name in missing:
            (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name}')")
        paths = [str(tmp_path), *sys.path]
        result = subprocess.run(
            [sys.executable, "-m", "evo1_bringup", "stop", "--namespace", "left"],
            env={
                **os.environ,
                "ROS_DOMAIN_ID": str(domain),
                "HOME": "/proc/none",
                "PYTHONPATH": os.pathsep.join(paths),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        thread.join(10.0)
    assert heard == [b"stop"]
    assert result.stdout == "/left/policy (pid 1): STOPPED\n"
    assert "needs ROS 2 and the built workspace" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.ros
def test_commands_need_no_home_and_no_log_folder():
    result = subprocess.run(
        [sys.executable, "-m", "evo1_bringup", "pause", "--timeout", "0.1"],
        env={**os.environ, "HOME": "/proc/none", "ROS_LOG_DIR": "/proc/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "nobody offers /policy/pause" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.ros
@pytest.mark.parametrize("node", ["evo1_policy.ros.policy_node", "evo1_sim.ros.sim_node"])
def test_a_node_without_a_home_says_what_it_has_to_say(node):
    words = ["--ros-args", "-p", "robot_file:=/proc/none/robot.yaml"]
    kept = {name: value for name, value in os.environ.items() if name != "ROS_LOG_DIR"}
    done = subprocess.run(
        [sys.executable, "-m", node, *words],
        env={**kept, "HOME": "/proc/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "/proc/none/robot.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_robot_is_told_with_those_that_there_are(capsys):
    assert main(["launch", "xarm9"]) == 2
    assert "launch xarm9: expected one of fr3, lite6, so100" in capsys.readouterr().err


@pytest.mark.ros
def test_plug_brings_every_camera_back_whatever_is_named(capsys):
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("sim_robot", context=context)
    silent = node.declare_parameter("unplugged_cameras", "")
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        for command, expected in (
            (["unplug", "image_2"], "image_2"),
            (["plug", "image_2"], ""),
            (["unplug", "image_1"], "image_1"),
            (["plug"], ""),
        ):
            assert main(command) == 0
            assert node.get_parameter(silent.name).value == expected
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_parameter_file_is_json_with_quoted_words():
    from evo1_bringup.processes import Process
    from evo1_bringup.supervisor import parameter_text

    process = Process(package="a", executable="b", parameters={"x": "on", "n": 1, "f": True})
    assert json.loads(parameter_text(process)) == {
        "/**": {"ros__parameters": {"x": "on", "n": 1, "f": True}}
    }


def test_help_waits_for_no_library_that_a_command_works_with():
    # One process for all of them: what is loaded stays, so the first to load it is named.
    listing = """
import contextlib, importlib, io, json, sys
heavy = {"torch", "mujoco", "pyarrow", "rclpy", "av", "transformers", "gymnasium", "jinja2"}
found = {}
for name, (module, function) in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        getattr(importlib.import_module(module), function)(["--help"])
    found[name] = sorted(heavy & set(sys.modules))
    for loaded in found[name]:
        heavy.discard(loaded)
print(json.dumps({name: loaded for name, loaded in found.items() if loaded}))
"""
    nodes = {"demonstrate", "record", "teleop", "desk"}  # ROS nodes, and the page's own library
    mains = {}
    for name, (package, executable) in PROGRAMS.items():
        if name not in nodes:
            (entry,) = (
                point
                for point in importlib.metadata.distribution(package).entry_points
                if point.name == executable
            )
            mains[name] = (entry.module, entry.attr)
    told = subprocess.run(
        [sys.executable, "-c", listing, json.dumps(mains)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(told.stdout) == {}


def test_the_choices_of_the_command_lines_are_the_simulations():
    assert tuple(DISTURBANCES) == CONDITIONS
    assert get_args(Keep) == VIDEOS
