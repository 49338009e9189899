"""Whether a dataset is of the robot, and in the units, that a policy will drive.

Of a benchmark's interface only widths and rate are compared: its numbers go out as they are, and
everybody names them in their own way. Of a robot, numbers are positions of the robot file's joints
in radians, or what the dataset file or adoption says of an end effector. Whatever else a dataset
holds is refused before the first step: it would train without complaint, and the arm would go
where no demonstrator sent it. Must not import ROS or torch. Letters: N frames, D joints.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.interface import (
    INTERFACE,
    ROBOT,
    Interface,
    InterfaceError,
    load_interface,
)
from evo1_policy.interface import differences as interface_differences
from evo1_policy.kinematics.end_effector import EndEffector, PoseForm
from evo1_policy.robot_config import RobotConfig, RobotConfigError, differences, load_robot
from evo1_training.datasets.reader.dataset_config import DatasetSpec
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import IMAGE_PREFIX
from evo1_training.datasets.reader.problems import DatasetError

ROBOT_COPY, INTERFACE_COPY = f"meta/evo1/{ROBOT}", f"meta/evo1/{INTERFACE}"
# How far beyond the limits a badly calibrated zero or a leader's longer travel may lead [rad].
SLACK_RAD = 0.5


def own_interface(root: Path) -> tuple[Interface | None, RobotConfig | None]:
    """What a dataset's own copies say that it is of: of a robot, of a benchmark, or nothing.

    Raises:
        DatasetError: a copy cannot be read.
    """
    try:
        if (root / ROBOT_COPY).is_file():
            robot = load_robot(root / ROBOT_COPY)
            return robot.interface, robot
        if (root / INTERFACE_COPY).is_file():
            return load_interface(root / INTERFACE_COPY), None
    except (RobotConfigError, InterfaceError) as error:
        raise DatasetError(str(error)) from error
    return None, None


def check_benchmark(folder: DatasetFolder, interface: Interface, spec: DatasetSpec) -> None:
    """Compare rate and widths, and the dataset's own copy, with the interface of a benchmark.

    Raises:
        DatasetError: they differ; names the key, what is expected and what was found.
    """
    info, suite = folder.info, spec.suite
    check_rate(folder, interface)
    if suite.end_effector is not None or suite.units is not None:
        raise DatasetError(
            f"{spec.source}: says what the numbers are for an arm, but {interface.name} has none: "
            "they go out as they are; leave end_effector and units out"
        )
    for what, columns in (("state", suite.state), ("action", suite.action)):
        width = sum(int(np.prod(info.feature(key).shape)) for key in columns)
        expected = interface.widths[what == "action"]
        if width != expected:
            raise DatasetError(
                f"{info.path}: features.{'+'.join(columns)}.shape: {width} numbers; the {what} of "
                f"{interface.name} has {interface.names_of(what)}"
            )
    theirs, robot = own_interface(info.root)
    if robot is not None:
        raise DatasetError(f"{info.root}: is of the robot {robot.name}, not of {interface.name}")
    for what, ours, other in interface_differences(interface, theirs or interface):
        raise DatasetError(f"{info.root / INTERFACE_COPY}: {what}: {other}; expected {ours}")


def check_robot(folder: DatasetFolder, robot: RobotConfig, spec: DatasetSpec) -> None:
    """Compare rate, and the names and order of the joints, with a robot file.

    Raises:
        DatasetError: they differ; names the key, what is expected and what was found.
    """
    info, suite = folder.info, spec.suite
    check_rate(folder, robot.interface)
    if suite.end_effector is not None:
        _check_end_effector(folder, robot, spec, suite.end_effector)
    elif suite.poses:
        raise DatasetError(
            f"{spec.source or info.path}: process_suite: '{suite.name}' makes poses of the end "
            f"effector, but nothing says what they mean: say it with end_effector (or choose the "
            f"columns of the joints of {robot.embodiment} with process_suite: custom)"
        )
    elif not suite.state_picks:
        for columns in (suite.state, suite.action):
            _check_names(folder, robot, spec, columns)
    elif spec.joints != robot.joint_names:
        raise DatasetError(
            f"{spec.source}: joints: adopted for {', '.join(spec.joints or ())}, but the robot "
            f"file has {', '.join(robot.joint_names)}; adopt the dataset for this robot"
        )
    benchmark, theirs = own_interface(info.root)
    if benchmark is not None and theirs is None:
        raise DatasetError(f"{info.root}: is of {benchmark.name}, not of the robot {robot.name}")
    for what, ours, other in differences(robot, theirs or robot):
        raise DatasetError(
            f"{info.root / ROBOT_COPY}: {what}: {other}; the robot file here has {ours}"
        )


def _check_end_effector(
    folder: DatasetFolder, robot: RobotConfig, spec: DatasetSpec, meaning: EndEffector
) -> None:
    """Refuse columns that do not hold what end_effector says."""
    suite, where = spec.suite, f"{spec.source}.end_effector"
    if meaning.reference == "start":
        raise DatasetError(
            f"{where}: reference: 'start' counts from the first frame of a chunk, which a row of "
            "a dataset does not know; expected base or previous"
        )
    wanted = [("action", suite.action, meaning.action.names)]
    if meaning.state is None:
        _check_names(folder, robot, spec, suite.state)
    else:
        wanted.append(("state", suite.state, meaning.state.names))
    for what, columns, names in wanted:
        width = sum(int(np.prod(folder.info.feature(key).shape)) for key in columns)
        if width != len(names):
            raise DatasetError(
                f"{where}: {what}: {', '.join(names)}: {len(names)} numbers, but "
                f"{'+'.join(columns)} of {folder.info.path} has {width}; say what each of them is "
                "(rotation, grippers), or choose columns with process_suite: custom"
            )


def check_rate(folder: DatasetFolder, interface: Interface) -> None:
    """Refuse a dataset of another rate than the robot file's, or the interface's.

    Raises:
        DatasetError: names both.
    """
    info = folder.info
    if info.fps != interface.rate_hz:
        what = "the robot file" if interface.file == ROBOT else interface.name
        raise DatasetError(
            f"{info.path}: fps: {info.fps}, but {what} has rate_hz {interface.rate_hz:g}; give a "
            "file with the dataset's rate"
        )


def _check_names(
    folder: DatasetFolder, robot: RobotConfig, spec: DatasetSpec, columns: tuple[str, ...]
) -> None:
    """Refuse columns whose numbers are not the robot's joints in their order, as far as named."""
    info = folder.info
    features = [info.feature(key) for key in columns]
    width = sum(int(np.prod(feature.shape)) for feature in features)
    names: list[str] = [name for feature in features for name in feature.names or ()]
    found, where = names, f"{info.path}: features.{'+'.join(columns)}.names"
    if spec.joints is not None:
        found, where = list(spec.joints), f"{spec.source}.joints"
    if width != robot.width:
        listing = f" ({', '.join(names)})" if names else ""
        raise DatasetError(
            f"{info.path}: features.{'+'.join(columns)}.shape: {width} numbers{listing}; expected "
            f"the joints of the robot file, {', '.join(robot.joint_names)}, in state and action "
            "(what poses mean is said with end_effector in a dataset file)"
        )
    if tuple(found) != robot.joint_names:
        raise DatasetError(
            f"{where}: expected the joints of the robot file, {', '.join(robot.joint_names)}; got "
            f"{', '.join(found) or 'none'}; say which is which with `evo1 adopt`, or, where the "
            "numbers are these joints in this order and in radians, by 'joints' in a dataset file "
            "(--groups)"
        )


