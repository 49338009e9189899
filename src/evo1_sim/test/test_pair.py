"""Two arms as one robot."""

import numpy as np
import pytest

from evo1_sim.experts import Expert, ExpertError
from evo1_sim.rendering import CameraRenderer
from evo1_sim.world import World

SECOND_NS = 10**9


@pytest.fixture
def world():
    return World("xarm6_bimanual", seed=3)


def tool(world, side):
    return np.array(world.data.site(f"{side}_tool").xpos)


def turned(world, **joints):
    targets = world.targets
    for name, angle in joints.items():
        targets[world.joint_names.index(name)] = angle
    return targets


def test_joints_are_those_of_the_left_arm_then_those_of_the_right(world):
    single = World("xarm6").joint_names
    expected = [f"{side}_{name}" for side in ("left", "right") for name in single]
    assert list(world.joint_names) == expected


def test_each_arm_moves_as_one_alone_does_and_leaves_the_other_at_rest(world):
    alone = World("xarm6")
    for scene in (alone, world):
        scene.set_targets(scene.arm.home)
        scene.step(SECOND_NS)
    right = tool(world, "right")
    base = np.array([0.0, 0.28, 0.0])
    np.testing.assert_allclose(tool(world, "left") - base, alone.data.site("tool").xpos, atol=1e-3)
    alone.set_targets(turned(alone, joint2=-0.1, drive_joint=0.5))
    world.set_targets(turned(world, left_joint2=-0.1, left_drive_joint=0.5))
    for scene in (alone, world):
        scene.step(SECOND_NS)
    np.testing.assert_allclose(tool(world, "left") - base, alone.data.site("tool").xpos, atol=1e-3)
    np.testing.assert_allclose(tool(world, "right"), right, atol=1e-3)
    np.testing.assert_allclose(world.joint_positions()[6], 0.5, atol=5e-3)


def test_arms_that_cross_meet_each_other(world):
    world.set_targets(turned(world, left_joint1=-1.2, right_joint1=1.2))
    world.step(3 * SECOND_NS)
    bodies = world.model.geom_bodyid[world.data.contact.geom]
    names = {tuple(world.model.body(int(body)).name[:5] for body in pair) for pair in bodies}
    assert {frozenset(pair) for pair in names} & {frozenset({"left_", "right"})}
    reached = world.joint_positions()[[0, 7]]
    assert np.abs(reached - [-1.2, 1.2]).max() > 0.05  # each keeps the other from getting there


def test_both_cans_in_the_box_are_a_success_and_one_is_not(world):
    x, y, _ = world.cell.position("box")
    world.cell.place("can", (x, y + 0.04, 0.056))
    world.step(SECOND_NS)
    assert world.task_status().detail == "the blue can is not within the walls of the box"
    world.cell.place("blue_can", (x, y - 0.04, 0.056))
    world.step(SECOND_NS)
    assert world.task_status().success, world.task_status().detail


def test_there_is_no_scripted_expert_and_that_is_said(world):
    with pytest.raises(ExpertError, match="no expert for xarm6_bimanual"):
        Expert(world)


@pytest.mark.gl
def test_environment_and_both_wrist_cameras_see_the_cell(world):
    with CameraRenderer(world, width=160, height=120) as renderer:
        assert renderer.cameras == ("image_1", "image_2", "image_3")
        pictures = [renderer.render(camera).astype(int) for camera in renderer.cameras]
    red = [(p[..., 0] > 90) & (p[..., 1] < p[..., 0] // 3) for p in pictures]
    blue = [(p[..., 2] > 80) & (p[..., 0] < p[..., 2] // 3) for p in pictures]
    assert [seen.sum() > 20 for seen in red] == [True, True, False]
    assert [seen.sum() > 20 for seen in blue] == [True, False, True]
