"""Named training runs: the paper's recipe, and one that a CPU does in minutes.

Must not import ROS or torch.
"""

import dataclasses

from evo1_policy.model.config import VisionConfig
from evo1_policy.model.config import preset as model_preset
from evo1_policy.model.variants import variant
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.train_config import (
    AugmentationConfig,
    DataConfig,
    NormalizationConfig,
    SavingConfig,
    StageConfig,
    TrainConfig,
    WatchingConfig,
)


def preset(name: str) -> TrainConfig:
    """'paper' (InternVL3-1B, 8 GPUs) or 'tiny' (a few million weights from scratch).

    Raises:
        TrainConfigError: no preset has this name.
    """
    if name not in PRESETS:
        raise TrainConfigError(f"no preset '{name}'; known: {', '.join(PRESETS)}")
    return PRESETS[name]()


def _paper() -> TrainConfig:
    """Tables 4 and 5 of the paper; the global batch of 128 is 16 on each of 8 GPUs."""
    model = model_preset("evo1")
    model = dataclasses.replace(
        model,
        head=dataclasses.replace(model.head, dropout=0.2),
        semantics=variant("authors_main").semantics,
    )
    return TrainConfig(
        name="paper",
        stage1=StageConfig(freeze_backbone=True),
        stage2=StageConfig(steps=65_000, gradient_checkpointing=True),
        single=StageConfig(steps=75_000, gradient_checkpointing=True),
        saving=SavingConfig(every=2500),
        watching=WatchingConfig(open_loop_every=2500),
        model=model,
    )


def _tiny() -> TrainConfig:
    """Predicts the clean chunk, which a small model learns far sooner than the velocity.

    So do the convolutional stem, two noises an image and the loss on milestones.
    """
    model = model_preset("evo1_tiny")
    model = dataclasses.replace(
        model,
        vision=VisionConfig(
            image_size=96,
            patch_size=8,
            width=64,
            layers=1,
            heads=2,
            mlp_width=256,
            layer_scale_init=1.0,
            stem="convolutional",
        ),
        language=dataclasses.replace(
            model.language, width=128, layers=2, heads=4, kv_heads=2, mlp_width=320
        ),
        head=dataclasses.replace(model.head, layers=3, heads=4),
        horizon=25,
        execute_actions=20,
        semantics=dataclasses.replace(model.semantics, prediction="sample"),
    )
    stage = StageConfig(
        batch_size=32,
        lr=6e-4,
        warmup_steps=200,
        flat_share=0.5,
        ema=0.999,
        clip=1.0,
        noise_draws=2,
        milestone_weight=0.5,
    )
    return TrainConfig(
        name="tiny",
        from_scratch=True,
        stage1=dataclasses.replace(stage, steps=150, warmup_steps=50, freeze_backbone=True),
        stage2=dataclasses.replace(stage, steps=5000),
        single=dataclasses.replace(stage, steps=5150),
        data=DataConfig(cache_dir="~/.cache/evo1/frames", workers=1, max_pause_s=0.1),
        normalization=NormalizationConfig(range_floor=0.2),
        augmentation=AugmentationConfig(
            probability=1.0,
            crop_scale=0.92,
            rotation_deg=0.0,
            brightness=0.15,
            contrast=0.1,
            saturation=0.1,
            hue=0.0,
            resampling="bilinear",
            state_noise=0.01,
        ),
        saving=SavingConfig(every=500),
        watching=WatchingConfig(open_loop_every=500),
        model=model,
    )


PRESETS = {"paper": _paper, "tiny": _tiny}
