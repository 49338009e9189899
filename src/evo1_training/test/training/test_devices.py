"""Training on two processes, by DDP and by FSDP, over gloo on the CPU.

The pair of DDP is stopped by a signal to its second process, and goes on.
"""

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

RUNS = ("ddp/single", "fsdp/single")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dataset):
    """The folder of what two pairs of processes trained, three steps each, with a measurement."""
    folder = tmp_path_factory.mktemp("runs")
    ranks = [rank for run in RUNS for rank in two_ranks(folder, dataset, *run.split("/"))]
    try:
        said = [rank.communicate(timeout=500)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * len(ranks), "\n".join(said)
    assert "a signal to another process: saving step 2; killed before that is done" in said[0]
    assert "rank 1: SIGTERM" in said[1]
    return folder


def two_ranks(folder, dataset, kind, stage):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    script = Path(__file__).parent / "rank.py"
    return [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), str(dataset), kind, stage],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_train_measure_and_save_one_policy(runs, run):
    folder = RunFolder(runs / run)
    assert [saved.step for saved in folder.saved()] == [2, 3]
    optimizer = torch.load(folder.newest().trainer / "optimizer.pt", weights_only=True)
    policy = load_file(folder.newest().policy / "model.safetensors")
    known = {
        name.removeprefix("model."): state
        for name, state in optimizer["state"].items()
        if not name.startswith("milestones.")
    }
    assert "action_head.seq_pool_proj.weight" in known
    for name, state in known.items():
        assert state["exp_avg"].shape == policy[name].shape, name
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in lines} == {1, 2, 3}


def test_sharded_and_whole_weights_learn_the_same(runs):
    losses = [
        [
            json.loads(line).get("loss")
            for line in (runs / kind / "single" / "metrics.jsonl").read_text().splitlines()
        ]
        for kind in ("ddp", "fsdp")
    ]
    found = [[loss for loss in kind if loss is not None] for kind in losses]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
