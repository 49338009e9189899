from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from evo1_policy.robot_config import load_robot
from evo1_training.recording.grade import grade
from evo1_training.recording.stream_monitor import JointRange, WatchedTake
from evo1_training.recording.stream_watch import StreamFigures

STEP = 33_333_333
ORDER = {"pass": 0, "warn": 1, "fail": 2}


def stream(name, role, **changes):
    figures = StreamFigures(
        name=name,
        topic=f"/{name}",
        role=role,
        messages=300,
        lost=0,
        rejected=0,
        rejection="",
        disordered=0,
        rate_hz=30.0,
        max_gap_ms=34.0,
        gaps=0,
        bound_ms=50.0,
        end_gap_ms=20.0,
        stamps=[n * STEP for n in range(300)],
    )
    return replace(figures, **changes)


def take(**changes):
    streams = {
        "image_1": stream("image_1", "camera:image_1"),
        "image_2": stream("image_2", "camera:image_2"),
        "joint_states": stream("joint_states", "state", messages=1000, bound_ms=100.0, stamps=[]),
        "teleop": stream("teleop", "teleop", bound_ms=0.0, stamps=[]),
        "command": stream("command", "command:0", bound_ms=0.0, stamps=[]),
    }
    for name, change in changes.items():
        streams[name] = replace(streams[name], **change)
    joints = [JointRange(name="elbow", moved=0.8, asked=0.8)]
    return WatchedTake(
        started_ns=0, ended_ns=10**10, streams=tuple(streams.values()), joints=tuple(joints)
    )


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "so100.yaml")


def test_take_without_fault_passes(robot):
    assert grade(robot, take()) == ("pass", ())


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"image_1": {"messages": 0}}, "fail", "image_1: no message on /image_1"),
        ({"image_1": {"lost": 1}}, "warn", "image_1: 1 of 301 messages lost"),
        ({"image_1": {"lost": 30}}, "fail", "image_1: 30 of 330 messages lost"),
        (
            {"image_2": {"gaps": 2, "max_gap_ms": 120.0}},
            "warn",
            "image_2: 2 gaps of more than 50 ms, the longest 120 ms",
        ),
        ({"image_2": {"gaps": 1, "max_gap_ms": 800.0}}, "fail", "the longest 800 ms"),
        ({"image_1": {"end_gap_ms": 3000.0}}, "fail", "image_1: stopped 3.0 s before the end"),
        ({"image_1": {"rate_hz": 15.0}}, "fail", "15.0 Hz, the robot file says 30 Hz"),
        ({"image_1": {"rate_hz": 28.9}}, "warn", "28.9 Hz, the robot file says 30 Hz"),
        (
            {"joint_states": {"rejected": 4, "rejection": "NaN"}},
            "warn",
            "joint_states: 4 of 1000 messages on /joint_states unusable (allowed are 1.0%): NaN",
        ),
        ({"joint_states": {"rejected": 11, "rejection": "NaN"}}, "fail", "11 of 1000 messages"),
        ({"teleop": {"messages": 20, "rejected": 1}}, "warn", "1 of 20 messages on /teleop"),
        ({"teleop": {"messages": 1, "rejected": 1}}, "fail", "1 of 1 messages on /teleop"),
        (
            {"image_1": {"sizes": [(320, 240), (640, 480)]}},
            "fail",
            "image_1: images of several sizes: 320x240, 640x480",
        ),
        ({"teleop": {"messages": 0}}, "warn", "no message on the teleop topic"),
        ({"teleop": {"messages": 0}, "command": {"messages": 0}}, "fail", "no action is shown"),
        (
            {"image_2": {"stamps": [n * STEP + 25_000_000 for n in range(0, 300, 3)]}},
            "fail",
            "have no frame within 40 ms",
        ),
    ],
)
def test_faults_are_graded_and_named(robot, changes, level, words):
    found, reasons = grade(robot, take(**changes))
    assert found == level
    assert any(words in reason for reason in reasons), reasons


def test_the_share_of_unusable_messages_is_the_recorders_choice(robot):
    some = take(joint_states={"rejected": 40})
    assert grade(robot, some)[0] == "fail"
    assert grade(robot, replace(some, max_unusable=0.05))[0] == "warn"
    one = take(joint_states={"rejected": 1})
    assert grade(robot, replace(one, max_unusable=0.0))[0] == "fail"


def test_joint_that_does_not_follow_is_stuck(robot):
    joints = [
        JointRange(name="elbow", moved=0.8, asked=0.8),
        JointRange(name="wrist", moved=0.0, asked=0.4),
    ]
    found, reasons = grade(robot, replace(take(), joints=joints))
    assert (found, reasons) == (
        "fail",
        ("wrist: stuck; asked to move 0.40 rad, it moved 0.000 rad",),
    )


def test_recovered_take_never_passes(robot):
    assert grade(robot, replace(take(), recovered=True))[0] == "warn"


counts = st.integers(0, 400)


@given(lost=counts, more=counts, gaps=counts, gap_ms=st.floats(0, 5000), rate_hz=st.floats(1, 60))
def test_more_losses_never_make_a_better_grade(robot, lost, more, gaps, gap_ms, rate_hz):
    shown = {"lost": lost, "gaps": gaps, "max_gap_ms": gap_ms, "rate_hz": rate_hz}
    level, reasons = grade(robot, take(image_1=shown))
    assert (level == "pass") == (not reasons)
    worse, _ = grade(robot, take(image_1={**shown, "lost": lost + more}))
    assert ORDER[worse] >= ORDER[level]
