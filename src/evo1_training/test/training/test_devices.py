"""Training on two processes, by DDP and by FSDP, over gloo on the CPU.

The pair of DDP is stopped by a signal to its second process, and goes on.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evo1_training.training.run_folder import RunFolder

RUNS = ("ddp/single", "fsdp/single")
RANK = Path(__file__).parent / "rank.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dataset):
    """The folder of what two pairs of processes trained, three steps each, with a measurement."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, str(RANK), str(folder), str(dataset)]
    with subprocess.Popen(command, start_new_session=True) as ranks:
        try:
            status = ranks.wait(timeout=500)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(ranks.pid, signal.SIGKILL)
    said = {path.stem: path.read_text() for path in sorted(folder.glob("*.txt"))}
    assert status == 0, said
    assert (
        "a signal to another process: saving step 2; killed before that is done" in said["ddp_0"]
    )
    assert "rank 1: SIGTERM" in said["ddp_1"]
    return folder


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
