"""A camera whose stamps lie on a coarse clock, as the simulation's 10 ms ticks."""

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.alignment import choose_ticks
from evo1_training.recording.episode import EpisodeError

MS = 1_000_000


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def test_thirty_frames_a_second_on_a_clock_of_ten_ms_are_thirty(robot):
    stamps = np.cumsum([30, 30, 40] * 20).astype(np.int64) * MS
    np.testing.assert_array_equal(choose_ticks(stamps, robot, source="bag"), stamps)


def test_lost_frames_do_not_change_the_rate(robot):
    stamps = np.delete(np.cumsum([30, 30, 40] * 20), [5, 11, 12, 30]).astype(np.int64) * MS
    np.testing.assert_array_equal(choose_ticks(stamps, robot, source="bag"), stamps)


def test_a_camera_of_another_rate_is_still_refused(robot):
    stamps = np.arange(60, dtype=np.int64) * 40 * MS
    with pytest.raises(EpisodeError, match=r"runs at 25\.0 Hz, but rate_hz is 30"):
        choose_ticks(stamps, robot, source="bag")
