"""Training on two processes, by DDP and by FSDP, over gloo on the CPU."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evo1_training.training.run_folder import RunFolder

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "InternVLVisionLayer,Qwen2DecoderLayer,ActionBlock",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


def train_on_two(kind, stage, runs, dataset):
    """Run two ranks to their end; returns what they said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        **(FSDP if kind == "fsdp" else {}),
    }
    command = [sys.executable, str(Path(__file__).parent / "rank.py"), kind, stage, runs, dataset]
    ranks = [
        subprocess.Popen(
            [str(part) for part in command],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=500)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)


# Three steps with a measurement and a save after it: what FSDP failed at, in both stages.
@pytest.mark.parametrize(
    ("kind", "stage"), [("fsdp", "stage1"), ("fsdp", "single"), ("ddp", "single")]
)
def test_two_processes_train_and_save_one_policy(kind, stage, tmp_path, dataset):
    train_on_two(kind, stage, tmp_path / "runs", dataset)
    folder = RunFolder(tmp_path / "runs" / "sway" / stage)
    assert [saved.step for saved in folder.saved()] == [2, 3]
    optimizer = torch.load(folder.newest().trainer / "optimizer.pt", weights_only=True)
    policy = load_file(folder.newest().policy / "model.safetensors")
    known = {name.removeprefix("model.") for name in optimizer["state"]}
    assert "action_head.seq_pool_proj.weight" in known
    for name in known & set(policy):
        state = optimizer["state"].get(f"model.{name}") or optimizer["state"][name]
        assert state["exp_avg"].shape == policy[name].shape, name
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in lines} == {1, 2, 3}
