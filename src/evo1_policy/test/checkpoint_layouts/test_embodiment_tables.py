"""Heads with tables of embodiments (num_categories above 1): one row of them is the policy's."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from evo1_policy.checkpoint import CheckpointError, load_model, read_checkpoint
from evo1_policy.checkpoint_layouts.tensor_files import open_safetensors, read_tensors
from evo1_policy.checkpoint_layouts.tensor_names import (
    EmbodimentTable,
    file_shapes,
    official_places,
)
from evo1_policy.model.action_expert import EmbodimentLinear

LAYER = "action_head.state_encoder.fc1"


def test_row_of_a_table_computes_what_was_computed_by_hand(tmp_path):
    tables = {
        f"{LAYER}.weight": torch.tensor([[[9.0, 9], [9, 9], [9, 9]], [[1, 2], [3, 4], [5, 6]]]),
        f"{LAYER}.bias": torch.tensor([[9.0, 9], [0.5, -0.5]]),
    }
    save_file(tables, tmp_path / "tables.safetensors")
    shapes = {f"{LAYER}.linear.weight": (2, 3), f"{LAYER}.linear.bias": (2,)}
    places = official_places(shapes, EmbodimentTable(count=2, row=1))
    with open_safetensors(tmp_path / "tables.safetensors") as file:
        found = read_tensors(file, places, shapes, dtype=None)
    layer = EmbodimentLinear(3, 2)
    layer.load_state_dict({name.removeprefix(f"{LAYER}."): one for name, one in found.items()})
    # [1, 0, 2] times [[1, 2], [3, 4], [5, 6]] is [11, 14].
    with torch.no_grad():
        assert layer(torch.tensor([[1.0, 0.0, 2.0]])).tolist() == [[11.5, 13.5]]


def test_only_linear_layers_of_the_head_are_tables():
    shapes = {
        "embedder.model.language_model.norm.weight": (8,),
        "action_head.norm_out.weight": (8,),
        "action_head.seq_pool_proj.weight": (8, 40),
        "action_head.action_encoder.W2.linear.weight": (8, 4),
        "action_head.mlp_head.fc2.linear.bias": (6,),
    }
    assert file_shapes(official_places(shapes, EmbodimentTable(count=3)), shapes) == {
        "embedder.model.language_model.model.norm.weight": (8,),
        "action_head.norm_out.weight": (8,),
        "action_head.seq_pool_proj.weight": (8, 40),
        "action_head.action_encoder.W2.weight": (3, 4, 8),
        "action_head.mlp_head.fc2.bias": (3, 6),
    }


def tabled(tensors, row):
    """The tensors of a file with tables of three embodiments, of which `row` is the real one."""
    found = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*action_head\..+)\.linear\.(weight|bias)", name)
        if match is None:
            found[name] = tensor
            continue
        table = torch.full((3, *reversed(tensor.shape)), 7.0)
        table[row] = tensor.T if tensor.ndim > 1 else tensor
        found[f"{match[1]}.{match[2]}"] = table
    return found


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("layout", "row"), [("official", 0), ("lerobot", 0), ("lerobot", 2)])
def test_folder_with_tables_loads_the_row_of_its_embodiment(saved, model, layout, row):
    directory = saved(layout)
    if layout == "official":
        path = directory / "mp_rank_00_model_states.pt"
        module = torch.load(path, weights_only=True)["module"]
        torch.save({"module": tabled(module, row)}, path)
        edit(directory / "config.json", num_categories=3)
    else:
        path = directory / "model.safetensors"
        save_file(tabled(load_file(path), row), path)
        edit(directory / "config.json", num_categories=3, default_embodiment_id=row)
    found = load_model(read_checkpoint(directory), dtype=None).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous()


def test_folder_whose_config_and_tensors_disagree_names_the_tensors(saved):
    directory = saved("lerobot")
    edit(directory / "config.json", num_categories=3)
    with pytest.raises(
        CheckpointError, match=r"missing tensors: model\.action_head\.state_encoder"
    ):
        load_model(read_checkpoint(directory))
