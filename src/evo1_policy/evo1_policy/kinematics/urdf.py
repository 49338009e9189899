"""URDF: read strictly, as a tree of joints; the one reader of it. Must not import ROS or MuJoCo.

What is read: links, joints with their origins, axes, limits and mimics. Meshes, masses and
transmissions are left alone; xacro is expanded before.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from evo1_policy.command_line import printable
from evo1_policy.untrusted import UntrustedError, parse_xml, read_text

MOST_BYTES = 8 << 20
MOST_JOINTS = 300
MOVING = ("revolute", "continuous", "prismatic")

Triple = tuple[float, float, float]


class UrdfError(ValueError):
    """A URDF that cannot be used; the message names the file and the joint or link."""


@dataclass(frozen=True, kw_only=True)
class Mimic:
    """A joint's position is offset + factor * that of `joint`."""

    joint: str
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class UrdfJoint:
    """One joint, as it stands in the file.

    Attributes:
        kind: revolute, continuous, prismatic, fixed or another word of URDF.
        xyz: origin in the parent link [m].
        rpy: orientation in the parent link, fixed axes [rad].
        axis: in the child link.
        lower: None for a joint without an end [rad or m].
        upper: likewise.
        velocity: None where the file says none [rad/s or m/s].
    """

    name: str
    kind: str
    parent: str
    child: str
    xyz: Triple = (0.0, 0.0, 0.0)
    rpy: Triple = (0.0, 0.0, 0.0)
    axis: Triple = (1.0, 0.0, 0.0)
    lower: float | None = None
    upper: float | None = None
    velocity: float | None = None
    mimic: Mimic | None = None

    @property
    def moves(self) -> bool:
        """Whether it has one degree of freedom of its own."""
        return self.kind in MOVING and self.mimic is None

    @property
    def unit(self) -> str:
        """Of its position, as robot files name it."""
        return "m" if self.kind == "prismatic" else "rad"


@dataclass(frozen=True, kw_only=True)
class Urdf:
    """A robot's description: its joints from the root outwards.

    Attributes:
        joints: by name; a joint comes after those that it hangs on.
        cameras: links that look like optical frames of cameras.
    """

    name: str
    root: str
    joints: dict[str, UrdfJoint] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()

    def followers(self) -> dict[str, Mimic]:
        """The joints that mimic, each by the moving joint that it follows in the end."""
        found = {}
        for joint in self.joints.values():
            mimic = joint.mimic
            while mimic is not None:
                found[joint.name] = mimic
                above = self.joints[mimic.joint].mimic
                mimic = above and Mimic(
                    joint=above.joint,
                    factor=mimic.factor * above.factor,
                    offset=mimic.offset + mimic.factor * above.offset,
                )
        return found

    def below(self, link: str) -> list[UrdfJoint]:
        """The joints that hang on a link."""
        return [joint for joint in self.joints.values() if joint.parent == link]

    def branches(self) -> dict[str, tuple[str, ...]]:
        """Each moving joint and the moving joints between it and the root, itself the last."""
        above: dict[str, tuple[str, ...]] = {self.root: ()}
        found: dict[str, tuple[str, ...]] = {}
        for joint in self.joints.values():
            way = above[joint.parent]
            if joint.moves:
                way = found[joint.name] = (*way, joint.name)
            above[joint.child] = way
        return found


def read_urdf(path: Path | str) -> Urdf:
    """Read a URDF file.

    Raises:
        UrdfError: it is missing, is no URDF, or no tree of joints.
    """
    try:
        text = read_text(path, what="URDF", max_bytes=MOST_BYTES)
    except UntrustedError as error:
        raise UrdfError(str(error)) from error
    return parse_urdf(text, source=str(path))


def parse_urdf(text: str, *, source: str) -> Urdf:
    """Parse a URDF; `source` stands in error messages.

    Raises:
        UrdfError: as read_urdf.
    """
    try:
        root = parse_xml(text, source=source)
    except UntrustedError as error:
        raise UrdfError(str(error)) from error
    return urdf_of(root, source=source)


def urdf_of(root: ElementTree.Element, *, source: str) -> Urdf:
    """The URDF whose outermost element this is; `source` stands in error messages.

    Raises:
        UrdfError: as read_urdf.
    """
    if root.tag != "robot":
        raise UrdfError(
            f"{source}: the outermost element is <{printable(root.tag, 40)}>, not <robot>"
        )
    if any("xacro" in tag.tag for tag in root.iter() if tag.tag.startswith("{")):
        raise UrdfError(f"{source}: is xacro; expand it first: xacro FILE > arm.urdf")
    links = [_name(link, "link", source) for link in root.findall("link")]
    joints = [_joint(element, source) for element in root.findall("joint")]
    if not joints or len(joints) > MOST_JOINTS:
        raise UrdfError(f"{source}: {len(joints)} joints; expected 1 to {MOST_JOINTS}")
    base, ordered = _as_tree(links, joints, source)
    return Urdf(
        name=root.get("name", ""),
        root=base,
        joints=ordered,
        cameras=tuple(link for link in links if "optical" in link or link.endswith("camera")),
    )


