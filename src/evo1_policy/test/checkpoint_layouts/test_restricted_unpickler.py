"""Pickles: tensors and plain data only, and nothing executes."""

import argparse
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch

from evo1_policy.checkpoint import CheckpointError, load_model, read_checkpoint
from evo1_policy.checkpoint_layouts.restricted_unpickler import load_plain


class Attack:
    """Unpickled without care, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


class ShellAttack(Attack):
    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


class EvalAttack(Attack):
    def __reduce__(self):
        return (eval, (f"open({str(self.path)!r}, 'w')",))


ATTACKS = [Attack, ShellAttack, EvalAttack]


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attacks_are_real(tmp_path, attack):
    torch.save({"module": attack(tmp_path / "owned")}, tmp_path / "f.pt")
    torch.load(tmp_path / "f.pt", weights_only=False)
    assert (tmp_path / "owned").exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_file_is_refused_and_executes_nothing(tmp_path, attack, zipped):
    path = tmp_path / "f.pt"
    content = {"module": {"w": torch.zeros(2)}, "client_state": attack(tmp_path / "owned")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"f\.pt: (refers to code|not only tensors)"):
        load_plain(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_refused_and_executes_nothing(tmp_path, protocol):
    path = tmp_path / "f.pt"
    path.write_bytes(pickle.dumps({"module": ShellAttack(tmp_path / "owned")}, protocol))
    with pytest.raises(CheckpointError, match=r"f\.pt: "):
        load_plain(path)
    assert not (tmp_path / "owned").exists()


def test_a_malicious_checkpoint_is_refused_through_the_door(saved, tmp_path):
    directory = saved("official")
    path = directory / "mp_rank_00_model_states.pt"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"extra": ShellAttack(tmp_path / "owned")}, path)
    with pytest.raises(CheckpointError, match=r"refers to code \(posix\.system\)"):
        load_model(read_checkpoint(directory))
    assert not (tmp_path / "owned").exists()


def test_objects_of_training_frameworks_are_replaced_without_importing_them(tmp_path):
    module = types.ModuleType("deepspeed.scaler")
    made = []

    class Scaler:
        def __init__(self):
            self.value = 3

        def __setstate__(self, state):
            made.append(state)

    Scaler.__module__, Scaler.__qualname__ = "deepspeed.scaler", "Scaler"
    module.Scaler = Scaler
    sys.modules["deepspeed"] = sys.modules["deepspeed.scaler"] = module
    try:
        content = {"module": {"w": torch.arange(3)}, "optimizer": Scaler()}
        torch.save(content | {"args": argparse.Namespace(lr=1e-5)}, tmp_path / "f.pt")
    finally:
        del sys.modules["deepspeed"], sys.modules["deepspeed.scaler"]
    loaded = load_plain(tmp_path / "f.pt")
    assert loaded["module"]["w"].tolist() == [0, 1, 2]
    assert not isinstance(loaded["optimizer"], Scaler)
    assert not isinstance(loaded["args"], argparse.Namespace)
    assert made == []
    assert "deepspeed.scaler" not in sys.modules


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(saved, share):
    directory = saved("official")
    path = directory / "mp_rank_00_model_states.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"model_states\.pt: (damaged|not only)"):
        load_model(read_checkpoint(directory))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "expected a dict, got list"),
        ({"weights": {}}, "no weights under 'module'; found weights"),
        ({"module": {"w": 3}}, "module: not a tensor: w"),
        ({"module": {"w": torch.zeros(1)}}, "missing tensors: .*; 1 surplus tensors: w"),
    ],
)
def test_a_file_with_something_else_is_named(saved, content, message):
    directory = saved("official")
    torch.save(content, directory / "mp_rank_00_model_states.pt")
    with pytest.raises(CheckpointError, match=message):
        load_model(read_checkpoint(directory))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "action_head.norm_out.bias",
            r"action_head\.norm_out\.bias is not finite at flat index 1",
        ),
        (
            "embedder.model.vision_model.encoder.layers.0.attn.qkv.bias",
            r"qkv\.bias \(rows of q\) is not finite at flat index 1",
        ),
    ],
)
def test_a_weight_that_is_not_finite_is_named(saved, name, message):
    directory = saved("official")
    path = directory / "mp_rank_00_model_states.pt"
    content = torch.load(path, weights_only=True)
    content["module"][name][1] = float("nan")
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load_model(read_checkpoint(directory))
