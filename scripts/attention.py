"""Where the backbone looks for a word, and how far training moved it (paper, Figures 2 and 7).

    python scripts/attention.py --checkpoint stage2 --before stage1 --word can
        --instruction "pick up the can" --images env.png wrist.png --out out/attention
    python scripts/attention.py --checkpoint stage2 --task can_into_box --word can

The paper argues that a frozen first stage preserves what the vision-language model knows. These
are its pictures, and numbers beside them: attention of an instruction's word to the image tokens
in the last layer of the language model, before and after, and the distance of weights and of
hidden states.

Letters: V views, G image tokens along an edge, T prompt tokens, A heads.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from matplotlib.figure import Figure
from tokenizers import Tokenizer
from torch import Tensor, nn

from evo1_policy.checkpoint import Checkpoint, load_model, read_checkpoint
from evo1_policy.cli.reading_options import add_reading_options, reading
from evo1_policy.command_line import entry_point
from evo1_policy.model.evo1 import Evo1
from evo1_policy.model.preprocessing import (
    ModelInputs,
    PromptEncoder,
    load_tokenizer,
    prepare_views,
    prompt_text,
)
from evo1_policy.normalization import width_mask
from evo1_policy.robot_config import load_robot
from evo1_policy.untrusted import MOST_PIXELS, UntrustedError, refuse_lfs_pointer
from evo1_sim.rendering import CameraRenderer
from evo1_sim.world import World

Image = npt.NDArray[np.uint8]
OPACITY = 0.55
GROUPS = {  # of the backbone's parameters, by how their names begin
    "vision": "embedder.model.vision_tower.",
    "projector": "embedder.model.multi_modal_projector.",
    "language": "embedder.model.language_model.",
}


class WordError(ValueError):
    """A word that is not in the instruction; the message has both."""


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Attention of a word to the image tokens.

    Attributes:
        maps: (V, G, G) float64; each view's share of the attention to all image tokens, so all
            views together sum to 1.
        image_share: how much of the word's attention goes to image tokens at all [0..1].
    """

    maps: npt.NDArray[np.float64]
    image_share: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a backbone is from another.

    Attributes:
        weights: |after - before| / |before| by part of the backbone, and 'all'.
        hidden_cosine: mean cosine between the hidden states of the same prompt's valid tokens,
            1 where nothing changed.
    """

    weights: Mapping[str, float]
    hidden_cosine: float


def word_tokens(tokenizer: Tokenizer, instruction: str, word: str, model: Evo1) -> list[int]:
    """Places of a word's tokens in the prompt; of its last occurrence.

    Raises:
        WordError: the instruction has no such word.
    """
    config = model.config
    text = prompt_text(
        instruction, views=config.views, tokens_per_view=config.vision.tokens_per_view
    )
    begin = text.lower().rfind(word.lower())
    if not word.strip() or begin < len(text) - len(instruction.strip()):
        raise WordError(f"'{word}' is not in the instruction '{instruction}'; choose one of it")
    end = begin + len(word)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [k for k, (a, b) in enumerate(encoding.offsets) if a < end and b > begin]


@torch.inference_mode()
def attention_maps(
    model: Evo1, inputs: ModelInputs, tokens: list[int], *, layer: int = -1
) -> AttentionMaps:
    """Attention of prompt tokens to the image tokens, mean over heads and the tokens.

    Args:
        model: on the CPU, as loaded.
        inputs: one observation (B = 1).
        tokens: places in the prompt, see word_tokens.
        layer: of the language model; the last that Evo-1 keeps by default.
    """
    language = model.embedder.model.language_model
    with _collected(language.layers[layer].self_attn, language) as collected:
        model.encode(inputs)
    attention = collected[-1][0, :, tokens].double().mean(dim=(0, 1))  # (T,)
    slots = (inputs.image_slots & inputs.token_mask)[0]  # of present views
    on_images = attention[slots]
    share = float(on_images.sum())
    edge = round(model.config.vision.tokens_per_view**0.5)
    maps = (on_images / max(share, 1e-12)).view(-1, edge, edge).numpy()
    return AttentionMaps(maps=maps, image_share=share)


@torch.inference_mode()
def drift(before: Evo1, after: Evo1, inputs: ModelInputs) -> Drift:
    """Compare two backbones of one architecture.

    Args:
        before: the backbone that training began with.
        after: the trained one.
        inputs: one observation, for the hidden states.

    Raises:
        ValueError: they are of different sizes.
    """
    old, new = before.state_dict(), after.state_dict()
    weights = {name: _distance(old, new, prefix) for name, prefix in GROUPS.items()}
    weights["all"] = _distance(old, new, "embedder.")
    valid = inputs.token_mask[0]
    states = [_context(model, inputs)[..., valid, :] for model in (before, after)]
    cosine = nn.functional.cosine_similarity(states[0].double(), states[1].double(), dim=-1)
    return Drift(weights=weights, hidden_cosine=float(cosine.mean()))


def _distance(old: Mapping[str, Tensor], new: Mapping[str, Tensor], prefix: str) -> float:
    moved = size = 0.0
    for name, tensor in old.items():
        if not name.startswith(prefix):
            continue
        other = new.get(name)
        if other is None or other.shape != tensor.shape:
            shape = None if other is None else tuple(other.shape)
            raise ValueError(f"{name}: {tuple(tensor.shape)} before, {shape} after; not the same")
        moved += float((other.double() - tensor.double()).square().sum())
        size += float(tensor.double().square().sum())
    return float((moved / size) ** 0.5) if size else 0.0


def _context(model: Evo1, inputs: ModelInputs) -> Tensor:
    keys = model.encode(inputs).keys  # ((L,) B, T+1, E), the state's token last
    return keys[..., 0, : inputs.input_ids.shape[1], :]


@contextlib.contextmanager
def _collected(attention: nn.Module, language: nn.Module) -> Iterator[list[Tensor]]:
    """Let a layer give its attention weights (B, A, T, T), which fused kernels never form.

    Rows of masked tokens differ from the model's own; nobody attends to them here.
    """
    weights: list[Tensor] = []
    before = str(language.config._attn_implementation)  # type: ignore[union-attr]
    hook = attention.register_forward_hook(lambda _, __, output: weights.append(output[1]))
    language.set_attn_implementation("eager")  # type: ignore[operator]
    try:
        yield weights
    finally:
        language.set_attn_implementation(before)  # type: ignore[operator]
        hook.remove()


def overlay(image: Image, heat: npt.NDArray[np.float64], *, highest: float) -> Image:
    """Lay a map over a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        heat: (G, G), 0 or more.
        highest: what is shown in full colour.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    scaled = np.clip(heat / max(highest, 1e-12), 0.0, 1.0).astype(np.float32)
    smooth = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.0, 1.0)
    coloured = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    mixed: Image = ((1 - OPACITY) * image + OPACITY * coloured).round().astype(np.uint8)
    return mixed


