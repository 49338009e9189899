"""Shared by all tests: a ROS domain of their own, one torch thread, clear skips."""

import ctypes.util
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import evo1_policy.kinematics  # noqa: F401  picks the GL backend before a test imports mujoco

ROOT = Path(__file__).resolve().parent

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# A busy machine is slow, not wrong.
settings.register_profile("evo1", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Tests marked fuzz leave max_examples to these: a small share in make test, many in make fuzz.
settings.register_profile("fuzz", settings.get_profile("evo1"), max_examples=2000)
settings.load_profile(os.environ.get("EVO1_HYPOTHESIS", "evo1"))
HAVE_GL = any(ctypes.util.find_library(name) for name in ("EGL", "OSMesa"))
HAVE_ROS = all(importlib.util.find_spec(name) for name in ("rclpy", "evo1_msgs"))
HAVE_LAUNCH = all(importlib.util.find_spec(name) for name in ("launch", "launch_ros"))
PREFIXES = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
PACKAGES = Path("share/ament_index/resource_index/packages")
ROS2_CONTROL = ("controller_manager", "joint_trajectory_controller", "joint_state_broadcaster")
HAVE_ROS2_CONTROL = all(
    any((prefix / PACKAGES / name).exists() for prefix in PREFIXES) for name in ROS2_CONTROL
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, saying why."""
    for item in items:
        if item.get_closest_marker("ros") and not HAVE_ROS:
            item.add_marker(pytest.mark.skip(reason="rclpy or evo1_msgs is not installed here"))
        if item.get_closest_marker("gl") and not HAVE_GL:
            item.add_marker(pytest.mark.skip(reason="neither EGL nor OSMesa is installed here"))
        if item.get_closest_marker("launch_files") and not HAVE_LAUNCH:
            item.add_marker(
                pytest.mark.skip(reason="launch and launch_ros are not installed here")
            )
        if item.get_closest_marker("ros2_control") and not HAVE_ROS2_CONTROL:
            reason = f"not installed here: {', '.join(ROS2_CONTROL)} (apt: ros-jazzy-ros2-control"
            item.add_marker(pytest.mark.skip(reason=f"{reason} ros-jazzy-ros2-controllers)"))


@pytest.fixture(scope="session", autouse=True)
def ros_domain() -> Iterator[None]:
    """Give this test run a ROS domain that no other run on this machine uses."""
    if not HAVE_ROS or "ROS_DOMAIN_ID" in os.environ:
        yield
        return
    from domain_coordinator import domain_id

    with domain_id() as number:
        os.environ["ROS_DOMAIN_ID"] = str(number)
        yield
        del os.environ["ROS_DOMAIN_ID"]


@pytest.fixture(scope="session")
def robots_dir() -> Path:
    """The folder of the robot files."""
    return ROOT / "src" / "evo1_bringup" / "robots"
