"""Meta-World's scripts give a dataset that training takes; what was begun is gone on with."""

import json

import pytest

from evo1_training.cli.rehearse import main
from evo1_training.datasets.lerobot.encoding import load_encoded

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("installed")]


def test_demonstrations_become_a_dataset_and_are_gone_on_with(tmp_path, capsys):
    root = tmp_path / "data"
    asked = ["--suite", "metaworld", "--tasks", "24,6", "--side", "32", "--workers", "1"]
    begun = [*asked, "--root", str(root), "--episodes"]
    blocked = root / ".work" / "24-00000"
    root.mkdir()
    (root / ".work").mkdir()
    blocked.write_text("in the way")  # the second task of the two: the first one stays
    choices = {"tasks": ["button-press", "handle-press"], "episodes": 1, "seed": 0}
    choices |= {"rough": True, "side": 32, "rendering": "light"}
    (root / ".work" / "rehearsal.json").write_text(json.dumps(choices))
    assert main([*begun, "1"]) == 1
    assert load_encoded(root / ".work" / "06-00000").instruction == "Press a button"
    assert main([*begun, "2"]) == 1
    assert "an unfinished rehearsal with episodes 1, now 2" in capsys.readouterr().err
    blocked.unlink()
    assert main([*begun, "1"]) == 0
    assert "2 demonstrations in the dataset" in capsys.readouterr().out
    info = json.loads((root / "meta" / "info.json").read_text())
    assert (info["fps"], info["total_episodes"], info["total_tasks"]) == (80, 2, 2)
    assert info["features"]["action"]["names"] == ["x", "y", "z", "gripper"]
    assert info["features"]["observation.state"]["shape"] == [8]
    assert (root / "meta" / "evo1" / "interface.yaml").is_file()
    assert not (root / ".work").exists()
    assert main([*begun, "1"]) == 1
    assert "holds a dataset already" in capsys.readouterr().err
