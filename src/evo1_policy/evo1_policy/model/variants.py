"""The published lines of Evo-1, as data: what differs between them while the weights look alike.

    authors_main  the authors' main branch, and their MetaWorld, LIBERO and SO-100 weights
    evo1_flash    the authors' evo1-flash branch
    lerobot       LeRobot's port, trained there

A checkpoint's layout gives its variant away (checkpoint_layouts); from then on the variant's
parts stand in our config.json and norm_stats.json, one by one. Must not import ROS or torch.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evo1_policy.model.config import ConfigError, Evo1Config, Semantics
from evo1_policy.normalization import NormStats


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What one published line computes with given weights.

    Attributes:
        semantics: of the model.
        num_inference_steps: Euler steps of its server.
        rules: what it does with norm stats, as fields of NormStats.
    """

    semantics: Semantics
    num_inference_steps: int
    rules: Mapping[str, Any]


_OF_THE_AUTHORS = Semantics(
    context_mode="official_fa2",
    context_padding="fixed",
    context_length=1024,
    episode_tail="counted",
)

VARIANTS = {
    "authors_main": Variant(
        semantics=dataclasses.replace(
            _OF_THE_AUTHORS,
            time_scale=1000,
            state_pad=-1.0,  # its server normalises the padding, with min = max = 0
            image_dtype="float32",
        ),
        num_inference_steps=32,
        rules={"clamp": True, "zero_guard": "added", "constant_action_to_zero": False},
    ),
    "evo1_flash": Variant(
        semantics=dataclasses.replace(
            _OF_THE_AUTHORS, time_scale=999, state_pad=0.0, image_dtype="bfloat16"
        ),
        num_inference_steps=50,
        rules={"clamp": True, "zero_guard": "added", "constant_action_to_zero": True},
    ),
    "lerobot": Variant(
        semantics=Semantics(
            context_mode="masked",
            context_padding="longest",
            context_length=1024,
            time_scale=999,
            state_pad=0.0,
            image_dtype="bfloat16",
            episode_tail="masked",
        ),
        num_inference_steps=32,
        rules={"clamp": False, "zero_guard": "if_zero", "constant_action_to_zero": False},
    ),
}


def variant(name: str) -> Variant:
    """A published line by its name.

    Raises:
        ConfigError: none has this name; lists those that are known.
    """
    if name not in VARIANTS:
        raise ConfigError(f"no semantics '{name}'; known: {', '.join(VARIANTS)}")
    return VARIANTS[name]


def apply_variant(name: str, config: Evo1Config, stats: NormStats) -> tuple[Evo1Config, NormStats]:
    """The same sizes and statistics, computed with as this line does.

    Raises:
        ConfigError: no line has this name.
    """
    chosen = variant(name)
    return (
        dataclasses.replace(
            config, semantics=chosen.semantics, num_inference_steps=chosen.num_inference_steps
        ),
        dataclasses.replace(stats, **chosen.rules),
    )


def deviations(name: str, config: Evo1Config, stats: NormStats) -> tuple[str, ...]:
    """In what a model differs from a published line, as 'key: ours, theirs'; empty if in nothing.

    The training-only parts (episode_tail, constant_action_to_zero) are left out.

    Raises:
        ConfigError: no line has this name.
    """
    chosen = variant(name)
    pairs = [
        (item.name, getattr(config.semantics, item.name), getattr(chosen.semantics, item.name))
        for item in dataclasses.fields(Semantics)
        if item.name != "episode_tail"
    ]
    pairs += [
        ("num_inference_steps", config.num_inference_steps, chosen.num_inference_steps),
        *(
            (f"norm_stats.{key}", getattr(stats, key), chosen.rules[key])
            for key in ("clamp", "zero_guard")
        ),
        ("norm_stats.range_floor", stats.range_floor, 0.0),
    ]
    return tuple(f"{key}: {ours}, there {theirs}" for key, ours, theirs in pairs if ours != theirs)
