"""A robot file held against a running robot: what is missing, too slow, or somebody else's.

Must not import ROS.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.kinematics.collision import workspace_of
from evo1_policy.kinematics.model import ModelError
from evo1_policy.robot_config import CommandConfig, RobotConfig
from evo1_sim.heard import IMAGES, JOINT_STATE, Graph, Stream

_LATE_SHARE = 0.5  # of max_age_ms that a clock's offset may use up
_OUTSIDE = 1e-3  # rad or m; beyond it a position is outside its limits

Level = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that does not fit; an error keeps the policy from running."""

    level: Level
    where: str  # key of the robot file
    text: str

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.level}: {self.where}: {self.text}"


def check_robot(robot: RobotConfig, graph: Graph) -> list[Finding]:
    """What a policy with this robot file would stumble over, errors first."""
    found = [
        *_joints(robot, graph),
        *_touching(robot, graph),
        *_cameras(robot, graph),
        *_commands(robot, graph),
    ]
    return sorted(found, key=lambda finding: finding.level == "warning")


def _joints(robot: RobotConfig, graph: Graph) -> Iterator[Finding]:
    where, topic = "state.topic", robot.state.topic
    heard = graph.stream(topic)
    if heard is None or heard.type != JOINT_STATE:
        others = [stream.topic for stream in graph.of([JOINT_STATE])]
        yield _error(where, f"{topic}: no {JOINT_STATE} is published; there are {_list(others)}")
        return
    yield from _times(where, heard, robot.rate_hz, robot.state.max_age_ms, robot.state.stamp)
    missing = [name for name in robot.joint_names if name not in heard.positions]
    if missing and heard.rate_hz:
        known = _list(list(heard.positions))
        yield _error("joints", f"{topic} has no {_list(missing)}; it has {known}")
    for joint in robot.joints:
        at = heard.positions.get(joint.name)
        low, high = joint.position_min - _OUTSIDE, joint.position_max + _OUTSIDE
        if at is not None and not low <= at <= high:
            yield _error(
                f"joints: {joint.name}",
                f"stands at {at:.3f} {joint.unit}, its limits here are [{joint.position_min:g}, "
                f"{joint.position_max:g}]; widen them, or move it inside",
            )


def _touching(robot: RobotConfig, graph: Graph) -> Iterator[Finding]:
    """What the arm touches where it stands, by the model of safety.collision."""
    where, heard = "safety.collision", graph.stream(robot.state.topic)
    try:
        workspace = workspace_of(robot)
    except ModelError as error:
        yield _error(where, str(error))
        return
    positions = stands_at(robot, heard.positions if heard is not None else {})
    if workspace is None or positions is None:
        return  # nothing to look with, or nowhere to look
    inside = (robot.position_min - _OUTSIDE <= positions) & (
        positions <= robot.position_max + _OUTSIDE
    )
    contact = workspace.touching(positions) if inside.all() else None
    if contact is not None:
        first, second = contact.pair
        yield _warning(
            where,
            f"'{first}' touches '{second}' where the arm stands "
            f"({1e3 * contact.distance:.1f} mm); if it does not, mend the model, the planes and "
            "boxes, or name the pair in leave_out",
        )


def stands_at(robot: RobotConfig, positions: Mapping[str, float]) -> Floats | None:
    """(D,) where the arm stands [each joint's unit]; None where a joint says nothing."""
    if not set(robot.joint_names) <= set(positions):
        return None
    return np.array([positions[name] for name in robot.joint_names])


def _cameras(robot: RobotConfig, graph: Graph) -> Iterator[Finding]:
    for index, camera in enumerate(robot.cameras):
        where = f"cameras[{index}]"
        heard = graph.stream(camera.topic)
        if heard is None:
            others = _list([stream.topic for stream in graph.of(IMAGES)])
            yield _error(where, f"{camera.topic}: nobody publishes it; there are {others}")
            continue
        if heard.type != camera.type:
            yield _error(where, f"{camera.topic} is {heard.type}, the file says {camera.type}")
            continue
        yield from _times(where, heard, robot.rate_hz, camera.max_age_ms, camera.stamp)


def _times(
    where: str, heard: Stream, rate_hz: float, max_age_ms: float, stamp: str
) -> Iterator[Finding]:
    if not heard.rate_hz:
        yield _error(where, f"{heard.topic}: is there, but nothing came")
        return
    period_ms = 1e3 / heard.rate_hz
    if period_ms > max_age_ms:
        text = f"{heard.topic} comes at {heard.rate_hz:.1f} Hz, so older than max_age_ms"
        yield _error(where, f"{text} ({max_age_ms:g}) between two messages")
    elif heard.rate_hz < 0.9 * rate_hz:
        text = f"{heard.topic} comes at {heard.rate_hz:.1f} Hz, actions at {rate_hz:g} Hz"
        yield _warning(where, f"{text}: some observations show the same instant twice")
    offset_ms = heard.offset_ms or 0.0
    if stamp == "header" and abs(offset_ms) > _LATE_SHARE * max_age_ms:
        yield _error(
            where,
            f"{heard.topic}: arrives {offset_ms:.0f} ms after its stamps at least, allowed are "
            f"{max_age_ms:g} in all; set the clocks (chrony), or say stamp: arrival here",
        )


def _commands(robot: RobotConfig, graph: Graph) -> Iterator[Finding]:
    for index, command in enumerate(robot.command):
        yield from _command(f"command[{index}]", command, graph)


def _command(where: str, command: CommandConfig, graph: Graph) -> Iterator[Finding]:
    taker = graph.controller(command.topic)
    if taker is None or not taker.listeners:
        others = _list([one.topic for one in graph.controllers if one.listeners])
        yield _error(
            where, f"{command.topic}: nobody takes trajectories there; there are {others}"
        )
        return
    if taker.listeners > 1:
        text = f"{command.topic}: {taker.listeners} listen; more than one would move the joints"
        yield _warning(where, text)
    if taker.joints and set(taker.joints) != set(command.joints):
        yield _error(
            where,
            f"{command.topic}: its controller drives {_list(list(taker.joints))}, the file sends "
            f"{_list(list(command.joints))}",
        )
    if taker.update_rate_hz and taker.update_rate_hz < command.rate_hz:
        yield _warning(
            where,
            f"rate_hz is {command.rate_hz:g}, its controller manager runs at "
            f"{taker.update_rate_hz:g}",
        )
    if not taker.reports:
        yield _warning(
            where,
            f"{command.state_topic}: nobody says what the controller follows; motions then begin "
            "where the arm is measured",
        )


def _error(where: str, text: str) -> Finding:
    return Finding(level="error", where=where, text=text)


def _warning(where: str, text: str) -> Finding:
    return Finding(level="warning", where=where, text=text)


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
