"""The demonstrated action out of teleop and command messages."""

import struct

import numpy as np
import pytest
from bag_writing import (
    COMMAND,
    MS,
    TELEOP,
    TYPES,
    Recording,
    at,
    position,
    steady,
    trajectory_cdr,
    write_episode,
)

from evo1_training.datasets.action_curve import demonstrated
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import EpisodeError

STEP_MS = 1000 / 30


def actions(tmp_path, recording, *due_ms):
    """Actions that are due at some times."""
    folder = write_episode(tmp_path / "episode_000000", recording)
    ticks = np.array([at(due) for due in due_ms]) - round(1e9 / 30)
    return demonstrated(open_episode(folder), ticks)


def test_action_is_the_target_one_step_after_the_tick(tmp_path):
    recording = Recording()
    for k in range(20):
        recording.target(20 * k, [float(k), -float(k)])
    found = actions(tmp_path, recording, 100, 110, 200)
    np.testing.assert_allclose(found.actions, [[5, -5], [5.5, -5.5], [10, -10]], atol=1e-4)
    assert not found.intervention.any()


def test_points_ahead_of_the_stamp_are_cut_by_the_next_message(tmp_path):
    recording = Recording()
    recording.add(TELEOP, at(0), trajectory_cdr(at(0), [(0, [0, 0]), (100, [10, 10])]))
    recording.add(TELEOP, at(50), trajectory_cdr(at(50), [(50, [0, 0])]))
    found = actions(tmp_path, recording, 25, 50, 75, 100, 300)
    np.testing.assert_allclose(found.actions[:, 0], [2.5, 5, 2.5, 0, 0], atol=1e-3)


def test_target_jumps_after_a_silence_instead_of_a_ramp(tmp_path):
    recording = Recording()
    recording.target(0, [1, 1])
    recording.target(20, [1, 1])
    recording.target(2000, [3, 3])
    recording.target(2020, [3, 3])
    found = actions(tmp_path, recording, 500, 1000, 1990, 2010)
    np.testing.assert_allclose(found.actions[:, 0], [1, 1, 1, 3], atol=1e-3)
    assert found.known.tolist() == [True, False, False, True]


def test_silence_counts_from_the_last_point_that_was_spoken_of(tmp_path):
    recording = Recording()
    recording.add(TELEOP, at(0), trajectory_cdr(at(0), [(0, [0, 0]), (1000, [10, 10])]))
    found = actions(tmp_path, recording, 500, 1000, 1499, 1501, 9000)
    assert found.known.tolist() == [True, True, True, False, False]
    assert found.silence_ns[-1] == pytest.approx(8000 * MS, abs=100)
    assert found.reason() == (
        "nobody demonstrates: no target on /arm/joint_trajectory or /teleop/joint_trajectory for "
        "over 0.5 s"
    )


def test_joint_that_is_named_seldom_keeps_its_target(tmp_path):
    recording = Recording()
    recording.target(0, [0.0, 5.0])
    for k in range(1, 60):
        recording.target(20 * k, [0.02 * k], names=("elbow",))
    recording.target(1000, [7.0], names=("finger",))
    found = actions(tmp_path, recording, 500, 990, 1010)
    np.testing.assert_allclose(found.actions[:, 1], [5, 5, 7], atol=1e-3)
    np.testing.assert_allclose(found.actions[:, 0], [0.5, 0.99, 1.01], atol=1e-3)


def test_stamp_zero_stands_for_the_time_of_arrival(tmp_path):
    recording = Recording()
    for k in range(20):
        recording.add(TELEOP, at(20 * k), trajectory_cdr(0, [(0, [k, k])]))
    found = actions(tmp_path, recording, 100)
    np.testing.assert_allclose(found.actions, [[5, 5]], atol=1e-3)


def test_before_the_first_target_there_is_no_action(tmp_path):
    recording = Recording()
    recording.target(100, [1, 1])
    found = actions(tmp_path, recording, 50, 150)
    assert np.isnan(found.actions[0]).all()
    np.testing.assert_allclose(found.actions[1], [1, 1])


def test_commands_count_where_there_is_no_teleop(tmp_path):
    recording = Recording()
    recording.add(COMMAND, at(0), trajectory_cdr(at(0), [(0, [0, 0]), (1000, [10, 20])]))
    found = actions(tmp_path, recording, 500)
    np.testing.assert_allclose(found.actions, [[5, 10]], atol=1e-3)


