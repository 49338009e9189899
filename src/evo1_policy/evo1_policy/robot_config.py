"""The robot file: every fact of one robot, read once and strictly.

One YAML a robot is the only place where its facts live; its text travels in every bag, dataset
and checkpoint. This module must not import ROS or torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.interface import Interface, check_unique, read_rate
from evo1_policy.interface import differences as interface_differences
from evo1_policy.kinematics.config import CollisionConfig, beside, read_collision
from evo1_policy.robot_joints import (
    UNITS,
    GripperConfig,
    JointConfig,
    in_tolerances,
    no_joint,
    position_of,
    read_grippers,
    read_joint,
)
from evo1_policy.strict_yaml import Section, read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, read_text

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
JOINT_STREAM = "joint_states"  # name of the stream of joint positions, beside the cameras
SLOWEST_CONTROLLER_HZ = 50.0  # of the controllers in use; assumed where a robot file does not say
REST_ERROR_RAD = 0.05  # likewise, of an arm at rest
STAMPS = ("header", "arrival")


class RobotConfigError(ValueError):
    """A robot file that cannot be used; the message names the file and the dotted key."""


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """One camera, in the order of the model's image slots."""

    name: str  # image_1 (environment), image_2 (wrist)
    topic: str
    type: str  # one of IMAGE_TYPES
    max_age_ms: float
    stamp: str = STAMPS[0]  # 'arrival' for a driver whose stamps are no times of any clock


@dataclass(frozen=True, kw_only=True)
class StateConfig:
    """Where the joint positions come from (sensor_msgs/JointState)."""

    topic: str
    max_age_ms: float
    stamp: str = STAMPS[0]


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """One trajectory output (trajectory_msgs/JointTrajectory) and the joints that it drives."""

    topic: str
    joints: tuple[str, ...]
    rate_hz: float = SLOWEST_CONTROLLER_HZ  # of its controller: a command needs two of its cycles

    @property
    def state_topic(self) -> str:
        """Where its controller says what it follows, by the convention of ros2_controllers."""
        return f"{self.topic.rpartition('/')[0]}/controller_state".lstrip("/")


@dataclass(frozen=True, kw_only=True)
class SafetyConfig:
    """Bounds beyond the joint limits. None has a default."""

    max_start_error_rad: float  # a chunk that begins further from the arm is rejected
    max_tracking_error_rad: float  # measured against commanded; beyond, the arm holds
    max_rest_error_rad: float = REST_ERROR_RAD  # at rest; beyond, somebody moved the arm
    collision: CollisionConfig | None = None  # what it must not touch; None: nothing is checked


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """One robot. Arrays are (D,) float64 in the order of `joints`."""

    name: str
    embodiment: str  # key of the norm stats
    rate_hz: float  # rate of the actions in a chunk
    joints: tuple[JointConfig, ...]
    grippers: tuple[GripperConfig, ...]
    cameras: tuple[CameraConfig, ...]
    state: StateConfig
    command: tuple[CommandConfig, ...]
    teleop_topic: str
    home: tuple[float, ...]  # rad
    max_skew_ms: float
    safety: SafetyConfig
    text: str  # the file as read, to be copied beside data and weights
    park: tuple[float, ...] | None = None  # rad; where it goes before its drives are let go
    driver: str = ""  # family of its drivers, where this workspace starts one; '': it runs already
    urdf: str = ""  # path of its description; '': none

    @property
    def gripper(self) -> GripperConfig | None:
        """The gripper of a robot that has one; None where there is none, or more than one."""
        return self.grippers[0] if len(self.grippers) == 1 else None

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
    def interface(self) -> Interface:
        """What a policy for it sees and answers: its joints' positions, and its cameras."""
        return Interface(
            name=self.name,
            embodiment=self.embodiment,
            state=self.joint_names,
            action=self.joint_names,
            cameras=tuple(camera.name for camera in self.cameras),
            rate_hz=self.rate_hz,
            action_space="joint",
            text=self.text,
        )

    @property
    def position_min(self) -> Floats:
        """Lower position limits (D,) [rad]."""
        return np.array([joint.position_min for joint in self.joints])

    @property
    def position_max(self) -> Floats:
        """Upper position limits (D,) [rad]."""
        return np.array([joint.position_max for joint in self.joints])

    @property
    def per_radian(self) -> Floats:
        """What counts as one radian in every tolerance (D,) [each joint's unit]."""
        return np.array([joint.per_radian for joint in self.joints])

    @property
    def velocity_max(self) -> Floats:
        """Velocity limits (D,) [rad/s]."""
        return np.array([joint.velocity_max for joint in self.joints])

    @property
    def acceleration_max(self) -> Floats:
        """Acceleration limits (D,) [rad/s^2]."""
        return np.array([joint.acceleration_max for joint in self.joints])


def load_robot(path: Path | str) -> RobotConfig:
    """Read a robot file.

    Raises:
        RobotConfigError: the file is missing, is no YAML, or a key is unknown, missing or wrong.
    """
    try:
        text = read_text(path, what="robot file", max_bytes=MOST_YAML_BYTES)
    except UntrustedError as error:
        raise RobotConfigError(str(error)) from error
    return parse_robot(text, source=str(path))


def parse_robot(text: str, *, source: str = "robot file") -> RobotConfig:
    """Parse the text of a robot file; `source` stands in error messages.

    Raises:
        RobotConfigError: see load_robot.
    """
    try:
        return _robot(read_section(text, source=source), text)
    except UntrustedError as error:
        raise RobotConfigError(str(error)) from error


