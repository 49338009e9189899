"""The names of the tensors in each layout, against those of our model.

Our model has the names of transformers' InternVL under `embedder.model.`, and the published names
of the head under `action_head.`: 612 + 116. The authors' files have 516 + 116: their vision
attention keeps q, k and v in one tensor, rows in thirds. With num_categories C > 1 their linear
layers of the head are tables, a weight (C, in, out) and a bias (C, out), of which an input takes
the row of its embodiment: x W[c] + b[c]. A policy here moves one robot, so one row is read. Must
not import ROS or torch.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

VLM = "embedder.model."
LEROBOT_PREFIX = "model."
Shape = tuple[int, ...]

# (ours, theirs) below `embedder.model.`; {i} stands for a layer's number, the rest is the tail.
_FUSED = re.compile(r"vision_tower\.encoder\.layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)")
_TABLE = re.compile(r"(action_head\..+)\.linear\.(weight|bias)")
_RULES = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"vision_tower\.embeddings\.cls_token", r"vision_model.embeddings.class_embedding"),
        (
            r"vision_tower\.embeddings\.position_embeddings",
            r"vision_model.embeddings.position_embedding",
        ),
        (
            r"vision_tower\.embeddings\.patch_embeddings\.projection\.(\w+)",
            r"vision_model.embeddings.patch_embedding.\1",
        ),
        (
            r"vision_tower\.encoder\.layer\.(\d+)\.attention\.projection_layer\.(\w+)",
            r"vision_model.encoder.layers.\1.attn.proj.\2",
        ),
        (
            r"vision_tower\.encoder\.layer\.(\d+)\.layernorm_before\.(\w+)",
            r"vision_model.encoder.layers.\1.norm1.\2",
        ),
        (
            r"vision_tower\.encoder\.layer\.(\d+)\.layernorm_after\.(\w+)",
            r"vision_model.encoder.layers.\1.norm2.\2",
        ),
        (
            r"vision_tower\.encoder\.layer\.(\d+)\.lambda_([12])",
            r"vision_model.encoder.layers.\1.ls\2",
        ),
        (
            r"vision_tower\.encoder\.layer\.(\d+)\.mlp\.(fc[12])\.(\w+)",
            r"vision_model.encoder.layers.\1.mlp.\2.\3",
        ),
        (r"multi_modal_projector\.layer_norm\.(\w+)", r"mlp1.0.\1"),
        (r"multi_modal_projector\.linear_1\.(\w+)", r"mlp1.1.\1"),
        (r"multi_modal_projector\.linear_2\.(\w+)", r"mlp1.3.\1"),
        (r"language_model\.(.+)", r"language_model.model.\1"),
    )
)


@dataclass(frozen=True, kw_only=True)
class EmbodimentTable:
    """The linear layers of a head that has them for several embodiments.

    Attributes:
        count: C, how many.
        row: of the one that counts.
    """

    count: int
    row: int = 0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one of our tensors stands in a file.

    Attributes:
        name: of the file's tensor.
        third: 0, 1 or 2 where ours is that third of its rows; None where it is all of it.
        table: where ours is one row of a table of embodiments, a weight transposed.
    """

    name: str
    third: int | None = None
    table: EmbodimentTable | None = None


Places = dict[str, Place]  # our name -> its place


def own_places(names: Iterable[str]) -> Places:
    """Our own layout: the names as they are."""
    return {name: Place(name=name) for name in names}


def lerobot_places(names: Iterable[str], table: EmbodimentTable | None = None) -> Places:
    """LeRobot's layout: ours under one more prefix."""
    return {name: _head(name, LEROBOT_PREFIX, table) for name in names}


def official_places(names: Iterable[str], table: EmbodimentTable | None = None) -> Places:
    """The authors' layout."""
    return {
        name: _official(name.removeprefix(VLM), VLM)
        if name.startswith(VLM)
        else _head(name, "", table)
        for name in names
    }


def internvl_places(names: Iterable[str], found: Iterable[str]) -> Places:
    """The backbone's tensors in a file of InternVL3, in its original or its `-hf` naming.

    Args:
        names: of our model; those outside the backbone are left out.
        found: names in the file. `-hf` files were written with several prefixes over time.
    """
    found = set(found)
    tails = [name.removeprefix(VLM) for name in names if name.startswith(VLM)]
    if "vision_model.embeddings.class_embedding" in found:
        return {VLM + tail: _official(tail, "") for tail in tails}
    prefix = "model." if any(name.startswith("model.") for name in found) else ""
    inner = "model." if "language_model.model.norm.weight" in found else ""
    return {
        VLM + tail: Place(
            name=prefix + re.sub(r"^language_model\.", f"language_model.{inner}", tail)
        )
        for tail in tails
    }


def file_shapes(places: Places, ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """The tensors that a file must hold, from those of the model: name -> shape."""
    shapes: dict[str, Shape] = {}
    for name, place in places.items():
        shape = ours[name]
        whole = shape if place.third is None else (3 * shape[0], *shape[1:])
        if place.table is not None:
            whole = (place.table.count, *reversed(shape))
        shapes[place.name] = whole
    return shapes


def _head(name: str, prefix: str, table: EmbodimentTable | None) -> Place:
    found = _TABLE.fullmatch(name)
    if table is None or found is None:
        return Place(name=prefix + name)
    return Place(name=f"{prefix}{found[1]}.{found[2]}", table=table)


def _official(tail: str, prefix: str) -> Place:
    fused = _FUSED.fullmatch(tail)
    if fused:
        layer, part, kind = fused.groups()
        name = f"{prefix}vision_model.encoder.layers.{layer}.attn.qkv.{kind}"
        return Place(name=name, third="qkv".index(part))
    for pattern, theirs in _RULES:
        if pattern.fullmatch(tail):
            return Place(name=prefix + pattern.sub(theirs, tail))
    raise KeyError(f"{tail}: no official name is known for this tensor")
