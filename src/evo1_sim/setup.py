"""Package evo1_sim; installs with colcon and with pip."""

from setuptools import find_packages, setup

NAME = "evo1_sim"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=[
        "evo1_policy",
        "gymnasium",
        "mujoco",
        "numpy",
        "PyYAML",
    ],
    zip_safe=True,
    maintainer="Evo-1 for ROS 2 maintainers",
    maintainer_email="maintainers@evo1-ros2.invalid",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "sim_robot = evo1_sim.ros.sim_node:main",
            "demonstrate = evo1_sim.ros.demonstrate:main",
            "so100_emulator = evo1_sim.ros.so100_emulator_node:main",
        ]
    },
)
