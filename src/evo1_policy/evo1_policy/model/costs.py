"""What one inference costs in arithmetic, from the sizes alone: a multiply-add counts as two.

Biases, norms and activations are left out, and causal attention counts half its square.
Must not import ROS, torch or transformers.
"""

from dataclasses import dataclass

from evo1_policy.model.config import Evo1Config


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Floating-point operations of one inference, by part."""

    vision: float
    language: float
    head: float

    @property
    def total(self) -> float:
        """All parts."""
        return self.vision + self.language + self.head


def vision_flops(config: Evo1Config) -> float:
    """Encode one image: tower, pixel-unshuffle, projector."""
    vision, width = config.vision, config.language.width
    patches = 4 * vision.tokens_per_view
    tokens = patches + 1  # CLS
    embed = patches * 3 * vision.patch_size**2 * vision.width
    linear = tokens * (4 * vision.width**2 + 2 * vision.width * vision.mlp_width)
    attention = 2 * tokens**2 * vision.width
    projector = vision.tokens_per_view * (4 * vision.width * width + width**2)
    return 2.0 * (embed + vision.layers * (linear + attention) + projector)


def language_flops(config: Evo1Config, tokens: int) -> float:
    """Read `tokens` tokens."""
    language = config.language
    E = language.width
    keys = E * language.kv_heads // language.heads
    linear = tokens * (2 * E * E + 2 * E * keys + 3 * E * language.mlp_width)
    attention = tokens**2 * E  # half of the square is masked
    return 2.0 * language.layers * (linear + attention)


def projection_flops(config: Evo1Config, rows: int) -> float:
    """Keys and values of `rows` rows, in all blocks of the head."""
    blocks = config.head.layers
    if config.semantics.integration == "B":
        blocks = (blocks + 1) // 2  # the others attend to the actions
    return 4.0 * blocks * rows * config.language.width**2


def step_flops(config: Evo1Config, keys: int) -> float:
    """One evaluation of the head on `keys` projected keys."""
    E, H, blocks = config.language.width, config.horizon, config.head.layers
    integration = config.semantics.integration
    encoder = H * (config.action_width * E + 2 * E * E)
    block = H * (8 * E * E + 2 * E * E)  # feed-forward; query and output
    own = blocks // 2 if integration == "B" else blocks if integration == "D" else 0
    context = blocks - own if integration == "B" else blocks
    attention = 2 * H * E * (context * keys + own * H)
    out = H * E * E + config.head.output_hidden * (E + H * config.action_width)
    return 2.0 * (encoder + blocks * block + own * 2 * H * E * E + attention + out)


def readable_flops(config: Evo1Config, *, tokens: int, steps: int) -> Flops:
    """The readable path: every view, every token, keys and values projected at each step."""
    step = projection_flops(config, tokens + 1) + step_flops(config, tokens + 1)
    return Flops(
        vision=config.views * vision_flops(config),
        language=language_flops(config, tokens),
        head=steps * step,
    )


def fast_flops(
    config: Evo1Config, *, present: int, visible: int, hidden: int, steps: int
) -> Flops:
    """The fast path.

    Args:
        config: the model.
        present: views with an image.
        visible: tokens that are not masked.
        hidden: distinct masked tokens that the head sees (none with 'masked').
        steps: Euler steps.
    """
    step = step_flops(config, visible + hidden + 1)
    return Flops(
        vision=present * vision_flops(config),
        language=language_flops(config, visible),
        head=projection_flops(config, visible + 1) + steps * step,
    )
