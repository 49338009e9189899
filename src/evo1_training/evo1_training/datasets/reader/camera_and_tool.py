"""Proposes which cameras of a dataset are a robot's, and how its numbers are an end effector's.

Must not import ROS or torch.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from evo1_policy.kinematics.end_effector import EndEffector
from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.reader.adoption import AdoptedTool
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import IMAGE_PREFIX, DatasetInfo
from evo1_training.datasets.reader.problems import DatasetError

# (question, answers, the option that says it on a command line) -> one of the answers
Ask = Callable[[str, Sequence[str], str], str]
_WRIST = {"wrist", "hand", "gripper", "eef"}


def propose_tool(
    folder: DatasetFolder,
    keys: tuple[str, str],
    meaning: EndEffector,
    gripper: tuple[float, float] | None,
    ask: Ask,
) -> AdoptedTool:
    """Two columns as what was said of the end effector; how its gripper counts is looked up.

    Args:
        folder: the dataset.
        keys: column of the state, and of the action.
        meaning: of their numbers.
        gripper: its number in the actions, open and closed, where that is another and is known.
        ask: answers what it is, where the data contradict the meaning.

    Raises:
        DatasetError: the state is of joints, or the column cannot be read.
    """
    if meaning.state is None:
        raise DatasetError(
            "--end-effector: state: missing; where the state is of joints beside actions of the "
            "end effector, say so in a dataset file (--groups of train, docs/training.md)"
        )
    found = AdoptedTool(state=keys[0], action=keys[1], meaning=meaning)
    form, width = meaning.action, math.prod(folder.info.feature(keys[1]).shape)
    if not form.grippers or width != len(form.names):
        return found  # its width is judged where every dataset's is
    ends = gripper
    if ends is None:
        column = read_columns(folder, [keys[1]])[keys[1]].reshape(-1, width)[:, -1]
        low, high = float(column.min()), float(column.max())
        still = np.zeros(width - 1)
        if low == high or not form.misfit(np.append(still, low), np.append(still, high)):
            return found
        question = (
            f"features.{keys[1]}: the gripper goes from {low:.4g} to {high:.4g}, not from "
            f"{form.grippers[0][0]:g} (open) to {form.grippers[0][1]:g} (closed); what is it "
            "open, and closed?"
        )
        pairs = (f"{low:.4g},{high:.4g}", f"{high:.4g},{low:.4g}")
        opened, closed = ask(question, pairs, "--gripper=OPEN,CLOSED").split(",")
        ends = float(opened), float(closed)
    form = replace(form, grippers=(ends,))
    return replace(found, meaning=replace(meaning, action=form))


def propose_cameras(
    info: DatasetInfo, robot: RobotConfig, given: Mapping[str, str], ask: Ask
) -> dict[str, str]:
    """Camera of each image slot: as said, of the same name, or the only one of its kind.

    Args:
        info: of the dataset.
        robot: whose image slots.
        given: camera by image slot, where it was said.
        ask: answers what names do not decide.

    Raises:
        DatasetError: no such camera, or too few.
    """
    short = {key.removeprefix(IMAGE_PREFIX): key for key in info.cameras}
    found: dict[str, str] = {}
    for slot, name in given.items():
        if name not in short and name not in info.cameras:
            there = ", ".join(short) or "no cameras in colour"
            raise DatasetError(f"--camera {slot}={name}: {info.path} has {there}")
        found[slot] = short.get(name, name)
    slots = [camera.name for camera in robot.cameras]
    found |= {slot: short[slot] for slot in slots if slot in short and slot not in found}
    wrist = {
        camera.name: bool(_camera_words(f"{camera.name} {camera.topic}") & _WRIST)
        for camera in robot.cameras
    }
    for slot in slots:
        if slot in found:
            continue
        free = [name for name, key in short.items() if key not in found.values()]
        alike = [name for name in free if bool(_camera_words(name) & _WRIST) == wrist[slot]]
        rivals = [s for s in slots if s not in found and wrist[s] == wrist[slot]]
        if len(alike) == 1 and len(rivals) == 1:
            found[slot] = short[alike[0]]
            continue
        if not free:
            raise DatasetError(
                f"{info.path}: no camera for image slot {slot}: it has "
                f"{', '.join(short) or 'none in colour'}, the robot file {', '.join(slots)}; give "
                "a robot file with the cameras that the dataset has"
            )
        question = f"which camera is image slot {slot}?"
        found[slot] = short[ask(question, free, f"--camera {slot}=NAME")]
    return {slot: found[slot] for slot in slots}


def _camera_words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", name.lower()))
