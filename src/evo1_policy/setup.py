"""Package evo1_policy; installs with colcon and with pip."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "evo1_policy"


def shipped_files() -> list[tuple[str, list[str]]]:
    """The files of the shipped checkpoints, by the folder that they install to."""
    folders = [path for path in sorted(Path("checkpoints").rglob("*")) if path.is_dir()]
    files = {folder: sorted(p for p in folder.iterdir() if p.is_file()) for folder in folders}
    return [
        (f"share/{NAME}/{folder.as_posix()}", [path.as_posix() for path in paths])
        for folder, paths in files.items()
        if paths
    ]


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/models", sorted(str(path) for path in Path("models").glob("*.xml"))),
        (f"share/{NAME}/interfaces", sorted(map(str, Path("interfaces").glob("*.yaml")))),
        *shipped_files(),
    ],
    install_requires=[
        "daqp",
        "huggingface_hub",
        "matplotlib",
        "mink",
        "msgpack",
        "mujoco",
        "numpy",
        "opencv-python-headless",
        "PyYAML",
        "rosbags",
        "safetensors",
        "scipy",
        "simplejpeg",
        "tokenizers",
        "torch",
        "tqdm",
        "transformers",
        "websockets",
    ],
    zip_safe=True,
    maintainer="Evo-1 for ROS 2 maintainers",
    maintainer_email="maintainers@evo1-ros2.invalid",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"convert_checkpoint = {NAME}.cli.convert_checkpoint:main",
            f"replay = {NAME}.cli.replay:main",
            f"serve = {NAME}.cli.serve:main",
            f"policy_node = {NAME}.ros.policy_node:main",
        ]
    },
)
