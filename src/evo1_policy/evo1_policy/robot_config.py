"""The robot file: every fact of one robot, read once and strictly.

One YAML a robot is the only place where its facts live; its text travels in every bag, dataset
and checkpoint. This module must not import ROS or torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class RobotConfigError(ValueError):
    """A robot file that cannot be used; the message names the file and the dotted key."""


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """One joint and its limits, in the order of state and action everywhere."""

    name: str
    position_min: float  # rad
    position_max: float  # rad
    velocity_max: float  # rad/s
    acceleration_max: float  # rad/s^2


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """Which joint is the gripper, and its positions when open and closed [rad]."""

    joint: str
    open: float
    closed: float


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """One camera, in the order of the model's image slots."""

    name: str  # image_1 (environment), image_2 (wrist)
    topic: str
    type: str  # one of IMAGE_TYPES
    max_age_ms: float


@dataclass(frozen=True, kw_only=True)
class StateConfig:
    """Where the joint positions come from (sensor_msgs/JointState)."""

    topic: str
    max_age_ms: float


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """One trajectory output (trajectory_msgs/JointTrajectory) and the joints that it drives."""

    topic: str
    joints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SafetyConfig:
    """Bounds beyond the joint limits. None has a default."""

    max_start_error_rad: float  # a chunk that begins further from the arm is rejected
    max_tracking_error_rad: float  # measured against commanded; beyond, the arm holds


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """One robot. Arrays are (D,) float64 in the order of `joints`."""

    name: str
    embodiment: str  # key of the norm stats
    rate_hz: float  # rate of the actions in a chunk
    joints: tuple[JointConfig, ...]
    gripper: GripperConfig | None
    cameras: tuple[CameraConfig, ...]
    state: StateConfig
    command: tuple[CommandConfig, ...]
    teleop_topic: str
    home: tuple[float, ...]  # rad
    max_skew_ms: float
    safety: SafetyConfig
    text: str  # the file as read, to be copied beside data and weights

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names in the order of state and action."""
        return tuple(joint.name for joint in self.joints)

    @property
    def width(self) -> int:
        """D, the number of joints."""
        return len(self.joints)

    @property
    def step_ns(self) -> int:
        """Time between two actions of a chunk [ns]."""
        return round(1e9 / self.rate_hz)

    @property
    def position_min(self) -> npt.NDArray[np.float64]:
        """Lower position limits (D,) [rad]."""
        return np.array([joint.position_min for joint in self.joints])

    @property
    def position_max(self) -> npt.NDArray[np.float64]:
        """Upper position limits (D,) [rad]."""
        return np.array([joint.position_max for joint in self.joints])

    @property
    def velocity_max(self) -> npt.NDArray[np.float64]:
        """Velocity limits (D,) [rad/s]."""
        return np.array([joint.velocity_max for joint in self.joints])

    @property
    def acceleration_max(self) -> npt.NDArray[np.float64]:
        """Acceleration limits (D,) [rad/s^2]."""
        return np.array([joint.acceleration_max for joint in self.joints])


def load_robot(path: Path | str) -> RobotConfig:
    """Read a robot file.

    Raises:
        RobotConfigError: the file is missing, is no YAML, or a key is unknown, missing or wrong.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RobotConfigError(f"{path}: cannot read the robot file: {error.strerror}") from error
    return parse_robot(text, source=str(path))


