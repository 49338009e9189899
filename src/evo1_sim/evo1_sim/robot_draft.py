"""A robot file, proposed from a URDF, from a running robot's topics, or from both.

What neither says is asked, never invented: accelerations, the safety bounds, which end of a
gripper is open. The text that comes out loads. Must not import ROS.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from evo1_policy.kinematics.urdf import Urdf, UrdfJoint
from evo1_policy.robot_config import REST_ERROR_RAD, parse_robot
from evo1_sim.heard import IMAGES, JOINT_STATE, Controller, Graph

RATE_HZ = 30.0
_GRIPPER = re.compile(r"gripper|finger|jaw|knuckle|drive_joint|hand", re.IGNORECASE)
_USUAL_AGE_MS = {"camera": 150.0, "joints": 100.0}

Ask = Callable[[str, str], str]  # key, question -> the answer as typed


class DraftError(ValueError):
    """No robot file can be proposed; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class _Joint:
    """A joint of the file, in its unit."""

    name: str
    unit: str
    lower: float
    upper: float
    velocity: float
    acceleration: float
    is_gripper: bool


def draft_robot(
    name: str,
    *,
    urdf: Urdf | None,
    urdf_path: str = "",
    graph: Graph | None,
    ask: Ask,
) -> str:
    """The text of a robot file.

    Args:
        name: of the robot.
        urdf: its description; None: the joints and all limits are asked for.
        urdf_path: of the description, relative to the robot file.
        graph: what runs; None: topics are proposed by convention.
        ask: answers what cannot be known; see `answered`.

    Raises:
        DraftError: there are no joints, or an answer cannot be used.
        RobotConfigError: the answers make no robot.
    """
    joints = [_joint(one, urdf, ask) for one in _joint_names(urdf, graph)]
    arm = [joint for joint in joints if not joint.is_gripper]
    joints = [*arm, *(joint for joint in joints if joint.is_gripper)]
    parts = [
        _head(name, urdf_path),
        _joint_lines(joints),
        _grippers(joints, urdf, ask),
        _cameras(urdf, graph),
        _state(joints, graph),
        _commands(joints, graph),
        "teleop: {topic: teleop/joint_trajectory}   # the demonstrated action\n",
        _home(joints, graph),
        "max_skew_ms: 17            # largest stamp difference within one observation\n",
        _safety(joints, ask),
    ]
    text = "\n".join(part for part in parts if part)
    parse_robot(text, source=f"{name}.yaml")
    return text


def answered(answers: Mapping[str, str], otherwise: Ask | None = None) -> Ask:
    """Answers given beforehand, by key; `acceleration` is one for every `acceleration:JOINT`.

    Raises:
        DraftError: when asked what nobody answered; it names the key and the question.
    """

    def ask(key: str, question: str) -> str:
        for known in (key, key.partition(":")[0]):
            if known in answers:
                return answers[known]
        if otherwise is None:
            raise DraftError(f"{key}: {question}; give --set {key}=...")
        return otherwise(key, question)

    return ask


def _number(ask: Ask, key: str, question: str) -> float:
    text = ask(key, question)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DraftError(f"{key}: expected a number, got '{text}'")
    return number


def _joint_names(urdf: Urdf | None, graph: Graph | None) -> list[UrdfJoint]:
    """The joints that move and that somebody could drive, from the root outwards."""
    heard: list[str] = []
    if graph is not None:
        for stream in graph.of([JOINT_STATE]):
            heard += [joint for joint in stream.positions if joint not in heard]
        for controller in graph.controllers:
            heard += [joint for joint in controller.joints if joint not in heard]
    if urdf is None:
        if not heard:
            raise DraftError("neither a URDF nor joint states: nobody says which joints there are")
        return [UrdfJoint(name=name, kind="", parent="", child="") for name in heard]
    moving = [joint for joint in urdf.joints.values() if joint.moves]
    driven = [joint for joint in moving if joint.name in heard] if heard else moving
    if not driven:
        raise DraftError(f"no joint of the URDF is in the joint states; those have {heard}")
    branches = urdf.branches()
    return sorted(driven, key=lambda joint: len(branches[joint.name]))