def check_ranges(
    folder: DatasetFolder,
    robot: RobotConfig,
    values: Sequence[tuple[str, npt.NDArray[np.float32], PoseForm | None]],
) -> None:
    """Refuse numbers that no joint of the robot file could mean, such as degrees.

    Args:
        folder: the dataset.
        robot: whose limits count.
        values: (what, (N, D), form) such as the states and the actions; form: of poses.

    Raises:
        DatasetError: names the joint, its range, its limits and where it is farthest from them.
    """
    low, high = robot.position_min, robot.position_max
    for what, rows, form in values:
        if form is not None:
            if len(rows) and (problem := form.misfit(rows.min(axis=0), rows.max(axis=0))):
                raise DatasetError(f"{folder.root}: {what}: {problem}")
            continue
        beyond = np.maximum(low - rows.min(axis=0), rows.max(axis=0) - high)  # (D,)
        if beyond.max(initial=0.0) <= SLACK_RAD:
            continue
        listing = "; ".join(
            f"{robot.joint_names[j]} {rows[:, j].min():.4g} .. {rows[:, j].max():.4g}, limits "
            f"{low[j]:g} .. {high[j]:g}"
            for j in np.flatnonzero(beyond > SLACK_RAD).tolist()
        )
        worst = int(np.argmax(beyond))
        row = int(np.argmax(np.maximum(low[worst] - rows[:, worst], rows[:, worst] - high[worst])))
        episode = next(e for e in reversed(folder.episodes) if e.first_row <= row)
        raise DatasetError(
            f"{folder.root}: {what}: beyond what the robot file's joints can mean in radians: "
            f"{listing} (worst at frame {row - episode.first_row} of episode {episode.index}); "
            "are these degrees, percent or ticks? `evo1 adopt` says once what they are; or leave "
            "out a damaged episode"
        )


def views_of(interface: Interface, cameras: tuple[str, ...]) -> tuple[str, ...]:
    """Camera features in the order of the image slots; the only one of a benchmark by any name."""
    if interface.file == INTERFACE and len(interface.cameras) == len(cameras) == 1:
        return cameras
    return tuple(IMAGE_PREFIX + camera for camera in interface.cameras)
