import numpy as np
import pytest

from evo1_sim.tasks.coloured_can_into_box import APART
from evo1_sim.world import World


def inside(world, can):
    """Drop a can into the box."""
    world.cell.place(can, world.cell.position("box") + np.array((0, 0, 0.07)))
    world.step(10**9)


@pytest.fixture
def world():
    return World("xarm6", task="blue_can_into_box", seed=1)


def test_the_can_that_was_named_in_the_box_is_success(world):
    inside(world, "blue_can")
    assert world.task_status().success
    assert "blue can" in world.task.instruction


def test_the_other_can_in_the_box_is_no_success_whatever_the_named_one_does(world):
    inside(world, "red_can")
    result = world.task_status()
    assert not result.success
    assert "the red_can is in the box" in result.detail


def test_a_seed_gives_the_same_scene_for_both_colours(world):
    other = World("xarm6", task="red_can_into_box", seed=1)
    for body in ("red_can", "blue_can", "box"):
        np.testing.assert_array_equal(other.cell.position(body), world.cell.position(body))
    assert other.task.instruction != world.task.instruction


def test_the_cans_stand_apart_in_every_scene(world):
    for seed in range(50):
        world.reset(seed=seed)
        gap = world.cell.position("red_can") - world.cell.position("blue_can")
        assert np.hypot(gap[0], gap[1]) >= APART
