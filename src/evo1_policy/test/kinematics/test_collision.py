"""What would touch is found on the whole course, and nothing else is: against a dense check."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.action_chunk import Trajectory
from evo1_policy.kinematics.collision import Workspace
from evo1_policy.kinematics.model import ModelError

POSES = st.tuples(
    st.floats(-1.2, 1.2), st.floats(-1.0, 0.8), st.floats(-1.5, 2.5), st.floats(0.0, 0.08)
)


@settings(max_examples=25, deadline=None)
@given(first=POSES, middle=POSES, last=POSES, points=st.sampled_from([5, 8, 15]))
def test_nothing_that_goes_2_mm_deep_passes_and_nothing_that_stays_10_mm_clear_is_cut(
    workspace, kit, first, middle, last, points
):
    if workspace.touching(np.array(first)) is not None:
        return
    trajectory = kit.through(first, middle, last, points=points)
    contact = workspace.contact(trajectory, trajectory.first_tick)
    if contact is None:
        assert kit.clearance(trajectory, trajectory.last_tick) > -0.002
    else:
        assert kit.clearance(trajectory, contact.tick) < 0.010


def test_the_pair_and_the_time_are_named(workspace, kit):
    down = kit.through((0, -0.3, 0.6, 0.0), (0, 0.8, 0.6, 0.0))
    contact = workspace.contact(down, down.first_tick)
    assert set(contact.pair) & {"lower", "tip"}
    assert contact.pair[1] == "table"
    assert down.first_tick < contact.tick < down.last_tick
    sideways = kit.through((0, 0.0, 0.0, 0.0), (1.2, 0.0, 0.0, 0.0))
    assert workspace.contact(sideways, sideways.first_tick).pair == ("lower", "post")


def test_what_is_past_is_not_looked_at(workspace, kit):
    down_and_up = kit.through((0, -0.3, 0.6, 0.0), (0, 0.8, 0.6, 0.0), (0, -0.3, 0.6, 0.0))
    assert workspace.contact(down_and_up, down_and_up.first_tick) is not None
    assert workspace.contact(down_and_up, down_and_up.first_tick + 65) is None


def test_an_arm_that_touches_already_may_come_free_and_not_go_deeper(workspace, kit):
    lift = next(
        x for x in np.arange(0.0, 1.0, 0.002) if workspace.touching(np.array([0, x, 0.6, 0.0]))
    )
    inside = (0.0, lift + 0.02, 0.6, 0.0)
    up = kit.through(inside, (0, -0.2, 0.6, 0.0))
    assert workspace.contact(up, up.first_tick) is None
    down = kit.through(inside, (0, lift + 0.1, 0.6, 0.0))
    assert workspace.contact(down, down.first_tick).pair[1] == "table"


def test_a_turn_inside_of_one_step_is_seen(workspace, kit):
    # Both grid points are clear: only the course between them dips by the velocities there.
    resting = np.array([0.0, 0.0, 0.55, 0.0])
    dip = np.array([0.0, 12.0, 0.0, 0.0])
    trajectory = Trajectory(
        first_tick=0,
        step_ns=200_000_000,
        positions=np.array([resting, resting, resting]),
        velocities=np.array([np.zeros(4), dip, np.zeros(4)]),
    )
    assert workspace.touching(resting) is None
    assert workspace.contact(trajectory, 0) is not None


def test_pairs_to_leave_out_may_touch(robot, kit):
    collision = robot.safety.collision
    left = replace(collision, leave_out=(("lower", "table"), ("tip", "table")))
    robot = replace(robot, safety=replace(robot.safety, collision=left))
    down = kit.through((0, -0.3, 0.6, 0.0), (0, 0.35, 0.4, 0.0))
    assert Workspace(robot).contact(down, down.first_tick) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"leave_out": (("lower", "tabel"),)}, "no link, plane or box 'tabel'"),
        ({"model": "/nowhere/arm.xml"}, "no such model file"),
        ({"tool": "hand"}, "no site, body or link 'hand'"),
        ({"planes": ()}, ""),
    ],
)
def test_a_model_that_cannot_be_used_says_why(robot, change, says):
    collision = replace(robot.safety.collision, **change)
    changed = replace(robot, safety=replace(robot.safety, collision=collision))
    if not says:
        Workspace(changed)
        return
    with pytest.raises(ModelError, match=says):
        Workspace(changed)


def test_an_arm_that_touches_at_home_is_refused_with_the_pair(robot):
    collision = robot.safety.collision
    raised = replace(collision.planes[0], point=(0.0, 0.0, 0.19))
    changed = replace(collision, planes=(raised,))
    with pytest.raises(ModelError, match="upper and table touch at the home pose"):
        Workspace(replace(robot, safety=replace(robot.safety, collision=changed)))
