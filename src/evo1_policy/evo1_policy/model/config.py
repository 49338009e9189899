"""What an Evo-1 model is: sizes, and the semantics that its weights were trained with.

The config travels in the checkpoint (config.json); nothing about a model is inferred from what
happens to be installed. This module must not import ROS, torch or transformers.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Prediction = Literal["velocity", "sample"]
ContextMode = Literal["official_fa2", "masked"]
ContextPadding = Literal["fixed", "longest"]
Integration = Literal["A", "B", "C", "D"]
ChannelOrder = Literal["rgb", "bgr"]
ImageDtype = Literal["float32", "bfloat16"]
EpisodeTail = Literal["masked", "counted"]
Stem = Literal["patch", "convolutional"]
Precision = Literal["auto", "fp32", "bf16"]  # of matrices, in training and in serving

_MOST_INTEGER = 10**300  # that is read as a float
_LATER = {"later": True}  # a key that older checkpoints lack; they mean its default
T = TypeVar("T")
TIME_TABLE_LENGTH = 1000  # rows of the sinusoid table for the denoising time


class ConfigError(ValueError):
    """A model config that cannot be used; the message names the dotted key."""


def _within(low: float, high: float, default: T, **more: bool) -> T:
    """A number's field, with what it may be: no config from outside shall fill the machine."""
    return field(default=default, metadata={"span": (low, high), **more})


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision tower (InternViT) and its 2x2 pixel-unshuffle.

    `stem` makes patches of pixels: 'patch' is the published form, one strided convolution;
    'convolutional' a few small ones, with which a small tower learns far sooner from scratch
    (Xiao et al. 2021, Early Convolutions Help Transformers See Better).
    """

    image_size: int = _within(1, 4096, 448)  # px, square; a multiple of 2 * patch_size
    patch_size: int = 14  # px
    width: int = _within(1, 16_384, 1024)
    layers: int = _within(0, 256, 24)
    heads: int = 16
    mlp_width: int = _within(1, 131_072, 4096)
    layer_scale_init: float = _within(0, 1e3, 0.1)  # only for new weights
    stem: Stem = field(default="patch", metadata=_LATER)

    @property
    def tokens_per_view(self) -> int:
        """Image tokens of one view after the pixel-unshuffle (256 at 448 px)."""
        return (self.image_size // self.patch_size // 2) ** 2


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """The language model (Qwen2), already cut to the layers that Evo-1 keeps."""

    vocab_size: int = _within(1, 1 << 20, 151674)
    width: int = _within(1, 16_384, 896)  # E, also the width of the action head
    layers: int = _within(0, 256, 14)
    heads: int = 14
    kv_heads: int = 2
    mlp_width: int = _within(1, 131_072, 4864)
    rope_theta: float = _within(1, 1e12, 1e6)
    max_positions: int = _within(1, 1 << 20, 32768)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The cross-attention flow-matching head."""

    layers: int = _within(0, 256, 8)
    heads: int = 8
    state_hidden: int = _within(1, 131_072, 1024)
    output_hidden: int = _within(1, 131_072, 1024)
    dropout: float = _within(0, 0.99, 0.0)  # on attention probabilities, in training only


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """Choices that change what given weights compute: weights and semantics belong together.

    Attributes:
        prediction: 'velocity' is the paper's form (the head gives a - noise); 'sample' means
            that the head gives the clean chunk a, which small models learn far sooner.
        context_mode: 'official_fa2' lets the head attend to padding and absent views, whose
            rows passed through the MLPs only (flash-attention's treatment of masked rows);
            'masked' hides them from the head.
        context_padding: 'fixed' pads every prompt to context_length, 'longest' to the batch.
        context_length: tokens of the prompt with 'fixed', and the most there may be.
        time_scale: index into the time table is trunc(time_scale * t).
        state_pad: normalised value of the unused state entries.
        integration: how context, state and actions meet in the head (see action_expert.py).
        channel_order: of the images that the model sees. Ours are RGB; 'bgr' reproduces
            checkpoints whose clients swapped the channels by accident.
        image_dtype: in which the mean is subtracted and the deviation divided out.
        episode_tail: whether the training loss counts the copies of the last action that fill
            a chunk beyond the end of its episode ('counted'), or leaves them out.
    """

    prediction: Prediction = "velocity"
    context_mode: ContextMode = "official_fa2"
    context_padding: ContextPadding = "fixed"
    context_length: int = _within(1, 1 << 20, 1024)
    time_scale: int = _within(999, 1000, 1000)
    state_pad: float = _within(-10, 10, 0.0)
    integration: Integration = "A"
    channel_order: ChannelOrder = field(default="rgb", metadata=_LATER)
    image_dtype: ImageDtype = field(default="float32", metadata=_LATER)
    episode_tail: EpisodeTail = field(default="masked", metadata=_LATER)


