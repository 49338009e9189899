"""Proposes how a dataset of somebody else is read as a robot's: joints, units, cameras.

What names and numbers do not decide is asked, never guessed. Must not import ROS or torch.
Letters: D joints, N frames.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.joint_units import JointUnits, load_units
from evo1_policy.kinematics.end_effector import EndEffector
from evo1_policy.robot_config import RobotConfig
from evo1_sim.servo_bus.so100_calibration import load_calibration, units_of
from evo1_training.datasets.reader.adoption import (
    AdoptedJoint,
    AdoptedTool,
    Adoption,
    adoption_path,
    shipped,
)
from evo1_training.datasets.reader.camera_and_tool import Ask, propose_cameras, propose_tool
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import ACTION_KEY, STATE_KEY, DatasetInfo
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.datasets.reader.robot_check import SLACK_RAD
from evo1_training.datasets.reader.suites import Pick

Floats = npt.NDArray[np.float64]

# LeRobot's own words; a gripper has the other range.
WORDS = ("rad", "m", "deg", "range_m100_100", "range_0_100", "range_0_1", "range_1_0")
_ARM_WORDS = ("rad", "deg", "range_m100_100")
_GRIPPER_WORDS = ("rad", "range_0_100", "range_0_1", "range_1_0")
_LEAST_MOVED_RAD = 0.2  # by some joint of any demonstration: a tenth of a radian is no task
_RANGE = 100.5  # of a percentage, and what rounding adds
_STATES = (STATE_KEY, "state", "observation.qpos")
_ACTIONS = (ACTION_KEY, "actions")
# Words that say nothing of which joint it is.
_NOISE = {"joint", "j", "pos", "position", "main", "follower", "motor", "servo", "state", "action"}
_GRIPPER = ("grip", "jaw", "finger")
_PLACEHOLDER = re.compile(r"UNIT|NAME|OPEN,CLOSED")  # in an option that answers a question


class OpenQuestionsError(DatasetError):
    """What nobody has said yet; `words` would say the first answer to each, on a command line."""

    def __init__(self, message: str, words: Sequence[str]) -> None:
        super().__init__(message)
        self.words = tuple(words)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a person has said already.

    Attributes:
        units: a word, or a file of units, by joint; under '' for all that are not named.
        joints: name or place of a joint's number in the dataset's columns, by joint.
        cameras: camera of the dataset, by image slot.
        calibration: LeRobot's calibration of the arm that was recorded.
        state: column of the measured positions; empty for the usual ones.
        action: column of the demonstrated positions; likewise.
        in_order: the numbers are the robot's joints in its order.
        end_effector: what the numbers mean where they are the end effector's, not joints.
        gripper: its number in the actions, open and closed, where that is another.
    """

    units: Mapping[str, str] = field(default_factory=dict)
    joints: Mapping[str, str] = field(default_factory=dict)
    cameras: Mapping[str, str] = field(default_factory=dict)
    calibration: Path | None = None
    state: str = ""
    action: str = ""
    in_order: bool = False
    end_effector: EndEffector | None = None
    gripper: tuple[float, float] | None = None


def propose(
    folder: DatasetFolder, robot: RobotConfig, name: str, wanted: Wanted, ask: Ask | None = None
) -> Adoption:
    """How to read a dataset as a robot's.

    Args:
        folder: the dataset.
        robot: whose joints and image slots are looked for.
        name: of the robot's file, as the adoption shall give it.
        wanted: what is known already.
        ask: answers what is not; None where nobody does.

    Raises:
        OpenQuestionsError: nobody knows: every question, and the option that answers it.
        DatasetError: something is missing or cannot be.
        CalibrationError: of its file; JointUnitsError: of a file of units.
    """
    if ask is not None:
        return _propose(folder, robot, name, wanted, ask)
    open_questions: list[str] = []
    words: list[str] = []

    def note(question: str, answers: Sequence[str], option: str) -> str:
        """Go on with any answer, to learn what else would be asked."""
        open_questions.append(f"{question} ({', '.join(answers)}); say it with {option}")
        words.extend(_PLACEHOLDER.sub(answers[0], option.partition(" (")[0]).split(" ", 1))
        return answers[0]

    try:
        adoption = _propose(folder, robot, name, wanted, note)
    except DatasetError:
        if not open_questions:
            raise
    if open_questions:
        raise OpenQuestionsError(f"{folder.info.path}: {'; '.join(open_questions)}", words)
    return adoption