def _joint(known: UrdfJoint, urdf: Urdf | None, ask: Ask) -> _Joint:
    name = known.name
    unit = known.unit if urdf is not None else "rad"
    if urdf is None and ask(f"kind:{name}", "does it turn (rad) or slide (m)") == "m":
        unit = "m"
    lower, upper = known.lower, known.upper
    if lower is None or upper is None or lower >= upper:
        why = "turns without an end" if known.kind == "continuous" else "has no limits"
        lower = _number(ask, f"lower:{name}", f"{name} {why}; its lowest position [{unit}]")
        upper = _number(ask, f"upper:{name}", f"{name} {why}; its highest position [{unit}]")
    velocity = known.velocity
    if not velocity or velocity <= 0:
        velocity = _number(ask, f"velocity:{name}", f"how fast may {name} be [{unit}/s]")
    acceleration = _number(
        ask,
        f"acceleration:{name}",
        f"how fast may {name} speed up [{unit}/s^2]; no URDF says it: the maker's data sheet does",
    )
    return _Joint(
        name=name,
        unit=unit,
        lower=lower,
        upper=upper,
        velocity=velocity,
        acceleration=acceleration,
        is_gripper=bool(_GRIPPER.search(name)),
    )


def _head(name: str, urdf_path: str) -> str:
    return (
        f"# {yaml_word(name)}: proposed by evo1 new-robot; read every number before it moves.\n"
        "# Units: rad, rad/s, rad/s^2 (m where `unit: m`), Hz, ms. Topics are relative.\n"
        f"name: {yaml_word(name)}\n"
        f"embodiment: {yaml_word(name)}   # key of the norm stats in a checkpoint\n"
        f"rate_hz: {RATE_HZ:g}   # rate of the actions in a chunk\n"
        + (f"urdf: {yaml_word(urdf_path)}   # relative to this file\n" if urdf_path else "")
    )


def _joint_lines(joints: Sequence[_Joint]) -> str:
    lines = ["joints:   # order of state and action everywhere; position and velocity of the URDF"]
    for joint in joints:
        unit = "" if joint.unit == "rad" else f", unit: {joint.unit}"
        lines.append(
            f"  - {{name: {yaml_word(joint.name)}{unit}, position: [{_text(joint.lower)}, "
            f"{_text(joint.upper)}], velocity: {_text(joint.velocity)}, "
            f"acceleration: {_text(joint.acceleration)}}}"
        )
    return "\n".join(lines) + "\n"


def _grippers(joints: Sequence[_Joint], urdf: Urdf | None, ask: Ask) -> str:
    lines = []
    for joint in joints:
        if not joint.is_gripper:
            continue
        opened = joint.upper  # fingers that slide apart
        if joint.unit != "m":
            question = f"{joint.name}: its position when open [{joint.unit}]"
            opened = _number(ask, f"open:{joint.name}", question)
        farther = abs(opened - joint.lower) > abs(opened - joint.upper)
        closed = joint.lower if farther else joint.upper
        lines.append(
            f"  - {{joint: {yaml_word(joint.name)}, open: {_text(opened)}, "
            f"closed: {_text(closed)}}}"
        )
    return "\n".join(["grippers:", *lines]) + "\n" if lines else ""


def _cameras(urdf: Urdf | None, graph: Graph | None) -> str:
    """Those that publish; else those of the URDF; else the two that most arms have."""
    found = [] if graph is None else graph.of(IMAGES)
    raw = {stream.topic for stream in found if stream.type == IMAGES[0]}
    found = [
        one for one in found if one.topic.removesuffix("/compressed") not in raw - {one.topic}
    ]
    lines = ["cameras:   # in the order of the model's image slots: environment first, then wrist"]
    rows = [(one.topic, one.type, _age(one.rate_hz, "camera"), one.rate_hz) for one in found]
    if not rows:
        links = list(urdf.cameras) if urdf is not None else []
        topics = [f"{link.removesuffix('_optical_frame')}/image_raw" for link in links]
        topics = topics or ["env_camera/image_raw", "wrist_camera/image_raw"]
        rows = [(topic, IMAGES[0], _USUAL_AGE_MS["camera"], 0.0) for topic in topics]
    for number, (topic, kind, age_ms, rate_hz) in enumerate(rows, start=1):
        heard = f"   # {rate_hz:.0f} Hz" if rate_hz else "   # nobody publishes it yet"
        lines.append(
            f"  - {{name: image_{number}, topic: {yaml_word(topic)}, type: {kind}, "
            f"max_age_ms: {age_ms:g}}}{heard}"
        )
    return "\n".join(lines) + "\n"


