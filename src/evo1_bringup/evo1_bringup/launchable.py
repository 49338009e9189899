"""What can be started by name: a robot, or two arms. Must not import ROS or launch.

Two arms are twice the same description, in the namespaces left and right, each with its own
policy. One policy for both arms is another thing: a robot file with the joints of both.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evo1_bringup.options import (
    EMULATED,
    ROBOTS,
    SINGLE_ARMS,
    OptionError,
    options_of,
    parse_options,
)
from evo1_bringup.system import System, describe
from evo1_policy.node_parameters import Parameter

TWO_ARMS = "two_arms"
LAUNCHABLE = (*ROBOTS, TWO_ARMS)
SIDES = ("left", "right")

_DEVICES = ("robot_ip", "port", "cameras")  # no device serves two arms
# What each arm has for itself; every other option is for both.
_OWN = (
    *(*_DEVICES, "calibration", "driver", "checkpoint", "instruction", "task", "seed"),
    *("robot_file", "params_file"),
)
_EPISODES = "~/evo1_episodes"  # where the recorder puts them


def arguments_of(name: str) -> tuple[Parameter, ...]:
    """The options of one of LAUNCHABLE.

    Raises:
        OptionError: there is no such robot.
    """
    if name != TWO_ARMS:
        return options_of(name)
    every = {option.name: option for robot in SINGLE_ARMS for option in options_of(robot)}
    robot = Parameter(
        name="robot",
        default=SINGLE_ARMS[0],
        description="The kind of this arm.",
        choices=SINGLE_ARMS,
    )
    every["driver"] = replace(every["driver"], default="", choices=())  # by the kind of the arm
    own = [robot, *(every[name] for name in _OWN)]
    return (
        *(replace(one, name=f"{side}_{one.name}") for side in SIDES for one in own),
        *(one for one in every.values() if one.name not in _OWN),
    )


def systems_of(name: str, given: Mapping[str, str]) -> tuple[System, ...]:
    """What to start for one of LAUNCHABLE: a system for each policy, the left arm's first.

    Args:
        name: one of LAUNCHABLE.
        given: option name -> text, as typed.

    Raises:
        OptionError: an option that does not exist or cannot be used, or a device that two arms
            would share.
    """
    if name != TWO_ARMS:
        return (describe(name, parse_options(name, given)),)
    known = [option.name for option in arguments_of(name)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise OptionError(f"{unknown[0]}: no option of {TWO_ARMS}; known: {', '.join(known)}")
    given = {name: text.strip() for name, text in given.items() if text.strip()}
    for device in _DEVICES:
        left, right = (
            {word.strip() for word in given.get(f"{side}_{device}", "").split(",")}
            for side in SIDES
        )
        twice = (left & right) - {"", EMULATED, "none"}
        if twice:
            raise OptionError(f"right_{device}: {min(twice)} is the left arm's already")
    return tuple(_one_of_two(side, given) for side in SIDES)


def _one_of_two(side: str, given: Mapping[str, str]) -> System:
    start = f"{side}_"
    own = {
        name.removeprefix(start): text for name, text in given.items() if name.startswith(start)
    }
    robot = own.pop("robot", SINGLE_ARMS[0])
    if robot not in SINGLE_ARMS:
        known = ", ".join(SINGLE_ARMS)
        raise OptionError(f"{side}_robot: '{robot}' is no single arm; known: {known}")
    shared = {name: text for name, text in given.items() if not name.startswith(SIDES)}
    around = shared.get("namespace", "").strip("/")
    shared["namespace"] = f"{around}/{side}" if around else side
    if shared.get("record_root") or shared.get("record", "").lower() in ("true", "1"):
        shared["record_root"] = str(Path(shared.get("record_root") or _EPISODES) / side)
    try:
        return describe(robot, parse_options(robot, {**shared, **own}))
    except OptionError as error:
        name = str(error).partition(":")[0]
        place = start if name in _OWN else f"{side} arm: "
        raise OptionError(f"{place}{error}") from error
