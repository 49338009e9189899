"""What each topic of somebody else's bag becomes: passed on, or made into the robot's joints.

Must not import ROS or torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.perception.messages import MessageError, deserialize
from evo1_policy.robot_config import IMAGE_TYPES, RobotConfig
from evo1_training.datasets.reader.robot_check import SLACK_RAD
from evo1_training.recording.cdr import (
    JOINT_STATE,
    NONE,
    TRAJECTORY,
    cdr,
    header,
    joint_state,
    trajectory,
)
from evo1_training.recording.episode import (
    EXTRA,
    OWN_TOPICS,
    STATE,
    TELEOP,
    EpisodeError,
    RecordedTopic,
)
from evo1_training.recording.foreign_map import JointSource, TopicMap
from evo1_training.recording.mcap_records import RawMessage
from evo1_training.recording.stream_monitor import robot_topics

ARRAY = "std_msgs/msg/Float64MultiArray"


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A topic of an episode, and the topic of the bag that it is made of.

    Attributes:
        given: as the episode has it.
        source: name in the bag.
        type: in the bag.
        joints: how positions become the robot's; None: the bytes are passed on.
    """

    given: RecordedTopic
    source: str
    type: str
    joints: JointSource | None = None


def streams_of(
    robot: RobotConfig, placed: TopicMap, topics: Mapping[str, str], bag: Path
) -> tuple[Stream, ...]:
    """All topics of an episode with their roles.

    Args:
        robot: the robot file.
        placed: the map, completed.
        topics: types of the bag, by name.
        bag: for errors.

    Raises:
        EpisodeError: a topic is of no type that its role can have.
    """
    state, action = placed.state, placed.action
    assert state is not None  # place_topics completed it
    used = {*placed.cameras.values(), state.topic}
    found = [
        _stream(f"camera:{name}", topic, topics, IMAGE_TYPES, bag)
        for name, topic in placed.cameras.items()
    ]
    found.append(_stream(STATE, state.topic, topics, (JOINT_STATE,), bag))
    if state.names or state.units:
        found[-1] = replace(found[-1], joints=state)
    if action is not None:
        used.add(action.topic)
        stream = _stream(TELEOP, action.topic, topics, (TRAJECTORY, JOINT_STATE, ARRAY), bag)
        if stream.type == ARRAY and not action.order:
            raise EpisodeError(
                f"{bag}: {action.topic} carries numbers without names; write into the map "
                f"'action: {{topic: {action.topic}, joints: [{', '.join(robot.joint_names)}]}}' "
                "in the order of the numbers"
            )
        if stream.type != TRAJECTORY or action.names or action.units:
            name = f"{action.topic}#action"  # of the bag's topic another one may be made, too
            given = RecordedTopic(name=name, type=TRAJECTORY, role=TELEOP)
            stream = replace(stream, given=given, joints=action)
        found.append(stream)
    else:
        roles = {one.name: one.role for one in robot_topics(robot, {}) if one.type == TRAJECTORY}
        for asked, role in roles.items():
            for name, kind in topics.items():
                if name.endswith(f"/{asked.removeprefix('/')}") and name not in used:
                    used.add(name)
                    found.append(_stream(role, name, {name: kind}, (TRAJECTORY,), bag))
    others = sorted(set(topics) - used - set(OWN_TOPICS))
    return (*found, *(_stream(EXTRA, name, topics, (topics[name],), bag) for name in others))


def _stream(
    role: str, topic: str, topics: Mapping[str, str], types: tuple[str, ...], bag: Path
) -> Stream:
    kind = topics[topic]
    if kind not in types:
        raise EpisodeError(
            f"{bag}: {topic} carries {kind}; as {role} expected {' or '.join(types)}: name "
            "another topic in the map (--map)"
        )
    return Stream(given=RecordedTopic(name=topic, type=kind, role=role), source=topic, type=kind)


def converted(message: RawMessage, stream: Stream, robot: RobotConfig) -> bytes | None:
    """The bytes of a message for its stream; None where it carries no joint of the robot.

    Raises:
        EpisodeError: another number of values than the map names.
    """
    source = stream.joints
    if source is None:
        return message.data
    try:
        content = deserialize(message.data, stream.type, topic=message.topic)
    except MessageError:
        return message.data  # whoever reads it rejects it, as it does with our own
    if stream.type == TRAJECTORY:
        names = [source.names.get(name, name) for name in content.joint_names]
        points = [
            replace(
                one,
                positions=_in_radians(names, one.positions, source),
                velocities=_in_radians(names, one.velocities, source, rates=True),
                accelerations=_in_radians(names, one.accelerations, source, rates=True),
            )
            for one in content.points
        ]
        return cdr(TRAJECTORY, replace(content, joint_names=names, points=points))
    if stream.type == ARRAY:
        names, values = list(source.order), np.asarray(content.data, np.float64)
        if len(names) != len(values):
            raise EpisodeError(
                f"{message.topic}: {len(values)} numbers, but the map names {len(names)} joints"
            )
        head = header(0)
    else:
        names, head = list(content.name), content.header
        values = np.asarray(content.position, np.float64)
        if len(names) != len(values):
            return message.data
    renamed = [source.names.get(name, "" if source.names else name) for name in names]
    kept = [place for place, name in enumerate(renamed) if name in robot.joint_names]
    if not kept:
        return None
    names = [renamed[place] for place in kept]
    values = _in_radians(names, values[kept], source)
    if stream.given.type == JOINT_STATE:
        return joint_state(head, names, values, NONE)
    return trajectory(head, names, [0.0], values[None])


def _in_radians(
    names: Sequence[str], values: npt.ArrayLike, source: JointSource, *, rates: bool = False
) -> npt.NDArray[np.float64]:
    """Numbers of joints in the map's units; of another count, as those left out, as they are."""
    numbers = np.asarray(values, np.float64)
    if not source.units or len(numbers) != len(names):
        return numbers
    scale, offset = np.array([source.units.get(name, (1.0, 0.0)) for name in names]).T
    return np.asarray(scale * numbers + (0 if rates else offset))


def beyond_limits(rows: Mapping[str, tuple[float, float]], robot: RobotConfig) -> tuple[str, ...]:
    """Joints whose numbers the robot file cannot mean, with their range and limits.

    Args:
        rows: least and greatest number by joint [rad].
        robot: whose limits count.
    """
    return tuple(
        f"{joint.name} {low:.4g} .. {high:.4g}, limits {joint.position_min:g} .. "
        f"{joint.position_max:g}"
        for joint in robot.joints
        for low, high in [rows.get(joint.name, (joint.position_min, joint.position_max))]
        if low < joint.position_min - SLACK_RAD or high > joint.position_max + SLACK_RAD
    )