def _state(joints: Sequence[_Joint], graph: Graph | None) -> str:
    names = {joint.name for joint in joints}
    found = [] if graph is None else graph.of([JOINT_STATE])
    best = max(found, key=lambda stream: len(names & set(stream.positions)), default=None)
    topic = best.topic if best is not None else "joint_states"
    age_ms = _age(best.rate_hz, "joints") if best is not None else _USUAL_AGE_MS["joints"]
    heard = f"   # {best.rate_hz:.0f} Hz" if best is not None else ""
    return f"state: {{topic: {yaml_word(topic)}, max_age_ms: {age_ms:g}}}{heard}\n"


def _age(rate_hz: float, what: str) -> float:
    """Four and a half periods, and no less than usual [ms]."""
    return (
        max(_USUAL_AGE_MS[what], float(round(4500 / rate_hz))) if rate_hz else _USUAL_AGE_MS[what]
    )


def _commands(joints: Sequence[_Joint], graph: Graph | None) -> str:
    """The controllers that drive these joints; by convention where nobody says."""
    names = [joint.name for joint in joints]
    left, rows = list(names), []
    for controller in () if graph is None else graph.controllers:
        own = [name for name in controller.joints if name in left]
        if own:
            rows.append((controller, own))
            left = [name for name in left if name not in own]
    grippers = {joint.name for joint in joints if joint.is_gripper}
    silent = [] if graph is None else [one for one in graph.controllers if not one.joints]
    for is_gripper, usual in (
        (False, "joint_trajectory_controller"),
        (True, "gripper_controller"),
    ):
        own = [name for name in left if (name in grippers) is is_gripper]
        if own:
            topic = silent.pop(0).topic if silent else f"{usual}/joint_trajectory"
            rows.append((Controller(topic=topic), own))
    lines = ["command:   # every joint belongs to exactly one output"]
    for controller, own in rows:
        lines += [
            f"  - topic: {yaml_word(controller.topic)}",
            f"    joints: [{', '.join(map(yaml_word, own))}]",
        ]
        if controller.update_rate_hz:
            lines.append(f"    rate_hz: {controller.update_rate_hz:g}")
    return "\n".join(lines) + "\n"


def _home(joints: Sequence[_Joint], graph: Graph | None) -> str:
    """Where it stands now; else zero, or the middle where zero is outside."""
    now: dict[str, float] = {}
    for stream in () if graph is None else graph.of([JOINT_STATE]):
        now |= stream.positions
    where = "the pose in which it was found" if now else "zero, or the middle of the range"
    lines = [f"home:   # {where}: choose one from which tasks start"]
    for joint in joints:
        usual = 0.0 if joint.lower <= 0.0 <= joint.upper else (joint.lower + joint.upper) / 2
        at = min(max(now.get(joint.name, usual), joint.lower), joint.upper)
        lines.append(f"  {yaml_word(joint.name)}: {_text(at)}")
    return "\n".join(lines) + "\n"


def _safety(joints: Sequence[_Joint], ask: Ask) -> str:
    start = _number(
        ask, "max_start_error_rad", "how far from the arm may a chunk begin, such as 0.5 [rad]"
    )
    tracking = _number(
        ask,
        "max_tracking_error_rad",
        "how far may the arm be from where it is told to be before it is stopped, such as 0.2 "
        "[rad]",
    )
    return (
        "safety:   # no defaults: choose for this arm\n"
        f"  max_start_error_rad: {_text(start)}\n"
        f"  max_tracking_error_rad: {_text(tracking)}\n"
        f"  max_rest_error_rad: {REST_ERROR_RAD:g}   # of an arm at rest\n"
    )


def yaml_word(name: str) -> str:
    """A name as YAML reads it back: `on` would be a truth value."""
    plain = re.fullmatch(r"[\w./-]+", name, re.ASCII) and yaml.safe_load(name) == name
    return name if plain else json.dumps(name)


def _text(value: float) -> str:
    """A number as YAML reads it back: 1e-05 would be a text."""
    text = f"{value:.6f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text
