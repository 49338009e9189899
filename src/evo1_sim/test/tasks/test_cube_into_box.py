import numpy as np
import pytest

from evo1_sim.world import World


@pytest.mark.parametrize(
    ("offset", "success"),
    [
        ((0.0, 0.0, 0.017), True),
        ((0.03, -0.03, 0.017), True),
        ((0.09, 0.0, 0.0125), False),
    ],
)
def test_only_a_cube_within_the_walls_is_success(offset, success):
    world = World("so100", seed=2)
    world.cell.place("cube", world.cell.position("box") + np.array(offset))
    world.step(500_000_000)
    assert world.task_status().success == success


def test_a_cube_on_the_rim_is_no_success():
    world = World("so100", seed=2)
    world.cell.place("cube", world.cell.position("box") + np.array((0.052, 0, 0.0526)))
    world.step(10_000_000)
    assert not world.task_status().success
