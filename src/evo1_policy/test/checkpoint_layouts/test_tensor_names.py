"""The bijection of names, at the paper's size and without its memory."""

import pytest

from evo1_policy.checkpoint_layouts.tensor_names import (
    Place,
    file_shapes,
    internvl_places,
    lerobot_places,
    official_places,
)
from evo1_policy.model.config import preset
from evo1_policy.model.evo1 import empty_model


@pytest.fixture(scope="module")
def shapes():
    model = empty_model(preset("evo1"))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_an_official_file_has_exactly_632_tensors_516_of_them_the_backbones(shapes):
    official = file_shapes(official_places(shapes), shapes)
    assert len(shapes) == 728
    assert len(official) == 632
    assert sum(name.startswith("embedder.model.") for name in official) == 516
    assert sum(name.startswith("action_head.") for name in official) == 116


def test_each_of_our_tensors_has_a_place_of_its_own(shapes):
    places = official_places(shapes)
    assert set(places) == set(shapes)
    assert len({(place.name, place.third) for place in places.values()}) == 728
    numbers = dict.fromkeys(file_shapes(places, shapes), 0)
    sizes = dict.fromkeys(numbers, 1)
    for name, place in places.items():
        count = 1
        for length in shapes[name]:
            count *= length
        numbers[place.name] += count
    for name, shape in file_shapes(places, shapes).items():
        for length in shape:
            sizes[name] *= length
    assert numbers == sizes


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vision_model.embeddings.class_embedding", (1, 1, 1024)),
        ("vision_model.embeddings.position_embedding", (1, 1025, 1024)),
        ("vision_model.embeddings.patch_embedding.weight", (1024, 3, 14, 14)),
        ("vision_model.embeddings.patch_embedding.bias", (1024,)),
        ("vision_model.encoder.layers.0.attn.qkv.weight", (3072, 1024)),
        ("vision_model.encoder.layers.23.attn.qkv.bias", (3072,)),
        ("vision_model.encoder.layers.23.attn.proj.weight", (1024, 1024)),
        ("vision_model.encoder.layers.7.norm1.weight", (1024,)),
        ("vision_model.encoder.layers.7.norm2.bias", (1024,)),
        ("vision_model.encoder.layers.7.ls1", (1024,)),
        ("vision_model.encoder.layers.7.ls2", (1024,)),
        ("vision_model.encoder.layers.7.mlp.fc1.weight", (4096, 1024)),
        ("vision_model.encoder.layers.7.mlp.fc2.bias", (1024,)),
        ("mlp1.0.weight", (4096,)),
        ("mlp1.1.weight", (896, 4096)),
        ("mlp1.3.bias", (896,)),
        ("language_model.model.embed_tokens.weight", (151674, 896)),
        ("language_model.model.layers.13.self_attn.q_proj.weight", (896, 896)),
        ("language_model.model.layers.13.self_attn.k_proj.bias", (128,)),
        ("language_model.model.layers.0.self_attn.o_proj.weight", (896, 896)),
        ("language_model.model.layers.0.mlp.gate_proj.weight", (4864, 896)),
        ("language_model.model.layers.0.mlp.down_proj.weight", (896, 4864)),
        ("language_model.model.layers.0.input_layernorm.weight", (896,)),
        ("language_model.model.layers.0.post_attention_layernorm.weight", (896,)),
        ("language_model.model.norm.weight", (896,)),
    ],
)
def test_the_backbones_tensors_have_the_authors_names_and_shapes(shapes, name, shape):
    official = file_shapes(official_places(shapes), shapes)
    assert official["embedder.model." + name] == shape


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("time_pos_enc.pe", (1, 1000, 896)),
        ("transformer_blocks.7.attn.in_proj_weight", (2688, 896)),
        ("transformer_blocks.0.attn.out_proj.bias", (896,)),
        ("transformer_blocks.0.ff.0.weight", (3584, 896)),
        ("transformer_blocks.0.ff.2.weight", (896, 3584)),
        ("norm_out.weight", (896,)),
        ("seq_pool_proj.weight", (896, 44800)),
        ("mlp_head.fc1.linear.weight", (1024, 896)),
        ("mlp_head.fc2.linear.weight", (1200, 1024)),
        ("state_encoder.fc1.linear.weight", (1024, 24)),
        ("state_encoder.fc2.linear.weight", (896, 1024)),
        ("action_encoder.W1.linear.weight", (896, 24)),
        ("action_encoder.W3.linear.bias", (896,)),
        ("action_encoder.pos_encoding.pe", (1, 50, 896)),
    ],
)
def test_the_heads_tensors_have_the_authors_names_and_shapes(shapes, name, shape):
    assert file_shapes(official_places(shapes), shapes)["action_head." + name] == shape


def test_q_k_and_v_are_the_thirds_of_the_fused_rows():
    stem = "vision_tower.encoder.layer.3.attention."
    places = official_places(f"embedder.model.{stem}{part}_proj.weight" for part in "qkv")
    name = "embedder.model.vision_model.encoder.layers.3.attn.qkv.weight"
    assert list(places.values()) == [Place(name=name, third=third) for third in (0, 1, 2)]


def test_lerobot_adds_one_prefix(shapes):
    places = lerobot_places(shapes)
    assert len(places) == 728
    name = "embedder.model.language_model.norm.weight"
    assert places[name] == Place(name="model.embedder.model.language_model.norm.weight")
    assert places["action_head.norm_out.bias"].name == "model.action_head.norm_out.bias"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["language_model.norm.weight"], "language_model.norm.weight"),
        (["language_model.model.norm.weight"], "language_model.model.norm.weight"),
        (["model.language_model.norm.weight"], "model.language_model.norm.weight"),
        (
            ["vision_model.embeddings.class_embedding"],
            "language_model.model.norm.weight",
        ),
    ],
)
def test_internvl_is_found_under_each_of_its_prefixes(found, expected):
    ours = "embedder.model.language_model.norm.weight"
    assert internvl_places([ours], found)[ours].name == expected


def test_an_unknown_tensor_is_an_error():
    with pytest.raises(KeyError, match="no official name"):
        official_places(["embedder.model.audio_tower.weight"])
