"""How a dataset of somebody else is read as a robot's: one small file beside its folder.

`evo1 adopt` writes it, and everything that reads the dataset's folder finds it. Must not import
ROS or torch. Letters: D joints.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evo1_policy.joint_units import JointUnits, JointUnitsError
from evo1_policy.kinematics.end_effector import EndEffector, read_end_effector
from evo1_policy.paths import prefixes
from evo1_policy.robot_config import RobotConfig, RobotConfigError, load_robot
from evo1_policy.strict_yaml import Section, read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, read_text
from evo1_training.datasets.reader.info import DatasetInfo, read_info
from evo1_training.datasets.reader.problems import DatasetError, Refusing
from evo1_training.datasets.reader.suites import Pick, Suite

_SUFFIX = ".evo1.yaml"
_SNAPSHOTS = "snapshots"  # of huggingface_hub's cache, by revision; it wants no files there
_HEADER = """\
# How evo1 reads the dataset beside this file: which of its numbers are the robot's joints, and
# angle [rad] = offset + scale * number; or what its columns say of the end effector (scales:
# metres and radians for 1; grippers: [open, closed]). Written by `evo1 adopt`, to be read and
# corrected by people; without this file the dataset is read as it is.
"""
_PLACE = re.compile(r"(.+)\[(\d{1,6})\]")


@dataclass(frozen=True, kw_only=True)
class AdoptedJoint:
    """One joint of the robot, and the numbers of the dataset that are its positions.

    Attributes:
        name: in the robot file.
        state: where its measured position is.
        action: where its demonstrated position is.
        unit: what the numbers are, for people.
        scale: radians for one of them.
        offset: the angle where they say 0 [rad].
    """

    name: str
    state: Pick
    action: Pick
    unit: str
    scale: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class AdoptedTool:
    """The columns of a dataset that are the end effector's, and what they mean.

    Attributes:
        state: column of the measured poses.
        action: column of the demonstrated ones, or of their changes.
        meaning: of the numbers of both.
    """

    state: str
    action: str
    meaning: EndEffector


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """A dataset read as a robot's.

    Attributes:
        source: the file beside the dataset.
        robot: name of a robot file that ships, or the path of one.
        fps: of the dataset when it was adopted.
        columns: names of the numbers of its columns then.
        numbers: what they are: D joints in the robot file's order, or the end effector's.
        cameras: camera feature of each image slot, in the order of the slots.
    """

    source: Path
    robot: str
    fps: int
    columns: Mapping[str, tuple[str, ...]]
    numbers: tuple[AdoptedJoint, ...] | AdoptedTool
    cameras: Mapping[str, str]

    @cached_property
    def suite(self) -> Suite:
        """State and action in radians, or as the end effector's numbers."""
        numbers = self.numbers
        if isinstance(numbers, AdoptedTool):
            return Suite(
                name="adopted",
                state=(numbers.state,),
                action=(numbers.action,),
                end_effector=numbers.meaning,
            )
        states = tuple(joint.state for joint in numbers)
        actions = tuple(joint.action for joint in numbers)
        return Suite(
            name="adopted",
            state=tuple(dict.fromkeys(key for key, _ in states)),
            action=tuple(dict.fromkeys(key for key, _ in actions)),
            state_picks=states,
            action_picks=actions,
            units=JointUnits(
                scale=np.array([joint.scale for joint in numbers]),
                offset=np.array([joint.offset for joint in numbers]),
            ),
        )

    @property
    def joint_names(self) -> tuple[str, ...] | None:
        """Of the robot, in its order; None where the numbers are the end effector's."""
        if isinstance(self.numbers, AdoptedTool):
            return None
        return tuple(joint.name for joint in self.numbers)

    def load_robot(self) -> RobotConfig:
        """The robot file that it names.

        Raises:
            DatasetError: there is none, or its joints or image slots are others by now.
        """
        try:
            robot = load_robot(robot_file(self.robot))
        except RobotConfigError as error:
            raise DatasetError(f"{self.source}: robot: {error}") from error
        for what, ours, theirs in (
            ("joints", self.joint_names, robot.joint_names),
            ("cameras", tuple(self.cameras), tuple(camera.name for camera in robot.cameras)),
        ):
            if ours is not None and ours != theirs:
                raise self.stale(
                    f"{what}: {', '.join(ours)}", f"the robot file {', '.join(theirs)}"
                )
        return robot

    def check(self, info: DatasetInfo) -> None:
        """Refuse a dataset that is another than the one that was adopted.

        Raises:
            DatasetError: its rate, joints or cameras are others; names them.
        """
        if info.fps != self.fps:
            raise self.stale(f"fps: {self.fps}", f"{info.path} {info.fps}")
        for key, names in self.columns.items():
            feature = info.features.get(key)
            found = feature.labels(key) if feature is not None else ()
            if found != names:
                what = f"columns.{key}: {', '.join(names)}"
                raise self.stale(what, f"{info.path} {', '.join(found) or 'no such column'}")
        for key in self.suite.columns:
            if key not in self.columns:
                raise self.stale(f"columns: no {key}", "it is read")
        for key, place in self.suite.state_picks + self.suite.action_picks:
            if place >= len(self.columns.get(key, ())):
                raise self.stale(f"joints: {key}[{place}]", "columns: none of that")
        for slot, key in self.cameras.items():
            if key not in info.cameras:
                there = f"{info.path} {', '.join(info.cameras) or 'none'}"
                raise self.stale(f"cameras.{slot}: {key}", there)

    def stale(self, ours: str, theirs: str) -> DatasetError:
        """The error of a file that does not fit any more."""
        return DatasetError(
            f"{self.source}: {ours}, but now {theirs}; adopt the dataset again (evo1 adopt), or "
            "remove that file"
        )

    def to_yaml(self) -> str:
        """The text of the file."""
        numbers = self.numbers
        said: dict[str, Any] = {}
        if isinstance(numbers, AdoptedTool):
            said |= {"state": numbers.state, "action": numbers.action}
            said["end_effector"] = numbers.meaning.to_dict()
        else:
            said["joints"] = {
                joint.name: {
                    "state": "{}[{}]".format(*joint.state),
                    "action": "{}[{}]".format(*joint.action),
                    "unit": joint.unit,
                    "scale": joint.scale,
                    "offset": joint.offset,
                }
                for joint in numbers
            }
        data = {
            "robot": self.robot,
            "fps": self.fps,
            "columns": {key: list(names) for key, names in self.columns.items()},
            **said,
            "cameras": dict(self.cameras),
        }
        text: str = yaml.safe_dump(data, sort_keys=False, width=1000, default_flow_style=None)
        return _HEADER + text


