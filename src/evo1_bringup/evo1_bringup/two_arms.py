"""Two arms in one start: each its own namespace, simulation or driver, policy and checkpoint.

One policy for both arms is another thing: a robot file with the joints of both. Must not import
ROS or launch.
"""

from collections.abc import Mapping
from pathlib import Path

from evo1_bringup.option_values import read_boolean
from evo1_bringup.options import (
    EMULATED,
    SINGLE_ARMS,
    Option,
    OptionError,
    SystemOptions,
    options_of,
    parse_options,
)
from evo1_bringup.system import System, describe

TWO_ARMS = "two_arms"
SIDES = ("left", "right")

# What each arm has for itself; every other option is for both.
_OWN = (
    "robot_ip",
    "port",
    "calibration",
    "driver",
    "checkpoint",
    "instruction",
    "task",
    "seed",
    "cameras",
    "robot_file",
)
_DEVICES = ("robot_ip", "port", "cameras")  # no device serves two arms
_EPISODES = "~/evo1_episodes"  # where the recorder puts them if nobody says otherwise
_CHANGED = {
    "namespace": "Namespace around both arms: NAMESPACE/left and NAMESPACE/right.",
    "record_root": f"Folder of both arms' episodes, in left/ and right/. Not given: {_EPISODES}.",
}


def two_arms_options() -> tuple[Option, ...]:
    """The options of a start of two arms: those of the left, of the right, of both."""
    of_each = [option for side in SIDES for option in _options_of_side(side)]
    shared = [
        Option(
            name=option.name,
            default=option.default,
            description=_CHANGED.get(option.name, option.description),
            choices=option.choices,
        )
        for option in options_of(SINGLE_ARMS[0])
        if option.name not in _OWN
    ]
    return (*of_each, *shared)


def describe_two_arms(given: Mapping[str, str]) -> tuple[System, ...]:
    """Say what to start for two arms, the left one first.

    Args:
        given: option name -> text, as typed.

    Raises:
        OptionError: an option that does not exist, cannot be used, or gives one device to both.
    """
    declared = {option.name: option for option in two_arms_options()}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise OptionError(f"{unknown[0]}: no option of {TWO_ARMS}; known: {', '.join(declared)}")
    texts = {name: given.get(name, option.default).strip() for name, option in declared.items()}
    _check_devices(texts)
    return tuple(_describe_side(side, texts) for side in SIDES)


def _options_of_side(side: str) -> list[Option]:
    robot = Option(
        name=f"{side}_robot",
        default=SINGLE_ARMS[0],
        description=f"The {side} arm.",
        choices=SINGLE_ARMS,
    )
    every = [option for kind in SINGLE_ARMS for option in options_of(kind)]
    own = []
    for name in _OWN:
        described = dict.fromkeys(option.described for option in every if option.name == name)
        text = " ".join(described)  # the robots' options of one name may differ
        about = f"The {side} arm: {text}"
        own.append(Option(name=f"{side}_{name}", default="", description=about))
    return [robot, *own]


def _describe_side(side: str, texts: Mapping[str, str]) -> System:
    robot = texts[f"{side}_robot"]
    if robot not in SINGLE_ARMS:
        known = ", ".join(SINGLE_ARMS)
        raise OptionError(f"{side}_robot: '{robot}' is no single arm; known: {known}")
    own = {name: texts[f"{side}_{name}"] for name in _OWN if texts[f"{side}_{name}"]}
    shared = {name: text for name, text in texts.items() if not name.startswith(SIDES)}
    shared["namespace"] = "/".join(part for part in (shared["namespace"].strip("/"), side) if part)
    if read_boolean("record", shared["record"]):
        shared["record_root"] = str(Path(shared["record_root"] or _EPISODES) / side)
    try:
        options: SystemOptions = parse_options(robot, {**shared, **own})
        return describe(robot, options)
    except OptionError as error:
        name = str(error).partition(":")[0]
        place = f"{side}_" if name in _OWN else f"{side} arm: "
        raise OptionError(f"{place}{error}") from error


def _check_devices(texts: Mapping[str, str]) -> None:
    """No device may be given to both arms."""
    for name in _DEVICES:
        left, right = ({word.strip() for word in texts[f"{s}_{name}"].split(",")} for s in SIDES)
        twice = (left & right) - {"", EMULATED, "none"}
        if twice:
            raise OptionError(f"right_{name}: {min(twice)} is the left arm's already")
