"""The real LeRobot clients load what we write; they live in venvs of their own.

scripts/setup_lerobot.sh makes the venvs; EVO1_LEROBOT21_PYTHON and EVO1_LEROBOT30_PYTHON name
their interpreters.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_episodes import encoded, joints, picture, schema

from evo1_training.datasets.lerobot.writing import open_dataset

READER = Path(__file__).parent / "read_with_lerobot.py"
CLIENTS = {"v2.1": "EVO1_LEROBOT21_PYTHON", "v3.0": "EVO1_LEROBOT30_PYTHON"}
LENGTHS, TASKS = (12, 7, 9), ("put the can into the box", "pour", "put the can into the box")


def client(version):
    python = os.environ.get(CLIENTS[version])
    if not python:
        pytest.skip(f"{CLIENTS[version]} is not set; scripts/setup_lerobot.sh makes its venv")
    return python


def write(tmp_path, version, storage):
    root = tmp_path / "made"
    writer = open_dataset(root, schema(storage), version=version, append=False)
    for episode, (length, task) in enumerate(zip(LENGTHS, TASKS, strict=True)):
        item = encoded(tmp_path / "work", episode, length, task=task, storage=storage)
        writer.add(item)
    writer.close()
    return root


def run(command, folder):
    leaking = ("PYTHONPATH", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH")
    environment = {key: value for key, value in os.environ.items() if key not in leaking}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def load(python, root, folder):
    out = folder / "found.npz"
    run([python, READER, root, out], folder)
    with np.load(out) as found:
        return dict(found)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("storage", ["h264", "av1", "png"])
def test_lerobot_returns_what_was_recorded(tmp_path, version, storage):
    python = client(version)
    root = write(tmp_path, version, storage)
    found = load(python, root, tmp_path)
    assert found["episodes"] == 3
    assert found["fps"] == 30
    row = 0
    for episode, length in enumerate(LENGTHS):
        for index in range(length):
            check_row(found, row, episode, index, storage)
            row += 1
    assert len(found["index"]) == row
    stats = json.loads(str(found["stats"]))
    states = np.concatenate([[joints(e, i) for i in range(n)] for e, n in enumerate(LENGTHS)])
    np.testing.assert_allclose(stats["observation.state"]["mean"], states.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["observation.state"]["std"], states.std(0), atol=1e-6)
    assert np.shape(stats["observation.images.image_1"]["mean"]) == (3, 1, 1)


def check_row(found, row, episode, index, storage):
    length = LENGTHS[episode]
    np.testing.assert_allclose(found["observation.state"][row], joints(episode, index), atol=1e-6)
    last = length - 1
    actions = [joints(episode, min(index + k, last) + 1) for k in range(5)]
    np.testing.assert_allclose(found["action"][row], actions, atol=1e-6)
    assert found["action_is_pad"][row].tolist() == [index + k > last for k in range(5)]
    assert found["tasks"][row] == TASKS[episode]
    assert found["timestamp"][row] == np.float32(index / 30)
    assert (found["episode_index"][row], found["frame_index"][row]) == (episode, index)
    assert found["evo1.held"][row] == (index == 3)
    for camera, key in enumerate(("image_1", "image_2")):
        image = found[f"observation.images.{key}"][row].transpose(1, 2, 0) * 255.0
        expected = picture(episode, index, camera).astype(float)
        error = np.mean((image - expected) ** 2)
        assert error < (0.01 if storage == "png" else 26)  # 26: 34 dB


def test_lerobot_converts_our_v21_to_v30(tmp_path):
    python = client("v3.0")
    root = write(tmp_path, "v2.1", "h264")
    code = (
        "import sys, torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "for operator in ('nms', 'qnms'):\n"
        "    library.define(operator + '(Tensor a, Tensor b, float c) -> Tensor')\n"
        "from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset\n"
        "convert_dataset('made', root=sys.argv[1], push_to_hub=False)\n"
    )
    run([python, "-c", code, root.parent], tmp_path)
    found = load(python, root, tmp_path)
    assert json.loads((root / "meta/info.json").read_text())["codebase_version"] == "v3.0"
    for row, (episode, index) in enumerate(
        (e, i) for e, n in enumerate(LENGTHS) for i in range(n)
    ):
        check_row(found, row, episode, index, "h264")
