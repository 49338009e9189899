"""InternVL3 as published: the backbone to start from."""

import pytest
import torch
from safetensors.torch import save_file

from evo1_policy.checkpoint import CheckpointError
from evo1_policy.checkpoint_layouts.tensor_files import grouped_tensors
from evo1_policy.checkpoint_layouts.tensor_names import official_places
from evo1_policy.model.config import preset
from evo1_policy.model.evo1 import new_model
from evo1_training.training.backbone import new_model_on_backbone

VLM = "embedder.model."
CONFIG = preset("evo1_tiny")


@pytest.fixture(scope="module")
def model():
    return new_model(CONFIG, seed=0).eval()


def published(model, naming):
    """The backbone with a layer more and a language head, named as published."""
    tensors = {name: t for name, t in model.state_dict().items() if name.startswith(VLM)}
    last = f"{VLM}language_model.layers.{CONFIG.language.layers - 1}."
    deeper = f"{VLM}language_model.layers.{CONFIG.language.layers}."
    tensors |= {
        name.replace(last, deeper): t.clone() for name, t in tensors.items() if last in name
    }
    if naming == "original":
        named = grouped_tensors(tensors, official_places(tensors), None)
        named = {name.removeprefix(VLM): t for name, t in named.items()}
        return named | {"language_model.lm_head.weight": torch.zeros(512, 16)}
    named = {name.removeprefix(VLM): t for name, t in tensors.items()}
    if naming == "hf_older":
        inner = {
            n.replace("language_model.", "language_model.model."): t for n, t in named.items()
        }
        return inner | {"language_model.lm_head.weight": torch.zeros(512, 16)}
    return {f"model.{n}": t for n, t in named.items()} | {"lm_head.weight": torch.zeros(512, 16)}


@pytest.mark.parametrize("naming", ["original", "hf", "hf_older"])
def test_the_backbone_is_taken_over_cut_and_given_a_fresh_head(tmp_path, model, naming):
    save_file(published(model, naming), tmp_path / "model.safetensors")
    before = torch.get_rng_state()
    found = new_model_on_backbone(tmp_path, CONFIG, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert len(found.embedder.model.language_model.layers) == CONFIG.language.layers
    for name, tensor in found.state_dict().items():
        if name.startswith(VLM):
            assert torch.equal(tensor, model.state_dict()[name]), name
    again = new_model_on_backbone(tmp_path, CONFIG, seed=3).action_head.state_dict()
    other = new_model_on_backbone(tmp_path, CONFIG, seed=4).action_head.state_dict()
    head = found.action_head.state_dict()
    assert all(torch.equal(head[name], again[name]) for name in head)
    assert not torch.equal(head["norm_out.weight"] * 0 + 1, head["seq_pool_proj.bias"])
    assert not torch.equal(head["seq_pool_proj.weight"], other["seq_pool_proj.weight"])


def test_shards_are_read_by_their_index(tmp_path, model):
    import json

    tensors = published(model, "hf")
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, tmp_path / file)
    index = {name: file for file, part in halves.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = new_model_on_backbone(tmp_path, CONFIG, seed=0).state_dict()
    name = "embedder.model.language_model.norm.weight"
    assert torch.equal(found[name], model.state_dict()[name])


def test_what_does_not_fit_is_named(tmp_path, model):
    with pytest.raises(CheckpointError, match="no InternVL3 backbone"):
        new_model_on_backbone(tmp_path, CONFIG, seed=0)
    tensors = published(model, "original")
    tensors["mlp1.0.weight"] = torch.zeros(3)
    del tensors["mlp1.0.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing tensors: mlp1\.0\.bias; 1 of a wrong"):
        new_model_on_backbone(tmp_path, CONFIG, seed=0)
