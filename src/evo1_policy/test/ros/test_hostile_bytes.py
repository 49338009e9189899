"""Bytes of any kind on each subscribed topic, and what a log makes of words of others."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.ros

CASES = int(os.environ.get("EVO1_FUZZ", "20000")) // 200


def originals():
    """One usable message of each type that a node subscribes to, as bytes."""
    from evo1_msgs.msg import PolicyStatus, RecorderStatus
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage, Image, JointState, Joy
    from std_msgs.msg import Bool, String
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    from evo1_policy.ros.listening import ControllerState

    point = JointTrajectoryPoint(positions=[0.1, 0.2], velocities=[0.0, 0.0])
    names = ["elbow", "finger"]
    return [
        (type(message), serialize_message(message))
        for message in (
            JointState(name=names, position=[0.1, 0.2]),
            JointTrajectory(joint_names=names, points=[point, point]),
            ControllerState(joint_names=names, reference=point),
            Joy(axes=[0.5], buttons=[1, 0]),
            String(data="put the can into the box"),
            Bool(data=True),
            PolicyStatus(reason="paused"),
            RecorderStatus(reason="waiting"),
            Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12)),
            CompressedImage(format="jpeg", data=bytes(12)),
        )
    ]


def use(kind, message):
    """What the nodes do with it, as far as it needs no node."""
    from evo1_policy.control.held import HeldStates
    from evo1_policy.control.teleop import TeleopSettings
    from evo1_policy.control.teleop_target import read_target, target_problem
    from evo1_policy.observation import instruction_problem
    from evo1_policy.perception.frames import Frame
    from evo1_policy.perception.messages import read_joints

    if kind.__name__ == "JointState":
        names, positions, _ = read_joints(message, topic="/hostile", joints=("elbow", "finger"))
        assert len(names) == len(positions)
        assert (abs(positions) <= 1e4).all()
    elif kind.__name__ == "JointTrajectory":
        target = read_target(message)
        problem = target_problem(target, ("elbow", "finger"), TeleopSettings(), now_ns=10**18)
        assert problem or (abs(target.positions) <= 1e4).all()
    elif "ControllerState" in kind.__name__:
        held = HeldStates(("elbow", "finger"), [("elbow", "finger")])
        held.add(0, message, 10**18)
    elif kind.__name__ == "String":
        instruction_problem(message.data)
    elif kind.__name__ in ("Image", "CompressedImage"):
        Frame(message, topic="/hostile").image()


def read(kind, raw):
    """As a subscription does; the refusal, or ''."""
    from evo1_policy.perception.messages import MessageError, deserialize
    from evo1_policy.ros.listening import decode

    try:
        if kind.__name__ in ("Image", "CompressedImage"):
            message = deserialize(raw, f"sensor_msgs/msg/{kind.__name__}", topic="/hostile")
        else:
            message = decode(raw, kind, topic="/hostile")
        use(kind, message)
    except MessageError as error:
        return str(error)
    return ""


damage = st.lists(
    st.tuples(
        st.integers(0, 400), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    ),
    max_size=6,
)


@pytest.mark.fuzz
@settings(max_examples=CASES)
@given(which=st.integers(0, 9), hits=damage, kept=st.floats(0, 1), cut=st.booleans())
def test_damaged_and_cut_off_messages_are_refused_by_topic_or_read(which, hits, kept, cut):
    kind, original = originals()[which]
    raw = bytearray(original)
    for place, value in hits:
        raw[place % len(raw)] = value
    raw = raw[: int(kept * len(raw))] if cut else raw
    refusal = read(kind, bytes(raw))
    assert not refusal or "/hostile" in refusal


@pytest.mark.fuzz
@settings(max_examples=CASES)
@given(which=st.integers(0, 9), raw=st.binary(max_size=300))
def test_random_bytes_are_refused_by_topic_or_read(which, raw):
    kind, _ = originals()[which]
    refusal = read(kind, raw)
    assert not refusal or "/hostile" in refusal


def test_untouched_messages_are_read():
    for kind, raw in originals():
        assert read(kind, raw) == "" or kind.__name__ == "CompressedImage"


def test_a_message_that_is_too_long_is_refused_before_it_is_decoded():
    from sensor_msgs.msg import JointState

    refusal = read(JointState, bytes(24_000_000))
    assert refusal == "/hostile: a JointState of 24,000,000 bytes; at most 1,048,576 are read"


def test_a_node_hears_on_after_bytes_of_any_kind():
    import time

    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import JointState
    from std_msgs.msg import String

    from evo1_policy.ros.listening import Listener
    from evo1_policy.ros.qos import words_qos

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listens", context=context)
    heard, refused = [], []
    listener = Listener(node, refuse=refused.append)
    listener.hear(String, "words", lambda message, _: heard.append(message.data), words_qos())
    listener.hear_joints("joints", ("elbow",), lambda names, positions, _: heard.append(names))
    words = node.create_publisher(String, "words", words_qos())
    joints = node.create_publisher(JointState, "joints", words_qos())
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    end = time.monotonic() + 20
    while not ({"last", ("elbow",)} <= set(heard)) and time.monotonic() < end:
        for publisher in (words, joints):
            for raw in (b"\0\1\0\0\xff\xff\xff\xff", b"\0\1\0\0" + b"\xff" * 60, b"\0\1"):
                publisher.publish(raw)
        words.publish(String(data="last"))
        joints.publish(JointState(name=["elbow"], position=[0.1]))
        for _ in range(12):
            executor.spin_once(timeout_sec=0.05)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert {"last", ("elbow",)} <= set(heard)
    assert any("/words: these bytes are no String" in why for why in refused)
    assert any("/joints: these bytes are no JointState" in why for why in refused)


def test_words_of_others_forge_no_line_of_a_log(capfd):
    from evo1_policy.ros.log import CleanLogger, tell_failure

    log = CleanLogger("policy")
    log.warning("instruction: 'x\n[ERROR] [1.0] [policy]: STOPPED\x1b[2J\u202e'")
    try:
        raise ValueError("first\nsecond\x1b")
    except ValueError:
        tell_failure(log, "cannot configure")
    said = capfd.readouterr().err
    assert r"'x\n[ERROR] [1.0] [policy]: STOPPED\x1b[2J\u202e'" in said
    assert "\x1b" not in said.replace("\x1b[31m", "").replace("\x1b[33m", "").replace(
        "\x1b[0m", ""
    )
    assert all(line.startswith(("[", "\x1b[3")) for line in said.splitlines())
