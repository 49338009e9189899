"""A proposal for what a new arm must not touch: its shapes, the table, pairs that always touch.

Shapes are the URDF's own where they are simple ones; a link without any, or with a mesh, becomes
capsules from its joint to the next. Must not import ROS.
"""

import math
from collections.abc import Iterator
from xml.etree import ElementTree

from evo1_policy.kinematics.collision import TouchingError, Workspace
from evo1_policy.kinematics.urdf import Triple, Urdf, UrdfJoint
from evo1_policy.robot_config import parse_robot
from evo1_policy.untrusted import parse_xml
from evo1_sim.robot_draft import yaml_word

TABLE = "table"
TABLE_QUESTION = "height of the table in the base frame [m], 0: the base stands on it; or none"
_SIMPLE = ("box", "cylinder", "sphere", "capsule")
_SHARE, _THINNEST, _THICKEST = 0.15, 0.02, 0.06  # radius of a capsule, of its length [m]
_MOST_PAIRS = 60


class CollisionDraftError(ValueError):
    """No proposal can be made; the message says what to do."""


def read_table(text: str) -> float | None:
    """The answer to TABLE_QUESTION.

    Raises:
        CollisionDraftError: neither a number nor none.
    """
    if text.strip().lower() == "none":
        return None
    try:
        height = float(text or 0.0)
    except ValueError:
        height = math.nan
    if not math.isfinite(height):
        raise CollisionDraftError(f"table: expected a height in metres, or none, got '{text}'")
    return height


def model_text(text: str, urdf: Urdf) -> str:
    """A URDF of simple shapes alone, for safety.collision.model.

    Args:
        text: the robot's URDF.
        urdf: the same, as read.
    """
    root = parse_xml(text, source="urdf")
    for extra in [child for child in root if child.tag not in ("link", "joint")]:
        root.remove(extra)
    for link in root.iter("link"):
        shaped = False
        for part in list(link):
            kind = part.find("geometry/*")
            simple = part.tag == "collision" and kind is not None and kind.tag in _SIMPLE
            shaped = shaped or simple
            if not simple:
                link.remove(part)
        if not shaped and link.get("name") not in urdf.cameras:
            link.extend(_shapes(link.get("name", ""), urdf))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode") + "\n"


def _shapes(link: str, urdf: Urdf) -> Iterator[ElementTree.Element]:
    """Capsules from a link's own joint to those that hang on it, or one ball at its end."""
    ways = [joint.xyz for joint in urdf.below(link) if _leads_on(joint, urdf)]
    if not ways:
        yield _collision((0.0, 0.0, 0.0), _THINNEST)
    for way in ways:
        radius = min(max(_SHARE * math.dist((0, 0, 0), way), _THINNEST), _THICKEST)
        yield _collision(way, radius)


def _leads_on(joint: UrdfJoint, urdf: Urdf) -> bool:
    return joint.child not in urdf.cameras and math.dist((0, 0, 0), joint.xyz) > _THINNEST


def _collision(to: Triple, radius: float) -> ElementTree.Element:
    """A capsule from the link's origin."""
    length = math.dist((0, 0, 0), to)
    collision = ElementTree.Element("collision")
    middle = [0.5 * x for x in to]
    pitch, yaw = math.atan2(math.hypot(to[0], to[1]), to[2]), math.atan2(to[1], to[0])
    origin = {"xyz": _row(middle), "rpy": _row([0.0, pitch, yaw])}
    ElementTree.SubElement(collision, "origin", origin)
    geometry = ElementTree.SubElement(collision, "geometry")
    if length < radius:
        ElementTree.SubElement(geometry, "sphere", {"radius": f"{radius:.4g}"})
    else:
        size = {"radius": f"{radius:.4g}", "length": f"{length:.5g}"}
        ElementTree.SubElement(geometry, "capsule", size)
    return collision


def _row(values: list[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def with_collision(draft: str, model: str, table: float | None, source: str) -> str:
    """A robot file's text with safety.collision at its end.

    Args:
        draft: the text, which ends in the section `safety`.
        model: of model_text, relative to the robot file.
        table: its height in the base frame [m]; None: there is none.
        source: where the robot file will lie.

    Raises:
        CollisionDraftError: the arm stands in the table at home, or what touches has no end.
        ModelError: the model cannot be used.
    """
    left_out: list[tuple[str, str]] = []
    for _ in range(_MOST_PAIRS):
        text = draft + _section(model, table, left_out)
        try:
            Workspace(parse_robot(text, source=source))
        except TouchingError as error:
            if TABLE in error.pair:
                link = next(name for name in error.pair if name != TABLE)
                raise CollisionDraftError(
                    f"table: '{link}' is in it at the home pose; give its height in the base "
                    "frame (--set table=-0.05), table=none, or listen to the arm (--live) in a "
                    "pose that is clear"
                ) from error
            left_out.append(error.pair)
        else:
            return text
    raise CollisionDraftError(
        f"{model}: more than {_MOST_PAIRS} pairs touch at home; its shapes are no arm's"
    )


def _section(model: str, table: float | None, left_out: list[tuple[str, str]]) -> str:
    lines = [
        "  collision:   # checked along the whole course of everything that is sent",
        f"    model: {yaml_word(model)}",
        "    # Look at its shapes (view:=rviz): thicken what is thicker, add the hand it has.",
    ]
    if table is not None:
        lines += [
            "    planes:    # the arm stays on the side that the normal points to [m]",
            f"      - {{name: {TABLE}, point: [0, 0, {table:g}], normal: [0, 0, 1]}}",
        ]
    if left_out:
        lines.append("    leave_out:   # touch at home, as it was built")
        lines += [f"      - [{yaml_word(one)}, {yaml_word(other)}]" for one, other in left_out]
    return "\n".join(lines) + "\n"
