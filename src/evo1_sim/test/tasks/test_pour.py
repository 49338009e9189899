import mujoco
import numpy as np
import pytest

from evo1_sim.world import World


@pytest.fixture(scope="module")
def world():
    return World("xarm6", task="pour", seed=2)


def spread(world, *, box, table):
    """Put so many balls into the box and onto the table; the others are in the cup."""
    world.reset(seed=2)
    cell = world.cell
    for k, ball in enumerate(world.task.contents):
        if k < box:
            cell.move(ball, cell.position("box") + np.array((0.08, 0.0, 0.02)))
        elif k < box + table:
            cell.move(ball, cell.position("box") + np.array((0.10, 0.0, 0.02)))
    return world.task_status()


def test_more_than_half_in_the_box_and_a_tenth_on_the_table_is_success(world):
    assert spread(world, box=21, table=4).success


@pytest.mark.parametrize(
    ("box", "table", "says"),
    [
        (20, 4, "20 of 40 foam balls are in the box, not most"),
        (21, 5, "5 foam balls lie outside"),
        (0, 0, "0 of 40 foam balls are in the box, not most"),
    ],
)
def test_half_in_the_box_or_more_than_a_tenth_beside_it_is_none(world, box, table, says):
    result = spread(world, box=box, table=table)
    assert (result.success, result.detail) == (False, says)


def test_a_ball_above_the_rim_is_not_in_the_box_and_one_at_the_rim_is(world):
    spread(world, box=40, table=0)
    for height, poured in ((0.114, 40), (0.116, 39)):
        world.cell.move("foam0", world.cell.position("box") + np.array((0.0, 0.0, height)))
        mujoco.mj_kinematics(world.model, world.data)
        balls = np.array([world.cell.position(name) for name in world.task.contents])
        assert world.task.box.around(balls, world.cell).sum() == poured


def test_foam_that_still_moves_and_a_cup_on_its_side_are_named(world):
    spread(world, box=30, table=0)
    ball = world.model.body_dofadr[world.model.body("foam3").id]
    world.data.qvel[ball] = 0.04
    cup = world.model.jnt_qposadr[world.model.body_jntadr[world.model.body("cup").id]]
    world.data.qpos[cup + 3 : cup + 7] = (np.cos(0.3), np.sin(0.3), 0, 0)
    detail = world.task_status().detail
    assert "foam still moves" in detail
    assert "the cup is not upright" in detail


def test_a_full_cup_is_cheap_enough_for_real_time_on_one_core(world):
    world.reset(seed=2)
    world.step(100_000_000)
    assert world.model.nv - 3 * 40 < 40  # a ball has three joints: nobody sees it turn
    assert world.data.nefc < 600  # rows that the solver handles; 957 took a core and more


def test_the_foam_stays_in_a_cup_that_a_disturbance_has_moved(world):
    raised = World("xarm6", task="pour", seed=2, disturbance="up30")
    for name in ("cup", *raised.task.contents):
        world.reset(seed=2)
        shift = raised.cell.position(name) - world.cell.position(name)
        np.testing.assert_allclose(shift, (0, 0, 0.03), atol=1e-9)
