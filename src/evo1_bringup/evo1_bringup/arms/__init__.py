"""Families of real arms: each module here has a DRIVER, found by the robot file's key `driver`.

Must not import ROS or launch.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_bringup.processes import Include, Process
from evo1_policy.node_parameters import ParameterError
from evo1_policy.robot_config import RobotConfig

if TYPE_CHECKING:
    from evo1_bringup.options import SystemOptions

Arm = tuple[list[Process], tuple[Include, ...]]


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A family of drivers, which robot files name by their key `driver`.

    Attributes:
        device: the option that says where the arm is; not given, it is simulated.
        options: all that only its arms have, but for `driver`.
        ways: what `driver` may be, the usual one first.
        check: refuses options that do not go together, by ParameterError.
        start: what to start, given the options, the robot file, what stands in it, and the
            simulation, which an emulated arm is moved in.
    """

    device: str
    options: tuple[str, ...]
    ways: tuple[str, ...]
    check: Callable[["SystemOptions"], None]
    start: Callable[["SystemOptions", Path, RobotConfig, Process], Arm]


def refuse_effort(path: Path, config: RobotConfig, way: str) -> None:
    """Refuse a robot file with a gripper's effort where what is started takes none.

    Args:
        path: of the robot file.
        config: what stands in it.
        way: what takes none, for the message.

    Raises:
        ParameterError: a gripper has an effort.
    """
    if any(gripper.effort is not None for gripper in config.grippers):
        raise ParameterError(
            f"robot_file: {path}: gripper.effort: {way} takes none; leave it out of the file"
        )


def find_driver(name: str) -> Driver | None:
    """The family that a robot file names; None for ''.

    Raises:
        ParameterError: neither the folder arms/ nor an entry point `evo1.drivers` has it.
    """
    if not name:
        return None
    ours = [module.name for module in pkgutil.iter_modules(__path__)]
    if name in ours:
        found: Driver = importlib.import_module(f"{__name__}.{name}").DRIVER
        return found
    others = {point.name: point for point in entry_points(group="evo1.drivers")}
    if name not in others:
        known = ", ".join([*ours, *others])
        raise ParameterError(f"robot_file: driver: '{name}' is unknown; known: {known}")
    found = others[name].load()
    if not isinstance(found, Driver):
        raise ParameterError(f"robot_file: driver: the entry point '{name}' is no Driver")
    return found
