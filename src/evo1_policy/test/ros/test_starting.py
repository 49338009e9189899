"""rclpy refuses arguments and variables of others in a line that names them."""

import os

import pytest
from rclpy.context import Context

from evo1_policy.ros.starting import StartError, start_ros

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (["-p", "robot_file:=" + os.fsdecode(b"/a/\xff.yaml")], {}, r"/a/\udcff.yaml: a name"),
        (["-p"], {}, "parse trailing -p"),
        (["--params-file", "/nowhere"], {}, "/nowhere"),
        ([], {"ROS_DOMAIN_ID": "abc"}, "ROS_DOMAIN_ID"),
    ],
)
def test_what_ros_cannot_read_is_named(monkeypatch, words, variables, told):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as raised:
        start_ros(["--ros-args", *words], Context())
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_place_for_logs_is_no_reason_to_stay_away(monkeypatch, tmp_path):
    for name in ("HOME", "ROS_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/proc/none")
    monkeypatch.delenv("ROS_LOG_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    context = Context()
    start_ros([], context)
    assert context.ok()
    context.shutdown()


def test_a_clock_beyond_the_stamps_of_ros_is_named(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4.1e9)
    with pytest.raises(StartError, match="clock is beyond 2038"):
        start_ros([], Context())
