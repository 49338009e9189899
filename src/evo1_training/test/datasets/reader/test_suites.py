"""State and action out of columns."""

import numpy as np

from evo1_training.datasets.reader.suites import Suite


def test_columns_are_joined_and_grippers_turned_round():
    suite = Suite(state=("pose", "grip"), action=("pose",), inverted=frozenset({"grip"}))
    columns = {"pose": np.array([[1.0, 2.0]]), "grip": np.array([0.25])}
    assert suite.states(columns).tolist() == [[1.0, 2.0, 0.75]]
    assert suite.states(columns).dtype == np.float32


def test_relative_ranges_take_the_state_of_the_same_frame_away():
    columns = {
        "observation.state": np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]),
        "action": np.array([[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]),
    }
    actions = Suite(relative=((0, 2),)).actions(columns)
    assert actions.tolist() == [[4.0, 4.0, 5.0], [3.0, 3.0, 5.0]]


def test_range_beyond_the_width_has_no_effect():
    columns = {"observation.state": np.ones((1, 3)), "action": np.full((1, 3), 5.0)}
    assert Suite(relative=((0, 6),)).actions(columns).tolist() == [[5.0, 5.0, 5.0]]
