"""The learning rate over a stage. Must not import ROS or torch."""

import math

from evo1_training.training.train_config import StageConfig


def learning_rate(step: int, stage: StageConfig) -> float:
    """The rate of update number `step` (from 0): linear rise, flat part, cosine to 0."""
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    left = max(stage.steps - stage.warmup_steps, 1)
    share = min((step - stage.warmup_steps) / left, 1.0)
    fall = max(share - stage.flat_share, 0.0) / (1 - stage.flat_share)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * fall))
