"""Demonstrations that begin from a pushed arm or sway on their way."""

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.experts import Expert
from evo1_sim.rehearsals import ROUGHNESS, plan_rehearsal
from evo1_sim.waypoints import Variation
from evo1_sim.world import World

SEEDS = range(12)


@pytest.fixture(scope="module")
def world():
    return World("xarm6")


@pytest.fixture(scope="module")
def rehearsals(world):
    return {seed: plan_rehearsal(world, "can_into_box", seed) for seed in SEEDS}


def test_a_plain_rehearsal_is_the_demonstration_of_its_seed(world):
    plain = plan_rehearsal(world, "can_into_box", 3, rough=False)
    world.reset("can_into_box", 3)
    expected = Expert(world, Variation.draw(3)).plan()
    np.testing.assert_array_equal(plain.demonstration.path[1:], expected)
    assert not plain.sway.any()
    assert not plain.pushed


def test_a_seed_gives_the_same_rehearsal(world, rehearsals):
    again = plan_rehearsal(world, "can_into_box", 4)
    np.testing.assert_array_equal(again.demonstration.path, rehearsals[4].demonstration.path)
    np.testing.assert_array_equal(again.sway, rehearsals[4].sway)


def test_some_are_pushed_some_sway_and_some_are_plain(rehearsals):
    kinds = {(r.pushed, bool(r.sway.any())) for r in rehearsals.values()}
    assert {pushed for pushed, _ in kinds} == {True, False}
    assert {sways for _, sways in kinds} == {True, False}


def test_some_of_the_pushed_have_missed_and_go_back_with_an_open_gripper(rehearsals):
    pushed = [r.demonstration.path[:, -1] for r in rehearsals.values() if r.pushed]
    missed = [grip for grip in pushed if grip[0] > 0.5 and grip[: len(grip) // 2].min() < 0.01]
    assert missed
    assert len(missed) < len(pushed)


def test_sway_keeps_its_bound_and_leaves_the_gripper_and_every_contact_alone(rehearsals):
    bound = ROUGHNESS["xarm6"].sway_rad
    for rehearsal in rehearsals.values():
        path, sway = rehearsal.demonstration.path, rehearsal.sway
        assert np.abs(sway).max() <= 2 * bound
        assert not sway[:, -1].any()
        grips = np.flatnonzero(np.diff(path[:, -1]) != 0)
        still = np.abs(np.diff(path[:, :-1], axis=0)).max(axis=1) < 1e-6
        assert not sway[[k for k in grips if still[k]]].any()


def test_the_way_down_to_a_hand_and_what_is_done_there_have_no_sway():
    world, seed = World("xarm6", task="hand_delivery"), 300_003  # 33 N on the hand, with sway
    rehearsal = plan_rehearsal(world, "hand_delivery", seed)
    assert not rehearsal.pushed
    assert rehearsal.sway.any()
    ends = np.cumsum([len(move) for move in Expert(world, Variation.draw(seed)).moves()])
    assert not rehearsal.sway[ends[4] + 1 : ends[7] + 1].any()  # over it, down, letting go


def test_what_is_executed_is_what_is_asked_for_plus_the_sway(rehearsals):
    rehearsal = next(r for r in rehearsals.values() if r.sway.any())
    times = np.arange(len(rehearsal.sway)) / 30
    difference = rehearsal.executed(times) - rehearsal.demonstration.sample(times)
    np.testing.assert_allclose(difference, rehearsal.sway, atol=1e-12)


@pytest.mark.parametrize(
    ("arm", "task", "seed"), [("xarm6", "can_into_box", 7), ("so100", "cube_into_box", 4)]
)
def test_a_rough_execution_within_the_limits_solves_the_task(arm, task, seed, robots_dir):
    world = World(arm, task=task)
    rehearsal = plan_rehearsal(world, task, seed)
    robot = load_robot(robots_dir / f"{arm}.yaml")
    times = np.arange(round((rehearsal.demonstration.duration_s + 1.0) * 100)) / 100
    executed = rehearsal.executed(times)
    assert (np.abs(np.diff(executed, axis=0)) * 100 <= robot.velocity_max).all()
    for targets in executed:
        world.set_targets(targets)
        world.step(10_000_000)
    assert world.task_status().success, world.task_status().detail
