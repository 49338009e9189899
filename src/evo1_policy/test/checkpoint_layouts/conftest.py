"""A micro model, a robot, and folders in each layout."""

import sys
from pathlib import Path

import pytest
import torch

from evo1_policy.checkpoint import save_checkpoint, shipped_checkpoint
from evo1_policy.model.evo1 import new_model
from evo1_policy.robot_config import load_robot

sys.path.insert(0, str(Path(__file__).parent))
from tiny import CONFIG, stats_of

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture(scope="session")
def model():
    return new_model(CONFIG, seed=0)


@pytest.fixture(scope="session")
def tokenizer():
    return shipped_checkpoint("xarm6") / "tokenizer"


@pytest.fixture
def saved(tmp_path, model, robot, tokenizer):
    """Write the model in a layout; returns the folder."""

    def save(layout):
        parts = {
            "model": model,
            "stats": stats_of(robot),
            "interface": robot.interface,
            "tokenizer_dir": tokenizer,
            "card": "# test\n",
        }
        directory = tmp_path / layout
        save_checkpoint(directory, layout=layout, **parts)
        return directory

    return save
