"""LIBERO's scenes, pictures and numbers are those of the authors' client; a task can be done."""

import json
from pathlib import Path

import numpy as np
import pytest

from evo1_training.suites.simulation import Simulation
from evo1_training.suites.suite import SUITES, tasks_of

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("installed")]
OPEN, CLOSED = 1.0, 0.0  # the last number of an action
VIEWS = json.loads((Path(__file__).parent / "authors_views.json").read_text())


@pytest.fixture(scope="module")
def simulation(installed):
    simulation = Simulation("libero")
    assert simulation.call("open", "libero_object", 0, 42) == 50
    yield simulation
    simulation.close()


def test_what_is_seen_is_what_the_authors_client_sees(simulation):
    seen = simulation.call("reset", 1)
    for chunk in range(2):
        theirs = VIEWS[f"libero_object/0/1/{chunk}"]
        np.testing.assert_allclose(seen["state"], theirs["state"], atol=1e-6)
        for ours, other in zip(seen["pictures"], theirs["pictures"], strict=True):
            shown = ours.reshape(7, 64, 7, 64, 3).mean(axis=(1, 3))
            np.testing.assert_allclose(shown, other, atol=3)
        actions = np.random.default_rng(100 + chunk).uniform(-1.0, 1.0, (50, 24))
        if chunk == 0:
            seen = simulation.call("step", actions[:14, :7])


def test_a_scripted_hand_does_a_task_and_the_suite_says_so(simulation):
    seen = simulation.call("reset", 0)
    soup, basket = (-0.119, -0.240), (0.015, 0.252)  # of the first initial state [m]
    course = ((*soup, 0.2, OPEN), (*soup, 0.03, OPEN), (*soup, 0.03, CLOSED), (*soup, 0.3, CLOSED))
    course += ((*basket, 0.3, CLOSED), (*basket, 0.3, OPEN))
    for *place, gripper in course:
        assert not seen["success"]
        seen = _move(simulation, seen, np.array(place), gripper)
    assert seen["success"]


def _move(simulation, seen, place, gripper):
    """Towards a place (3,) [m] until the hand and the gripper rest, five steps a time."""
    for _ in range(16):
        before, action = seen["state"], np.zeros(7)
        action[:3] = np.clip((place - before[:3]) / 0.1, -1.0, 1.0)
        action[6] = gripper
        seen = simulation.call("step", np.tile(action, (5, 1)))
        moved = np.abs(seen["state"] - before)
        if seen["over"] or max(moved[:3]) < 2e-3 > max(moved[6:]):
            break
    return seen


def test_the_tasks_say_their_words():
    tasks = tasks_of(SUITES["libero_object"])
    assert len(tasks) == 10
    assert tasks[0].words == "pick up the alphabet soup and place it in the basket"
    assert {task.group for task in tasks} == {"libero_object"}