def _name(element: ElementTree.Element, what: str, source: str) -> str:
    name = element.get("name", "")
    if not name:
        raise UrdfError(f"{source}: a {what} has no name")
    return name


def _joint(element: ElementTree.Element, source: str) -> UrdfJoint:
    name = _name(element, "joint", source)
    where = f"{source}: joint '{printable(name, 80)}'"
    ends = {}
    for role in ("parent", "child"):
        found = element.find(role)
        ends[role] = found.get("link", "") if found is not None else ""
        if not ends[role]:
            raise UrdfError(f"{where}: has no {role} link")
    origin, axis, limit, mimic = (
        element.find(tag) for tag in ("origin", "axis", "limit", "mimic")
    )
    kind = element.get("type", "")
    bounded = kind in ("revolute", "prismatic")
    lower, upper, velocity = (
        None if limit is None else _number(limit, key, where)
        for key in ("lower", "upper", "velocity")
    )
    return UrdfJoint(
        name=name,
        kind=kind,
        xyz=_triple(origin, "xyz", (0.0, 0.0, 0.0), where),
        rpy=_triple(origin, "rpy", (0.0, 0.0, 0.0), where),
        axis=_triple(axis, "xyz", (1.0, 0.0, 0.0), where),
        lower=lower if bounded else None,
        upper=upper if bounded else None,
        velocity=velocity,
        mimic=None if mimic is None else _mimic(mimic, where),
        **ends,
    )


def _mimic(element: ElementTree.Element, where: str) -> Mimic:
    factor, offset = (_number(element, key, where) for key in ("multiplier", "offset"))
    return Mimic(
        joint=element.get("joint", ""),
        factor=1.0 if factor is None else factor,
        offset=offset or 0.0,
    )


def _number(element: ElementTree.Element, key: str, where: str) -> float | None:
    text = element.get(key)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UrdfError(f"{where}: {key}: expected a number, got '{printable(text, 40)}'")
    return number


def _triple(element: ElementTree.Element | None, key: str, usual: Triple, where: str) -> Triple:
    text = None if element is None else element.get(key)
    if text is None:
        return usual
    try:
        x, y, z = (float(word) for word in text.split())
    except ValueError:
        x = y = z = math.nan
    if not math.isfinite(x + y + z):
        raise UrdfError(f"{where}: {key}: expected three numbers, got '{printable(text, 40)}'")
    return x, y, z


def _as_tree(
    links: list[str], joints: list[UrdfJoint], source: str
) -> tuple[str, dict[str, UrdfJoint]]:
    """The root link, and the joints by name from the root outwards.

    Raises:
        UrdfError: two of a name, an unknown link, or no tree.
    """
    _check_names(links, joints, source)
    children = [joint.child for joint in joints]
    roots = [link for link in links if link not in children]
    if len(roots) != 1:
        raise UrdfError(f"{source}: expected one root link, got {', '.join(roots) or 'none'}")
    ordered: dict[str, UrdfJoint] = {}
    due = roots[:]
    while due:
        link = due.pop()
        for joint in joints:
            if joint.parent == link:
                ordered[joint.name] = joint
                due.append(joint.child)
    if len(ordered) < len(joints):
        raise UrdfError(f"{source}: some joints hang on one another in a circle")
    return roots[0], ordered


def _check_names(links: list[str], joints: list[UrdfJoint], source: str) -> None:
    names = [joint.name for joint in joints]
    children = [joint.child for joint in joints]
    for what, several in (("link", links), ("joint", names), ("child of a joint: link", children)):
        twice = {name for name in several if several.count(name) > 1}
        if twice:
            raise UrdfError(f"{source}: {what} '{printable(min(twice), 80)}' stands twice")
    leaders = {joint.name: joint.mimic.joint for joint in joints if joint.mimic is not None}
    for joint in joints:
        where = f"{source}: joint '{printable(joint.name, 80)}'"
        for link in (joint.parent, joint.child):
            if link not in links:
                raise UrdfError(f"{where}: no link '{printable(link, 80)}'")
        leader, passed = joint.name, 0
        while leader in leaders and passed <= len(leaders):
            leader, passed = leaders[leader], passed + 1
        if leader not in names:
            raise UrdfError(f"{where}: mimics no joint of this file")
        if passed > len(leaders):
            raise UrdfError(f"{where}: mimics itself in a circle")