def test_command_for_joints_that_the_robot_file_does_not_name_is_taken_in_part(tmp_path):
    recording = Recording()
    names = ("mimic", "elbow", "finger")
    recording.add(COMMAND, at(0), trajectory_cdr(at(0), [(0, [9, 1, 2])], names))
    found = actions(tmp_path, recording, 500)
    np.testing.assert_allclose(found.actions, [[1, 2]])


def test_policy_goes_on_after_a_person_took_over(tmp_path):
    types = {**TYPES, "/policy/action_chunk": "evo1_msgs/msg/ActionChunk"}
    recording = Recording(types=types)
    recording.add("/policy/action_chunk", at(0), b"\0\1\0\0")
    for k in range(200):
        if not 50 <= k < 100:
            recording.target(20 * k, [1, 1], topic=COMMAND)
        else:
            recording.target(20 * k, [2, 2])
    found = actions(tmp_path, recording, 500, 1500, 3500)
    np.testing.assert_allclose(found.actions[:, 0], [1, 2, 1])
    assert found.intervention.tolist() == [False, True, False]


def intervention_cdr(stamp_ns, *, active, number=1):
    """An evo1_msgs/Intervention as DDS carries it."""
    head = struct.pack("<4sIII", b"\0\1\0\0", *divmod(stamp_ns, 10**9), 1) + b"\0"
    text = struct.pack("<?3xI7sxI1s3xQ", active, 7, b"teleop\0", 1, b"\0", number)
    return head + text


def test_only_what_a_person_drove_is_an_intervention_and_their_action(tmp_path):
    told = "/policy/intervention"
    recording = Recording(types={**TYPES, told: "evo1_msgs/msg/Intervention"})
    recording.add(told, at(-50), intervention_cdr(at(-5000), active=False, number=0))
    recording.add(told, at(1000), intervention_cdr(at(1000), active=True))
    recording.add(told, at(2000), intervention_cdr(at(2000), active=False))
    for k in range(200):  # a leader arm that never falls silent
        recording.target(20 * k, [2, 2])
        if not 50 <= k < 100:
            recording.target(20 * k, [1, 1], topic=COMMAND)
    found = actions(tmp_path, recording, 500, 990, 1010, 1990, 2010, 3500)
    np.testing.assert_allclose(found.actions[:, 0], [1, 1, 2, 2, 1, 1])
    assert found.intervention.tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize(
    ("points", "names", "reason"),
    [
        ([(0, [np.nan, 1])], ("elbow", "finger"), "'elbow' is not finite"),
        ([(0, [1, 1])], ("elbow", "thumb"), "'thumb' is none of this robot's"),
        ([(0, [1])], ("elbow", "finger"), "one position"),
        ([], ("elbow", "finger"), "one position"),
    ],
)
def test_message_that_the_relay_refuses_is_refused_and_counted(tmp_path, points, names, reason):
    recording = Recording()
    recording.target(0, [1, 1])
    recording.add(TELEOP, at(20), trajectory_cdr(at(20), points, names))
    found = actions(tmp_path, recording, 100)
    np.testing.assert_allclose(found.actions, [[1, 1]])
    (line,) = found.rejections.lines()
    assert line.startswith(f"{TELEOP}: 1 message rejected, as live:")
    assert reason in line


def test_nothing_demonstrated_names_topics_and_joints(tmp_path):
    with pytest.raises(
        EpisodeError, match=r"nothing was demonstrated for elbow, finger: .*teleop"
    ):
        actions(tmp_path, Recording(), 100)
    recording = Recording()
    recording.target(0, [1.0], names=("elbow",))
    folder = tmp_path / "half"
    with pytest.raises(EpisodeError, match="nothing was demonstrated for finger"):
        actions(folder, recording, 100)


def test_teleop_of_another_type_names_bag_and_topic(tmp_path):
    recording = steady(0.5)
    recording.types = {**TYPES, TELEOP: "sensor_msgs/msg/JointState"}
    with pytest.raises(EpisodeError, match=r"_0\.mcap: /teleop.* carries sensor_msgs/msg/JointSt"):
        actions(tmp_path, recording, 100)


def test_long_recording_is_sampled_like_its_whole_curve(tmp_path):
    recording = steady(3.0)
    due = np.arange(60, 2900, STEP_MS)
    found = actions(tmp_path, recording, *due)
    knots = np.array([20 * k for k in range(-10, 160)])
    values = np.array([position(knot + 50) for knot in knots])
    for joint in range(2):
        wanted = np.interp(due, knots, values[:, joint])
        np.testing.assert_allclose(found.actions[:, joint], wanted, atol=1e-5)
