"""One recorded episode on disk: its folder, its facts, and how it ended.

An episode is a rosbag2 folder that carries what LeRobot needs from its first second:

    episode_000012/
      metadata.yaml             rosbag2's
      episode_000012_0.mcap     every message raw, at its own stamp
      episode.json              this module's facts and, once it ended, its outcome

The facts are also the first message of the bag (FACTS_TOPIC, std_msgs/String with the same JSON),
so that the label survives where only the .mcap does. Must not import ROS or torch.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

SIDECAR = "episode.json"
FACTS_TOPIC = "/evo1/episode"
SCHEMA = 1
# Operators that no real arm has: the expert, and whoever drives in a launch of the simulation.
SCRIPTED_OPERATOR, SIMULATION_OPERATOR = "scripted expert", "somebody in simulation"
_FOLDER = re.compile(r"episode_(\d{6})")

# What a topic is for. Cameras are "camera:<name>", outputs "command:<index>".
STATE, TELEOP, EXTRA = "state", "teleop", "extra"


class EpisodeError(ValueError):
    """An episode that cannot be used; the message names the folder and what was expected."""


@dataclass(frozen=True, kw_only=True)
class RecordedTopic:
    """A topic of the bag: resolved name, ROS type such as 'sensor_msgs/msg/Image', and role."""

    name: str
    type: str
    role: str
    latched: bool = False


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
    """

    episode_id: str
    instruction: str
    operator: str
    robot_text: str
    topics: tuple[RecordedTopic, ...]
    started_ns: int
    started_utc: str


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
class Outcome:
    """How a take ended.

    Attributes:
        ended_ns: the node's clock [ns].
        grade: 'pass', 'warn' or 'fail'.
        reasons: why not 'pass'.
        streams: one a topic.
        recovered: whether it was cut off and made readable afterwards.
    """

    ended_ns: int
    grade: str
    reasons: tuple[str, ...]
    streams: tuple[StreamFacts, ...]
    recovered: bool = False


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The contents of episode.json; without an outcome the take still runs or was cut off."""

    facts: EpisodeFacts
    outcome: Outcome | None = None

    def ended(self, outcome: Outcome) -> "Sidecar":
        """Return the same with its outcome."""
        return replace(self, outcome=outcome)


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
        data = json.loads(text)
        schema = data.pop("schema")
        if schema != SCHEMA:
            raise EpisodeError(
                f"{source}: schema {schema}, expected {SCHEMA}; read it with the version of this "
                "package that recorded it"
            )
        outcome = data["outcome"]
        return Sidecar(
            facts=_facts(data["facts"]), outcome=None if outcome is None else _outcome(outcome)
        )
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise EpisodeError(f"{source}: not the facts of an episode: {error!r}") from error


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Write episode.json so that it is on the disk, whole or not at all.

    Raises:
        OSError: the disk is full or gone.
    """
    temporary = folder / f".{SIDECAR}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(to_json(sidecar))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / SIDECAR)
    _sync_folder(folder)


def read_sidecar(folder: Path) -> Sidecar:
    """Read episode.json.

    Raises:
        EpisodeError: it is missing or cannot be used.
    """
    path = folder / SIDECAR
    try:
        return from_json(path.read_text(encoding="utf-8"), source=str(path))
    except FileNotFoundError as error:
        raise EpisodeError(f"{path}: missing; 'recover' rebuilds it from the bag") from error


def bag_path(folder: Path) -> Path:
    """Where the messages of an episode are."""
    return folder / f"{folder.name}_0.mcap"


def episode_folders(root: Path) -> list[Path]:
    """Return the episodes below a folder, or the folder itself where it is one; oldest first.

    Raises:
        EpisodeError: there is none.
    """
    if _is_episode(root):
        return [root]
    found = sorted(
        path
        for path in root.glob("**/episode_*")
        if _is_episode(path) and not any(p.startswith(".") for p in path.relative_to(root).parts)
    )  # hidden folders such as the recorder's trash do not count
    if not found:
        raise EpisodeError(
            f"{root}: no episode found; expected folders such as episode_000000 with {SIDECAR} "
            "or an .mcap file"
        )
    return found


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
    topics: Sequence[Mapping[str, Any]] = data["topics"]
    return EpisodeFacts(**{**data, "topics": tuple(RecordedTopic(**topic) for topic in topics)})


def _outcome(data: Mapping[str, Any]) -> Outcome:
    streams = tuple(StreamFacts(**stream) for stream in data["streams"])
    return Outcome(**{**data, "streams": streams, "reasons": tuple(data["reasons"])})


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
