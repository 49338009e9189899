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

_FUSED = re.compile(r"vision_tower\.encoder\.layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)")
_TABLE = re.compile(r"(action_head\..+)\.linear\.(weight|bias)")
_RENAMED = (  # parts of names below `embedder.model.`: ours, theirs
    ("vision_tower.embeddings.cls_token", "vision_model.embeddings.class_embedding"),
    ("vision_tower.embeddings.position_embeddings", "vision_model.embeddings.position_embedding"),
    (
        "vision_tower.embeddings.patch_embeddings.projection",
        "vision_model.embeddings.patch_embedding",
    ),
    ("vision_tower.encoder.layer.", "vision_model.encoder.layers."),
    (".attention.projection_layer.", ".attn.proj."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".lambda_", ".ls"),
    ("multi_modal_projector.layer_norm.", "mlp1.0."),
    ("multi_modal_projector.linear_1.", "mlp1.1."),
    ("multi_modal_projector.linear_2.", "mlp1.3."),
    ("language_model.", "language_model.model."),
)
_THEIRS = ("vision_model.", "mlp1.", "language_model.model.")


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
    name = tail
    for ours, theirs in _RENAMED:
        name = name.replace(ours, theirs)
    if not name.startswith(_THEIRS):
        raise KeyError(f"{tail}: no official name is known for this tensor")
    return Place(name=prefix + name)
