"""State and action out of columns."""

import numpy as np

from evo1_training.datasets.reader.suites import Suite


def test_columns_are_joined_and_grippers_turned_round():
    suite = Suite(state=("pose", "grip"), action=("pose",), inverted=frozenset({"grip"}))
    columns = {"pose": np.array([[1.0, 2.0]]), "grip": np.array([0.25])}
    assert suite.states(columns).tolist() == [[1.0, 2.0, 0.75]]
    assert suite.states(columns).dtype == np.float32
