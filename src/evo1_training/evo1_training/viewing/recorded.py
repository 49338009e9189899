"""A recorded episode as people look at it: what the bag holds, also where it cannot be converted.

Must not import ROS or torch. Letters: T messages, D joints.
"""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evo1_policy.perception.messages import MessageError, decode_image, deserialize, read_joints
from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.action_curve import demonstrated
from evo1_training.datasets.recorded_streams import time_ns
from evo1_training.recording.bag_reader import Episode, open_episode
from evo1_training.recording.cdr import JOINT_STATE
from evo1_training.recording.episode import GAP_STEPS, STATE, EpisodeError, Sidecar
from evo1_training.recording.mcap_records import RawMessage, Wanted
from evo1_training.viewing.episode_view import (
    Curve,
    EpisodeView,
    Floats,
    GapSpan,
    Picture,
    ViewError,
    empty_curve,
    spans,
    spread,
)

_NEAR_NS = 2_000_000_000  # a chunk of a bag may end this long after its message


def view_recording(folder: Path, *, columns: int = 12) -> EpisodeView:
    """Read an episode of the recorder, whole or torn.

    Args:
        folder: of the episode.
        columns: how many times to take a picture of each camera.

    Raises:
        EpisodeError: there is no bag that can be read.
        ViewError: neither images nor joints were recorded.
    """
    episode = open_episode(folder)
    topics = {topic.name: topic.role.removeprefix("camera:") for topic in episode.topics("camera")}
    recorded = _read(episode, topics)
    stamps = [values for values in (*recorded.frames.values(), recorded.joints) if len(values)]
    if not stamps:
        raise ViewError(f"{episode.bag}: neither images nor joint states; was anything running?")
    begin_ns = min(int(min(values)) for values in stamps)
    end_ns = max(int(max(values)) for values in stamps)
    frames_s = {camera: _seconds(values, begin_ns) for camera, values in recorded.frames.items()}
    action, remark = _action(episode, recorded, begin_ns)
    state = Curve(times_s=_seconds(recorded.joints, begin_ns), values=recorded.positions())
    gaps = _gaps(episode, frames_s, state)
    return EpisodeView(
        name=folder.name,
        title=episode.sidecar.facts.instruction,
        remarks=tuple(filter(None, [*_remarks(episode, frames_s, gaps), remark])),
        duration_s=(end_ns - begin_ns) / 1e9,
        joints=episode.robot.joint_names,
        state=state,
        action=action,
        cameras=tuple(recorded.frames),
        pictures=tuple(_pictures(episode, topics, recorded, begin_ns, columns)),
        gaps=tuple(gaps),
        labels=labels_of(episode.sidecar, begin_ns),
        begin_ns=begin_ns,
    )


def labels_of(sidecar: Sidecar, begin_ns: int) -> tuple[tuple[float, str], ...]:
    """What is demonstrated from which moment on [s], counted from a stamp [ns]."""
    later = sidecar.outcome.labels if sidecar.outcome is not None else ()
    labels = [((label.from_ns - begin_ns) / 1e9, label.instruction) for label in later]
    # Of two at the same moment the later one holds, as in instruction_at.
    return tuple({0.0: sidecar.facts.instruction, **dict(labels)}.items())


@dataclass(kw_only=True)
class _Recorded:
    """Stamps of everything, and the joints; of images no pixel."""

    width: int
    frames: dict[str, "array[int]"]
    arrivals: dict[str, "array[int]"]
    joints: "array[int]" = field(default_factory=lambda: array("q"))
    rows: "array[float]" = field(default_factory=lambda: array("d"))

    def positions(self) -> Floats:
        return np.array(self.rows).reshape(-1, self.width)


def _read(episode: Episode, topics: Mapping[str, str]) -> _Recorded:
    names = episode.robot.joint_names
    recorded = _Recorded(
        width=len(names),
        frames={camera: array("q") for camera in topics.values()},
        arrivals={camera: array("q") for camera in topics.values()},
    )
    state, sources = episode.topic(STATE), {one.name: one for one in episode.robot.cameras}
    wanted = frozenset([*topics, *([state.name] if state else [])])
    for message in episode.read(Wanted(topics=wanted, head_only=frozenset(topics))):
        try:
            if message.topic in topics:
                camera = topics[message.topic]
                recorded.frames[camera].append(time_ns(message, sources[camera]))
                recorded.arrivals[camera].append(message.log_ns)
            else:
                _add_joints(message, episode.robot, recorded)
        except MessageError:
            continue  # converting counts and reports it
    return recorded


