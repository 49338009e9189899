import numpy as np
import pytest

from evo1_sim.experts import STEP_NS, Expert
from evo1_sim.tasks import DISTURBANCES, TASKS
from evo1_sim.world import World, WorldError

ARM_TASKS = [(arm, task.name) for arm, tasks in TASKS.items() for task in tasks]


def start_state(arm, task, disturbance, seed=3):
    world = World(arm, task=task, seed=seed, disturbance=disturbance)
    names = (world.task.target, world.task.goal)
    return world, {name: world.cell.position(name) for name in names}


@pytest.mark.parametrize(("arm", "task"), ARM_TASKS)
@pytest.mark.parametrize(("name", "height"), [("up10", 0.01), ("up20", 0.02), ("up30", 0.03)])
def test_a_raised_target_stands_above_its_place_and_stays_there(arm, task, name, height):
    _, base = start_state(arm, task, "none")
    world, raised = start_state(arm, task, name)
    target, goal = world.task.target, world.task.goal
    np.testing.assert_allclose(raised[target] - base[target], (0, 0, height), atol=1e-9)
    np.testing.assert_array_equal(raised[goal], base[goal])
    world.step(300_000_000)
    np.testing.assert_allclose(world.cell.position(target), raised[target], atol=1e-3)


@pytest.mark.parametrize(("arm", "task"), ARM_TASKS)
def test_a_target_moved_back_is_behind_every_place_of_a_demonstration(arm, task):
    for name, distance in (("back10", 0.01), ("back20", 0.02), ("back30", 0.03)):
        world, moved = start_state(arm, task, name)
        _, base = start_state(arm, task, "none")
        target = world.task.target
        far_edge = world.task.target_area[1][0]
        assert moved[target][0] == pytest.approx(far_edge + distance)
        np.testing.assert_array_equal(moved[target][1:], base[target][1:])


@pytest.mark.parametrize(("arm", "task"), ARM_TASKS)
def test_the_bottle_stands_clear_and_differs_with_the_seed(arm, task):
    places = set()
    for seed in range(6):
        world, there = start_state(arm, task, "distractor", seed)
        _, base = start_state(arm, task, "none", seed)
        for name, position in base.items():
            np.testing.assert_array_equal(there[name], position)
        bottle = world.cell.position("bottle")
        assert np.linalg.norm((bottle - there[world.task.target])[:2]) > 0.13
        assert np.linalg.norm((bottle - there[world.task.goal])[:2]) > 0.17
        places.add(tuple(bottle))
    assert len(places) == 6


def test_the_tablecloth_changes_nothing_but_the_tables_colour():
    plain, cloth = World("xarm6", seed=4), World("xarm6", seed=4, disturbance="background")
    np.testing.assert_array_equal(cloth.data.qpos, plain.data.qpos)
    assert not np.array_equal(
        cloth.model.material("table").rgba, plain.model.material("table").rgba
    )


def test_a_world_goes_back_to_the_undisturbed_scene_to_the_last_bit():
    world = World("xarm6", seed=5)
    before = world.data.qpos.copy()
    world.reset(seed=5, disturbance="distractor")
    assert len(world.data.qpos) > len(before)
    world.reset(seed=6)  # keeps the disturbance
    assert world.disturbance is DISTURBANCES["distractor"]
    world.reset(seed=5, disturbance="none")
    np.testing.assert_array_equal(world.data.qpos, before)


def test_an_unknown_disturbance_is_refused_by_name():
    with pytest.raises(WorldError, match="no disturbance 'fog'; known: none, distractor"):
        World("xarm6", disturbance="fog")


@pytest.mark.parametrize(
    ("arm", "name"), [("xarm6", "distractor"), ("xarm6", "up30"), ("so100", "back30")]
)
def test_the_expert_solves_a_disturbed_task(arm, name):
    world = World(arm, seed=1_000_002, disturbance=name)
    for target in Expert(world).plan():
        world.move(target, STEP_NS)
    assert world.task_status().success
