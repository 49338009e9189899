"""The parameters of the policy node: where things are and how to start.

Facts of the robot are in the robot file.
"""

from dataclasses import dataclass, fields

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.node import Node

from evo1_policy.control import smoothing
from evo1_policy.control.dead_man import DeadMan
from evo1_policy.control.modes import (
    ExecutionMode,
    Transition,
    UnknownWordError,
    parse_mode,
    parse_transition,
)
from evo1_policy.control.signals import LoopSettings, TakeoverMode


@dataclass(frozen=True, kw_only=True)
class PolicyParameters:
    """The node's parameters, read once when it is configured."""

    robot_file: str = ""
    checkpoint: str = ""
    tokenizer: str = ""
    embodiment: str = ""
    semantics: str = ""
    units: str = ""
    num_steps: int = 0
    instruction: str = ""
    device: str = "auto"
    execution_mode: str = ExecutionMode.REPLACE.value
    execute_actions: int = 0
    instruction_transition: str = Transition.BLEND.value
    ensemble_decay: float = 2.0
    rtc_fall_actions: int = 10
    smoothing_rad: float = LoopSettings.smoothing_rad
    dry_run: bool = False
    autostart: bool = False
    seed: int = 0
    threads: int = 0
    auto_activate: bool = True
    takeover: str = TakeoverMode.TOPIC.value
    takeover_return: str = "hold"
    takeover_silence_s: float = 1.0
    dead_man: str = "none"
    dead_man_button: int = 4
    dead_man_max_age_s: float = 0.5


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


DEVICES = ("auto", "cpu", "cuda")
_CHOICES = {
    "takeover": tuple(mode.value for mode in TakeoverMode),
    "takeover_return": ("hold", "resume"),
    "dead_man": ("none", "joy"),
}
_SECONDS = {"takeover_silence_s": (0.3, 60.0), "dead_man_max_age_s": (0.05, 5.0)}

_DESCRIPTIONS = {
    "robot_file": "Path of the robot file (YAML). Required.",
    "checkpoint": "Folder of the checkpoint; empty: the one that ships for this embodiment.",
    "tokenizer": "Folder of the tokenizer, where the checkpoint holds none.",
    "embodiment": "Key of the norm stats, where the checkpoint has several: arm or arm/dataset.",
    "semantics": "Rules that the weights were trained with, where the layout implies others: "
    "authors_main, evo1_flash or lerobot.",
    "units": "File with the units of the checkpoint's norm stats, where they are not radians.",
    "num_steps": "Denoising steps of one inference; 0: the checkpoint's.",
    "instruction": "What to do, in words; can be changed while the policy runs.",
    "device": "Where the model runs: auto, cpu, cuda or cuda:1.",
    "execution_mode": "How chunks follow one another: replace, ensemble, rtc or synchronous.",
    "execute_actions": "Actions of a chunk to execute before the next one takes over; 0: as the "
    "checkpoint says, else half of them.",
    "instruction_transition": "What a new instruction does to the chunk being executed: flush, "
    "blend or finish.",
    "ensemble_decay": "Mode ensemble: a chunk older by t counts exp(-t * this) as much [1/s].",
    "rtc_fall_actions": "Mode rtc: actions behind the frozen ones over which a chunk lets go of "
    "what was sent.",
    "smoothing_rad": "How far an action may be moved to take noise out of a chunk that would have "
    "to be slowed for it; 0: no smoothing [rad].",
    "dry_run": "Publish chunks and previews, send no command to the arm.",
    "autostart": "Start to move as soon as the node is active and has an instruction.",
    "seed": "Seed of the policy's noise.",
    "threads": "CPU threads of the model; 0: half of the cores, the other half is for messages.",
    "auto_activate": "Configure and activate without a lifecycle manager.",
    "takeover": "How a person takes over: topic (the first message on the robot file's teleop "
    "topic while the policy runs, or ~/take_over), service (~/take_over only) or off.",
    "takeover_return": "After a hand-back: hold until a person resumes, or resume by itself.",
    "takeover_silence_s": "Who took over by a message and is silent for longer hands back [s].",
    "dead_man": "none, or joy: chunks run only while a button on the topic joy is held.",
    "dead_man_button": "Index of that button in sensor_msgs/Joy.",
    "dead_man_max_age_s": "An older message on joy counts as a released button [s].",
}
_RANGES = {
    "seed": (0, 2**31 - 1),
    "threads": (0, 256),
    "num_steps": (0, 1000),
    "execute_actions": (0, 1000),
    "dead_man_button": (0, 63),
    "rtc_fall_actions": (0, 50),
}


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description, default and range."""
    for field in fields(PolicyParameters):
        descriptor = ParameterDescriptor(description=_DESCRIPTIONS[field.name])
        if field.name in _RANGES:
            low, high = _RANGES[field.name]
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        node.declare_parameter(field.name, field.default, descriptor)


def read_parameters(node: Node) -> PolicyParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used, with the parameter's name.
    """
    values = {
        field.name: node.get_parameter(field.name).value for field in fields(PolicyParameters)
    }
    parameters = PolicyParameters(**values)
    if not parameters.robot_file:
        raise ParameterError("robot_file: missing; give the path of a robot file (YAML)")
    if parameters.device.partition(":")[0] not in DEVICES:
        raise ParameterError(
            f"device: expected one of {', '.join(DEVICES)}, got '{parameters.device}'"
        )
    for name, words in _CHOICES.items():
        if values[name] not in words:
            raise ParameterError(f"{name}: expected {' or '.join(words)}, got '{values[name]}'")
    for name, (low, high) in _SECONDS.items():
        if not low <= values[name] <= high:
            raise ParameterError(f"{name}: expected {low:g} to {high:g} s, got {values[name]:g}")
    loop_settings(parameters)
    return parameters


def loop_settings(parameters: PolicyParameters) -> LoopSettings:
    """What the parameters say about the policy loop.

    Raises:
        ParameterError: a word or number that cannot be used, with the parameter's name.
    """
    if not 0.0 <= parameters.ensemble_decay <= 100.0:
        raise ParameterError(f"ensemble_decay: expected 0 to 100, got {parameters.ensemble_decay}")
    if not 0.0 <= parameters.smoothing_rad <= smoothing.MOST_RAD:
        raise ParameterError(
            f"smoothing_rad: expected 0 to {smoothing.MOST_RAD:g}, got {parameters.smoothing_rad}"
        )
    try:
        return LoopSettings(
            execute_actions=parameters.execute_actions or None,
            dry_run=parameters.dry_run,
            takeover=TakeoverMode(parameters.takeover),
            takeover_silence_ns=round(parameters.takeover_silence_s * 1e9),
            takeover_resumes=parameters.takeover_return == "resume",
            mode=parse_mode(parameters.execution_mode),
            transition=parse_transition(parameters.instruction_transition),
            ensemble_decay_per_s=parameters.ensemble_decay,
            rtc_fall_actions=parameters.rtc_fall_actions,
            smoothing_rad=parameters.smoothing_rad,
        )
    except UnknownWordError as error:
        word = str(error).replace("transition:", "instruction_transition:", 1)
        raise ParameterError(word) from error


def dead_man_button(parameters: PolicyParameters, topic: str) -> DeadMan | None:
    """The button that has to be held, on the resolved `topic`; None where none has to be."""
    if parameters.dead_man == "none":
        return None
    return DeadMan(
        topic=topic,
        button=parameters.dead_man_button,
        max_age_ns=round(parameters.dead_man_max_age_s * 1e9),
    )
