"""Meta-World's scenes, pictures and numbers are those of the authors' client; a policy is scored.

authors_views.json was written by the functions of their client, on MuJoCo 3.3.0 with Mesa's
software renderer; there the pictures were ours bit for bit.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from evo1_training.cli.evaluate import main
from evo1_training.suites.simulation import Simulation

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("installed")]
VIEWS = json.loads((Path(__file__).parent / "authors_views.json").read_text())


@pytest.fixture(scope="module")
def simulation(installed):
    simulation = Simulation("metaworld")
    simulation.call("prepare", 4042)
    yield simulation
    simulation.close()


def actions(seed, width):
    """A chunk of random actions, some of them beyond the limits."""
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (50, 24)).astype(np.float32)[:, :width]


def coarse(picture):
    """(7, 7, 3): what is where, whichever way the GL driver rounds."""
    return picture.reshape(7, 64, 7, 64, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("place", [4, 30])
def test_what_is_seen_is_what_the_authors_client_sees(simulation, place):
    simulation.call("open", place, 4042, "full")
    for episode in range(2):
        seen = simulation.call("reset", 4042 + episode)
        for chunk in range(2):
            theirs = VIEWS[f"metaworld/{place}/{episode}/{chunk}"]
            assert seen["state"].dtype == np.float32
            np.testing.assert_allclose(seen["state"], theirs["state"], atol=1e-6)
            np.testing.assert_allclose(coarse(seen["pictures"][0]), theirs["picture"], atol=3)
            seen = simulation.call("step", actions(100 * episode + chunk, 4)[:15])
        assert (seen["steps"], seen["over"]) == (30, False)


def test_light_pictures_show_the_same_with_coarser_shadows(simulation):
    pictures = []
    for rendering in ("full", "light"):
        simulation.call("open", 4, 4042, rendering)
        pictures.append(simulation.call("reset", 4042)["pictures"][0].astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() < 2.0


def test_an_episode_ends_after_400_steps(simulation):
    simulation.call("open", 43, 4042, "light")
    simulation.call("reset", 4042)
    seen = simulation.call("step", np.zeros((500, 4), np.float32))
    assert (seen["steps"], seen["success"], seen["over"]) == (400, False, True)


def test_a_script_demonstrates(simulation):
    shown = simulation.call("demonstrate", 24, 7, True, 32, "light")
    count = len(shown["states"])
    assert 10 < count < 400
    assert shown["pictures"].shape == (count, 32, 32, 3)
    assert shown["actions"].shape == (count, 4)
    assert np.abs(shown["actions"]).max() == 1.0


def test_a_policy_is_scored_with_report_and_numbers(tmp_path, capsys, ignorant):
    arguments = [str(ignorant), "--suite", "metaworld", "--tasks", "reach", "--episodes", "1"]
    arguments += ["--workers", "1", "--device", "cpu", "--rendering", "light"]
    assert main([*arguments, "--report", str(tmp_path), "--videos", "all"]) == 0
    said = capsys.readouterr().out
    assert "easy                     0/1   0.0%  0.0% to 79.3%    89.2 %" in said
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert (data["suite"], data["seed"], data["colour"]) == ("metaworld", 4042, "rgb")
    trial = data["trials"][0]
    assert (trial["detail"], trial["chunks"]) == ("400 steps", 27)
    assert trial["instruction"] == "Reach a goal position"
    assert (tmp_path / trial["video"]).is_file()
    assert "reach" in (tmp_path / "index.html").read_text()
