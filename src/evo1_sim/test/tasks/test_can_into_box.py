import numpy as np
import pytest

from evo1_sim.experts import STEP_NS, Expert
from evo1_sim.world import World


@pytest.fixture
def world():
    return World("xarm6", seed=5)


def put_can(world, offset, settle_ns=500_000_000):
    world.cell.place("can", world.cell.position("box") + np.array(offset))
    world.step(settle_ns)
    return world.task_status()


def test_a_can_that_stands_in_the_box_at_rest_is_success(world):
    result = put_can(world, (0.02, -0.01, 0.056))
    assert result.success
    assert result.detail == "solved and at rest"


def test_a_can_that_falls_into_the_box_is_success_only_once_it_rests(world):
    falling = put_can(world, (0, 0, 0.10), settle_ns=80_000_000)
    assert not falling.success
    assert "moves" in falling.detail
    world.step(10**9)
    assert world.task_status().success


def test_a_can_on_the_rim_is_no_success(world):
    wall = 0.085 + 0.0025
    result = put_can(world, (wall, 0, 0.115 + 0.0501), settle_ns=20_000_000)
    assert not result.success
    assert "not within the walls" in result.detail


def test_a_can_on_the_table_is_no_success(world):
    result = world.task_status()
    assert not result.success
    assert result.detail == "the can is not within the walls of the box"


def test_a_can_held_in_the_box_is_no_success(world):
    plan = Expert(world).plan()
    held = []
    for action in plan:
        world.move(action, STEP_NS)
        result = world.task_status()
        held.append("still holds" in result.detail)
        assert not (held[-1] and result.success)
    assert np.sum(held) > 80
    assert result.success


def test_an_overturned_box_is_no_success(world):
    world.cell.place("can", world.cell.position("box") + np.array((0, 0, 0.4)))
    start = world.model.jnt_qposadr[world.model.body_jntadr[world.model.body("box").id]]
    world.data.qpos[start + 3 : start + 7] = (0, 1, 0, 0)
    assert "tipped over" in world.task_status().detail
