"""What LeRobot writes, ours reads as LeRobot itself does; where lerobot can be run."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "write_with_lerobot.py"


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("variable", ["EVO1_LEROBOT21_PYTHON", "EVO1_LEROBOT30_PYTHON"])
def test_lerobots_own_dataset_gives_lerobots_own_samples(tmp_path, open_samples, variable, kind):
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter with lerobot")
    root, out = tmp_path / "dataset", tmp_path / "read.npz"
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH")
    }
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [python, str(SCRIPT), str(root), str(out), kind]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    theirs = np.load(out)
    samples = open_samples(root, horizon=4)
    assert len(samples) == len(theirs["state"]) == 15
    for row, sample in enumerate(samples):
        assert (sample.state == theirs["state"][row]).all()
        assert (sample.actions == theirs["action"][row]).all()
        assert (sample.action_mask == ~theirs["pad"][row]).all()
        assert sample.instruction == theirs["task"][row]
        difference = sample.images.astype(int) - theirs["images"][row]
        # Two builds of FFmpeg round colours apart by a level or two.
        assert np.abs(difference).max() <= (2 if kind == "video" else 0)
