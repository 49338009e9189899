"""Scripted demonstrations, as the demonstrator streams them."""

from dataclasses import replace

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.experts import RATE_HZ, STEP_NS, Expert
from evo1_sim.rehearsals import plan_rehearsal
from evo1_sim.waypoints import Variation
from evo1_sim.world import World, WorldError


def plan_demonstration(world, task, seed):
    return plan_rehearsal(world, task, seed, rough=False).demonstration


@pytest.fixture(scope="module")
def world():
    return World("xarm6")


@pytest.mark.parametrize(
    ("arm", "task", "seed"),
    [("xarm6", "can_into_box", 11), ("xarm6", "can_stacking", 12), ("so100", "cube_into_box", 13)],
)
def test_a_varied_demonstration_solves_its_task_within_the_limits(arm, task, seed, robots_dir):
    world = World(arm, task=task)
    demonstration = plan_demonstration(world, task, seed)
    for action in demonstration.path[1:]:
        world.move(action, STEP_NS)
    world.step(500_000_000)
    assert world.task_status().success, world.task_status().detail
    robot = load_robot(robots_dir / f"{arm}.yaml")
    velocity = np.diff(demonstration.path, axis=0) * RATE_HZ
    assert (np.abs(velocity) <= robot.velocity_max).all()
    assert demonstration.instruction == world.task.instruction
    assert demonstration.joint_names == robot.joint_names


def test_a_seed_gives_the_same_demonstration_and_another_seed_another(world):
    first = plan_demonstration(world, "can_into_box", 5)
    again = plan_demonstration(world, "can_into_box", 5)
    np.testing.assert_array_equal(first.path, again.path)
    other = plan_demonstration(world, "can_into_box", 6)
    assert other.path.shape != first.path.shape or not np.allclose(other.path, first.path)


def test_variation_changes_speed_and_ways_but_no_variation_is_the_plain_expert(world):
    world.reset("can_into_box", 3)
    plain = Expert(world).plan()
    np.testing.assert_array_equal(Expert(world, Variation()).plan(), plain)
    slow = Expert(world, Variation(speed=0.5)).plan()
    assert len(slow) > 1.2 * len(plain)
    drawn = {Variation.draw(seed).speed for seed in range(20)}
    assert min(drawn) < 0.85
    assert max(drawn) > 1.05


def test_the_motion_starts_where_the_arm_starts_and_rests_at_both_ends(world):
    demonstration = plan_demonstration(world, "can_into_box", 5)
    world.reset("can_into_box", 5)
    np.testing.assert_array_equal(demonstration.start, world.targets)
    end = demonstration.duration_s
    early, first, last, late = demonstration.sample([-1.0, 0.0, end, end + 1.0])
    np.testing.assert_allclose(early, demonstration.start)
    np.testing.assert_allclose(first, demonstration.start)
    np.testing.assert_allclose(late, last)
    ticks = np.arange(len(demonstration.path)) / RATE_HZ
    np.testing.assert_allclose(demonstration.sample(ticks), demonstration.path, atol=1e-9)


def test_an_arm_elsewhere_is_named(world):
    demonstration = plan_demonstration(world, "can_into_box", 5)
    assert demonstration.start_problem(demonstration.start + 0.01) == ""
    away = demonstration.start + np.eye(7)[2] * 0.2
    assert "joint 'joint3' is at" in demonstration.start_problem(away)
    assert "seed 5" in replace(demonstration, seed=5).start_problem(away)


def test_an_unknown_task_is_refused(world):
    with pytest.raises(WorldError, match="no task 'dance' for xarm6"):
        plan_demonstration(world, "dance", 0)
