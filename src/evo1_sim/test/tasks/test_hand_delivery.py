import mujoco
import numpy as np
import pytest

from evo1_sim.tasks.hand_delivery import HandMotion
from evo1_sim.world import World


@pytest.fixture
def world():
    return World("xarm6", task="hand_delivery", seed=3)


def give(world, offset):
    """Put the can's middle at `offset` (3,) [m] from the palm; return what is missing."""
    world.cell.place("can", world.cell.position("hand") + np.array(offset))
    mujoco.mj_forward(world.model, world.data)
    return world.task.missing(world.cell)


@pytest.mark.parametrize(
    ("offset", "missing"),
    [
        ((0.0, 0.0, 0.05), ()),
        ((0.0, -0.019, 0.05), ()),
        ((0.0, -0.021, 0.05), ("the can is not in the hand",)),
        ((0.0, 0.0, 0.059), ()),
        ((0.0, 0.0, 0.061), ("the can does not rest on the palm",)),
    ],
)
def test_the_can_has_to_stand_in_the_palm(world, offset, missing):
    assert give(world, offset) == missing


@pytest.mark.parametrize(
    ("speed", "missing"), [(0.02, ()), (0.04, ("the can still moves in the hand",))]
)
def test_a_can_that_moves_with_the_hand_is_at_rest_in_it(world, speed, missing):
    give(world, (0, 0, 0.05))
    for name, velocity in (("hand", 0.2), ("can", 0.2 + speed)):
        start = world.model.body_dofadr[world.model.body(name).id]
        world.data.qvel[start] = velocity
    assert world.task.missing(world.cell) == missing


def test_a_hand_that_was_pressed_hard_once_is_no_success(world):
    give(world, (0, 0, 0.05))
    world.cell.course.strongest_n = 29.0
    assert world.task.missing(world.cell) == ()
    world.cell.course.strongest_n = 31.0
    assert world.task.missing(world.cell) == ("the hand was pressed with 31 N",)


def test_the_trembling_hand_holds_the_can_while_it_drifts_and_after_a_second_that_counts(world):
    give(world, (0, 0, 0.051))
    world.step(800_000_000)
    assert world.task_status().detail.endswith(" of 1 s")
    course = world.cell.course
    world.step(round((course.motion.begin_s + course.motion.drift_s + 1.3) * 1e9))
    assert world.task_status().success, world.task_status().detail
    moved = world.cell.position("hand") - course.motion.start
    np.testing.assert_allclose(moved, course.motion.drift, atol=0.006)


def test_looking_at_the_task_changes_neither_the_hand_nor_what_it_felt(world):
    felt = []
    for polled in (False, True):
        world.reset(seed=5)
        give(world, (0, 0, 0.06))
        for _ in range(20):
            world.step(10_000_000)
            if polled:
                world.task_status()
        felt.append((world.cell.course.strongest_n, *world.data.qpos))
    assert felt[0] == felt[1]
    assert felt[0][0] > 1.0


def test_the_hand_moves_by_its_seed_trembles_4_mm_and_never_drifts_towards_the_can():
    times = np.arange(0, 8, 0.01)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        can = rng.uniform((0.33, -0.27), (0.53, -0.07))
        motion = HandMotion.draw(rng, can)
        places = np.array([motion.at(t) for t in times])
        before = places[times < motion.begin_s]
        assert np.linalg.norm(before - motion.start, axis=1).max() <= 0.004
        assert motion.drift[:2] @ (motion.start[:2] - can) >= 0
        assert 1.875 * np.linalg.norm(motion.drift[:2]) / motion.drift_s <= 0.3 + 1e-9