def _propose(
    folder: DatasetFolder, robot: RobotConfig, name: str, wanted: Wanted, ask: Ask
) -> Adoption:
    info = folder.info
    _check_known("--camera", wanted.cameras, [camera.name for camera in robot.cameras])
    keys = (
        _column(info, wanted.state, _STATES, "--state"),
        _column(info, wanted.action, _ACTIONS, "--action"),
    )
    numbers: tuple[AdoptedJoint, ...] | AdoptedTool
    if wanted.end_effector is not None:
        _check_no_joints(wanted)
        numbers = propose_tool(folder, keys, wanted.end_effector, wanted.gripper, ask)
    else:
        numbers = _joints(folder, keys, robot, wanted, ask)
    return Adoption(
        source=adoption_path(info.root),
        robot=name,
        fps=info.fps,
        columns={key: info.feature(key).labels(key) for key in dict.fromkeys(keys)},
        numbers=numbers,
        cameras=propose_cameras(info, robot, wanted.cameras, ask),
    )


def _joints(
    folder: DatasetFolder, keys: tuple[str, str], robot: RobotConfig, wanted: Wanted, ask: Ask
) -> tuple[AdoptedJoint, ...]:
    """Numbers of the state's and the action's column as joints."""
    info, joints = folder.info, robot.joint_names
    _check_known("--joint", wanted.joints, joints)
    _check_known("--units", {key: "" for key in wanted.units if key}, joints)
    if wanted.gripper is not None:
        raise DatasetError("--gripper says what --end-effector means; give that, too")
    places = _Joints(info, robot, wanted, ask)
    picks = [places.find(key) for key in keys]
    values = read_columns(folder, list(dict.fromkeys(keys)))
    rows = [_picked(values, pick) for pick in picks]
    _check_absolute(info, *rows)
    everything = np.concatenate(rows)
    units, words = _Units(robot, wanted, ask).choose(
        everything.min(axis=0), everything.max(axis=0)
    )
    return tuple(
        AdoptedJoint(
            name=joint,
            state=picks[0][j],
            action=picks[1][j],
            unit=words[j],
            scale=float(units.scale[j]),
            offset=float(units.offset[j]),
        )
        for j, joint in enumerate(joints)
    )


def _check_no_joints(wanted: Wanted) -> None:
    said = (wanted.units, wanted.joints, wanted.calibration, wanted.in_order)
    for value, option in zip(said, ("units", "joint", "calibration", "in-order"), strict=True):
        if value:
            raise DatasetError(f"--{option}: is of joints, and --end-effector of none")


