"""`attention`: where a policy's backbone looks for a word, before and after training."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evo1_policy.command_line import entry_point
from evo1_policy.perception.colour import MOST_PIXELS
from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer

if TYPE_CHECKING:
    from evo1_policy.checkpoint import Checkpoint
    from evo1_policy.model.preprocessing import ModelInputs

EPILOG = """
The picture shows the attention of one word of the instruction to the image tokens, in the last
layer of the language model that Evo-1 keeps. With --before it stands beside the same of the
checkpoint that training began with, and numbers say how far the backbone moved.

  ros2 run evo1_training attention --checkpoint stage2 --before stage1 --word can \\
      --instruction "pick up the can" --images env.png wrist.png --out out/attention
  ros2 run evo1_training attention --checkpoint stage2 --task can_into_box --word can
"""


@entry_point("attention")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    _run(_parser().parse_args(arguments))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attention",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the trained policy")
    parser.add_argument("--before", type=Path, help="the policy that training began with")
    parser.add_argument("--word", required=True, help="a word of the instruction")
    parser.add_argument("--instruction", default="", help="default: that of the task")
    parser.add_argument(
        "--images", type=Path, nargs="+", help="one picture for each camera, in their order"
    )
    parser.add_argument("--task", help="without --images: a scene of the simulation")
    parser.add_argument("--seed", type=int, default=0, help="start state of that scene")
    parser.add_argument("--layer", type=int, default=-1, help="of the language model")
    parser.add_argument("--out", type=Path, default=Path("out/attention"), help="folder")
    return parser


def _run(options: argparse.Namespace) -> None:
    # Lazily: torch takes seconds, --help shall not.
    from evo1_policy.checkpoint import load_model, read_checkpoint
    from evo1_policy.model.preprocessing import load_tokenizer
    from evo1_training.evaluation.attention import attention_maps, drift, word_tokens
    from evo1_training.evaluation.attention_figure import write_figure

    checkpoint = read_checkpoint(options.checkpoint)
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
        before = load_model(read_checkpoint(options.before))
        first = attention_maps(before, inputs, tokens, layer=options.layer)
        moved = drift(before, after, inputs)
        rows.insert(0, ("before", first.maps))
        report |= {"image_share_before": first.image_share, **asdict(moved)}
        report["map_overlap"] = float(np.minimum(first.maps, looked.maps).sum())
        parts = ", ".join(f"{name} {value:.2%}" for name, value in moved.weights.items())
        print(f"weights moved by {parts}")
        print(f"hidden states: cosine {moved.hidden_cosine:.4f}")
        print(f"attention maps overlap: {report['map_overlap']:.2f} of 1")
    picture = options.out / f"{options.word.replace(' ', '_')}.png"
    write_figure(picture, images, rows, title=f"'{options.word}' in '{instruction}'")
    (options.out / "attention.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"wrote {picture}")


def _scene(
    options: argparse.Namespace, checkpoint: "Checkpoint"
) -> tuple[dict[str, npt.NDArray[np.uint8]], str]:
    """The pictures by camera, and the instruction."""
    cameras = [camera.name for camera in checkpoint.robot.cameras]
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
    from evo1_sim.rendering import CameraRenderer
    from evo1_sim.world import World

    world = World(checkpoint.robot.name, task=options.task)
    world.reset(seed=options.seed)
    renderer = CameraRenderer(world, width=640, height=480, cameras=tuple(cameras))
    renderer.capture()
    pictures = {name: renderer.render(name) for name in cameras}
    return pictures, options.instruction or world.task.instruction


def _read(path: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        refuse_lfs_pointer(path)
        with Image.open(path) as picture:  # its size is in its head
            if picture.width * picture.height > MOST_PIXELS:
                raise UntrustedError(f"more than {MOST_PIXELS:,} pixels are not decoded")
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        what = str(error).removeprefix(f"{path}: ")
        raise UntrustedError(f"{path}: not a readable picture: {what}") from error


def _inputs(
    checkpoint: "Checkpoint", images: dict[str, npt.NDArray[np.uint8]], instruction: str
) -> "ModelInputs":
    """The model's inputs; the state does not reach the backbone, so it rests at home."""
    import torch

    from evo1_policy.model.preprocessing import (
        ModelInputs,
        PromptEncoder,
        load_tokenizer,
        prepare_views,
    )
    from evo1_policy.normalization import width_mask

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
    width = checkpoint.robot.width
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