def parse_robot(text: str, *, source: str = "robot file") -> RobotConfig:
    """Parse the text of a robot file; `source` stands in error messages.

    Raises:
        RobotConfigError: see load_robot.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RobotConfigError(f"{source}: not valid YAML: {error}") from error
    root = _Section(data, path="", source=source)
    joints = tuple(_joint(section) for section in root.sections("joints"))
    config = RobotConfig(
        name=root.text("name"),
        embodiment=root.text("embodiment"),
        rate_hz=root.positive("rate_hz"),
        joints=joints,
        gripper=_gripper(root.section("gripper")) if root.has("gripper") else None,
        cameras=tuple(_camera(section) for section in root.sections("cameras")),
        state=_state(root.section("state")),
        command=tuple(_command(section) for section in root.sections("command")),
        teleop_topic=_teleop(root.section("teleop")),
        home=_home(root, joints),
        max_skew_ms=root.positive("max_skew_ms"),
        safety=_safety(root.section("safety")),
        text=text,
    )
    root.finish()
    _check_references(config, source)
    return config


class _Section:
    """A mapping of the file that remembers its dotted path and which keys were asked for."""

    def __init__(self, data: object, *, path: str, source: str) -> None:
        self.path = path
        self.source = source
        if not isinstance(data, Mapping):
            raise self.error("", f"expected a mapping, got {_kind(data)}")
        self._data: Mapping[Any, Any] = data
        self._known: set[str] = set()

    def error(self, key: str, problem: str) -> RobotConfigError:
        dotted = ".".join(part for part in (self.path, key) if part) or "top level"
        return RobotConfigError(f"{self.source}: {dotted}: {problem}")

    def has(self, key: str) -> bool:
        self._known.add(key)
        return key in self._data

    def get(self, key: str, expected: str) -> Any:
        if not self.has(key):
            raise self.error(key, f"missing; expected {expected}")
        return self._data[key]

    def text(self, key: str) -> str:
        value = self.get(key, "a non-empty text")
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"expected a non-empty text, got {_kind(value)}")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.text(key)
        if value not in choices:
            raise self.error(key, f"expected one of {', '.join(choices)}, got '{value}'")
        return value

    def number(self, key: str) -> float:
        return self._number(key, self.get(key, "a number"))

    def _number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"expected a number, got {_kind(value)}")
        if not math.isfinite(value):
            raise self.error(key, f"expected a finite number, got {value}")
        return float(value)

    def positive(self, key: str) -> float:
        value = self.number(key)
        if value <= 0:
            raise self.error(key, f"expected a number above 0, got {value}")
        return value

    def interval(self, key: str) -> tuple[float, float]:
        value = self.get(key, "[lower, upper]")
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(key, f"expected [lower, upper], got {_kind(value)}")
        lower, upper = (self._number(f"{key}[{i}]", item) for i, item in enumerate(value))
        if lower >= upper:
            raise self.error(
                key, f"lower limit {lower} is not below upper limit {upper}; swap them?"
            )
        return lower, upper

    def section(self, key: str) -> "_Section":
        return _Section(self.get(key, "a mapping"), path=self._join(key), source=self.source)

    def sections(self, key: str) -> "list[_Section]":
        value = self.get(key, "a list of mappings")
        if not isinstance(value, list) or not value:
            raise self.error(key, f"expected a non-empty list, got {_kind(value)}")
        return [
            _Section(item, path=f"{self._join(key)}[{i}]", source=self.source)
            for i, item in enumerate(value)
        ]

    def names(self, key: str) -> tuple[str, ...]:
        value = self.get(key, "a list of joint names")
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise self.error(key, f"expected a list of joint names, got {_kind(value)}")
        return tuple(value)

    def finish(self) -> None:
        unknown = sorted(str(key) for key in self._data if key not in self._known)
        if unknown:
            known = ", ".join(sorted(self._known))
            raise self.error(unknown[0], f"unknown key; known here: {known}")

    def _join(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


def _joint(section: _Section) -> JointConfig:
    lower, upper = section.interval("position")
    joint = JointConfig(
        name=section.text("name"),
        position_min=lower,
        position_max=upper,
        velocity_max=section.positive("velocity"),
        acceleration_max=section.positive("acceleration"),
    )
    section.finish()
    return joint


def _gripper(section: _Section) -> GripperConfig:
    gripper = GripperConfig(
        joint=section.text("joint"), open=section.number("open"), closed=section.number("closed")
    )
    section.finish()
    return gripper


def _camera(section: _Section) -> CameraConfig:
    camera = CameraConfig(
        name=section.text("name"),
        topic=section.text("topic"),
        type=section.choice("type", IMAGE_TYPES),
        max_age_ms=section.positive("max_age_ms"),
    )
    section.finish()
    return camera


def _state(section: _Section) -> StateConfig:
    state = StateConfig(topic=section.text("topic"), max_age_ms=section.positive("max_age_ms"))
    section.finish()
    return state


def _command(section: _Section) -> CommandConfig:
    command = CommandConfig(topic=section.text("topic"), joints=section.names("joints"))
    section.finish()
    return command


def _teleop(section: _Section) -> str:
    topic = section.text("topic")
    section.finish()
    return topic


def _safety(section: _Section) -> SafetyConfig:
    safety = SafetyConfig(
        max_start_error_rad=section.positive("max_start_error_rad"),
        max_tracking_error_rad=section.positive("max_tracking_error_rad"),
    )
    section.finish()
    return safety


def _home(root: _Section, joints: Sequence[JointConfig]) -> tuple[float, ...]:
    section = root.section("home")
    home = tuple(section.number(joint.name) for joint in joints)
    section.finish()
    for joint, angle in zip(joints, home, strict=True):
        if not joint.position_min <= angle <= joint.position_max:
            raise section.error(
                joint.name,
                f"{angle} rad is outside the position limits "
                f"[{joint.position_min}, {joint.position_max}]",
            )
    return home


def _check_references(config: RobotConfig, source: str) -> None:
    _check_unique(source, "joints", config.joint_names)
    _check_unique(source, "cameras", [camera.name for camera in config.cameras])
    known = set(config.joint_names)
    if config.gripper is not None and config.gripper.joint not in known:
        raise RobotConfigError(
            f"{source}: gripper.joint: '{config.gripper.joint}' is no joint of this file; "
            f"known: {', '.join(config.joint_names)}"
        )
    driven: list[str] = []
    for i, command in enumerate(config.command):
        for name in command.joints:
            if name not in known:
                raise RobotConfigError(
                    f"{source}: command[{i}].joints: '{name}' is no joint of this file; "
                    f"known: {', '.join(config.joint_names)}"
                )
        driven.extend(command.joints)
    _check_unique(source, "command", driven)
    undriven = [name for name in config.joint_names if name not in driven]
    if undriven:
        raise RobotConfigError(
            f"{source}: command: no output drives {', '.join(undriven)}; "
            "every joint belongs to exactly one output"
        )


def _check_unique(source: str, key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise RobotConfigError(f"{source}: {key}: '{name}' appears more than once")


def differences(
    ours: RobotConfig, theirs: RobotConfig
) -> list[tuple[Literal["joints", "cameras", "rate_hz", "embodiment"], str, str]]:
    """What makes a checkpoint or dataset of `theirs` unusable on `ours`: (key, ours, theirs)."""
    pairs = (
        ("embodiment", ours.embodiment, theirs.embodiment),
        ("joints", ", ".join(ours.joint_names), ", ".join(theirs.joint_names)),
        (
            "cameras",
            ", ".join(camera.name for camera in ours.cameras),
            ", ".join(camera.name for camera in theirs.cameras),
        ),
        ("rate_hz", f"{ours.rate_hz:g}", f"{theirs.rate_hz:g}"),
    )
    return [(key, mine, other) for key, mine, other in pairs if mine != other]  # type: ignore[misc]