def _check_known(option: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise DatasetError(
                f"{option} {name}: not in the robot file, which has {', '.join(known)}"
            )


def _column(info: DatasetInfo, wanted: str, usual: Sequence[str], option: str) -> str:
    found = [wanted] if wanted else [key for key in usual if key in info.features]
    if found:
        info.feature(found[0])
        return found[0]
    vectors = [key for key, one in info.features.items() if one.is_number and one.shape != (1,)]
    raise DatasetError(
        f"{info.path}: features: none of {', '.join(usual)}; there are "
        f"{', '.join(vectors) or 'no vectors'}; say which with {option} COLUMN"
    )


def _picked(values: Mapping[str, npt.NDArray[np.generic]], picks: Sequence[Pick]) -> Floats:
    """(N, D)."""
    columns = [values[key].reshape(len(values[key]), -1)[:, place] for key, place in picks]
    return np.stack(columns, axis=1).astype(np.float64)


def _check_absolute(info: DatasetInfo, states: Floats, actions: Floats) -> None:
    """Refuse actions that are changes: they follow the state's steps, not the state."""
    steps = np.diff(states, axis=0)
    as_places = np.abs(actions - states).mean()
    as_changes = np.abs(actions[:-1] - steps).mean() if len(steps) else np.inf
    if 4 * as_changes < as_places:
        raise DatasetError(
            f"{info.path}: the actions look like changes of position, not like positions: they "
            f"differ by {as_places:.3g} from the state, and by {as_changes:.3g} from its next "
            "step; a policy here answers with positions"
        )


class _Joints:
    """Finds the robot's joints among the numbers of a column."""

    def __init__(self, info: DatasetInfo, robot: RobotConfig, wanted: Wanted, ask: Ask) -> None:
        self._info, self._robot, self._ask = info, robot, ask
        self._given = dict(wanted.joints)
        self._in_order = wanted.in_order

    def find(self, key: str) -> tuple[Pick, ...]:
        """One number of the column for each joint."""
        labels = self._info.feature(key).labels(key)
        joints = self._robot.joint_names
        if self._in_order:
            if len(labels) != len(joints):
                raise DatasetError(
                    f"{self._info.path}: features.{key}: {len(labels)} numbers, but the robot "
                    f"file has {len(joints)} joints: --in-order needs as many"
                )
            return tuple((key, place) for place in range(len(joints)))
        found = self._by_name(key, labels)
        if not found and len(labels) == len(joints):
            listing = ", ".join(labels)
            question = (
                f"features.{key}: no name ({listing}) is that of a joint; are "
                f"the numbers {', '.join(joints)}, in this order?"
            )
            if self._ask(question, ("yes", "no"), "--in-order") == "yes":
                self._in_order = True
                return self.find(key)
        for joint in joints:
            if joint not in found:
                free = [label for j, label in enumerate(labels) if j not in found.values()]
                question = f"features.{key}: which number is {joint}?"
                option = f"--joint {joint}=NAME (or its place, 0 and on)"
                if not free:
                    raise DatasetError(f"{self._info.path}: {question} None is left; see {option}")
                answer = self._ask(question, free, option)
                found[joint] = labels.index(answer)
                self._given[joint] = str(found[joint])
        return tuple((key, found[joint]) for joint in joints)

    def _by_name(self, key: str, labels: Sequence[str]) -> dict[str, int]:
        joints = self._robot.joint_names
        grippers = {gripper.joint for gripper in self._robot.grippers}
        ours = {joint: _words(joint, gripper=joint in grippers) for joint in joints}
        theirs = [_words(label) for label in labels]
        if any("0" in words for words in theirs) and not any("0" in w for w in ours.values()):
            theirs = [tuple(str(int(w) + 1) if w.isdigit() else w for w in ws) for ws in theirs]
        found = {}
        for joint in joints:
            places = [j for j, words in enumerate(theirs) if words == ours[joint] and words]
            if len(places) == 1:
                found[joint] = places[0]
        for joint, name in self._given.items():
            place = labels.index(name) if name in labels else int(name) if name.isdigit() else -1
            if not 0 <= place < len(labels):
                raise DatasetError(
                    f"--joint {joint}={name}: {self._info.path}: features.{key} has "
                    f"{', '.join(labels)}"
                )
            found[joint] = place
        return found


def _words(name: str, *, gripper: bool = False) -> tuple[str, ...]:
    """What a name says of which joint it is: 'main_shoulder_pan' and 'shoulder_pan.pos' alike."""
    words = re.findall(r"[a-z]+|\d+", name.rpartition("[")[0].lower() or name.lower())
    if gripper or any(part in word for word in words for part in _GRIPPER):
        return (*(word for word in words if word in ("left", "right")), "gripper")
    return tuple(word for word in words if word not in _NOISE)


class _Units:
    """Finds what the numbers of each joint are."""

    def __init__(self, robot: RobotConfig, wanted: Wanted, ask: Ask) -> None:
        self._robot, self._wanted, self._ask = robot, wanted.units, ask
        self._grippers = {gripper.joint: gripper for gripper in robot.grippers}
        file = wanted.calibration
        self._servos = load_calibration(file, robot.joints) if file is not None else None
        path = shipped("robots/units", f"{robot.name}_lerobot")
        self._lerobot = load_units(path, robot.joint_names) if path is not None else None

    def choose(self, low: Floats, high: Floats) -> tuple[JointUnits, tuple[str, ...]]:
        """Units, and the word for each joint, of numbers that reach from low to high (D,)."""
        names, said = self._robot.joint_names, self._wanted.get("", "")
        arm = [j for j, name in enumerate(names) if name not in self._grippers]
        word = said or self._arm_word(arm or list(range(len(names))), low, high)
        words = [self._wanted.get(name, word) for name in names]
        for j, name in enumerate(names):
            # Radians of all joints are said; in LeRobot's words a gripper has one of its own.
            known = name in self._wanted or said in ("rad", "m") or word not in WORDS
            if name in self._grippers and not known:
                words[j] = self._gripper_word(j, word, low[j], high[j])
        scale, offset = np.array([self._scale(one, j) for j, one in enumerate(words)]).T
        return JointUnits(scale=scale, offset=offset), tuple(words)

    def _arm_word(self, arm: Sequence[int], low: Floats, high: Floats) -> str:
        could = [word for word in _ARM_WORDS if self._could_be(word, arm, low, high)]
        if len(could) == 1:
            return could[0]
        ranges = ", ".join(
            f"{self._robot.joint_names[j]} {low[j]:.4g} .. {high[j]:.4g}" for j in arm
        )
        question = f"in which unit are {ranges}?"
        return self._ask(question, could or _ARM_WORDS, "--units UNIT")

    def _could_be(self, word: str, arm: Sequence[int], low: Floats, high: Floats) -> bool:
        """Whether all joints stay within their limits, and one moves as in a demonstration."""
        if word == "range_m100_100":
            if max(np.abs(low[arm]).max(), np.abs(high[arm]).max()) > _RANGE:
                return False
            if self._servos is None:  # what it is in radians is not known
                return bool((high[arm] - low[arm]).max() >= 100 * _LEAST_MOVED_RAD / math.pi)
        scale, offset = np.array([self._scale(word, j) for j in arm]).T
        ends = np.sort([offset + scale * low[arm], offset + scale * high[arm]], axis=0)  # (2, D)
        within = (ends[0] >= self._robot.position_min[arm] - SLACK_RAD) & (
            ends[1] <= self._robot.position_max[arm] + SLACK_RAD
        )
        return bool(within.all() and np.ptp(ends, axis=0).max() >= _LEAST_MOVED_RAD)

    def _gripper_word(self, j: int, arm_word: str, low: float, high: float) -> str:
        """LeRobot counts grippers in percent beside arms in degrees or percent."""
        joint = self._robot.joints[j]
        if arm_word in ("deg", "range_m100_100") and low >= -0.5 and 1.5 < high <= _RANGE:
            return "range_0_100"
        shares = low >= -0.01 and high <= 1.01  # closed to open, or the other way round
        within = joint.position_min - SLACK_RAD <= low and high <= joint.position_max + SLACK_RAD
        if arm_word == "rad" and within and not shares:
            return "rad"
        question = f"in which unit is {joint.name}, {low:.4g} .. {high:.4g}?"
        option = f"--units {joint.name}=UNIT (range_0_1: 1 is open)"
        return self._ask(question, _GRIPPER_WORDS, option)

    def _scale(self, word: str, j: int) -> tuple[float, float]:
        """Radians for one, and the angle at 0, of a joint."""
        name, units, place = self._robot.joint_names[j], self._lerobot, j
        gripper = self._grippers.get(name)
        if word in ("rad", "m"):
            return 1.0, 0.0
        if word in ("range_0_1", "range_1_0") and gripper is not None:
            ends = (gripper.closed, gripper.open)
            at_0, at_1 = ends if word == "range_0_1" else ends[::-1]
            return at_1 - at_0, at_0
        if word not in WORDS:
            path = shipped("robots/units", word)
            if path is None:
                raise DatasetError(
                    f"--units {word}: no such unit; known: {', '.join(WORDS)}, or a file of units"
                )
            units = load_units(path, self._robot.joint_names)
        elif self._servos is not None and word in (kinds := units_of(self._servos[j])):
            units, place = kinds[word], 0
        elif word != ("deg" if gripper is None else "range_0_100"):  # the file's own of LeRobot's
            units = None
        if units is not None:
            return float(units.scale[place]), float(units.offset[place])
        if word == "deg":
            return math.pi / 180, 0.0
        raise DatasetError(
            f"{name}: {word} says a share of the range that the arm was calibrated to; give "
            "that arm's calibration with --calibration FILE (LeRobot keeps it in "
            "~/.cache/huggingface/lerobot/calibration/robots/), or a file of units with --units"
        )
