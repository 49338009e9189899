"""`evo1 new-robot` and `evo1 check-robot`: a robot file from what is there, and held against it.

ROS is imported where a running robot is listened to. Must not import ROS or launch otherwise.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import Parser, entry_point, positive, printable

if TYPE_CHECKING:
    from evo1_policy.kinematics.urdf import Urdf
    from evo1_policy.robot_config import RobotConfig
    from evo1_sim.heard import Graph
    from evo1_sim.robot_check import Finding

_EPILOG = """\
examples:
  evo1 new-robot my_arm --urdf my_arm.urdf --to my_arm.yaml --set acceleration=3
  evo1 new-robot my_arm --live --to my_arm.yaml          from /joint_states, controllers, cameras
  evo1 new-robot my_arm --urdf arm.urdf.xacro --live --to my_arm.yaml
  evo1 check-robot my_arm.yaml                           before the first motion
  evo1 check-robot my_arm.yaml --move                    which way each joint goes; or --limp

What neither the URDF nor the running robot says is asked here, or given by --set KEY=VALUE:
acceleration (or acceleration:JOINT), velocity:JOINT, lower:JOINT, upper:JOINT, open:JOINT,
max_start_error_rad, max_tracking_error_rad, table (its height in the base frame, or none).
"""


class NewRobotError(ValueError):
    """A command line, or a description, that cannot be used."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of `evo1 new-robot`."""
    parser = Parser(
        "evo1 new-robot",
        description="Propose a robot file from a URDF or xacro, a running robot, or both.",
        epilog=_EPILOG,
    )
    parser.add_argument("name", help="Of the robot; also the key of its norm stats.")
    parser.add_argument("--urdf", type=Path, help="Its URDF or xacro.")
    parser.add_argument("--live", action="store_true", help="Listen to the robot that runs.")
    parser.add_argument("--to", type=Path, required=True, help="Robot file to write (YAML).")
    parser.add_argument("--overwrite", action="store_true", help="Where the file exists already.")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="answers")
    _add_listening(parser)
    return parser


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--namespace", default="", help="Of the running robot.")
    parser.add_argument("--seconds", type=positive, default=3.0, help="How long to listen [s].")


@entry_point("new-robot", failed=2)
def main(argv: Sequence[str] | None = None) -> int:
    """Write a robot file; return the exit code."""
    arguments = build_parser().parse_args(argv)
    from evo1_sim.collision_draft import (
        TABLE,
        TABLE_QUESTION,
        model_text,
        read_table,
        with_collision,
    )
    from evo1_sim.robot_draft import answered, draft_robot

    if arguments.to.exists() and not arguments.overwrite:
        raise NewRobotError(f"--to: '{arguments.to}' exists; give --overwrite, or another name")
    answers = dict(word.partition("=")[::2] for word in arguments.answers)
    graph = _listen(arguments) if arguments.live else None
    source, urdf, where = _description(arguments, graph)
    person = _ask if sys.stdin.isatty() else None
    text = draft_robot(
        arguments.name, urdf=urdf, urdf_path=where, graph=graph, ask=answered(answers, person)
    )
    if urdf is not None:
        model = arguments.to.with_suffix(".collision.urdf")
        _keep(arguments, model, model_text(source, urdf))
        usual = answered({TABLE: "0", **answers} if person is None else answers, person)
        table = read_table(usual(TABLE, TABLE_QUESTION))
        text = with_collision(text, model.name, table, source=str(arguments.to))
    arguments.to.write_text(text, encoding="utf-8")
    _say(f"wrote {arguments.to}: read it, then evo1 check-robot {arguments.to}")
    return 0


