"""Package evo1_training; installs with colcon and with pip."""

from setuptools import find_packages, setup

NAME = "evo1_training"

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
        "evo1_sim",
        "accelerate",
        "av",
        "huggingface_hub",
        "jinja2",
        "lz4",
        "matplotlib",
        "mcap",
        "numpy",
        "opencv-python-headless",
        "peft",
        "pillow",
        "pyarrow",
        "PyYAML",
        "rosbags",
        "safetensors",
        "simplejpeg",
        "tensorboard",
        "tokenizers",
        "torch",
        "tqdm",
        "websockets",
        "zstandard",
    ],
    zip_safe=True,
    maintainer="Evo-1 for ROS 2 maintainers",
    maintainer_email="maintainers@evo1-ros2.invalid",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "recorder = evo1_training.ros.recorder_node:main",
            "record = evo1_training.ros.record_terminal:main",
            "rehearse = evo1_training.cli.rehearse:main",
            "recover = evo1_training.cli.recover:main",
            "convert = evo1_training.cli.convert:main",
            "check_dataset = evo1_training.cli.check_dataset:main",
            "edit_dataset = evo1_training.cli.edit_dataset:main",
            "adopt = evo1_training.cli.adopt:main",
            "view = evo1_training.cli.view:main",
            "evaluate = evo1_training.cli.evaluate:main",
            "improve = evo1_training.cli.improve:main",
            "promote = evo1_training.cli.promote:main",
            "trials = evo1_training.cli.trials:main",
            "train = evo1_training.cli.train:main",
            "push = evo1_training.cli.hub:push",
            "pull = evo1_training.cli.hub:pull",
            "norm_stats = evo1_training.cli.norm_stats:main",
        ]
    },
)