def _robot(root: Section, text: str) -> RobotConfig:
    sections = root.sections("joints")
    joints = tuple(read_joint(section) for section in sections)
    grippers = read_grippers(root, joints)
    joints = tuple(
        in_tolerances(joint, grippers, section)
        for joint, section in zip(joints, sections, strict=True)
    )
    config = RobotConfig(
        name=root.text("name"),
        embodiment=root.text("embodiment"),
        rate_hz=read_rate(root),
        joints=joints,
        grippers=grippers,
        cameras=tuple(_camera(section) for section in root.sections("cameras")),
        state=_state(root.section("state")),
        command=tuple(_command(section) for section in root.sections("command")),
        teleop_topic=_teleop(root.section("teleop")),
        home=_pose(root.section("home"), joints),
        park=_pose(root.section("park"), joints) if root.has("park") else None,
        max_skew_ms=root.positive("max_skew_ms"),
        safety=_safety(root.section("safety")),
        driver=root.text("driver") if root.has("driver") else "",
        urdf=beside(root, root.text("urdf")) if root.has("urdf") else "",
        text=text,
    )
    root.finish()
    check_unique(root, "joints[{}].name", config.joint_names)
    check_unique(root, "grippers[{}].joint", [gripper.joint for gripper in config.grippers])
    check_unique(root, "cameras[{}].name", [camera.name for camera in config.cameras])
    check_unique(root, "cameras[{}].topic", [camera.topic for camera in config.cameras])
    check_unique(root, "command[{}].topic", [command.topic for command in config.command])
    _check_outputs(root, config)
    _check_efforts(root, config)
    return config


def _camera(section: Section) -> CameraConfig:
    name = section.text("name")
    if name == JOINT_STREAM:
        raise section.error("name", f"'{JOINT_STREAM}' is the name of the joints' stream")
    camera = CameraConfig(
        name=name,
        topic=section.topic("topic"),
        type=section.choice("type", IMAGE_TYPES),
        max_age_ms=section.positive("max_age_ms"),
        stamp=section.choice("stamp", STAMPS, STAMPS[0]),
    )
    section.finish()
    return camera


def _state(section: Section) -> StateConfig:
    state = StateConfig(
        topic=section.topic("topic"),
        max_age_ms=section.positive("max_age_ms"),
        stamp=section.choice("stamp", STAMPS, STAMPS[0]),
    )
    section.finish()
    return state


def _command(section: Section) -> CommandConfig:
    command = CommandConfig(
        topic=section.topic("topic"),
        joints=section.names("joints"),
        rate_hz=section.positive("rate_hz", SLOWEST_CONTROLLER_HZ),
    )
    section.finish()
    return command


def _teleop(section: Section) -> str:
    topic = section.topic("topic")
    section.finish()
    return topic


def _safety(section: Section) -> SafetyConfig:
    safety = SafetyConfig(
        max_start_error_rad=section.positive("max_start_error_rad"),
        max_tracking_error_rad=section.positive("max_tracking_error_rad"),
        max_rest_error_rad=section.positive("max_rest_error_rad", REST_ERROR_RAD),
        collision=read_collision(section.section("collision"))
        if section.has("collision")
        else None,
    )
    section.finish()
    return safety


def _pose(section: Section, joints: Sequence[JointConfig]) -> tuple[float, ...]:
    pose = tuple(position_of(section, joint.name, joint) for joint in joints)
    section.finish()
    return pose


def _check_outputs(root: Section, config: RobotConfig) -> None:
    """Every joint belongs to exactly one output."""
    driven: dict[str, str] = {}
    for i, command in enumerate(config.command):
        for j, name in enumerate(command.joints):
            key = f"command[{i}].joints[{j}]"
            if name not in config.joint_names:
                raise root.error(key, no_joint(name, config.joint_names))
            if name in driven:
                raise root.error(key, f"'{name}' is driven by {driven[name]} already")
            driven[name] = key
    undriven = [name for name in config.joint_names if name not in driven]
    if undriven:
        raise root.error(
            "command",
            f"no output drives {', '.join(undriven)}; every joint belongs to exactly one output",
        )


def _check_efforts(root: Section, config: RobotConfig) -> None:
    """An effort goes out with the goals of a gripper that has an output of its own."""
    alone = [command.joints for command in config.command]
    for i, gripper in enumerate(config.grippers):
        if gripper.effort is None:
            continue
        key = "gripper.effort" if root.has("gripper") else f"grippers[{i}].effort"
        if config.gripper is None:
            raise root.error(key, "there is more than one gripper, which none takes; leave it out")
        if (gripper.joint,) not in alone:
            raise root.error(
                key,
                f"no output of `command` drives {gripper.joint} alone, and a trajectory carries "
                "no effort; leave it out, or give the gripper an output of its own",
            )


def differences(ours: RobotConfig, theirs: RobotConfig) -> list[tuple[str, str, str]]:
    """What makes a checkpoint or dataset of `theirs` unusable on `ours`: (key, ours, theirs).

    The keys are 'joints', and those of interface.differences that are no joints.
    """
    mine, other = _joints_and_units(ours), _joints_and_units(theirs)
    found = interface_differences(ours.interface, theirs.interface)
    return [
        *(difference for difference in found if difference[0] not in ("state", "action")),
        *([("joints", mine, other)] if mine != other else []),
    ]


def _joints_and_units(robot: RobotConfig) -> str:
    """Names in order, with the unit where it is not radians."""
    return ", ".join(
        joint.name if joint.unit == UNITS[0] else f"{joint.name} [{joint.unit}]"
        for joint in robot.joints
    )
