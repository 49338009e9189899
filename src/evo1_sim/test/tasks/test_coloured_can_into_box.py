import numpy as np
import pytest

from evo1_sim.experts import STEP_NS, Expert
from evo1_sim.tasks.pick_and_place import APART
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


@pytest.mark.parametrize("colour", ["red", "blue"])
def test_the_can_that_the_arm_lifts_is_told_by_name(colour):
    world = World("xarm6", task=f"{colour}_can_into_box", seed=1)
    lifted = [world.lifted()]
    for targets in Expert(world).actions():
        world.move(targets, STEP_NS)
        lifted.append(world.lifted())
    seen = list(dict.fromkeys(lifted))  # in the order of their first time
    assert seen == ["", f"{colour}_can"]


def test_a_can_in_the_air_that_nobody_holds_is_not_lifted(world):
    world.cell.place("red_can", (0.4, -0.2, 0.3))
    world.task_status()
    assert world.lifted() == ""
