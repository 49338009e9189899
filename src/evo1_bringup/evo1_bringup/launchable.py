"""What can be started by name: a robot, or two arms. Must not import ROS or launch."""

from collections.abc import Mapping

from evo1_bringup.options import ROBOTS, Option, options_of, parse_options
from evo1_bringup.system import System, describe
from evo1_bringup.two_arms import TWO_ARMS, describe_two_arms, two_arms_options

LAUNCHABLE = (*ROBOTS, TWO_ARMS)


def arguments_of(name: str) -> tuple[Option, ...]:
    """The options of one of LAUNCHABLE.

    Raises:
        OptionError: there is no such robot.
    """
    return two_arms_options() if name == TWO_ARMS else options_of(name)


def systems_of(name: str, given: Mapping[str, str]) -> tuple[System, ...]:
    """What to start for one of LAUNCHABLE: a system for each policy.

    Args:
        name: one of LAUNCHABLE.
        given: option name -> text, as typed.

    Raises:
        OptionError: an option that does not exist or cannot be used.
    """
    if name == TWO_ARMS:
        return describe_two_arms(given)
    return (describe(name, parse_options(name, given)),)
