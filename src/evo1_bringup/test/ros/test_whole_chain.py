"""From the first demonstration to the deployed policy, by the commands that people type.

Sizes and steps are the smallest that go through every part; nothing here learns a task.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.gl]

SMALL = [
    "model.vision.image_size=32",
    "model.vision.patch_size=8",
    "model.language.layers=1",
    "batch_size=4",
    "data.workers=0",
    "data.holdout=0.5",
    "watching.plots=false",
    "watching.tensorboard=false",
    "watching.open_loop_frames=4",
    "device=cpu",
]


def run(module, *arguments, timeout=240):
    """Run a command of the workspace; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, f"{module}: {done.stderr[-2000:]}\n{done.stdout[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def short_seeds():
    """Seeds whose demonstrations take the least time."""
    from evo1_sim.rehearsals import plan_rehearsal
    from evo1_sim.world import World

    world = World("xarm6")
    lengths = {
        seed: plan_rehearsal(world, "can_into_box", seed).demonstration.duration_s
        for seed in range(12)
    }
    return sorted(lengths, key=lambda seed: lengths[seed])[:2]


@pytest.fixture(scope="module")
def policy(tmp_path_factory, robots_dir, short_seeds):
    """A policy that went through recording, conversion and both stages."""
    root: Path = tmp_path_factory.mktemp("chain")
    for seed in short_seeds:
        run(
            "evo1_training.cli.rehearse",
            *("--robot", robots_dir / "xarm6.yaml", "--episodes", 1, "--seed", seed),
            *("--root", root / "bags", "--width", 64, "--height", 48),
        )
    dataset = root / "data" / "can"
    run("evo1_training.cli.convert", root / "bags", "--to", dataset, "--workers", 1)
    run("evo1_training.cli.check_dataset", dataset)
    common = ["--name", "chain", "--dataset", dataset, "--runs", root / "runs", *SMALL]
    common.append(f"data.cache_dir={root / 'frames'}")
    for stage in ("1", "2"):
        run("evo1_training.cli.train", "--stage", stage, *common, "steps=3", "warmup_steps=1")
    return root / "runs" / "chain" / "stage2" / "best"


def test_what_was_trained_is_a_policy_that_can_be_evaluated(policy, tmp_path):
    out = tmp_path / "evaluation.json"
    run(
        "evo1_training.cli.evaluate",
        *("--checkpoint", policy, "--trials", 1, "--limit-s", 1, "--workers", 1, "--json", out),
    )
    data = json.loads(out.read_text())
    assert data["robot"] == "xarm6"
    assert data["trials"][0]["chunks"] >= 1


def test_what_was_trained_runs_in_the_system_and_moves_the_arm(policy, tmp_path):
    out = tmp_path / "demo"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "evo1_bringup.demo", "--seconds", "5", "--out", str(out)),
            *(f"checkpoint:={policy}", "camera_width:=64", "camera_height:=48"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    summary = json.loads((out / "summary.json").read_text())
    assert summary.get("chunks", 0) > 3, done.stdout[-2000:]
    assert summary["largest_motion_rad"] > 0.001, summary
    assert summary["seam_position_jump_rad_max"] <= 1e-6