def write_figure(
    path: Path,
    images: Mapping[str, Image],
    rows: Sequence[tuple[str, npt.NDArray[np.float64]]],
    *,
    title: str,
) -> None:
    """Write a picture: the cameras above, and below them one row of overlays for each model.

    Args:
        path: PNG file.
        images: (H, W, 3) uint8 RGB by camera, in the order of the views.
        rows: label and maps (V, G, G) of each model.
        title: what was looked for.
    """
    figure = Figure(figsize=(4 * len(images), 3.2 * (len(rows) + 1)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for column, (name, image) in enumerate(images.items()):
        axes[0][column].imshow(image)
        axes[0][column].set_title(name)
        for row, (label, maps) in enumerate(rows, start=1):
            shown = overlay(image, maps[column], highest=float(maps.max()))
            axes[row][column].imshow(shown)
            axes[row][column].set_title(f"{label}: {maps[column].sum():.0%} of the attention")
    for axis in axes.flat:
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


@entry_point("attention")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    robot = load_robot(options.robot) if options.robot else None
    checkpoint = read_checkpoint(options.checkpoint, robot=robot, **reading(options))
    images, instruction = _scene(options, checkpoint)
    inputs = _inputs(checkpoint, images, instruction)
    tokenizer = load_tokenizer(checkpoint.tokenizer_dir)
    after = load_model(checkpoint)
    tokens = word_tokens(tokenizer, instruction, options.word, after)
    looked = attention_maps(after, inputs, tokens, layer=options.layer)
    rows = [("after" if options.before else "attention", looked.maps)]
    report: dict[str, Any] = {
        "word": options.word,
        "instruction": instruction,
        "image_share": looked.image_share,
    }
    if options.before:
        before = load_model(read_checkpoint(options.before, robot=robot, **reading(options)))
        first = attention_maps(before, inputs, tokens, layer=options.layer)
        moved = drift(before, after, inputs)
        rows.insert(0, ("before", first.maps))
        report |= {"image_share_before": first.image_share, **asdict(moved)}
        report["map_overlap"] = float(np.minimum(first.maps, looked.maps).sum())
        parts = ", ".join(f"{name} {value:.2%}" for name, value in moved.weights.items())
        print(f"weights moved by {parts}")
        print(f"hidden states: cosine {moved.hidden_cosine:.4f}")
        print(f"attention maps overlap: {report['map_overlap']:.2f} of 1")
    picture = options.out / f"{options.word.replace(' ', '_').replace('/', '_')}.png"
    write_figure(picture, images, rows, title=f"'{options.word}' in '{instruction}'")
    (options.out / "attention.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"wrote {picture}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="the trained policy, or hub:user/name")
    add("--before", type=Path, help="the policy that training began with")
    add("--robot", type=Path, help="robot file, where the checkpoint holds none")
    add("--word", required=True, help="a word of the instruction")
    add("--instruction", default="", help="default: that of the task")
    add("--images", type=Path, nargs="+", help="one picture for each camera, in their order")
    add("--task", help="without --images: a scene of the simulation")
    add("--seed", type=int, default=0, help="start state of that scene")
    add("--layer", type=int, default=-1, help="of the language model")
    add("--out", type=Path, default=Path("out/attention"), help="folder")
    add_reading_options(parser)
    return parser


def _scene(options: argparse.Namespace, checkpoint: Checkpoint) -> tuple[dict[str, Image], str]:
    """The pictures by camera, and the instruction."""
    cameras = list(checkpoint.interface.cameras)
    if options.images:
        if len(options.images) != len(cameras):
            raise ValueError(
                f"--images: expected {len(cameras)}, one for each of {', '.join(cameras)}; "
                f"got {len(options.images)}"
            )
        if not options.instruction:
            raise ValueError("--instruction: missing; --images says nothing about the task")
        given = [_read(path) for path in options.images]
        return dict(zip(cameras, given, strict=True)), options.instruction
    world = World(checkpoint.interface.name, task=options.task)
    world.reset(seed=options.seed)
    renderer = CameraRenderer(world, width=640, height=480, cameras=tuple(cameras))
    renderer.capture()
    pictures = {name: renderer.render(name) for name in cameras}
    return pictures, options.instruction or world.task.instruction


def _read(path: Path) -> Image:
    try:
        refuse_lfs_pointer(path)
        with PIL.Image.open(path) as picture:  # its size is in its head
            if picture.width * picture.height > MOST_PIXELS:
                raise UntrustedError(f"more than {MOST_PIXELS:,} pixels are not decoded")
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        what = str(error).removeprefix(f"{path}: ")
        raise UntrustedError(f"{path}: not a readable picture: {what}") from error


def _inputs(checkpoint: Checkpoint, images: dict[str, Image], instruction: str) -> ModelInputs:
    """The model's inputs; the state does not reach the backbone, so it rests at home."""
    config = checkpoint.config
    encoder = PromptEncoder(load_tokenizer(checkpoint.tokenizer_dir), config)
    prompt = encoder.encode([instruction], [len(images)])
    views = prepare_views(
        list(images.values()),
        views=config.views,
        size=config.vision.image_size,
        channel_order=config.semantics.channel_order,
        dtype=config.semantics.image_dtype,
    )
    width, _ = checkpoint.stats.widths(*checkpoint.interface.widths)
    return ModelInputs(
        images=views[None],
        input_ids=prompt.input_ids,
        image_slots=prompt.image_slots,
        token_mask=prompt.token_mask,
        state=torch.zeros((1, config.state_width)),
        action_mask=torch.from_numpy(width_mask(width, config.action_width))[None],
    )


if __name__ == "__main__":
    sys.exit(main())
