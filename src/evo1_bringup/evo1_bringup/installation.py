"""Where the parts of the workspace lie: robot files, executables, launch files.

Works without ROS too. Must not import ROS or launch.
"""

import json
import shutil
import subprocess
from pathlib import Path

from evo1_bringup.processes import Include
from evo1_policy.paths import prefixes, shares

_ROBOTS = "vcs import --recursive src < robots.repos, then colcon build --packages-up-to"
_HINTS = {
    "evo1_training": "recording needs it: colcon build --packages-select evo1_training, then "
    "source install/setup.bash; or leave record:= out",
    "controller_manager": "install ros-jazzy-ros2-control",
    **dict.fromkeys(
        ("xarm_api", "xarm_controller", "xarm_description"),
        f"a real xArm needs xarm_ros2: {_ROBOTS} xarm_controller",
    ),
    "so_arm100_description": f"driver:=ros2_control needs ros2_so_arm100: {_ROBOTS} "
    "so_arm100_description",
    **{
        camera: f"install ros-jazzy-{camera.replace('_', '-')}, or use this package's own: "
        "camera_driver:=v4l2"
        for camera in ("usb_cam", "realsense2_camera")
    },
}
_DEFAULT_HINT = "build the workspace and source install/setup.bash"


class NotInstalledError(RuntimeError):
    """A part that a system needs and that is not here; the message says how to get it."""


def share_file(*parts: str) -> Path:
    """A data file of this package, such as ("robots", "xarm6.yaml").

    Raises:
        NotInstalledError: neither an installed copy nor the source tree has it.
    """
    for root in _roots():
        if (path := root.joinpath(*parts)).is_file():
            return path
    raise NotInstalledError(f"evo1_bringup: no {Path(*parts)} found; {_DEFAULT_HINT}")


def robot_file(robot: str) -> Path:
    """The robot file that ships for `robot`."""
    return share_file("robots", f"{robot}.yaml")


def robots() -> dict[str, Path]:
    """Every robot file that ships, by the robot's name."""
    roots = reversed(_roots())  # the first that has it wins
    found = {path.stem: path for root in roots for path in root.glob("robots/*.yaml")}
    return dict(sorted(found.items()))


def ships_policy(embodiment: str) -> bool:
    """Whether a small policy for it comes with the workspace (checkpoint.shipped_checkpoint)."""
    name = f"{embodiment}_tiny"
    return any((place / "checkpoints" / name).is_dir() for place in shares("evo1_policy"))


def _roots() -> list[Path]:
    overlays = [prefix / "share" / "evo1_bringup" for prefix in prefixes()]
    return [*overlays, *shares("evo1_bringup")]


def find_executable(package: str, name: str) -> Path:
    """The program that `ros2 run package name` would start.

    Raises:
        NotInstalledError: no prefix of AMENT_PREFIX_PATH has it.
    """
    return _find(f"lib/{package}/{name}", package, f"executable '{name}'")


def find_shared(package: str, name: str) -> Path:
    """A file below a package's share folder, such as ("xarm_api", "launch/x.launch.py").

    Raises:
        NotInstalledError: no prefix of AMENT_PREFIX_PATH has it.
    """
    return _find(f"share/{package}/{name}", package, name)


def robot_description(include: Include) -> dict[str, str]:
    """The argument of that name for a launch file that takes what xacro makes, as YAML text.

    Raises:
        NotInstalledError: xacro or the file is missing.
        subprocess.CalledProcessError: xacro cannot read it; it has said why.
    """
    if include.xacro is None:
        return {}
    program = shutil.which("xacro")
    if program is None:
        raise NotInstalledError("'xacro' is not in the PATH; install ros-jazzy-xacro")
    words = [program, str(find_shared(*include.xacro))]
    words += [f"{name}:={value}" for name, value in include.arguments.items()]
    urdf = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"robot_description": json.dumps({"robot_description": urdf})}


def _find(place: str, package: str, what: str) -> Path:
    for prefix in prefixes():
        if (path := prefix / place).is_file():
            return path
    hint = _HINTS.get(package, _DEFAULT_HINT)
    raise NotInstalledError(f"'{package}' has no {what}; {hint}")