def _add_joints(message: RawMessage, robot: RobotConfig, recorded: _Recorded) -> None:
    content = deserialize(message.data, JOINT_STATE, topic=message.topic)
    names = robot.joint_names
    found, positions, _ = read_joints(content, topic=message.topic, joints=names)
    by_name = dict(zip(found, positions.tolist(), strict=True))
    recorded.joints.append(time_ns(message, robot.state))
    recorded.rows.extend(by_name.get(name, float("nan")) for name in names)


def _action(episode: Episode, recorded: _Recorded, begin_ns: int) -> tuple[Curve, str]:
    """The demonstrated motion as converting will see it; or why there is none."""
    camera = episode.robot.cameras[0].name
    ticks = np.unique(np.array(recorded.frames.get(camera) or recorded.joints, np.int64))
    if len(ticks) == 0:
        return empty_curve(recorded.width), "no action"
    try:
        found = demonstrated(episode, ticks)
    except EpisodeError:
        return empty_curve(recorded.width), "no action"
    actions = np.where(found.known[:, np.newaxis], found.actions, np.nan)
    return Curve(times_s=_seconds(ticks + episode.robot.step_ns, begin_ns), values=actions), ""


def _gaps(episode: Episode, frames_s: Mapping[str, Floats], state: Curve) -> list[GapSpan]:
    gaps: list[GapSpan] = []
    step_s = episode.robot.step_ns / 1e9
    for camera, times in frames_s.items():
        usual_s = float(np.median(np.diff(times))) if len(times) > 1 else step_s
        gaps += spans(times, GAP_STEPS * max(step_s, usual_s), camera)
    # Joints that share a topic may come in turns, so rows of one joint say nothing alone.
    gaps += spans(np.sort(state.times_s), episode.robot.state.max_age_ms / 1e3, "joints")
    return gaps


def _remarks(
    episode: Episode, frames_s: Mapping[str, Floats], gaps: list[GapSpan]
) -> Iterator[str]:
    outcome = episode.sidecar.outcome
    if outcome is not None:
        yield f"grade: {outcome.grade}"
        yield from ["recovered"] * outcome.recovered
    yield from ["cut off, not recovered"] * episode.torn
    for camera, times in frames_s.items():
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
        yield f"{camera}: {rate:.1f} Hz"
    if gaps:
        yield f"{len(gaps)} gap{'s' if len(gaps) > 1 else ''}"


def _pictures(
    episode: Episode,
    topics: Mapping[str, str],
    recorded: _Recorded,
    begin_ns: int,
    columns: int,
) -> Iterator[Picture]:
    """Decode the frames nearest to evenly spread times."""
    stamps = {camera: np.array(values, np.int64) for camera, values in recorded.frames.items()}
    reference = max(stamps.values(), key=len, default=np.empty(0, np.int64))
    for place in spread(len(reference), columns) if len(reference) else []:
        wanted = {}
        for camera, values in stamps.items():
            if len(values):
                row = int(np.argmin(np.abs(values - reference[place])))
                wanted[camera] = (int(values[row]), recorded.arrivals[camera][row])
        yield from _decode(episode, topics, wanted, begin_ns)


def _decode(
    episode: Episode,
    topics: Mapping[str, str],
    wanted: dict[str, tuple[int, int]],
    begin_ns: int,
) -> Iterator[Picture]:
    arrivals = [arrival for _, arrival in wanted.values()]
    chunks = Wanted(
        topics=frozenset(topics), first_ns=min(arrivals), last_ns=max(arrivals) + _NEAR_NS
    )
    for message in episode.read(chunks):
        camera = topics[message.topic]
        if camera not in wanted or wanted[camera][1] != message.log_ns:
            continue
        stamp, _ = wanted.pop(camera)
        try:
            content = deserialize(message.data, message.type, topic=message.topic)
            image = decode_image(content, topic=message.topic)
        except MessageError:
            continue  # a corrupt picture; its place on the sheet stays empty
        yield Picture(camera=camera, time_s=(stamp - begin_ns) / 1e9, image=image)
        if not wanted:
            return


def _seconds(stamps: "array[int] | Floats", begin_ns: int) -> Floats:
    seconds: Floats = (np.array(stamps, np.int64) - begin_ns) / 1e9
    return seconds
