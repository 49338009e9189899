import struct

import numpy as np
import pytest
from bag_writing import ENV, JOINTS, MS, ROBOT_TEXT, T0, TELEOP, WRIST

from evo1_policy.robot_config import parse_robot
from evo1_training.recording.stream_monitor import StreamMonitor, robot_topics

STEP = 33 * MS


@pytest.fixture
def monitor():
    robot = parse_robot(ROBOT_TEXT)
    names = {
        "env/image_raw": ENV,
        "wrist/image_raw": WRIST,
        "joint_states": JOINTS,
        "teleop/joint_trajectory": TELEOP,
    }
    return StreamMonitor(robot, robot_topics(robot, names))


def frame(stamp_ns):
    return b"\0\1\0\0" + struct.pack("<iI", *divmod(stamp_ns, 10**9)) + bytes(20)


def figures(watched, topic):
    return next(stream for stream in watched.streams if stream.topic == topic)


def condition(monitor, topic, now_ns, recording=True):
    conditions = monitor.conditions(now_ns, recording=recording)
    return next(one for one in conditions if one.topic == topic)


def test_gap_between_frames_is_counted_with_its_length(monitor):
    monitor.begin(T0)
    for number in (0, 1, 2, 6, 7):
        monitor.add(ENV, frame(T0 + number * STEP), T0 + number * STEP)
    env = figures(monitor.end(T0 + 7 * STEP), ENV)
    assert (env.messages, env.gaps, env.max_gap_ms) == (5, 1, 132.0)
    assert env.rate_hz == pytest.approx(4 / (7 * 0.033))


def test_stream_that_stops_has_a_gap_at_the_end(monitor):
    monitor.begin(T0)
    monitor.add(ENV, frame(T0), T0)
    env = figures(monitor.end(T0 + 1000 * MS), ENV)
    assert (env.gaps, env.max_gap_ms, env.end_gap_ms) == (1, 1000.0, 1000.0)


def test_what_comes_after_the_end_does_not_count(monitor):
    monitor.begin(T0)
    monitor.add(ENV, frame(T0), T0)
    watched = monitor.end(T0 + MS)
    monitor.add(ENV, frame(T0 + STEP), T0 + STEP)
    env = figures(watched, ENV)
    assert (env.messages, len(env.stamps)) == (1, 1)


def test_repeated_and_backward_stamps_are_counted(monitor):
    monitor.begin(T0)
    for number in (0, 1, 1, 0):
        monitor.add(ENV, frame(T0 + number * STEP), T0)
    assert figures(monitor.end(T0), ENV).disordered == 2


def test_frame_without_a_stamp_cannot_be_used(monitor):
    monitor.add(ENV, frame(0), T0)
    assert "without a stamp" in condition(monitor, ENV, T0).problem
    assert "set stamp: arrival in the robot file" in monitor.missing(T0)


def test_take_does_not_begin_while_a_clock_is_ahead(monitor):
    monitor.begin(T0)
    for k in range(5):
        monitor.add(ENV, frame(T0 + k * STEP + 800 * MS), T0 + k * STEP)
    now_ns = T0 + 4 * STEP
    assert condition(monitor, ENV, now_ns).age_ms == -800.0
    assert condition(monitor, ENV, now_ns).offset_ms == -800.0
    assert monitor.missing(now_ns).startswith(f"image_1: clock of {ENV} is 800 ms ahead of this")
    assert figures(monitor.end(now_ns), ENV).offset_ms == -800.0


def test_arrival_stands_for_the_stamp_where_the_robot_file_says_so():
    text = ROBOT_TEXT.replace("max_age_ms: 150", "max_age_ms: 150, stamp: arrival")
    robot = parse_robot(text)
    names = {"env/image_raw": ENV, "wrist/image_raw": WRIST}
    monitor = StreamMonitor(robot, robot_topics(robot, names))
    monitor.begin(T0)
    for k in range(5):
        monitor.add(ENV, frame(0), T0 + k * STEP)
    assert condition(monitor, ENV, T0 + 4 * STEP).problem == ""
    assert list(figures(monitor.end(T0 + 4 * STEP), ENV).stamps) == [
        T0 + k * STEP for k in range(5)
    ]


def test_trajectory_without_a_stamp_counts_when_it_arrives(monitor):
    from bag_writing import TRAJECTORY, cdr, header, message

    raw = cdr(TRAJECTORY, message(TRAJECTORY, header=header(0), joint_names=["elbow"], points=[]))
    monitor.begin(T0)
    monitor.add(TELEOP, raw, T0 + MS)
    teleop = figures(monitor.end(T0 + 2 * MS), TELEOP)
    assert (teleop.messages, teleop.rejected) == (1, 0)


def test_bytes_that_are_no_joint_state_are_rejected_with_the_topic(monitor):
    monitor.begin(T0)
    monitor.add(JOINTS, frame(T0), T0)
    joints = figures(monitor.end(T0), JOINTS)
    assert joints.rejected == 1
    assert joints.rejection.startswith("/joint_states: these bytes are no")


def test_gate_names_the_first_stream_that_is_missing_or_stale(monitor):
    assert monitor.missing(T0) == "image_1: nothing received on /env/image_raw"
    monitor.set_notices({ENV: "/env/image_raw is published as something else"})
    assert "something else" in monitor.missing(T0)
    monitor.add(ENV, frame(T0), T0)
    assert "400 ms old, allowed are 150 ms" in monitor.missing(T0 + 400 * MS)


def test_gate_refuses_a_picture_that_cannot_be_decoded(monitor):
    monitor.add(ENV, frame(T0), T0)
    assert monitor.missing(T0).startswith("image_1: /env/image_raw:")


def test_skew_is_that_of_frames_that_belong_together(monitor):
    for number in range(4):
        monitor.add(ENV, frame(T0 + number * STEP), T0)
    for number in range(3):
        monitor.add(WRIST, frame(T0 + number * STEP + 5 * MS), T0)
    assert monitor.skew_ms() == 5.0


def test_image_sizes_are_read_from_the_first_bytes(monitor):
    from bag_writing import IMAGE, cdr, header, message

    monitor.begin(T0)
    for number, width in enumerate((4, 4, 6)):
        stamp_ns = T0 + number * STEP
        picture = message(
            IMAGE,
            header=header(stamp_ns),
            height=2,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * width,
            data=np.zeros(6 * width, np.uint8),
        )
        monitor.add(ENV, cdr(IMAGE, picture)[:100], stamp_ns)
    assert figures(monitor.end(T0 + 3 * STEP), ENV).sizes == [(4, 2), (6, 2)]
