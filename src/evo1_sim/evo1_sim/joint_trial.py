"""Which way joints move: one after the other by a little, by its drive or by hand.

Whoever drives listens to the robot file's teleop topic, so every step goes through the gate. That
the drive goes where its state says is seen here; that both go where the model says, only by a
person. Must not import ROS.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.kinematics.collision import workspace_of
from evo1_policy.kinematics.model import ArmModel, ModelError, arm_model
from evo1_policy.robot_config import RobotConfig
from evo1_sim.robot_check import Finding, stands_at

SPEED_SHARE = 0.05  # of each joint's velocity limit
STEP_RAD = 0.08  # or as much in the joint's own unit
SEEN = 0.3  # of a step; less is noise, play, or what hangs below its goal
BY_HAND_RAD = 0.15
_PERIOD_S, _SETTLE_S = 0.02, 0.6
_NOWHERE_M = 0.004  # a tool that goes less far is told by how it turns
_WAYS = (("forward", "backward"), ("left", "right"), ("up", "down"))  # x, y, z of the base
_SEEN_FROM = (("the front", "behind"), ("the left", "the right"), ("above", "below"))

Confirm = Callable[[str], bool]  # a question -> whether a person says yes


class Hand(Protocol):
    """What moves the joints, and tells where they are."""

    def positions(self) -> dict[str, float]:
        """Joint -> measured position [its unit]; some may be missing."""

    def follow(self, name: str, position: float) -> None:
        """Say once where a joint shall be now."""

    def wait(self, seconds: float) -> None:
        """Let time pass, and hear what the robot says meanwhile."""

    def refusal(self) -> str:
        """Why nobody moves it; '' where nothing is known against it."""


def try_joints(
    robot: RobotConfig, hand: Hand, confirm: Confirm, *, joints: Sequence[str] = (), limp: bool
) -> list[Finding]:
    """Move each joint a little, or have a person do it; end at the first that goes wrong.

    Args:
        robot: the robot file.
        hand: moves and measures.
        confirm: asks a person, before each step and after it.
        joints: which ones; none: all, in the order of the file.
        limp: whether a person turns them by hand.

    Raises:
        ValueError: a joint that the file has not.
    """
    unknown = [name for name in joints if name not in robot.joint_names]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no joint; known: {', '.join(robot.joint_names)}")
    trial = _Trial(robot, hand, confirm, limp=limp)
    found: list[Finding] = []
    for name in joints or robot.joint_names:
        found += trial.of(robot.joint_names.index(name))
        if any(finding.level == "error" for finding in found):
            break
    return found


class _Trial:
    """One robot, joint by joint."""

    def __init__(self, robot: RobotConfig, hand: Hand, confirm: Confirm, *, limp: bool) -> None:
        self._robot, self._hand, self._confirm, self._limp = robot, hand, confirm, limp
        self._workspace = workspace_of(robot)
        self._model: ArmModel | None = None
        with suppress(ModelError):  # then a person is asked about the joint alone
            self._model = arm_model(robot)

    def of(self, number: int) -> Iterator[Finding]:
        """What is wrong with a joint."""
        joint = self._robot.joints[number]
        before = stands_at(self._robot, self._hand.positions())
        if before is None:
            yield self._error(number, "joint states lack it, or another joint of the file")
            return
        step = BY_HAND_RAD * joint.per_radian if self._limp else self._step(number, before)
        if not step:
            yield Finding(
                level="warning",
                where=f"joints: {joint.name}",
                text="was not tried: either way it would leave its limits or touch something",
            )
            return
        ask = "turn it by hand, about 10 degrees, then say yes"
        ask = ask if self._limp else f"moves by {step:+.3f} {joint.unit}, slowly. Go on"
        if not self._confirm(f"{joint.name}: {ask}"):
            return  # a person leaves it out
        start = float(before[number])
        wrong = "" if self._limp else self._ramp(number, start, start + step)
        if wrong:
            yield self._error(number, wrong)
            return
        self._hand.wait(_SETTLE_S)
        after = stands_at(self._robot, self._hand.positions())
        assert after is not None  # what was heard once stays
        wrong = self._judge(number, after - before, step)
        if wrong:
            yield self._error(number, wrong)
            return
        if not self._confirm(self._question(number, before, after)):
            yield self._error(
                number,
                "moves the other way than the model says, as a person saw: turn its sign in the "
                "driver, or its axis in the model",
            )
            return
        if not self._limp:
            self._ramp(number, start + step, start)

    def _step(self, number: int, at: Floats) -> float:
        """How far, and which way: to where there is more room; 0 where there is none."""
        joint = self._robot.joints[number]
        size = STEP_RAD * joint.per_radian
        middle = (joint.position_min + joint.position_max) / 2
        for step in (size, -size) if at[number] <= middle else (-size, size):
            goal = at.copy()
            goal[number] += step
            inside = joint.position_min <= goal[number] <= joint.position_max
            if inside and (self._workspace is None or self._workspace.touching(goal) is None):
                return step
        return 0.0

    def _ramp(self, number: int, start: float, goal: float) -> str:
        """Move it; says what went wrong, at once where it goes the other way."""
        joint = self._robot.joints[number]
        ticks = math.ceil(abs(goal - start) / (SPEED_SHARE * joint.velocity_max * _PERIOD_S))
        begin = self._hand.positions()[joint.name]
        for tick in range(1, ticks + round(_SETTLE_S / _PERIOD_S)):
            self._hand.follow(joint.name, start + (goal - start) * min(tick / ticks, 1.0))
            self._hand.wait(_PERIOD_S)
            moved = self._hand.positions()[joint.name] - begin
            if moved * (goal - start) < 0.0 and abs(moved) > SEEN * abs(goal - start):
                return self._wrong_way(number, goal - start, moved)
        return ""

    def _wrong_way(self, number: int, told: float, moved: float) -> str:
        unit = self._robot.joints[number].unit
        return (
            f"moves the wrong way: told {told:+.3f} {unit}, its state says {moved:+.3f}; commands "
            "and states of the driver have different signs"
        )

    def _judge(self, number: int, moved: Floats, step: float) -> str:
        """What of the joints moved (D,) is wrong; '' where the right one did, and no other."""
        per_radian = self._robot.per_radian
        unit = self._robot.joints[number].unit
        least = SEEN * abs(step)
        if abs(moved[number]) < least:
            others = np.abs(moved / per_radian)
            other = int(np.argmax(others))
            if others[other] * per_radian[number] > least:
                return f"in its place {self._robot.joint_names[other]} moved; mend the names"
            why = self._hand.refusal() or "is its controller active, and its drive on?"
            told = "was turned by hand" if self._limp else f"was told {step:+.3f} {unit}"
            return f"{told}, its state says {moved[number]:+.3f}: {why}"
        if not self._limp and moved[number] * step < 0.0:
            return self._wrong_way(number, step, float(moved[number]))
        return ""

    def _question(self, number: int, before: Floats, after: Floats) -> str:
        joint = self._robot.joints[number]
        moved = float(after[number] - before[number])
        told = f"{joint.name} says {moved:+.3f} {joint.unit}"
        for gripper in self._robot.grippers:
            if gripper.joint == joint.name:
                opened = moved * (gripper.open - gripper.closed) > 0.0
                return f"{told}: did the gripper {'open' if opened else 'close'}"
        if self._model is None:
            return f"{told}: did it move so, and no other joint (the file names no model)"
        only = before.copy()  # the others may sway
        only[number] = after[number]
        return f"{told}: seen from its base, did the tool {tool_way(self._model, before, only)}"

    def _error(self, number: int, text: str) -> Finding:
        name = self._robot.joint_names[number]
        return Finding(level="error", where=f"joints: {name}", text=text)


def tool_way(model: ArmModel, before: Floats, after: Floats) -> str:
    """How the tool moves between two poses (D,), in words: 'go 12 mm up'.

    The base looks forward along its x axis; y is its left, z is up.
    """
    first, second = model.forward(before), model.forward(after)
    way = second.position - first.position
    axis = int(np.argmax(np.abs(way)))
    if abs(way[axis]) >= _NOWHERE_M:
        return f"go {1e3 * abs(way[axis]):.0f} mm {_WAYS[axis][int(way[axis] < 0)]}"
    skew = second.rotation @ first.rotation.T
    turn = np.array([skew[2, 1] - skew[1, 2], skew[0, 2] - skew[2, 0], skew[1, 0] - skew[0, 1]])
    axis = int(np.argmax(np.abs(turn)))
    degrees = math.degrees(math.asin(min(1.0, float(np.linalg.norm(turn)) / 2)))
    side = _SEEN_FROM[axis][int(turn[axis] < 0)]
    return f"turn {degrees:.0f} degrees counter-clockwise, seen from {side}"
