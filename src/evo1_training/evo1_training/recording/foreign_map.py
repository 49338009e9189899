"""Which topics of somebody else's bag are the cameras, joints, actions, task and episodes.

    cameras: {image_1: /front/image_raw, image_2: /wrist/image_raw}
    state: {topic: /joint_states, prefix: follower_}
    action: {topic: /joint_states, prefix: leader_, units: {elbow: deg}}
    instruction: {topic: /task}
    episodes: {topic: /recording}

What the map leaves out is found under the robot file's own topics. Must not import ROS or torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evo1_policy.joint_units import load_units
from evo1_policy.robot_config import RobotConfig
from evo1_policy.strict_yaml import Section, read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, parse_yaml, read_text
from evo1_training.datasets.reader.adoption import shipped
from evo1_training.recording.episode import EpisodeError

_WORDS = {"rad": (1.0, 0.0), "deg": (math.pi / 180, 0.0)}


@dataclass(frozen=True, kw_only=True)
class JointSource:
    """Where positions come from.

    Attributes:
        topic: as written.
        names: joint of the robot by its name in the bag; empty: the names are the robot's.
        order: of numbers without names.
        units: angle [rad] = offset + scale * number, as (scale, offset) by joint of the robot;
            what is not named is in the robot file's unit.
    """

    topic: str
    names: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    units: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def line(self, key: str, unit: str) -> str:
        """What to write into a map under a key so that the same numbers have a unit."""
        pairs = {name: there for there, name in self.names.items()}
        prefixes = {there.removesuffix(name) for name, there in pairs.items()}
        words = [f"topic: {self.topic}"]
        if self.order:
            words.append(f"joints: [{', '.join(self.order)}]")
        elif len(prefixes) == 1:
            words.append(f"prefix: {prefixes.pop()}")
        elif pairs:
            words.append(f"joints: {{{', '.join(f'{a}: {b}' for a, b in pairs.items())}}}")
        return f"{key}: {{{', '.join(words)}, units: {unit}}}"


@dataclass(frozen=True, kw_only=True)
class TopicMap:
    """A map; what is empty is not told.

    Attributes:
        cameras: topic by the robot file's name.
        state: of the measured joints.
        action: of the wanted ones.
        instruction: the task of every episode.
        instruction_topic: or where it is said, a std_msgs/String.
        instructions: or by the name of the bag.
        episode_topic: an episode lasts while its Bool or number is not 0, its String not empty.
        times_s: or its begin and end, from the beginning of the bag [s].
    """

    cameras: Mapping[str, str] = field(default_factory=dict)
    state: JointSource | None = None
    action: JointSource | None = None
    instruction: str = ""
    instruction_topic: str = ""
    instructions: Mapping[str, str] = field(default_factory=dict)
    episode_topic: str = ""
    times_s: tuple[tuple[float, float], ...] = ()


def read_map(path: Path, robot: RobotConfig) -> TopicMap:
    """Read a map.

    Raises:
        UntrustedError: a key is unknown or wrong, or names what the robot file has not.
    """
    text = read_text(path, what="map of topics", max_bytes=MOST_YAML_BYTES)
    root = read_section(text, source=str(path))
    cameras = {}
    if root.has("cameras"):
        section = root.section("cameras")
        cameras = {
            one.name: section.topic(one.name) for one in robot.cameras if section.has(one.name)
        }
        section.finish()
    found = TopicMap(
        cameras=cameras,
        state=_joints(root, "state", robot),
        action=_joints(root, "action", robot),
        **_instruction(root, path),
        **_episodes(root),
    )
    root.finish()
    return found


def _joints(root: Section, key: str, robot: RobotConfig) -> JointSource | None:
    if not root.has(key):
        return None
    if isinstance(root.get(key, "a topic"), str):
        return JointSource(topic=root.topic(key))
    section = root.section(key)
    topic, known = section.topic("topic"), robot.joint_names
    names: dict[str, str] = {}
    order: tuple[str, ...] = ()
    if section.has("prefix"):
        names = {f"{section.text('prefix')}{name}": name for name in known}
    elif section.has("joints"):
        if isinstance(section.get("joints", "names"), list):
            order = section.names("joints")
            strange = set(order) - set(known)
            if strange or len(set(order)) != len(order):
                raise section.error(
                    "joints", f"expected each once, of {', '.join(known)}; got {', '.join(order)}"
                )
        else:
            inner = section.section("joints")
            names = {inner.text(name): name for name in known if inner.has(name)}
            inner.finish()
    units = _units(section, robot) if section.has("units") else {}
    section.finish()
    return JointSource(topic=topic, names=names, order=order, units=units)


def _units(section: Section, robot: RobotConfig) -> dict[str, tuple[float, float]]:
    """A word or a file of units for all joints; or by joint a word, or scale and offset."""
    joints = robot.joint_names
    if isinstance(section.get("units", "deg, a file, or units by joint"), str):
        said = section.text("units")
        if said in _WORDS:
            return dict.fromkeys(joints, _WORDS[said])
        path = shipped("robots/units", said)
        if path is None:
            raise section.error(
                "units",
                f"expected {', '.join(_WORDS)}, a file of units (joint: {{scale: , offset: }}), "
                f"or a mapping of these by joint; got '{said}'",
            )
        units = load_units(path, joints)
        pairs = zip(units.scale.tolist(), units.offset.tolist(), strict=True)
        return dict(zip(joints, pairs, strict=True))
    found, inner = {}, section.section("units")
    for name in joints:
        if inner.has(name) and isinstance(inner.get(name, "a unit"), str):
            found[name] = _WORDS[inner.choice(name, tuple(_WORDS))]
        elif inner.has(name):
            one = inner.section(name)
            found[name] = (one.number("scale"), one.number("offset"))
            one.finish()
    inner.finish()
    return found


def _instruction(root: Section, path: Path) -> dict[str, Any]:
    if not root.has("instruction"):
        return {}
    if isinstance(root.get("instruction", "a text"), str):
        return {"instruction": root.text("instruction")}
    section = root.section("instruction")
    if section.has("topic"):
        topic = section.topic("topic")
        section.finish()
        return {"instruction_topic": topic}
    file = path.parent / section.text("file")
    section.finish()
    text = read_text(file, what="list of instructions", max_bytes=MOST_YAML_BYTES)
    data = parse_yaml(text, source=str(file))
    if not isinstance(data, dict) or not all(isinstance(one, str) for one in data.values()):
        raise UntrustedError(f"{file}: expected lines of 'name of the bag: what was done'")
    return {"instructions": {str(name): one for name, one in data.items()}}


def _episodes(root: Section) -> dict[str, Any]:
    if not root.has("episodes"):
        return {}
    if isinstance(root.get("episodes", "bag"), str):
        root.choice("episodes", ["bag"])
        return {}
    section = root.section("episodes")
    if section.has("topic"):
        topic = section.topic("topic")
        section.finish()
        return {"episode_topic": topic}
    given = section.get("times", "a list of [begin, end] in seconds from the bag's beginning")
    spans = given if isinstance(given, list) else [given]
    times = Section({str(k): one for k, one in enumerate(spans)}, path="times", source=root.source)
    section.finish()
    return {"times_s": tuple(times.interval(str(k)) for k in range(len(spans)))}


def place_topics(
    found: TopicMap, robot: RobotConfig, topics: Mapping[str, str], *, bag: Path
) -> TopicMap:
    """Complete a map by the robot file's own topics, in the names of a bag.

    Args:
        found: the map, or an empty one.
        robot: the robot file.
        topics: types of the bag, by name.
        bag: for errors.

    Raises:
        EpisodeError: something is missing; the message says what to write into the map.
    """
    wanted = {one.name: found.cameras.get(one.name, one.topic) for one in robot.cameras}
    cameras = {name: _find(asked, topics) for name, asked in wanted.items()}
    lines = []
    if lacking := [name for name, topic in cameras.items() if not topic]:
        free = (name for name, kind in topics.items() if "Image" in kind)
        images = (name for name in free if name not in cameras.values())
        drafts = ", ".join(f"{name}: {next(images, 'TOPIC')}" for name in lacking)
        what = ", ".join(f"camera '{name}' ({wanted[name]})" for name in lacking)
        lines.append((what, f"cameras: {{{drafts}}}"))
    state = found.state or JointSource(topic=robot.state.topic)
    place = _find(state.topic, topics)
    if not place:
        states = [name for name, kind in topics.items() if kind.endswith("/JointState")]
        states.sort(key=_is_told)
        lines.append((f"the state ({state.topic})", f"state: {_first(states, 'TOPIC')}"))
    action = found.action
    if action is not None and not _find(action.topic, topics):
        lines.append((f"the action ({action.topic})", f"action: {_wanted(topics, robot)}"))
    own = [robot.teleop_topic, *(one.topic for one in robot.command)]
    if action is None and not any(_find(one, topics) for one in own):
        lines.append((f"the action ({' or '.join(own)})", f"action: {_wanted(topics, robot)}"))
    if lines:
        have = ", ".join(f"{name} ({kind})" for name, kind in sorted(topics.items()))
        raise EpisodeError(
            f"{bag}: nothing was recorded for {'; '.join(what for what, _ in lines)}. It has "
            f"{have or 'no topics'}. Write into a map (--map topics.yaml) lines such as "
            + "; ".join(f"'{line}'" for _, line in lines)
        )
    return replace(
        found,
        cameras=cameras,
        state=replace(state, topic=place),
        action=action and replace(action, topic=_find(action.topic, topics)),
        instruction_topic=_told(found.instruction_topic, "instruction", topics, bag),
        episode_topic=_told(found.episode_topic, "episodes", topics, bag),
    )


def _find(asked: str, topics: Mapping[str, str]) -> str:
    """The topic of a bag by a name of the robot file or map: in any one namespace; or ''."""
    name = f"/{asked.removeprefix('/')}"
    ends = [topic for topic in topics if topic.endswith(name)]
    return name if name in topics else ends[0] if len(ends) == 1 else ""


def _told(asked: str, key: str, topics: Mapping[str, str], bag: Path) -> str:
    if asked and not _find(asked, topics):
        have = ", ".join(sorted(topics))
        raise EpisodeError(f"{bag}: {key}: nothing was recorded on {asked}; it has {have}")
    return _find(asked, topics) if asked else ""


def _wanted(topics: Mapping[str, str], robot: RobotConfig) -> str:
    """What could be the action, as a line of the map."""
    for kind, form in (
        ("/JointTrajectory", "{0}"),
        ("/Float64MultiArray", "{{topic: {0}, joints: [{1}]}}"),
        ("/JointState", "{{topic: {0}, prefix: leader_}}"),
    ):
        names = [name for name, one in topics.items() if one.endswith(kind)]
        names.sort(key=_is_told, reverse=True)
        if names:
            return form.format(names[0], ", ".join(robot.joint_names))
    return "TOPIC"


def _is_told(topic: str) -> bool:
    """Whether a topic is named as the one who demonstrates; what is measured is not."""
    return any(word in topic for word in ("leader", "teleop", "command", "target"))


def _first(names: list[str], otherwise: str) -> str:
    return names[0] if names else otherwise
