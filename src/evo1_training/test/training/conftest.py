import sys
from pathlib import Path

import pytest

from evo1_policy.robot_config import load_robot
from evo1_training.training.presets import preset
from evo1_training.training.train_config import (
    DataConfig,
    SavingConfig,
    StageConfig,
    TrainConfig,
    WatchingConfig,
)

sys.path.insert(0, str(Path(__file__).parent))
# the model's tests share their sizes
sys.path.insert(0, str(Path(__file__).parents[3] / "evo1_policy/test/model"))
from swaying_arm import MODEL, write_dataset


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


def choices(runs, dataset):
    stage = StageConfig(
        steps=6,
        batch_size=4,
        accumulation=2,
        lr=1e-3,
        warmup_steps=2,
        ema=0.9,
        weight_decay=0.1,
        noise_draws=2,
        milestone_weight=0.1,
    )
    frozen = StageConfig(
        steps=6, batch_size=4, lr=1e-3, warmup_steps=2, ema=0.9, freeze_backbone=True
    )
    return TrainConfig(
        name="sway",
        runs=str(runs),
        device="cpu",
        from_scratch=True,
        precision="fp32",
        stage1=frozen,
        stage2=stage,
        single=stage,
        data=DataConfig(datasets=(str(dataset),), workers=0),
        augmentation=preset("paper").augmentation,
        saving=SavingConfig(every=2, keep_last=2),
        watching=WatchingConfig(
            log_every=1, open_loop_every=3, open_loop_frames=4, plots=False, tensorboard=False
        ),
        model=MODEL,
    )
