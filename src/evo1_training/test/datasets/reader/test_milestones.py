"""The next grasp and release of every frame, found in the actions alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.reader.milestones import (
    CLOSING,
    OPENING,
    find_milestones,
    gripper_turns,
)


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def episode(gripper):
    """Actions (T, 7) whose first joint counts the frames."""
    actions = np.zeros((len(gripper), 7), np.float32)
    actions[:, 0] = np.arange(len(gripper))
    actions[:, 6] = gripper
    return actions


def test_before_the_grasp_both_are_known_then_the_release_then_nothing(robot):
    actions = episode([0, 0, 0, 0.5, 0.5, 0.5, 0.0, 0.0])
    found, known = find_milestones(actions, [0], robot)
    assert known.tolist() == [[True, True]] * 3 + [[False, True]] * 3 + [[False, False]] * 2
    assert found[0, 0, 0] == 3
    assert found[0, 1, 0] == 6
    assert found[4, 1, 0] == 6


def test_an_episode_that_begins_with_a_full_hand_knows_its_release(robot):
    actions = np.concatenate([episode([0, 0.5, 0.5]), episode([0.5, 0.5, 0.0])])
    found, known = find_milestones(actions, [0, 3], robot)
    assert known.tolist()[:3] == [[True, False], [False, False], [False, False]]
    assert known.tolist()[3:] == [[False, True], [False, True], [False, False]]
    assert found[3, 1, 0] == 2


def test_a_gripper_that_never_turns_gives_none(robot):
    _, known = find_milestones(episode([0.2] * 5), [0], robot)
    assert not known.any()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_turns_alternate_and_lie_beyond_the_thresholds(opening):
    turns = gripper_turns(np.array(opening))
    for frame, kind in turns:
        assert opening[frame] < 0.35 if kind == CLOSING else opening[frame] > 0.65
    kinds = [kind for _, kind in turns]
    assert all(before != after for before, after in itertools.pairwise(kinds))
    assert set(kinds) <= {CLOSING, OPENING}
