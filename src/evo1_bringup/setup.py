"""Package evo1_bringup; installs with colcon and with pip."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "evo1_bringup"


def files(folder: str, pattern: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob(pattern))


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={f"{NAME}.desk": ["static/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch", "*.launch.py")),
        (f"share/{NAME}/robots", files("robots", "*.yaml")),
        (f"share/{NAME}/robots/units", files("robots/units", "*.yaml")),
        (f"share/{NAME}/robots/urdf", files("robots/urdf", "*.urdf")),
        (f"share/{NAME}/robots/ros2_control", files("robots/ros2_control", "*.yaml")),
        (f"share/{NAME}/config", files("config", "*.*")),
        ("bin", ["bin/evo1"]),  # on PATH once install/setup.bash is sourced
    ],
    install_requires=[
        "evo1_policy",
        "evo1_sim",
        "evo1_training",
        "fastapi",
        "feetech-servo-sdk",
        "mujoco",
        "numpy",
        "opencv-python-headless",
        "pydantic",
        "pyserial",
        "simplejpeg",
        "tqdm",
        "uvicorn",
    ],
    zip_safe=True,
    maintainer="Evo-1 for ROS 2 maintainers",
    maintainer_email="maintainers@evo1-ros2.invalid",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"evo1 = {NAME}.cli:main",
            f"demo = {NAME}.demo:main",
            f"desk = {NAME}.desk.command:main",
            f"arm_view = {NAME}.ros.arm_view_node:main",
            f"camera = {NAME}.ros.camera_node:main",
            f"find_cameras = {NAME}.find_devices:main",
            f"find_port = {NAME}.find_devices:find_port_main",
            f"gripper_bridge = {NAME}.ros.gripper_bridge_node:main",
            f"calibrate_so100 = {NAME}.drivers.calibrate:main",
            f"new_robot = {NAME}.new_robot:main",
            f"check_robot = {NAME}.new_robot:check",
            f"xarm_direct = {NAME}.ros.xarm_direct_node:main",
            f"xarm_monitor = {NAME}.ros.xarm_monitor_node:main",
            f"so100_driver = {NAME}.ros.so100_driver_node:main",
            f"teleop_relay = {NAME}.ros.teleop_relay_node:main",
            f"teleop = {NAME}.ros.teleop_node:main",
        ],
    },
)
