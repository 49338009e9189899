"""Each layout gives back what was put in, to the bit, and the same actions."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import CONFIG, spread_evenly, stats_of

from evo1_policy.checkpoint import (
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from evo1_policy.joint_units import load_units
from evo1_policy.normalization import NormStats
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy

LAYOUTS = ["own", "official", "lerobot"]


def observation(robot):
    generator = np.random.default_rng(0)
    return Observation(
        images={
            camera.name: generator.integers(0, 256, (24, 32, 3)).astype(np.uint8)
            for camera in robot.cameras
        },
        state=np.array(robot.home) + 0.1,
        instruction="pick up the can",
        stamp_ns=0,
        received_ns=0,
        skew_ns=0,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_round_trip_changes_no_tensor_no_setting_and_no_statistic(saved, model, robot, layout):
    checkpoint = read_checkpoint(saved(layout))
    assert checkpoint.config == CONFIG
    assert checkpoint.stats.to_dict() == stats_of(robot).to_dict()
    assert checkpoint.robot.text == robot.text
    expected = model.state_dict()
    found = load_model(checkpoint, dtype=None).state_dict()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_every_layout_gives_the_same_chunk_from_the_same_observation_and_noise(saved, robot):
    chunks = [
        Policy.load(saved(layout), robot=robot, device="cpu").infer(observation(robot)).actions
        for layout in LAYOUTS
    ]
    assert np.isfinite(chunks[0]).all()
    np.testing.assert_array_equal(chunks[0], chunks[1])
    np.testing.assert_array_equal(chunks[0], chunks[2])


def test_an_official_folder_holds_the_authors_files_and_names(saved):
    directory = saved("official")
    module = torch.load(directory / "mp_rank_00_model_states.pt", weights_only=True)["module"]
    layers = (CONFIG.vision.layers, CONFIG.language.layers, CONFIG.head.layers)
    # 12 tensors a vision layer with qkv fused, 12 a language layer, 12 a block of the head.
    assert len(module) == 4 + 14 * layers[0] + 6 + 12 * layers[1] + 2 + 12 * layers[2] + 20
    qkv = module["embedder.model.vision_model.encoder.layers.0.attn.qkv.weight"]
    assert qkv.shape == (48, 16)
    assert json.loads((directory / "checkpoint.json").read_text()) == {
        "type": "ds_model",
        "version": 0.0,
        "checkpoints": "mp_rank_00_model_states.pt",
    }
    config = json.loads((directory / "config.json").read_text())
    assert config["horizon"] == 5
    assert config["per_action_dim"] == 8
    stats = json.loads((directory / "norm_stats.json").read_text())
    assert list(stats) == ["xarm6"]
    assert len(stats["xarm6"]["observation.state"]["min"]) == 7


def test_fused_rows_are_q_then_k_then_v(saved, model):
    module = torch.load(saved("official") / "mp_rank_00_model_states.pt", weights_only=True)
    fused = module["module"]["embedder.model.vision_model.encoder.layers.1.attn.qkv.bias"]
    attention = model.embedder.model.vision_tower.encoder.layer[1].attention
    parts = (attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias)
    assert torch.equal(fused, torch.cat(parts))


def test_a_lerobot_folder_holds_lerobots_files_and_padded_statistics(saved):
    directory = saved("lerobot")
    config = json.loads((directory / "config.json").read_text())
    assert config["type"] == "evo1"
    assert config["chunk_size"] == 5
    assert config["normalization_mapping"]["ACTION"] == "MIN_MAX"
    assert all(name.startswith("model.") for name in load_file(directory / "model.safetensors"))
    stats = load_file(directory / "policy_preprocessor_step_4_normalizer_processor.safetensors")
    assert stats["observation.state.min"].shape == (8,)
    assert stats["observation.state.min"][7] == -1.0
    assert stats["observation.state.std"][7] == 1.0
    assert (directory / "policy_postprocessor_step_0_unnormalizer_processor.safetensors").is_file()


def test_bf16_sinusoid_tables_of_a_file_are_used_as_they_are(saved, model, robot, tmp_path):
    directory = saved("official")
    path = directory / "mp_rank_00_model_states.pt"
    module = torch.load(path, weights_only=True)["module"]
    torch.save({"module": {name: tensor.bfloat16() for name, tensor in module.items()}}, path)
    found = load_model(read_checkpoint(directory))
    table = found.action_head.time_pos_enc.pe
    exact = model.action_head.time_pos_enc.pe
    assert table.dtype == torch.float32
    assert torch.equal(table, exact.bfloat16().float())
    assert not torch.equal(table, exact)


def test_views_into_one_storage_are_copied_out_of_it(saved, model):
    directory = saved("official")
    path = directory / "mp_rank_00_model_states.pt"
    module = torch.load(path, weights_only=True)["module"]
    flat = torch.cat([tensor.flatten() for tensor in module.values()])
    views, offset = {}, 0
    for name, tensor in module.items():  # as DeepSpeed keeps them
        views[name] = flat[offset : offset + tensor.numel()].view(tensor.shape)
        offset += tensor.numel()
    torch.save({"module": views, "global_steps": 3, "ds_config": {"a": [1, 2.0, None]}}, path)
    found = load_model(read_checkpoint(directory), dtype=None).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name
        assert found[name].untyped_storage().nbytes() == tensor.nelement() * tensor.element_size()


def test_the_hash_follows_an_override(saved):
    directory = saved("own")
    plain = read_checkpoint(directory).model_hash()
    assert read_checkpoint(directory).model_hash() == plain
    assert read_checkpoint(directory, semantics="evo1_flash").model_hash() != plain


def test_weights_of_an_evo1_flash_folder_are_read_too(saved, model):
    directory = saved("official")
    path = directory / "mp_rank_00_model_states.pt"
    module = torch.load(path, weights_only=True)["module"]
    content = {"model_state_dict": module, "step": 7, "best_loss": 0.5, "optimizer_state_dict": {}}
    torch.save(content, directory / "checkpoint.pt")
    path.unlink()
    checkpoint = read_checkpoint(directory)
    assert checkpoint.layout == "official_flash"
    found = load_model(checkpoint, dtype=None).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_units_come_back_from_every_layout(tmp_path, model, robot, tokenizer, robots_dir, layout):
    units = load_units(robots_dir / "units" / "xarm6_authors.yaml", robot.joint_names)
    home = units.from_rad(np.array(robot.home))
    feature = spread_evenly(home - 30, home + 30)
    stats = NormStats(embodiment=robot.embodiment, state=feature, action=feature, units=units)
    directory = tmp_path / layout
    parts = {"model": model, "stats": stats, "interface": robot.interface}
    save_checkpoint(directory, layout=layout, tokenizer_dir=tokenizer, **parts)
    assert read_checkpoint(directory).stats.to_dict() == stats.to_dict()
    actions = Policy.load(directory, robot=robot, device="cpu").infer(observation(robot)).actions
    assert np.abs(actions[:, :6] - robot.home[:6]).max() < np.deg2rad(300)
