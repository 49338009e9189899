import numpy as np

from evo1_sim.world import World


def test_a_can_that_stands_on_the_other_is_success_after_two_seconds():
    world = World("xarm6", task="can_stacking", seed=1)
    world.cell.place("can", world.cell.position("base_can") + np.array((0.005, 0, 0.1)))
    world.step(1_900_000_000)
    result = world.task_status()
    assert not result.success
    assert result.detail.startswith("solved for 1.")
    assert result.detail.endswith(" of 2 s")
    world.step(300_000_000)
    assert world.task_status().success


def test_a_can_that_topples_within_the_two_seconds_begins_anew():
    world = World("xarm6", task="can_stacking", seed=1)
    on_top = world.cell.position("base_can") + np.array((0.005, 0, 0.1))
    world.cell.place("can", on_top)
    world.step(1_900_000_000)
    world.cell.place("can", on_top + np.array((0, 0, 0.02)))
    world.step(500_000_000)
    result = world.task_status()
    assert not result.success
    assert result.detail.startswith("solved for 0.")


def test_a_can_beside_the_other_is_no_success():
    world = World("xarm6", task="can_stacking", seed=1)
    world.cell.place("can", world.cell.position("base_can") + np.array((0.06, 0, 0)))
    world.step(10**9)
    result = world.task_status()
    assert not result.success
    assert "not above" in result.detail


def test_a_fallen_base_can_is_named():
    world = World("xarm6", task="can_stacking", seed=1)
    start = world.model.jnt_qposadr[world.model.body_jntadr[world.model.body("base_can").id]]
    world.data.qpos[start + 3 : start + 7] = (np.sqrt(0.5), np.sqrt(0.5), 0, 0)
    assert "has fallen over" in world.task_status().detail
