import copy
import sys
from pathlib import Path

import pytest

from evo1_policy.robot_config import load_robot
from evo1_training.training.train_config import TrainConfig

sys.path.insert(0, str(Path(__file__).parent))
# the model's tests share their sizes
sys.path.insert(0, str(Path(__file__).parents[3] / "evo1_policy/test/model"))
from swaying_arm import MODEL, choices, write_dataset


@pytest.fixture(scope="module")
def fresh():
    """A small model as training begins; not to be changed."""
    from evo1_policy.model.evo1 import new_model

    return new_model(MODEL, seed=0)


@pytest.fixture
def model(fresh):
    """The same, for one test to train."""
    return copy.deepcopy(fresh)


@pytest.fixture(scope="session")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory, robot):
    """Three short episodes of the xArm6 swaying around its home pose."""
    return write_dataset(tmp_path_factory.mktemp("data") / "sway", robot)


@pytest.fixture(scope="session")
def make_config(dataset):
    """From a folder of runs to the choices of a run of a few steps with every part in it."""
    return lambda runs: choices(runs, dataset)


@pytest.fixture
def config(tmp_path, make_config) -> TrainConfig:
    """The same in this test's own folder."""
    return make_config(tmp_path / "runs")
