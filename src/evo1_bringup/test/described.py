"""What is started for a robot and options, for the tests."""

import tempfile

from evo1_bringup.options import parse_options
from evo1_bringup.system import Process, System, describe


def system_of(robot: str, **given: str) -> System:
    """The system of these options; a real arm gets some folder as its checkpoint."""
    real = "robot_ip" in given or given.get("port", "emulated") != "emulated"
    policy = {"checkpoint": tempfile.gettempdir()} if real and "teleop" not in given else {}
    return describe(robot, parse_options(robot, {**policy, **given}))


def process_of(system: System, executable: str) -> Process:
    """The first process that runs this executable."""
    return next(process for process in system.processes if process.executable == executable)
