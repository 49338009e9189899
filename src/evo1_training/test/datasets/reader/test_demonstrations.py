"""The next grasp and release of every frame, and pauses that are shortened inside chunks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import SmallDataset, write

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.reader.demonstrations import (
    CLOSING,
    OPENING,
    find_milestones,
    gripper_turns,
    kept_rows,
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


def path(*moves):
    """Actions (N, 1) of one episode out of steps: 0 stands still."""
    return np.cumsum(np.array(moves, dtype=np.float32))[:, None]


def test_only_the_first_frames_of_a_pause_are_left():
    actions = path(1, 1, 1, 0, 0, 0, 0, 1, 1)
    assert kept_rows(actions, [0], longest=2).tolist() == [0, 1, 2, 3, 4, 7, 8]
    assert kept_rows(actions, [0], longest=0).tolist() == [0, 1, 2, 7, 8]
    assert kept_rows(actions, [0], longest=4).tolist() == list(range(9))


def test_the_end_of_an_episode_stays_a_rest():
    actions = path(1, 1, 0, 0, 0, 0)
    assert kept_rows(actions, [0], longest=1).tolist() == list(range(6))


def test_episodes_that_stand_still_stay_and_pauses_end_with_the_episode():
    still, moves = path(0, 0, 0), path(0, 0, 0, 1, 1)
    actions = np.concatenate([still, moves, still])
    assert kept_rows(actions, [0, 3, 8], longest=0).tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 10]


@given(
    moves=st.lists(st.sampled_from([0.0, 0.0, 1.0, -0.5]), min_size=1, max_size=60),
    longest=st.integers(0, 5),
)
def test_what_is_left_moves_as_before_and_rests_no_longer(moves, longest):
    actions = path(*moves)
    rows = kept_rows(actions, [0], longest=longest)
    assert rows[0] == 0
    assert set(np.flatnonzero(np.diff(actions[:, 0], prepend=actions[0, 0]))) <= set(rows.tolist())
    before_the_end = actions[rows, 0][actions[rows, 0] != actions[-1, 0]]
    run = 0
    for value, previous in zip(before_the_end[1:], before_the_end[:-1], strict=True):
        run = run + 1 if value == previous else 0
        assert run <= longest


def test_a_chunk_goes_on_to_what_follows_the_pause(tmp_path, open_samples):
    root = write(tmp_path / "d", SmallDataset(layout="v2.1", lengths=(6, 4)))
    whole = open_samples(root, horizon=3)
    shortened = open_samples(root, horizon=3)
    shortened._kept = np.array([0, 1, 4, 5, 6, 7, 8, 9])  # frames 2 and 3 are a pause
    at = [whole[k].actions[0].tolist() for k in range(6)]
    assert shortened[1].actions.tolist() == [at[1], at[4], at[5]]
    assert shortened[2].actions.tolist() == [at[4], at[5], at[5]]
    assert shortened[2].action_mask.tolist() == [True, True, False]
    assert shortened[5].action_mask.tolist() == [True, False, False]
