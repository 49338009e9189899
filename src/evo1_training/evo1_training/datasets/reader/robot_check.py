"""Whether a dataset was made with the robot that it is going to be used for.

Must not import ROS or torch.
"""

from evo1_policy.robot_config import RobotConfig, RobotConfigError, differences, load_robot
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, DatasetError
from evo1_training.datasets.reader.suites import Suite

ROBOT_COPY = "meta/evo1/robot.yaml"


def check_robot(folder: DatasetFolder, robot: RobotConfig, suite: Suite) -> None:
    """Compare rate, cameras, and the names and order of the joints with a robot file.

    Raises:
        DatasetError: they differ; names the key, what is expected and what was found.
    """
    info = folder.info
    if info.fps != robot.rate_hz:
        raise DatasetError(
            f"{info.path}: fps: {info.fps}, but the robot file has rate_hz {robot.rate_hz:g}"
        )
    plain = suite.columns == (STATE_KEY, ACTION_KEY)  # others choose columns of their own
    for key in suite.columns if plain else ():
        names = info.feature(key).names
        if names != robot.joint_names:
            found = "none" if names is None else ", ".join(names)
            raise DatasetError(
                f"{info.path}: features.{key}.names: expected the joints of the robot file, "
                f"{', '.join(robot.joint_names)}; got {found}"
            )
    copy = info.root / ROBOT_COPY
    if not copy.is_file():
        return
    try:
        theirs = load_robot(copy)
    except RobotConfigError as error:
        raise DatasetError(str(error)) from error
    for what, ours, other in differences(robot, theirs):
        raise DatasetError(f"{copy}: {what}: {other}; the robot file here has {ours}")


def views_of_robot(robot: RobotConfig) -> tuple[str, ...]:
    """Camera features in the order of the robot's image slots."""
    return tuple(IMAGE_PREFIX + camera.name for camera in robot.cameras)