def adoption_path(root: Path) -> Path:
    """Where the file of a dataset lies: beside its folder; in its repository in a hub's cache."""
    folder = root.expanduser().resolve()
    place = folder.parents[1] if folder.parent.name == _SNAPSHOTS else folder.parent
    return place / f"{folder.name}{_SUFFIX}"


def dataset_name(root: Path) -> str:
    """What people call a dataset: its folder, or its repository where that is a revision."""
    if root.parent.name == _SNAPSHOTS:
        return root.parents[1].name.rpartition("--")[2]
    return root.name


def adoption_of(root: Path) -> Adoption | None:
    """How a dataset was adopted; None where it was not.

    Raises:
        DatasetError: the file cannot be used, or the dataset has changed since.
    """
    if not adoption_path(root).is_file():
        return None
    info = read_info(root, Refusing())
    return read_adoption(info) if info is not None else None


def read_adoption(info: DatasetInfo) -> Adoption | None:
    """The same for a dataset whose info.json was read."""
    path = adoption_path(info.root)
    if not path.is_file():
        return None
    try:
        text = read_text(path, what="file of an adopted dataset", max_bytes=MOST_YAML_BYTES)
        adoption = _adoption(read_section(text, source=str(path)), path)
        _ = adoption.suite  # its units make sense
    except UntrustedError as error:
        raise DatasetError(str(error)) from error
    except JointUnitsError as error:
        raise DatasetError(f"{path}: joints: {error}") from error
    adoption.check(info)
    return adoption


def _adoption(root: Section, path: Path) -> Adoption:
    columns, cameras = mapping(root, "columns", "columns"), mapping(root, "cameras", "image slots")
    fps = root.positive("fps")
    if fps != int(fps):
        raise root.error("fps", f"expected a whole number, got {fps}")
    found = Adoption(
        source=path,
        robot=root.text("robot"),
        fps=int(fps),
        columns={key: root.section("columns").names(key) for key in columns},
        numbers=_tool(root) if root.has("end_effector") else _joints(root),
        cameras={slot: root.section("cameras").text(slot) for slot in cameras},
    )
    root.finish()
    return found


def mapping(section: Section, key: str, what: str) -> dict[str, Any]:
    """A mapping that is not empty, with texts for keys.

    Raises:
        StrictYamlError: it is something else.
    """
    data = section.get(key, f"a mapping of {what}")
    if not isinstance(data, dict) or not data or not all(isinstance(name, str) for name in data):
        raise section.error(key, f"expected a mapping of {what}, got {data!r:.80}")
    return data


def _tool(root: Section) -> AdoptedTool:
    return AdoptedTool(
        state=root.text("state"),
        action=root.text("action"),
        meaning=read_end_effector(root, "end_effector"),
    )


def _joints(root: Section) -> tuple[AdoptedJoint, ...]:
    names, section = mapping(root, "joints", "joints"), root.section("joints")
    return tuple(_joint(section.section(name), name) for name in names)


def _joint(section: Section, name: str) -> AdoptedJoint:
    joint = AdoptedJoint(
        name=name,
        state=_place(section, "state"),
        action=_place(section, "action"),
        unit=section.text("unit"),
        scale=section.number("scale"),
        offset=section.number("offset"),
    )
    section.finish()
    return joint


def _place(section: Section, key: str) -> Pick:
    text = section.text(key)
    found = _PLACE.fullmatch(text)
    if found is None:
        raise section.error(key, f"expected a number of a column, such as action[0], got {text!r}")
    return found[1], int(found[2])


def robot_file(robot: str) -> Path:
    """The file of a robot: a path as it is, or a name among those that evo1_bringup installs.

    Raises:
        RobotConfigError: no such name.
    """
    path = shipped("robots", robot)
    if path is None:
        raise RobotConfigError(
            f"no robot file '{robot}': give the path of one, or source the workspace's setup.bash"
        )
    return path


def shipped(folder: str, name: str) -> Path | None:
    """A YAML file: a path as it is, or a name in a folder that evo1_bringup installs, if there."""
    if "/" in name or Path(name).suffix in (".yaml", ".yml"):
        return Path(name).expanduser()
    for prefix in prefixes():
        path = prefix / "share" / "evo1_bringup" / folder / f"{name}.yaml"
        if path.is_file():
            return path
    return None
