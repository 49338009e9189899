"""Where the parts of the workspace lie: robot files, executables, launch files.

Follows AMENT_PREFIX_PATH by hand, so that it works without ROS too. Must not import ROS or launch.
"""

import os
from collections.abc import Iterable
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1]

_HINTS = {
    "evo1_training": "recording needs it: colcon build --packages-select evo1_training, then "
    "source install/setup.bash; or leave record:= out",
    "usb_cam": "install ros-jazzy-usb-cam, or start the cameras yourself (cameras:=none)",
    "controller_manager": "install ros-jazzy-ros2-control",
    "xarm_controller": "a real xArm6 needs xarm_ros2: vcs import --recursive src < robots.repos, "
    "then colcon build --packages-up-to xarm_controller",
    "xarm_description": "a real xArm6 needs xarm_ros2: vcs import --recursive src < robots.repos, "
    "then colcon build --packages-up-to xarm_controller",
    "xarm_api": "a real xArm6 needs xarm_ros2: vcs import --recursive src < robots.repos, "
    "then colcon build --packages-up-to xarm_api",
    "so_arm100_description": "driver:=ros2_control needs ros2_so_arm100: vcs import --recursive "
    "src < robots.repos, then colcon build --packages-up-to so_arm100_description",
    "v4l2_camera": "install ros-jazzy-v4l2-camera, or start the cameras yourself",
    "realsense2_camera": "install ros-jazzy-realsense2-camera, or start the cameras yourself",
}
_DEFAULT_HINT = "build the workspace and source install/setup.bash"


class NotInstalledError(RuntimeError):
    """A part that a system needs and that is not here; the message says how to get it."""


def prefixes() -> tuple[Path, ...]:
    """The install prefixes of this shell, the overlay first."""
    text = os.environ.get("AMENT_PREFIX_PATH", "")
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


def share_file(*parts: str) -> Path:
    """A data file of this package, such as ("robots", "xarm6.yaml").

    Raises:
        NotInstalledError: neither an installed copy nor the source tree has it.
    """
    roots = [prefix / "share" / "evo1_bringup" for prefix in prefixes()]
    for root in (*roots, _SOURCE):
        if (path := root.joinpath(*parts)).is_file():
            return path
    raise NotInstalledError(f"evo1_bringup: no {Path(*parts)} found; {_DEFAULT_HINT}")


def robot_file(robot: str) -> Path:
    """The robot file that ships for `robot`."""
    return share_file("robots", f"{robot}.yaml")


def find_executable(package: str, name: str) -> Path:
    """The program that `ros2 run package name` would start.

    Raises:
        NotInstalledError: no prefix of AMENT_PREFIX_PATH has it.
    """
    return _first(
        (prefix / "lib" / package / name for prefix in prefixes()),
        f"'{package}' has no executable '{name}'",
        package,
    )


def find_launch_file(package: str, name: str) -> Path:
    """The launch file that `ros2 launch package name` would read.

    Raises:
        NotInstalledError: no prefix of AMENT_PREFIX_PATH has it.
    """
    return _first(
        (prefix / "share" / package / "launch" / name for prefix in prefixes()),
        f"'{package}' has no launch file '{name}'",
        package,
    )


def _first(candidates: Iterable[Path], problem: str, package: str) -> Path:
    for path in candidates:
        if path.is_file():
            return path
    raise NotInstalledError(f"{problem}; {_HINTS.get(package, _DEFAULT_HINT)}")
