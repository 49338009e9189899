"""What to type next, in the words that work where it is read. Must not import ROS.

Where ROS 2 is installed that is `ros2 run` and `ros2 launch`, beside the pip route's workspace
`evo1`, and on a machine that only trains the Python module.
"""

import shlex
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import printable
from evo1_policy.kinematics.config import PACKAGE
from evo1_policy.robot_config import RobotConfig, RobotConfigError

if TYPE_CHECKING:
    from evo1_sim.tasks import Task


def command(name: str, *words: object) -> str:
    """Spell a command of this package, such as `train --stage 2`, as a shell takes it."""
    starts = {
        "ros2": f"ros2 run evo1_training {name}",
        "evo1": f"evo1 {name.replace('_', '-')}",
        "": f"python -m evo1_training.cli.{name}",
    }
    return " ".join([starts[_program()], *map(_quoted, words)])


def after_training(
    robot: RobotConfig, checkpoint: str | Path, instructions: Collection[str]
) -> list[str]:
    """How to evaluate a new policy and how to start it.

    Args:
        robot: of the policy. One that ships has a launch of its name where it has a cell; any
            other robot, or file, is launched by the copy in the checkpoint, unless its models lie
            beside the file alone.
        checkpoint: folder of the policy.
        instructions: those of the data that it learned from. Tasks of the simulation are known by
            their words; of others only the first is launched, and nothing can be evaluated.
    """
    tasks = [t for t in _simulated_tasks(robot.name) if t.instruction in instructions]
    lines = [
        command("evaluate", "--checkpoint", checkpoint, "--task", task.name) for task in tasks
    ]
    words = f"instruction:={_quoted(min(instructions, default=''))}"
    told = f"task:={tasks[0].name}" if tasks else words
    return [*lines, launch_command(robot, checkpoint, told)]


def launch_command(robot: RobotConfig, checkpoint: str | Path, *options: str) -> str:
    """How to start a policy, with options as name:=value."""
    known = _simulated_tasks(robot.name)
    name = robot.name if known else "policy"  # a robot of any file, which runs already
    start = [f"evo1 launch {name}"]
    if _program() != "evo1":
        start = [f"ros2 launch evo1_bringup {name}.launch.py"]
    if not (ships := _ships(robot)) or not known:
        copy = f"{robot.name}.yaml" if _models_lie_beside(robot) else f"{checkpoint}/robot.yaml"
        file = robot.name if ships else copy
        start.append(f"robot_file:={_quoted(file)}")
    return " ".join([*start, *options, f"checkpoint:={_quoted(checkpoint)}"])


def _quoted(word: object) -> str:
    """A word as a shell takes it; the home stays one."""
    text = str(word)
    home = "~/" if text.startswith("~/") else ""
    return home + shlex.quote(printable(text.removeprefix(home), 4096))


def _program() -> str:
    """Which of the programs is here, the first of them; empty for none."""
    return next(filter(shutil.which, ("ros2", "evo1")), "")


def _ships(robot: RobotConfig) -> bool:
    """Whether the workspace has this very robot file under the robot's name."""
    from evo1_training.datasets.reader.adoption import robot_file  # late: pyarrow takes a second

    try:
        return robot_file(robot.name).read_text(encoding="utf-8") == robot.text
    except (OSError, RobotConfigError):
        return False


def _models_lie_beside(robot: RobotConfig) -> bool:
    """Whether a robot file names a model by a path that leads nowhere from a copy of it."""
    collision = robot.safety.collision
    named = (robot.urdf, collision.model if collision else "")
    paths = [name for name in named if name and not name.startswith(PACKAGE)]
    return any(name not in robot.text or not Path(name).is_absolute() for name in paths)


def _simulated_tasks(robot: str) -> "Sequence[Task]":
    try:
        from evo1_sim.tasks import TASKS  # late: brings MuJoCo, which only this needs
    except ImportError:  # a machine that only trains
        return ()
    return TASKS.get(robot, ())
