"""Joints and grippers of a robot file, each in its own unit. No ROS, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evo1_policy.strict_yaml import Section

UNITS = ("rad", "m", "share")  # of a joint; share: from 0 to 1 of a gripper's way


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """One joint and its limits, in the order of state and action everywhere, in its own unit."""

    name: str
    position_min: float  # rad, or what `unit` says
    position_max: float
    velocity_max: float  # rad/s
    acceleration_max: float  # rad/s^2
    unit: str = UNITS[0]
    per_radian: float = 1.0  # what of its unit counts as one radian in every tolerance


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """Which joint is the gripper, and its positions when open and closed [the joint's unit]."""

    joint: str
    open: float
    closed: float
    effort: float | None = None  # most that it may press with [N, or its driver's unit]


def read_joint(section: Section) -> JointConfig:
    """One of `joints`.

    Raises:
        StrictYamlError: a key is unknown, missing or wrong.
    """
    lower, upper = section.interval("position")
    joint = JointConfig(
        name=section.text("name"),
        position_min=lower,
        position_max=upper,
        velocity_max=section.positive("velocity"),
        acceleration_max=section.positive("acceleration"),
        unit=section.choice("unit", UNITS, UNITS[0]),
        per_radian=section.positive("per_radian", 1.0),
    )
    section.finish()
    return joint


def in_tolerances(
    joint: JointConfig, grippers: Sequence[GripperConfig], section: Section
) -> JointConfig:
    """What counts as a radian of a joint in another unit: a gripper's way, else what is said."""
    if joint.unit == UNITS[0] or section.has("per_radian"):
        return joint
    ways = [
        abs(gripper.open - gripper.closed) for gripper in grippers if gripper.joint == joint.name
    ]
    if not ways:
        raise section.error(
            "per_radian",
            f"missing; expected what of a {joint.unit} counts as one radian in every tolerance "
            "(start, tracking, rest, smoothing), such as 0.1",
        )
    return replace(joint, per_radian=ways[0])


def read_grippers(root: Section, joints: Sequence[JointConfig]) -> tuple[GripperConfig, ...]:
    """`gripper`, a mapping, or `grippers`, a list of them; or neither."""
    if root.has("gripper"):
        if root.has("grippers"):
            raise root.error("grippers", "there is 'gripper' already; give one of them")
        return (_gripper(root.section("gripper"), joints),)
    if root.has("grippers"):
        return tuple(_gripper(section, joints) for section in root.sections("grippers"))
    return ()


def _gripper(section: Section, joints: Sequence[JointConfig]) -> GripperConfig:
    name = section.text("joint")
    joint = next((joint for joint in joints if joint.name == name), None)
    if joint is None:
        raise section.error("joint", no_joint(name, [joint.name for joint in joints]))
    gripper = GripperConfig(
        joint=name,
        open=position_of(section, "open", joint),
        closed=position_of(section, "closed", joint),
        effort=section.positive("effort") if section.has("effort") else None,
    )
    if gripper.open == gripper.closed:
        raise section.error("closed", f"is the same as open, {gripper.open} {joint.unit}")
    section.finish()
    return gripper


def position_of(section: Section, key: str, joint: JointConfig) -> float:
    """Read a position of a joint that must lie within its limits [the joint's unit]."""
    angle = section.number(key)
    if not joint.position_min <= angle <= joint.position_max:
        raise section.error(
            key,
            f"{angle} {joint.unit} is outside the position limits of {joint.name}, "
            f"[{joint.position_min}, {joint.position_max}]",
        )
    return angle


def no_joint(name: str, known: Sequence[str]) -> str:
    """Why a name cannot be used."""
    return f"'{name}' is no joint of this file; known: {', '.join(known)}"
