"""A small dataset of a swaying arm, and the smallest model that learns from it."""

import dataclasses
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from evo1_policy.model.config import (
    Evo1Config,
    HeadConfig,
    LanguageConfig,
    Semantics,
    VisionConfig,
)
from evo1_policy.model.variants import variant
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_training.training.presets import preset
from evo1_training.training.train_config import (
    DataConfig,
    SavingConfig,
    StageConfig,
    TrainConfig,
    WatchingConfig,
)
from evo1_training.training.watching import Watcher

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "reader"))
import small_dataset

MODEL = Evo1Config(
    vision=VisionConfig(image_size=56, width=16, layers=2, heads=2, mlp_width=24),
    language=LanguageConfig(
        vocab_size=512, width=16, layers=3, heads=4, kv_heads=2, mlp_width=24, max_positions=128
    ),
    head=HeadConfig(layers=2, heads=2, state_hidden=12, output_hidden=12, dropout=0.1),
    semantics=Semantics(
        context_mode="masked", context_padding="longest", context_length=100, prediction="sample"
    ),
    views=2,
    horizon=5,
    action_width=8,
    state_width=8,
    num_inference_steps=2,
)

PUBLISHED = dataclasses.replace(  # the paper's widths and views, and as little else as can be
    MODEL,
    language=dataclasses.replace(MODEL.language, max_positions=1100),
    semantics=variant("authors_main").semantics,
    views=3,
    action_width=24,
    state_width=24,
)


def write_dataset(root, robot, **what):
    """A dataset with the joints of a robot, and its robot file."""
    patched = pytest.MonkeyPatch()
    home, phase = np.array(robot.home), np.arange(robot.width)

    def state_of(row, width=3):
        return (home + 0.3 * np.sin(row / 5 + phase)).astype(np.float32)[:width]

    with patched.context() as patch:
        patch.setattr(small_dataset, "state_of", state_of)
        defaults = {"lengths": (12, 14, 10), "joints": robot.joint_names, "dtype": "image"}
        small_dataset.write(root, small_dataset.SmallDataset(**(defaults | what)))
    (root / "meta" / "evo1").mkdir()
    (root / "meta" / "evo1" / "robot.yaml").write_text(robot.text)
    return root


def infer(folder, robot):
    """The actions (H, D) that a policy answers at home."""
    image = np.zeros((48, 64, 3), np.uint8)
    seen = Observation(
        images={camera.name: image for camera in robot.cameras},
        state=np.array(robot.home),
        instruction="pour",
        stamp_ns=0,
        received_ns=0,
        skew_ns=0,
    )
    return Policy.load(folder, robot=robot, device="cpu").infer(seen).actions


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


def terminate_at_step(last, monkeypatch):
    """Have this process told to end once a step is done."""
    record = Watcher.record

    def told(self, step, values):
        record(self, step, values)
        if step == last:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Watcher, "record", told)
