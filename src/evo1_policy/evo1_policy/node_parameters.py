"""Parameters of a node as a plain table, and the policy node's: adding one is adding a field.

The node declares and reads them from here, a launch its options. Must not import ROS or torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from evo1_policy.control import reference
from evo1_policy.control.signals import (
    SLOWEST,
    ExecutionMode,
    LoopSettings,
    TakeoverMode,
    Transition,
)
from evo1_policy.control.watchdog import DeadMan
from evo1_policy.model.config import Precision
from evo1_policy.observation import instruction_problem
from evo1_policy.untrusted import MOST_YAML_BYTES, parse_yaml, read_text

T = TypeVar("T", bool, int, float, str)
Value = bool | int | float | str

DEVICES = ("auto", "cpu", "cuda")
_WORDS = {"true": True, "1": True, "false": False, "0": False}
_KINDS = {int: "an integer", float: "a number"}
_ABOUT = "about"
# What says how a checkpoint is read: elsewhere, where the policy is.
_OF_THE_SERVER = (
    *("checkpoint", "tokenizer", "embodiment", "semantics", "units", "end_effector"),
    *("checkpoint_rate_hz", "num_steps"),
)


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One row of a table of parameters.

    Attributes:
        default: its type is the parameter's.
        choices: the words that it takes; empty for any.
        span: the smallest and the largest number.
        required: whether a node needs it to be given.
    """

    name: str
    default: Value
    description: str
    choices: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    required: bool = False

    @property
    def described(self) -> str:
        """The description with the choices."""
        choices = ("true", "false") if isinstance(self.default, bool) else self.choices
        return f"{self.description} ({', '.join(choices)})" if choices else self.description

    def read(self, text: str) -> Value:
        """The value that a person typed.

        Raises:
            ParameterError: it is none of this type, or none that can be used.
        """
        kind = type(self.default)
        if kind is bool:
            if text.lower() not in _WORDS:
                raise ParameterError(f"{self.name}: expected true or false, got '{text}'")
            return _WORDS[text.lower()]
        try:
            value = kind(text.lower() if self.choices else text)
        except ValueError as error:
            raise ParameterError(f"{self.name}: expected {_KINDS[kind]}, got '{text}'") from error
        self.check(value)
        return value

    def check(self, value: Value) -> None:
        """Refuse a value of another type, and one that is none of the choices or outside.

        Raises:
            ParameterError: with the parameter's name and what was expected.
        """
        kind = type(self.default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ParameterError(f"{self.name}: expected {kind.__name__}, got {value!r}")
        if self.choices and value not in self.choices:
            known = ", ".join(self.choices)
            raise ParameterError(f"{self.name}: expected one of {known}, got '{value}'")
        if self.span is not None and not self.span[0] <= float(value) <= self.span[1]:
            low, high = self.span
            raise ParameterError(f"{self.name}: expected {low:.10g} to {high:.10g}, got {value}")


def parameter(default: T, description: str, **more: Any) -> T:
    """A field of a dataclass that is a table of parameters; `more` as in Parameter."""
    row = Parameter(name="", default=default, description=description, **more)
    return field(default=default, metadata={_ABOUT: row})


def parameters_of(table: type) -> Mapping[str, Parameter]:
    """The rows of a table, by name, in its order."""
    return {
        column.name: replace(column.metadata[_ABOUT], name=column.name)
        for column in fields(table)
        if _ABOUT in column.metadata
    }


@dataclass(frozen=True, kw_only=True)
class ParameterTable:
    """A table of parameters whose values are checked against its rows.

    Raises:
        ParameterError: a value that cannot be used.
    """

    def __post_init__(self) -> None:
        """Check every value against its row."""
        for name, row in parameters_of(type(self)).items():
            row.check(getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class PolicyParameters(ParameterTable):
    """The node's parameters, read once when it is configured.

    Raises:
        ParameterError: a value that cannot be used.
    """

    robot_file: str = parameter("", "Path of the robot file (YAML). Required.", required=True)
    checkpoint: str = parameter(
        "", "Folder of the checkpoint, or hub:user/name; empty: the one that ships for the robot."
    )
    remote: str = parameter(
        "",
        "host:port of an evo1 serve, where the policy runs instead of here; its token is in the "
        "variable EVO1_TOKEN or in remote_token_file. Empty: here.",
    )
    remote_images: str = parameter(
        "raw",
        "How pictures go to remote: raw, exactly as they are (1.8 MB for two of 640x480), or "
        "jpeg, a tenth of it.",
        choices=("raw", "jpeg"),
    )
    remote_token_file: str = parameter("", "File with the token that remote asks for.")
    tokenizer: str = parameter("", "Folder of the tokenizer, where the checkpoint holds none.")
    embodiment: str = parameter(
        "", "Key of the norm stats, where the checkpoint has several: arm or arm/dataset."
    )
    semantics: str = parameter(
        "",
        "Rules that the weights were trained with, where the layout implies others: "
        "authors_main, evo1_flash or lerobot.",
    )
    units: str = parameter(
        "", "File with the units of the checkpoint's norm stats, where they are not radians."
    )
    end_effector: str = parameter(
        "",
        "What the numbers of a checkpoint of others mean, where they are the end effector's: "
        "libero, libero_authors, bridge, or a YAML file.",
    )
    checkpoint_rate_hz: float = parameter(
        0.0,
        "Actions a second of the data that the checkpoint learnt from (Hz), where its folder does "
        "not say it (official and LeRobot's); must be the robot file's rate_hz. 0: not said.",
        span=(0.0, 1000.0),
    )
    num_steps: int = parameter(
        0, "Denoising steps of one inference; 0: the checkpoint's.", span=(0, 1000)
    )
    instruction: str = parameter("", "What to do, in words; can be changed while the policy runs.")
    device: str = parameter("auto", "Where the model runs: auto, cpu, cuda or cuda:1.")
    precision: str = parameter(
        "auto",
        "Of the model's matrices: fp32, bf16 (fp16 on a GPU before Ampere), or auto: bf16 where "
        "the device is faster in it.",
        choices=get_args(Precision),
    )
    execution_mode: str = parameter(
        ExecutionMode.REPLACE.value,
        "How chunks follow one another (docs/execution.md).",
        choices=tuple(mode.value for mode in ExecutionMode),
    )
    execute_actions: int = parameter(
        0,
        "Actions of a chunk to execute before the next one takes over; 0: as the checkpoint "
        "says, else half of them.",
        span=(0, 1000),
    )
    instruction_transition: str = parameter(
        Transition.BLEND.value,
        "What a new instruction does to the chunk being executed.",
        choices=tuple(transition.value for transition in Transition),
    )
    ensemble_decay: float = parameter(
        2.0,
        "Mode ensemble: a chunk older by t counts exp(-t * this) as much [1/s].",
        span=(0.0, 100.0),
    )
    rtc_fall_actions: int = parameter(
        10,
        "Mode rtc: actions behind the frozen ones over which a chunk lets go of what was sent.",
        span=(0, 50),
    )
    smoothing_rad: float = parameter(
        LoopSettings.smoothing_rad,
        "How far an action may be moved to take noise out of a chunk that would have to be "
        "slowed for it; 0: no smoothing [rad].",
        span=(0.0, reference.MOST_RAD),
    )
    dry_run: bool = parameter(False, "Publish chunks as a preview and send the arm no command.")
    autostart: bool = parameter(
        False, "Start to move as soon as the node is active and has an instruction."
    )
    speed: float = parameter(
        1.0,
        "Share of the policy's own pace at which chunks are executed: time is slowed, the path "
        "stays. Can be changed while the policy runs.",
        span=(SLOWEST, 1.0),
    )
    seed: int = parameter(0, "Seed of the policy's noise.", span=(0, 2**31 - 1))
    threads: int = parameter(
        0,
        "CPU threads of the model; 0: half of the cores, the other half is for messages.",
        span=(0, 256),
    )
    auto_activate: bool = parameter(True, "Configure and activate without a lifecycle manager.")
    resume_within_s: float = parameter(
        LoopSettings.resume_within_ns / 1e9,
        "After a gap in a stream, or a late chunk, of no more than this the motion resumes by "
        "itself; after a longer one, and whatever a device or a person stopped, a person resumes "
        "[s].",
        span=(0.0, 3600.0),
    )
    takeover: str = parameter(
        TakeoverMode.TOPIC.value,
        "How a person takes over: topic (by moving: the first message on the robot file's teleop "
        "topic while the policy runs; or evo1 take-over), service (evo1 take-over only) or off.",
        choices=tuple(mode.value for mode in TakeoverMode),
    )
    takeover_return: str = parameter(
        "hold",
        "After a hand-back: hold until a person resumes, or resume by itself.",
        choices=("hold", "resume"),
    )
    takeover_silence_s: float = parameter(
        1.0,
        "Who took over by a message and is silent for longer hands back [s].",
        span=(0.3, 60.0),
    )
    dead_man: str = parameter(
        "none",
        "joy: chunks run only while a button of the gamepad on the topic joy is held "
        "(docs/safety.md).",
        choices=("none", "joy"),
    )
    dead_man_button: int = parameter(4, "Index of that button in sensor_msgs/Joy.", span=(0, 63))
    dead_man_max_age_s: float = parameter(
        0.5, "An older message on joy counts as a released button [s].", span=(0.05, 5.0)
    )

    def __post_init__(self) -> None:
        """Check every value against its row, the device's kind, and the words."""
        super().__post_init__()
        if self.instruction.strip() and (problem := instruction_problem(self.instruction)):
            raise ParameterError(f"instruction: {problem}")
        if self.device.partition(":")[0] not in DEVICES:
            known = ", ".join(DEVICES)
            raise ParameterError(f"device: expected one of {known}, got '{self.device}'")
        of_the_server = [name for name in _OF_THE_SERVER if self.remote and getattr(self, name)]
        if of_the_server:
            raise ParameterError(
                f"{of_the_server[0]}: says nothing with remote: the policy is loaded where evo1 "
                "serve runs; tell it there"
            )


POLICY_PARAMETERS = parameters_of(PolicyParameters)


def loop_settings(parameters: PolicyParameters) -> LoopSettings:
    """What the parameters say about the policy loop."""
    return LoopSettings(
        execute_actions=parameters.execute_actions or None,
        dry_run=parameters.dry_run,
        takeover=TakeoverMode(parameters.takeover),
        takeover_silence_ns=round(parameters.takeover_silence_s * 1e9),
        takeover_resumes=parameters.takeover_return == "resume",
        mode=ExecutionMode(parameters.execution_mode),
        transition=Transition(parameters.instruction_transition),
        ensemble_decay_per_s=parameters.ensemble_decay,
        rtc_fall_actions=parameters.rtc_fall_actions,
        smoothing_rad=parameters.smoothing_rad,
        resume_within_ns=round(parameters.resume_within_s * 1e9),
    )


def dead_man_button(parameters: PolicyParameters, topic: str) -> DeadMan | None:
    """The button that has to be held, on the resolved `topic`; None where none has to be."""
    if parameters.dead_man == "none":
        return None
    return DeadMan(
        topic=topic,
        button=parameters.dead_man_button,
        max_age_ns=round(parameters.dead_man_max_age_s * 1e9),
    )


def read_params_file(path: Path | str, namespace: str) -> dict[str, Any]:
    """The policy node's parameters in a ROS parameter file.

    As rclpy does: those of '/**' first, then those of the node by its name.

    Raises:
        ParameterError: no such file, or a parameter that the node has not or would refuse.
    """
    try:
        text = read_text(path, what="parameter file", max_bytes=MOST_YAML_BYTES)
        document = parse_yaml(text, source=str(path))
    except ValueError as error:
        raise ParameterError(f"params_file: {error}") from error
    own = f"/{namespace}/policy" if namespace else "/policy"
    sections = document if isinstance(document, Mapping) else {}
    found = [sections[name] for name in ("/**", own[1:], own) if name in sections]
    if not found or not all(isinstance(section, Mapping) for section in found):
        raise ParameterError(
            f"params_file: {path}: expected '/**' or '{own}' and below it ros__parameters"
        )
    values: dict[str, Any] = {}
    for section in found:
        for name, value in (section.get("ros__parameters") or {}).items():
            if name not in POLICY_PARAMETERS:
                raise ParameterError(
                    f"params_file: {path}: {name}: no parameter of the policy node"
                )
            row = POLICY_PARAMETERS[name]
            try:
                row.check(value)
            except ParameterError as error:
                raise ParameterError(f"params_file: {path}: {error}") from error
            values[name] = type(row.default)(value)  # an integer may stand for a number
    return values
