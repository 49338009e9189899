"""The control box's codes as stop reasons."""

import importlib.util

import pytest

from evo1_bringup.drivers.xarm_faults import (
    ERRORS,
    GRACE_NS,
    SILENCE_NS,
    BoxReport,
    BoxWatch,
    error_text,
)

MS = 1_000_000


def report(**change):
    return BoxReport(**{"state": 2, "mode": 1, "error": 0, "warning": 0, **change})


def watch(*reports):
    """A watch that heard one report each 100 ms, and the present time."""
    watched = BoxWatch(mode=1, now_ns=0)
    now_ns = 0
    for item in reports:
        now_ns += 100 * MS
        watched.observe(item, now_ns)
    return watched, now_ns


def test_a_ready_box_is_no_fault():
    watched, now_ns = watch(report(), report(state=1))
    assert watched.fault(now_ns) is None
    assert watched.warning() == ""


def test_an_error_is_told_at_once_with_what_to_do():
    watched, now_ns = watch(report(), report(state=4, mode=0, error=31))
    fault = watched.fault(now_ns)
    assert fault.code == "box_error_31"
    assert "hit something; look for what the arm ran into" in fault.text


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"state": 4}, "box_not_ready", "stopped"),
        ({"state": 3}, "box_not_ready", "paused"),
        ({"mode": 0}, "box_mode", "in mode 0, not in 1"),
    ],
)
def test_a_box_that_stays_unready_is_a_fault_after_a_while(change, code, words):
    watched, now_ns = watch(report(), report(**change))
    assert watched.fault(now_ns) is None  # it may be changing its mode
    for _ in range(20):
        now_ns += 100 * MS
        watched.observe(report(**change), now_ns)
    assert now_ns > GRACE_NS
    fault = watched.fault(now_ns)
    assert fault.code == code
    assert words in fault.text
    watched.observe(report(), now_ns)
    assert watched.fault(now_ns) is None


def test_a_box_whose_error_was_cleared_has_time_to_get_ready():
    watched, now_ns = watch(*[report(state=4, mode=0, error=31)] * 30, report(state=4, mode=0))
    assert watched.fault(now_ns) is None
    assert watched.fault(now_ns + SILENCE_NS) is None


def test_a_silent_box_is_a_fault():
    watched, now_ns = watch(report())
    assert watched.fault(now_ns + SILENCE_NS + MS).code == "box_silent"


def test_warnings_are_words_and_no_fault():
    watched, now_ns = watch(report(warning=11))
    assert watched.fault(now_ns) is None
    assert watched.warning() == "control box warning 11: the box's queue of commands is full"


@pytest.mark.ros
def test_missing_messages_say_how_to_get_them():
    from evo1_bringup.ros.xarm_monitor_node import XarmError, xarm_interfaces

    if importlib.util.find_spec("xarm_msgs"):
        pytest.skip("xarm_msgs is here")
    with pytest.raises(XarmError, match=r"xarm_msgs is not built.*robots\.repos"):
        xarm_interfaces()


def test_every_code_says_what_happened_and_what_to_do():
    for code, (what, todo) in ERRORS.items():
        assert what
        assert todo
        assert f"error {code}: {what}; {todo}" in error_text(code)
    assert "does not know" in error_text(999)


def test_a_servo_error_names_its_joint():
    assert "joint 3" in error_text(13)
