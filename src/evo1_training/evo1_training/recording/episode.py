"""One recorded episode on disk: its folder, its facts, and how it ended.

An episode is a rosbag2 folder that carries what LeRobot needs from its first second:

    episode_000012/
      metadata.yaml             rosbag2's
      episode_000012_0.mcap     every message raw, at its own stamp
      episode.json              this module's facts and, once it ended, its outcome

The facts are also the first message of the bag (FACTS_TOPIC, std_msgs/String with the same JSON),
so that the label survives where only the .mcap does. Each label that replaces it during the take
is a message on LABEL_TOPIC (std_msgs/String). Must not import ROS or torch.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_origin

from evo1_policy.observation import MOST_INSTRUCTION
from evo1_policy.paths import folders_below, sync, write_whole
from evo1_policy.untrusted import UntrustedError, parse_json, read_text

SIDECAR = "episode.json"
FACTS_TOPIC, LABEL_TOPIC = "/evo1/episode", "/evo1/instruction"
OWN_TOPICS = (FACTS_TOPIC, LABEL_TOPIC)  # what the recorder itself says in a bag
SCHEMA = 1
# Operators that no real arm has: the expert, and whoever drives in a launch of the simulation.
SCRIPTED_OPERATOR, SIMULATION_OPERATOR = "scripted expert", "somebody in simulation"
GAP_STEPS = 1.5  # two frames further apart than so many steps have a gap between them
_FOLDER = re.compile(r"episode_(\d{6})")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # becomes part of file names
_LONGEST_TEXT, _LARGEST_NUMBER = 256 << 10, 2**62
_SIDECAR_BYTES = 8 << 20

_Part = TypeVar("_Part")

# What a topic is for. Cameras are "camera:<name>", outputs "command:<index>".
STATE, TELEOP, INSTRUCTION, EXTRA = "state", "teleop", "instruction", "extra"


class EpisodeError(ValueError):
    """An episode that cannot be used; the message names the folder and what was expected."""


class ForeignSchemaError(EpisodeError):
    """The facts of an episode as another version of this package writes them."""


@dataclass(frozen=True, kw_only=True)
class RecordedTopic:
    """A topic of the bag.

    Attributes:
        name: resolved.
        type: such as 'sensor_msgs/msg/Image'.
        role: what it is for; see above.
        latched: whether its publishers keep their last message for those who come later.
        packed: how the recorder compressed its raw images, such as 'jpeg 95'; '': not at all.
    """

    name: str
    type: str
    role: str
    latched: bool = False
    packed: str = ""


@dataclass(frozen=True, kw_only=True)
class EpisodeFacts:
    """What is known when a take starts.

    Attributes:
        episode_id: name of the folder.
        instruction: the label.
        operator: who demonstrates; empty where unknown.
        robot_text: the robot file as read.
        topics: what is recorded.
        started_ns: the node's clock [ns].
        started_utc: the same for people, ISO 8601.
        scene: JSON of what a simulation varied in the scene; empty: nothing, or no simulation.
    """

    episode_id: str
    instruction: str
    operator: str
    robot_text: str
    topics: tuple[RecordedTopic, ...]
    started_ns: int
    started_utc: str
    scene: str = ""


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """How one topic did over a take."""

    topic: str
    role: str
    messages: int
    lost: int  # known lost
    rate_hz: float
    max_gap_ms: float
    offset_ms: float | None = None  # median of arrival minus stamp; None: recorded before it was


@dataclass(frozen=True, kw_only=True)
class Label:
    """What is demonstrated from a moment on [ns, the node's clock]; no words: it is left out."""

    from_ns: int
    instruction: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a take ended.

    Attributes:
        ended_ns: the node's clock [ns].
        grade: 'pass', 'warn' or 'fail'.
        reasons: why not 'pass'.
        streams: one a topic.
        recovered: whether it was cut off and made readable afterwards.
        labels: what replaced the first label during the take, in order.
    """

    ended_ns: int
    grade: str
    reasons: tuple[str, ...]
    streams: tuple[StreamFacts, ...]
    recovered: bool = False
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The contents of episode.json; without an outcome the take still runs or was cut off."""

    facts: EpisodeFacts
    outcome: Outcome | None = None

    def ended(self, outcome: Outcome) -> "Sidecar":
        """Return the same with its outcome."""
        return replace(self, outcome=outcome)

    def instruction_at(self, time_ns: int) -> str:
        """The label of a moment of the take [ns]."""
        later = self.outcome.labels if self.outcome is not None else ()
        said = [label.instruction for label in later if label.from_ns <= time_ns]
        return said[-1] if said else self.facts.instruction


def to_json(sidecar: Sidecar) -> str:
    """Return the text of a sidecar."""
    return json.dumps({"schema": SCHEMA, **asdict(sidecar)}, indent=1, ensure_ascii=False)


def from_json(text: str, *, source: str) -> Sidecar:
    """Read the text of a sidecar.

    Args:
        text: JSON.
        source: where it came from, for errors.

    Raises:
        EpisodeError: no JSON, another schema, a missing or surplus key.
    """
    try:
        data = parse_json(text, source=source)
        schema = data.pop("schema")
        if schema != SCHEMA:
            raise ForeignSchemaError(
                f"{source}: schema {schema!r:.20}, expected {SCHEMA}; read it with the version of "
                "this package that recorded it"
            )
        outcome = data["outcome"]
        return Sidecar(
            facts=_facts(data["facts"]), outcome=None if outcome is None else _outcome(outcome)
        )
    except UntrustedError as error:
        raise EpisodeError(str(error)) from error
    except (AttributeError, KeyError, TypeError, UnicodeEncodeError) as error:
        raise EpisodeError(f"{source}: not the facts of an episode: {error!r:.300}") from error


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Write episode.json so that it is on the disk, whole or not at all.

    Raises:
        OSError: the disk is full or gone.
    """
    write_whole(folder / SIDECAR, to_json(sidecar))
    sync(folder)


def read_sidecar(folder: Path) -> Sidecar:
    """Read episode.json.

    Raises:
        EpisodeError: it is missing or cannot be used.
    """
    path = folder / SIDECAR
    if not path.exists():
        raise EpisodeError(f"{path}: missing; 'recover' rebuilds it from the bag")
    try:
        text = read_text(path, what="facts of an episode", max_bytes=_SIDECAR_BYTES)
    except UntrustedError as error:
        raise EpisodeError(str(error)) from error
    return from_json(text, source=str(path))


def bag_path(folder: Path) -> Path:
    """Where the messages of an episode are."""
    return folder / f"{folder.name}_0.mcap"


def episode_folders(root: Path) -> list[Path]:
    """Return the episodes below a folder, or the folder itself where it is one; oldest first.

    Those in hidden folders, such as the recorder's trash, do not count.

    Raises:
        EpisodeError: there is none, or too much beside them.
    """
    if _is_episode(root):
        return [root]
    found: list[Path] = []
    try:
        for folder, inner, _ in folders_below(root, "the episodes"):
            episodes = {
                name
                for name in inner
                if name.startswith("episode_") and _is_episode(folder / name)
            }
            found += [folder / name for name in episodes]
            inner[:] = [name for name in inner if name not in episodes]
    except ValueError as error:
        raise EpisodeError(str(error)) from error
    if not found:
        raise EpisodeError(
            f"{root}: no episode found; expected folders such as episode_000000 with {SIDECAR} "
            "or an .mcap file"
        )
    return sorted(found)


def next_episode_number(root: Path) -> int:
    """Return the first unused number; one that was deleted last is used again."""
    numbers = [
        int(match[1]) for path in root.glob("episode_*") if (match := _FOLDER.match(path.name))
    ]
    return max(numbers, default=-1) + 1


def numbered_episode(number: int) -> str:
    """Name of an episode's folder."""
    return f"episode_{number:06d}"


def _is_episode(path: Path) -> bool:
    if not path.is_dir():
        return False
    return (path / SIDECAR).is_file() or bag_path(path).is_file()


def _facts(data: Mapping[str, Any]) -> EpisodeFacts:
    topics = tuple(checked(RecordedTopic, topic) for topic in data["topics"])
    facts = checked(EpisodeFacts, {**data, "topics": topics})
    if not _ID.fullmatch(facts.episode_id):
        raise TypeError(
            f"episode_id is {facts.episode_id[:100]!r}, expected a name such as episode_000000"
        )
    _check_length(facts.instruction)
    if facts.scene:
        parse_json(facts.scene, source="scene")
    return facts


def _outcome(data: Mapping[str, Any]) -> Outcome:
    streams = tuple(checked(StreamFacts, stream) for stream in data["streams"])
    reasons = tuple(str(reason) for reason in data["reasons"])
    labels = tuple(checked(Label, label) for label in data.get("labels", ()))
    for label in labels:
        _check_length(label.instruction)
    return checked(Outcome, {**data, "streams": streams, "reasons": reasons, "labels": labels})


def _check_length(instruction: str) -> None:
    if len(instruction) > MOST_INSTRUCTION:
        raise TypeError(f"the instruction is longer than {MOST_INSTRUCTION} characters")


def checked(kind: type[_Part], values: Mapping[str, Any]) -> _Part:
    """Make a dataclass of what a file says; each value must be of its type, and bounded.

    Args:
        kind: the dataclass; tuples are the caller's business.
        values: one for each field.

    Raises:
        TypeError: one is missing, surplus, of another type, too long or too large.
    """
    made = kind(**values)
    for field in fields(made):  # type: ignore[arg-type]
        value, expected = getattr(made, field.name), field.type
        if get_origin(expected) is tuple:
            continue  # made here
        given = float(value) if isinstance(value, int) and expected not in (int, bool) else value
        if not isinstance(given, expected):  # type: ignore[arg-type]
            raise TypeError(f"{field.name} is {value!r:.50}, expected {expected}")
        if isinstance(value, str) and len(value.encode()) > _LONGEST_TEXT:
            raise TypeError(f"{field.name} is longer than {_LONGEST_TEXT} bytes")
        if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
            raise TypeError(f"{field.name} is {value!r:.50}, which is no time and no count")
    return made
