"""From pixels and words to the model's input tensors, the same in training and on the robot.

Letters: B batch, V views, S image size, N image tokens of a view, T prompt tokens, D width.
Must not import ROS or transformers.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from evo1_policy.command_line import printable
from evo1_policy.model.config import ChannelOrder, Evo1Config, ImageDtype
from evo1_policy.untrusted import MOST_JSON_BYTES, UntrustedError, read_text

IMAGE_MEAN = (0.485, 0.456, 0.406)  # RGB
IMAGE_STD = (0.229, 0.224, 0.225)

PAD = "<|endoftext|>"
IMAGE_START, IMAGE_END, IMAGE_CONTEXT = "<img>", "</img>", "<IMG_CONTEXT>"
SPECIAL_TOKENS = (PAD, IMAGE_START, IMAGE_END, IMAGE_CONTEXT)


class TokenizerError(ValueError):
    """A tokenizer that cannot be used, or a prompt that does not fit; says what was expected."""


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """One batch, ready for the model.

    Attributes:
        images: (B, V, 3, S, S) fp32, normalised; absent views are black (normalised zeros).
        input_ids: (B, T) int64.
        image_slots: (B, T) bool, True where an image token goes, in absent views too.
        token_mask: (B, T) bool, False for padding and for the slots of absent views.
        state: (B, state width) fp32, normalised and padded.
        action_mask: (B, D) bool, True for the robot's dimensions.
    """

    images: Tensor
    input_ids: Tensor
    image_slots: Tensor
    token_mask: Tensor
    state: Tensor
    action_mask: Tensor

    def to(self, device: torch.device | str) -> "ModelInputs":
        """The same batch on another device."""
        moved = {
            item.name: getattr(self, item.name).to(device, non_blocking=True)
            for item in dataclasses.fields(self)
        }
        return ModelInputs(**moved)


@dataclass(frozen=True, kw_only=True)
class PromptTokens:
    """A tokenised prompt: input_ids, image_slots, token_mask as in ModelInputs, each (B, T)."""

    input_ids: Tensor
    image_slots: Tensor
    token_mask: Tensor


def resize_image(image: npt.NDArray[np.uint8] | Tensor, size: int) -> Tensor:
    """Antialiased bicubic resize to a square, aspect not kept, within 1/255 of PIL's.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: edge S [px].

    Returns:
        (3, S, S) uint8 RGB, on the image's device.

    Raises:
        ValueError: the image is not (H, W, 3) uint8.
    """
    if not isinstance(image, Tensor):
        # torch warns about read-only memory (a frame of a message), which is never written here.
        image = torch.from_numpy(image if image.flags.writeable else image.copy())
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != torch.uint8:
        raise ValueError(
            f"expected an image (H, W, 3) uint8 RGB, got {tuple(image.shape)} {image.dtype}"
        )
    planes = image.permute(2, 0, 1)[None]  # (1, 3, H, W), channels last in memory
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return planes[0]
    if not image.is_cuda and min(height, width) >= 2 * size:
        # Five times faster; its short weights stay within 1/255 only when shrinking.
        return _bicubic(planes, (size, size))[0]
    rows = _rounded(_bicubic(planes.float(), (height, size)))  # PIL rounds between the passes
    return _rounded(_bicubic(rows, (size, size)))[0].to(torch.uint8)


def _bicubic(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(planes, size=size, mode="bicubic", antialias=True)


def _rounded(planes: Tensor) -> Tensor:
    return (planes + 0.5).floor().clamp(0, 255)


def normalise_images(images: Tensor, dtype: ImageDtype = "float32") -> Tensor:
    """(..., 3, S, S) uint8 RGB -> fp32: k/255, minus the mean, over the standard deviation.

    With 'bfloat16' both steps round to bf16, as in evo1-flash and LeRobot; the result is exact in
    bf16 then, so that a bf16 model sees what theirs sees.
    """
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    mean = torch.tensor(IMAGE_MEAN, device=images.device, dtype=kind)[:, None, None]  # (3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=images.device, dtype=kind)[:, None, None]  # (3, 1, 1)
    return (((images.float() / 255).to(kind) - mean) / std).float()


def prepare_views(
    images: Sequence[npt.NDArray[np.uint8] | Tensor],
    *,
    views: int,
    size: int,
    channel_order: ChannelOrder = "rgb",
    dtype: ImageDtype = "float32",
    device: torch.device | None = None,
) -> Tensor:
    """Images of one observation -> (V, 3, S, S) fp32; views beyond the images are black.

    Args:
        images: (H, W, 3) uint8 RGB each, in the order of the model's slots.
        views: slots V.
        size: edge S [px].
        channel_order: what the model sees; mean and deviation stay those of the position.
        dtype: of the normalisation.
        device: where this is done; a GPU gets the pixels as they are. None: on the CPU.

    Raises:
        ValueError: more images than views, or one is not (H, W, 3) uint8.
    """
    if len(images) > views:
        raise ValueError(f"the model has {views} image slots, got {len(images)} images")
    on_gpu = device is not None and device.type == "cuda"
    slots = torch.zeros(  # (V, 3, S, S)
        (views, 3, size, size), dtype=torch.uint8, device=device if on_gpu else None
    )
    for slot, image in zip(slots, images, strict=False):
        if on_gpu and not isinstance(image, Tensor):
            pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
            pinned.numpy()[...] = image
            image = pinned.to(device, non_blocking=True)
        slot.copy_(resize_image(image, size))
    if channel_order == "bgr":
        slots = slots.flip(1)
    return normalise_images(slots, dtype)


def prompt_text(instruction: str, *, views: int, tokens_per_view: int) -> str:
    """The prompt as the authors write it: no chat template, no system text, no BOS or EOS."""
    slots = IMAGE_CONTEXT * tokens_per_view
    lines = (f"Image-{k + 1}: {IMAGE_START}{slots}{IMAGE_END}\n" for k in range(views))
    return "".join(lines) + instruction.strip()


def load_tokenizer(directory: Path | str) -> Tokenizer:
    """Read the tokenizer of a checkpoint: tokenizer.json, or vocab.json with merges.txt.

    Raises:
        TokenizerError: no tokenizer is there, or one of Evo-1's special tokens is missing.
    """
    directory = Path(directory)
    if (directory / "tokenizer.json").is_file():
        try:
            path = directory / "tokenizer.json"
            text = read_text(path, what="tokenizer", max_bytes=MOST_JSON_BYTES)
            tokenizer = Tokenizer.from_str(text)
        except UntrustedError as error:
            raise TokenizerError(str(error)) from error
        except Exception as error:  # the library raises plain Exception
            raise TokenizerError(f"{directory}/tokenizer.json: not readable: {error}") from error
    elif (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        tokenizer = _slow_tokenizer(directory)
    else:
        raise TokenizerError(
            f"{directory}: no tokenizer; expected tokenizer.json, or vocab.json with merges.txt"
        )
    for token in SPECIAL_TOKENS:
        if tokenizer.token_to_id(token) is None:
            raise TokenizerError(f"{directory}: the tokenizer lacks the special token {token}")
    return tokenizer


def _slow_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of vocab.json and merges.txt. Code in the folder is neither run nor asked for.

    Raises:
        TokenizerError: it cannot be read, or wants code of its own.
    """
    from transformers import AutoTokenizer  # lazily: costs seconds

    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )._tokenizer
    except Exception as error:  # whatever the library raises for files that it cannot use
        reason = printable(f"{type(error).__name__}: {error}")
        raise TokenizerError(
            f"{directory}: not readable as InternVL3-1B's tokenizer (nothing of it is executed): "
            f"{reason}"
        ) from error
    return tokenizer


