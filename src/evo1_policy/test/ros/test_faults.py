"""Every fault through real topics: the arm slows to rest, and the reason is named."""

import itertools
import threading

import pytest
import rclpy
from command_checks import wait_at_rest
from rclpy.parameter import Parameter
from robot_cell import RobotCell
from scripted_policy import FaultyPolicy, LookingPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.ros.listening import ControllerState
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import camera_qos, fault_qos

pytestmark = pytest.mark.ros

HOLDING, STOPPED, IDLE, RUNNING = 2, 4, 0, 1


def check_hold(cell, code, *words):
    """Wait for the hold and its reason in status and log, and for the arm to stand."""
    status = cell.wait_state(HOLDING, code)
    for word in words:
        assert word in status.reason
    cell.wait(lambda: cell.logged(f"[{code}]"), "the log line")
    wait_at_rest(cell)


def test_camera_that_stops_holds_the_arm_until_it_is_back(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.cameras.discard("image_2")
    check_hold(cell, "camera_stale", "/wrist_camera/image_raw")
    assert cell.status.recovers_by_itself
    cell.cameras.add("image_2")
    cell.wait_moving()


def test_camera_that_comes_back_late_waits_for_a_person(cell, start_node):
    start_node(resume_within_s=0.5)
    cell.wait_moving()
    cell.cameras.discard("image_2")
    check_hold(cell, "camera_stale", "/wrist_camera/image_raw")
    cell.wait(lambda: not cell.status.recovers_by_itself, "a gap that is too long")
    cell.cameras.add("image_2")
    cell.wait(lambda: "that is over" in cell.status.reason, "words on what is over")
    cell.resume()


def test_joint_states_that_stop_hold_the_arm_until_they_are_back(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.joints = False
    check_hold(cell, "joints_stale", "/joint_states")
    cell.joints = True
    cell.wait_moving()


def test_joint_missing_from_joint_states_is_named(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.hidden_joints = {"joint4"}
    check_hold(cell, "joint_missing", "joint4")
    cell.hidden_joints = set()
    cell.wait_moving()


def test_joint_that_never_came_is_named_and_nothing_moves(cell, start_node):
    cell.hidden_joints = {"drive_joint"}
    node = start_node()
    status = cell.wait_state(HOLDING, "joint_missing")
    assert "drive_joint" in status.reason
    assert node.policy.instructions == []
    assert not any(cell.commands.values())


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("nan", "chunk_not_finite", ()),
        ("width", "chunk_wrong_shape", ("6", "7")),
        ("raise", "inference_failed", ("the network fell over",)),
    ],
)
def test_bad_chunk_holds_the_arm_until_a_person_resumes(cell, start_node, fault, code, words):
    node = start_node(FaultyPolicy)
    cell.wait_moving()
    node.policy.fault = fault
    check_hold(cell, code, *words)
    assert not cell.status.recovers_by_itself
    node.policy.fault = ""
    statuses = len(cell.statuses)
    cell.wait(lambda: len(cell.statuses) > statuses + 5, "half a second of statuses")
    assert cell.status.state == HOLDING
    assert cell.call("resume").success
    cell.wait_moving()


def test_inference_that_takes_two_seconds_holds_the_arm_and_recovers(cell, start_node):
    node = start_node(FaultyPolicy)
    cell.wait_moving()
    node.policy.fault = "sleep"
    check_hold(cell, "inference_late")
    node.policy.fault = ""
    cell.wait_moving()


def test_a_fault_that_the_arms_driver_tells_is_the_reason(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.tell_fault("collision: control box error 31")
    check_hold(cell, "arm_fault", "control box error 31")
    assert not cell.call("resume").success
    cell.tell_fault("")
    cell.wait(lambda: "that is over" in cell.status.reason, "words on what is over")
    cell.resume()


def test_an_arm_that_does_not_follow_holds_until_a_person_resumes(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.shove_rad = 0.42  # beyond the bound, and near enough for a new start
    check_hold(cell, "tracking_error", "joint1", "max_tracking_error_rad")
    assert not cell.status.recovers_by_itself
    cell.shove_rad = 0.0
    assert cell.call("resume").success
    cell.wait_moving()


def test_controller_that_goes_holds_the_arm_until_a_person_resumes(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.remove_controller()
    check_hold(cell, "controller_gone", "/xarm_gripper_traj_controller/joint_trajectory")
    cell.add_controller()
    cell.wait(lambda: "that is over" in cell.status.reason, "words on what is over")
    cell.resume()


def test_clock_that_jumps_back_holds_the_arm_until_a_person_resumes(robot, capfd, start_node):
    cell = RobotCell(robot, capfd, publish_clock=True)
    try:
        cell.time_offset_ns = -(10**9) * 3600  # far from the wall clock: only /clock counts
        start_node(use_sim_time=True)
        cell.wait_moving()
        cell.time_offset_ns -= 5 * 10**9
        cell.wait(lambda: cell.logged("[clock_jumped_back]"), "the log line")
        cell.wait(
            lambda: any(s.reason_code == "clock_jumped_back" for s in list(cell.statuses)),
            "the status",
        )
        cell.wait(
            lambda: all(one.age_ms < 100 for one in cell.status.streams),
            "streams on the new clock",
        )
        cell.resume()
    finally:
        cell.close()


def test_robot_whose_clock_is_a_little_ahead_is_driven_and_shows_by_how_much(cell, start_node):
    cell.time_offset_ns = 30_000_000
    start_node()
    cell.wait_moving()
    cell.wait(lambda: all(s.offset_ms < 0 for s in cell.status.streams), "offsets of clocks")


def test_robot_whose_clock_is_far_ahead_is_not_driven_and_it_is_said(cell, start_node):
    cell.time_offset_ns = 800_000_000
    start_node()
    cell.wait_state(HOLDING, "clock_offset")
    assert "ahead of this node's; synchronise with chrony or ptp" in cell.status.reason
    cell.wait(lambda: all(one.age_ms < 0 for one in cell.status.streams), "ages below zero")


def test_joint_states_of_a_best_effort_publisher_are_heard(cell, start_node):
    cell.publish_joints_best_effort()
    start_node()
    cell.wait_moving()


@pytest.mark.parametrize("name", ["second_policy", "policy"])  # the latter is our own
def test_a_second_master_holds_the_arm_and_is_named(cell, start_node, name):
    assert start_node().node.get_name() == "policy"
    cell.wait_moving()
    other = rclpy.create_node(name, context=cell.node.context)
    try:
        topic = "xarm6_traj_controller/joint_trajectory"
        publisher = other.create_publisher(JointTrajectory, topic, 1)
        check_hold(cell, "second_source", f"/{name}", f"/{topic}", "one master")
        other.destroy_publisher(publisher)
    finally:
        other.destroy_node()
    cell.wait(lambda: "that is over" in cell.status.reason, "words on what is over")
    cell.resume()


@pytest.mark.parametrize(
    ("kind", "topic", "name", "at_once"),
    [
        (Image, "env_camera/image_raw", "second_source", 0),
        (JointState, "joint_states", "second_source", 0),
        (ControllerState, "xarm6_traj_controller/controller_state", "second_source", 0),
        (ControllerState, "xarm6_traj_controller/controller_state", "cell", 1),
        (ControllerState, "xarm6_traj_controller/controller_state", "cell", 2),
    ],
    ids=["camera", "joints", "controller", "liar_in_turn", "liar_in_the_same_instant"],
)
def test_a_second_source_on_a_topic_holds_the_arm_and_is_named(
    cell, start_node, kind, topic, name, at_once
):
    start_node()
    cell.wait_moving()
    other = rclpy.create_node(name, context=cell.node.context)
    try:
        first = cell.node.create_publisher(kind, topic, 1)  # where the cell has none
        publisher = other.create_publisher(kind, topic, 1)
        if at_once:  # a successor has this name too: two that speak in turn are wrong
            far = JointTrajectoryPoint(positions=[1.0] * 7, velocities=[0.0] * 7)
            names = [f"joint{k}" for k in range(1, 7)] + ["drive_joint"]
            lie = ControllerState(joint_names=names, reference=far)

            turns = itertools.cycle((first, publisher))

            def lied():
                for speaks in itertools.islice(turns, at_once):
                    speaks.publish(lie)
                return cell.status.reason_code == "second_source"

            cell.wait(lied, "hold")
        check_hold(cell, "second_source", f"/{name}", f"/{topic}")
    finally:
        other.destroy_node()


class BlackCamera:
    """Another node that publishes black frames on a camera's topic, at its rate."""

    def __init__(self, cell, topic, name):
        self.node = rclpy.create_node(name, context=cell.node.context)
        self.publisher = self.node.create_publisher(Image, topic, camera_qos())
        self.message = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(9216))
        self.cell, self.closing = cell, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.closing.wait(1 / 30):
            self.message.header.stamp = time_message(self.cell.now_ns())
            self.publisher.publish(self.message)

    def close(self):
        self.closing.set()
        self.thread.join()
        self.node.destroy_node()


@pytest.mark.parametrize("name", ["second_camera", "cell"], ids=["other", "of_the_same_name"])
def test_a_second_cameras_frames_are_in_no_observation(cell, start_node, name):
    node = start_node(LookingPolicy)
    cell.wait_moving()
    camera = BlackCamera(cell, "env_camera/image_raw", name)
    try:
        check_hold(cell, "second_source", f"/{name}", "/env_camera/image_raw", "end all but one")
    finally:
        camera.close()
    cell.wait(lambda: "that is over" in cell.status.reason, "words on what is over")
    cell.resume()
    assert min(node.policy.brightest) == 255


def test_a_second_camera_that_was_there_first_is_in_no_observation(cell, start_node):
    camera = BlackCamera(cell, "wrist_camera/image_raw", "second_camera")
    try:
        node = start_node(LookingPolicy)
        cell.wait_state(HOLDING, "second_source")
        cell.wait(lambda: "/second_camera" in cell.status.reason, "its name, once it is known")
        # whichever was discovered first: frames of both are in no run
        assert len(set(node.policy.brightest)) <= 1
    finally:
        camera.close()


def test_a_fault_is_heard_and_not_over_though_another_driver_says_that_it_has_none(
    cell, start_node
):
    start_node()
    cell.wait_moving()
    other = rclpy.create_node("second_driver", context=cell.node.context)
    try:
        sound = other.create_publisher(String, "arm_fault", fault_qos())
        cell.wait(lambda: sound.get_subscription_count() > 0, "being heard")
        cell.tell_fault("collision: control box error 31")
        sound.publish(String(data=""))  # in the same instant
        check_hold(cell, "arm_fault", "control box error 31")
        cell.wait(lambda: cell.logged("a fault is not over: /cell and /second_driver"), "a word")
        assert cell.status.reason_code == "arm_fault"
    finally:
        other.destroy_node()


def test_a_recorder_is_no_controller(cell, start_node):
    recorder = rclpy.create_node("recorder", context=cell.node.context)
    try:
        recorder.create_subscription(
            JointTrajectory, "xarm_gripper_traj_controller/joint_trajectory", print, 1
        )
        start_node()
        cell.wait_moving()
        cell.remove_controller()
        check_hold(cell, "controller_gone", "/xarm_gripper_traj_controller/joint_trajectory")
    finally:
        recorder.destroy_node()


def test_a_parameter_is_refused_while_it_would_be_ignored(cell, start_node):
    node = start_node().node
    cell.wait_moving()
    (refused,) = node.set_parameters([Parameter("dry_run", value=True)])
    assert not refused.successful
    assert "dry_run" in refused.reason
    assert not node.get_parameter("dry_run").value
    (done,) = node.set_parameters([Parameter("instruction", value="open the box")])
    assert done.successful
    cell.wait(lambda: cell.status.instruction == "open the box", "the new instruction")


def test_stop_is_latched_whatever_comes_back(cell, start_node):
    start_node()
    cell.wait_moving()
    answer = cell.call("stop")
    assert answer.success
    assert "STOPPED" in answer.message
    cell.wait_state(STOPPED, "stopped")
    wait_at_rest(cell)
    sent = [len(messages) for messages in cell.commands.values()]
    cell.cameras.clear()
    cell.wait(lambda: cell.status.streams[0].age_ms > 300, "a stale camera")
    cell.cameras = {"image_1", "image_2"}
    cell.wait(lambda: 0 <= cell.status.streams[0].age_ms < 100, "a live camera")
    refused = cell.call("resume")
    assert not refused.success
    assert "STOPPED" in refused.message
    assert cell.status.state == STOPPED
    assert [len(messages) for messages in cell.commands.values()] == sent
    assert cell.call("clear_stop").success
    cell.wait_state(IDLE)
    assert cell.call("resume").success
    cell.wait_moving()
    assert cell.logged("STOPPED")


def test_stop_topic_stops(cell, start_node):
    start_node()
    cell.wait_moving()
    cell.stop_by_topic()
    cell.wait_state(STOPPED, "stopped")
    wait_at_rest(cell)


def test_stop_outlives_deactivation(cell, start_node):
    node = start_node()
    cell.wait_moving()
    cell.call("stop")
    cell.change_state("deactivate")
    cell.statuses.clear()
    cell.change_state("activate")
    cell.wait_state(STOPPED, "stopped")
    assert node.policy.instructions