@entry_point("check-robot", failed=2)
def check(argv: Sequence[str] | None = None) -> int:
    """Hold a robot file against the running robot; 1 where a policy could not run."""
    parser = Parser(
        "evo1 check-robot",
        description="Hold a robot file against the robot that runs.",
        epilog="example: evo1 check-robot mine.yaml --move",
    )
    parser.add_argument("robot", help="Robot file (YAML), or the name of one that ships.")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--move",
        action="store_true",
        help="Then move each joint a little at 5 %% of its speed, by the relay, and ask a person "
        "where it went (evo1 launch policy robot_file:=FILE teleop:=true runs).",
    )
    ways.add_argument(
        "--limp", action="store_true", help="The same, but a person turns them, drives limp."
    )
    parser.add_argument("--joints", default="", metavar="A,B", help="Only these. Usually: all.")
    _add_listening(parser)
    arguments = parser.parse_args(argv)
    from evo1_bringup.options import read_robot
    from evo1_sim.robot_check import check_robot

    robot = read_robot(arguments.robot)[1]
    found = check_robot(robot, _listen(arguments))
    if (arguments.move or arguments.limp) and not any(one.level == "error" for one in found):
        found += _try_joints(robot, arguments)
    _say(*(finding.line for finding in found))
    errors = sum(finding.level == "error" for finding in found)
    _say(f"{robot.name}: {errors} errors, {len(found) - errors} warnings")
    return 1 if errors else 0


def _try_joints(robot: "RobotConfig", arguments: argparse.Namespace) -> "list[Finding]":
    from evo1_bringup.options import read_namespace
    from evo1_bringup.ros.relayed_hand import relayed_hand
    from evo1_sim.joint_trial import try_joints

    joints = [name for name in arguments.joints.split(",") if name]
    where = read_namespace(arguments.namespace)
    with relayed_hand(robot, where, moves=arguments.move) as hand:
        return try_joints(robot, hand, _confirm, joints=joints, limp=arguments.limp)


def _confirm(question: str) -> bool:
    return input(f"{printable(question, 1000)}? [y/n] ").strip().lower() in ("y", "yes")


def _listen(arguments: argparse.Namespace) -> "Graph":
    from evo1_bringup.options import read_namespace
    from evo1_bringup.ros.graph import listen

    return listen(read_namespace(arguments.namespace), arguments.seconds)


def _description(
    arguments: argparse.Namespace, graph: "Graph | None"
) -> "tuple[str, Urdf | None, str]":
    """The robot's URDF as text and as read, and where the robot file finds it.

    What was expanded or heard is kept beside the robot file.
    """
    from evo1_policy.kinematics.urdf import MOST_BYTES, parse_urdf
    from evo1_policy.untrusted import read_text

    if arguments.urdf is None:
        text = graph.description if graph is not None else ""
        if not text:
            return "", None, ""
    elif arguments.urdf.suffix == ".xacro":
        text = _expand(arguments.urdf)
    else:
        text = read_text(arguments.urdf, what="URDF", max_bytes=MOST_BYTES)
        where = os.path.relpath(arguments.urdf, arguments.to.parent)
        return text, parse_urdf(text, source=str(arguments.urdf)), where
    urdf = parse_urdf(text, source="robot_description")
    kept = arguments.to.with_suffix(".urdf")
    _keep(arguments, kept, text)
    return text, urdf, kept.name


def _keep(arguments: argparse.Namespace, path: Path, text: str) -> None:
    if path.exists() and not arguments.overwrite:
        raise NewRobotError(f"--to: '{path}' exists; give --overwrite, or another name")
    path.write_text(text, encoding="utf-8")


def _expand(path: Path) -> str:
    program = shutil.which("xacro")
    if program is None:
        raise NewRobotError(f"{path}: 'xacro' is not in the PATH; install ros-jazzy-xacro")
    made = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise NewRobotError(f"{path}: xacro: {made.stderr.strip()[-500:]}")
    return made.stdout


def _ask(key: str, question: str) -> str:
    return input(f"{key}: {question}: ")


def _say(*lines: str) -> None:
    for line in lines:
        print(printable(line, 1000), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