class PromptEncoder:
    """Turns instructions into tokens for one model config; the tokenizer is load_tokenizer's."""

    def __init__(self, tokenizer: Tokenizer, config: Evo1Config) -> None:
        """Check that the tokenizer fits the model.

        Raises:
            TokenizerError: it has more tokens than the model's embedding.
        """
        highest = tokenizer.get_vocab_size(with_added_tokens=True)
        if highest > config.language.vocab_size:
            raise TokenizerError(
                f"the tokenizer has {highest} tokens, the model only "
                f"{config.language.vocab_size} (language.vocab_size)"
            )
        self._tokenizer = tokenizer
        self._config = config
        ids = tokenizer.get_vocab(with_added_tokens=True)
        self._pad, self._image_context = ids[PAD], ids[IMAGE_CONTEXT]

    def encode(
        self, instructions: Sequence[str], present: Sequence[int | Sequence[bool]]
    ) -> PromptTokens:
        """Tokenise a batch.

        Args:
            instructions: B texts.
            present: of each, how many views are present, the others being the last slots; or for
                each slot whether it is.

        Raises:
            TokenizerError: a prompt does not fit and cutting it would cut image tokens.
        """
        rows = [self._ids(text) for text in instructions]
        fixed = self._config.semantics.context_padding == "fixed"
        length = self._config.semantics.context_length if fixed else max(map(len, rows))
        padded = [row + [self._pad] * (length - len(row)) for row in rows]
        input_ids = torch.tensor(padded)  # (B, T)
        image_slots = input_ids.eq(self._image_context)  # (B, T)
        lengths = torch.tensor([len(row) for row in rows])[:, None]  # (B, 1)
        real = torch.arange(length)[None] < lengths  # (B, T)
        views, per_view = self._config.views, self._config.vision.tokens_per_view
        shown = torch.tensor(
            [[k < one for k in range(views)] if isinstance(one, int) else one for one in present]
        )  # (B, V)
        view = (image_slots.cumsum(dim=1) - 1).clamp(min=0) // per_view  # (B, T)
        absent = image_slots & ~shown.gather(1, view.clamp(max=views - 1))  # (B, T)
        return PromptTokens(
            input_ids=input_ids, image_slots=image_slots, token_mask=real & ~absent
        )

    def _ids(self, instruction: str) -> list[int]:
        config = self._config
        for token in SPECIAL_TOKENS:  # typed by a user, they would be read as image slots
            instruction = instruction.replace(token, " ")
        text = prompt_text(
            instruction, views=config.views, tokens_per_view=config.vision.tokens_per_view
        )
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        limit = config.semantics.context_length
        if self._image_context in ids[limit:]:
            raise TokenizerError(
                f"the image tokens alone exceed semantics.context_length = {limit}"
            )
        return ids[:limit]
