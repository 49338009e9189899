"""The key safety.collision of a robot file: what the arm must not touch. No ROS, no torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from evo1_policy.strict_yaml import Section

PACKAGE = "package://"  # begins a path inside an installed package, as in URDF
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PlaneConfig:
    """A table, a floor, a wall: the arm stays on the side that the normal points to."""

    name: str
    point: Triple  # any on it, in the base frame [m]
    normal: Triple


@dataclass(frozen=True, kw_only=True)
class BoxConfig:
    """A camera post, a person's side: a box in the base frame."""

    name: str
    center: Triple  # [m]
    size: Triple  # whole edges [m]
    rpy: Triple = (0.0, 0.0, 0.0)  # about the base's fixed axes, x first [rad]


@dataclass(frozen=True, kw_only=True)
class CollisionConfig:
    """What trajectories are checked against.

    Attributes:
        model: URDF or MJCF, a path or package://NAME/PATH; its frame is the base frame.
        tool: site, body or link that is the tool; empty: the last link.
        planes, boxes: around the arm.
        leave_out: pairs of bodies, planes or boxes that may touch.
        tool_speed: fastest that the tool may move [m/s]; 0: no bound.
    """

    model: str
    tool: str = ""
    planes: tuple[PlaneConfig, ...] = ()
    boxes: tuple[BoxConfig, ...] = ()
    leave_out: tuple[tuple[str, str], ...] = ()
    tool_speed: float = 0.0


def collisions_text(config: CollisionConfig | None) -> str:
    """Whether collisions are checked, in words for people."""
    if config is None:
        return "not checked: the robot file names no model (safety.collision)"
    around = [plane.name for plane in config.planes] + [box.name for box in config.boxes]
    bound = f"; the tool moves at most {config.tool_speed:g} m/s" if config.tool_speed else ""
    obstacles = ", ".join(around) or "nothing around it"
    return f"checked by {config.model}: itself, {obstacles}{bound}"


def read_collision(section: Section) -> CollisionConfig:
    """Read the key; a relative path of the model is one beside the robot file.

    Raises:
        StrictYamlError: a key is unknown, missing or wrong.
    """
    model = beside(section, section.text("model"))
    config = CollisionConfig(
        model=model,
        tool=section.text("tool") if section.has("tool") else "",
        planes=tuple(_plane(plane) for plane in _list(section, "planes")),
        boxes=tuple(_box(box) for box in _list(section, "boxes")),
        leave_out=_pairs(section),
        tool_speed=section.positive("tool_speed") if section.has("tool_speed") else 0.0,
    )
    section.finish()
    names = [plane.name for plane in config.planes] + [box.name for box in config.boxes]
    for name in names:
        if names.count(name) > 1:
            raise section.error("planes", f"two planes or boxes are called '{name}'")
    return config


def beside(section: Section, path: str) -> str:
    """A path that a robot file names; a relative one is one beside the robot file.

    In a text that is no file (a bag's, a server's) it stays relative: find_model refuses it, and
    never looks for it where the program happens to have been started.
    """
    if path.startswith(PACKAGE) or Path(path).expanduser().is_absolute():
        return path
    source = Path(section.source)
    is_file = source.is_file() or source.suffix == ".yaml"  # one that is about to be written
    return str((source.parent / path).absolute()) if is_file else path


def _plane(section: Section) -> PlaneConfig:
    normal = _triple(section, "normal")
    length = math.hypot(*normal)
    if length < 1e-6:
        raise section.error("normal", "expected a direction, got a vector without length")
    plane = PlaneConfig(
        name=section.text("name"),
        point=_triple(section, "point"),
        normal=(normal[0] / length, normal[1] / length, normal[2] / length),
    )
    section.finish()
    return plane


def _box(section: Section) -> BoxConfig:
    size = _triple(section, "size")
    if min(size) <= 0.0:
        raise section.error("size", f"expected three edges above 0 m, got {list(size)}")
    box = BoxConfig(
        name=section.text("name"),
        center=_triple(section, "center"),
        size=size,
        rpy=_triple(section, "rpy") if section.has("rpy") else (0.0, 0.0, 0.0),
    )
    section.finish()
    return box


def _list(section: Section, key: str) -> list[Section]:
    return section.sections(key) if section.has(key) else []


def _triple(section: Section, key: str) -> Triple:
    expected = "three finite numbers such as [0.4, 0.0, 0.1]"
    value = section.get(key, expected)
    if not isinstance(value, list) or len(value) != 3:
        raise section.error(key, f"expected {expected}, got {value!r:.80}")
    if not all(type(item) in (int, float) and abs(item) < 1e6 for item in value):
        raise section.error(key, f"expected {expected}, got {value!r:.80}")
    return float(value[0]), float(value[1]), float(value[2])


def _pairs(section: Section) -> tuple[tuple[str, str], ...]:
    if not section.has("leave_out"):
        return ()
    value = section.get("leave_out", "a list of pairs")
    pairs = []
    for pair in value if isinstance(value, list) else [value]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is str for n in pair):
            raise section.error(
                "leave_out", f"expected pairs such as [link1, link3], got {pair!r:.80}"
            )
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)