@dataclass(frozen=True, kw_only=True)
class Evo1Config:
    """One Evo-1 model. The defaults are the paper's.

    Attributes:
        views: image slots V; a robot with fewer cameras leaves the last ones absent.
        horizon: H, actions of a chunk.
        action_width: width to which actions are padded.
        state_width: width to which states are padded.
        num_inference_steps: Euler steps of one inference.
        execute_actions: actions of a chunk that are executed before the next one takes over,
            where nobody says otherwise; 0: half the chunk, and never more than all. A policy
            without a memory that imitates a pause must run a chunk beyond it, or it pauses for
            ever.
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    semantics: Semantics = field(default_factory=Semantics)
    views: int = _within(1, 64, 3)
    horizon: int = _within(0, 10_000, 50)
    action_width: int = _within(1, 1024, 24)
    state_width: int = _within(1, 1024, 24)
    num_inference_steps: int = _within(1, 10_000, 32)
    execute_actions: int = _within(0, 10_000, 0, later=True)

    def __post_init__(self) -> None:
        _check_sizes(self)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: object, path: str = "") -> "Evo1Config":
        """Read what to_dict wrote; every key must be there but those added since, and no other.

        Args:
            data: plain data.
            path: where they stand, for error messages.

        Raises:
            ConfigError: a key is unknown, missing, of another type or impossible.
        """
        return _parse(cls, data, path)


def preset(name: str) -> Evo1Config:
    """A named size: 'evo1' (the paper's 775,198,640 parameters) or 'evo1_tiny' (for one core).

    Raises:
        ConfigError: no preset has this name.
    """
    if name not in _PRESETS:
        raise ConfigError(f"no preset '{name}'; known: {', '.join(_PRESETS)}")
    return _PRESETS[name]


def _check_sizes(config: Evo1Config) -> None:
    vision, language, head = config.vision, config.language, config.head
    _divides("vision.image_size", vision.image_size, 2 * vision.patch_size)
    _divides("vision.width", vision.width, vision.heads)
    if vision.stem == "convolutional" and vision.patch_size not in (2, 4, 8, 16, 32):
        raise ConfigError(
            f"vision.patch_size: {vision.patch_size}: a convolutional stem halves the image again "
            "and again; expected 2, 4, 8, 16 or 32"
        )
    _divides("language.width", language.width, 2 * language.heads)  # rotary halves
    _divides("language.heads", language.heads, language.kv_heads)
    _divides("language.width", language.width, head.heads)
    for name, part in (
        ("", config),
        ("vision.", vision),
        ("language.", language),
        ("head.", head),
        ("semantics.", config.semantics),
    ):
        for item in dataclasses.fields(part):
            if "span" not in item.metadata:
                continue
            (low, high), value = item.metadata["span"], getattr(part, item.name)
            if not low <= value <= high:
                bounds = f"{low} or more" if value < low else f"{high:,} at most"
                raise ConfigError(f"{name}{item.name}: expected {bounds}, got {value}")
    if config.horizon < 2:
        raise ConfigError(
            f"horizon: expected 2 or more, got {config.horizon}; the published head for chunks of "
            "one action has other layers, which are not in this model"
        )


def _divides(key: str, value: int, divisor: int) -> None:
    if divisor < 1 or value < divisor or value % divisor:
        raise ConfigError(f"{key}: expected a multiple of {divisor}, got {value}")


def _parse(kind: type[T], data: object, path: str) -> T:
    """Build the dataclass `kind` from plain data, strictly."""
    where = path or "top level"
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping, got {type(data).__name__}")
    hints = get_type_hints(kind)
    unknown = sorted(set(map(str, data)) - set(hints))
    if unknown:
        raise ConfigError(f"{where}: unknown key '{unknown[0]}'; known: {', '.join(hints)}")
    later = {item.name for item in dataclasses.fields(kind) if item.metadata.get("later")}  # type: ignore[arg-type]
    missing = [name for name in hints if name not in data and name not in later]
    if missing:
        raise ConfigError(f"{where}: missing key '{missing[0]}'")
    values = {
        name: _value(hint, data[name], f"{path}.{name}" if path else name)
        for name, hint in hints.items()
        if name in data
    }
    return kind(**values)


def _value(hint: Any, value: object, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return _parse(hint, value, path)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise ConfigError(f"{path}: expected one of {', '.join(choices)}, got {value!r}")
        return value
    if hint is float and type(value) is int and abs(value) < _MOST_INTEGER:
        return float(value)
    if not isinstance(value, hint) or isinstance(value, bool):
        raise ConfigError(f"{path}: expected {hint.__name__}, got {value!r}")
    return value


_PRESETS = {
    "evo1": Evo1Config(),
    "evo1_tiny": Evo1Config(
        vision=VisionConfig(
            image_size=112, width=128, layers=4, heads=4, mlp_width=512, layer_scale_init=1.0
        ),
        language=LanguageConfig(
            vocab_size=512,
            width=192,
            layers=3,
            heads=6,
            kv_heads=2,
            mlp_width=512,
            rope_theta=1e4,
            max_positions=512,
        ),
        head=HeadConfig(layers=3, heads=6, state_hidden=256, output_hidden=512),
        semantics=Semantics(context_mode="masked", context_padding="longest", context_length=256),
        views=2,
        num_inference_steps=5,
    ),
}
