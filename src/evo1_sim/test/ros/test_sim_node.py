import time

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot

pytestmark = [pytest.mark.ros, pytest.mark.gl]
MODULE = "evo1_sim.ros.sim_node"
WIDTH, HEIGHT = 128, 96
SMALL = ("-p", f"camera_width:={WIDTH}", "-p", f"camera_height:={HEIGHT}")
TICK_NS = 10_000_000


def nanoseconds(stamp):
    return stamp.sec * 1_000_000_000 + stamp.nanosec


class Cell:
    """A running simulation and what it has published."""

    def __init__(self, robot, process, listener):
        from evo1_msgs.msg import TaskStatus
        from evo1_msgs.srv import ResetTask
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image, JointState
        from trajectory_msgs.msg import JointTrajectory

        from evo1_policy.ros.listening import ControllerState, controller_state_qos

        self.robot = robot
        self.process = process
        self.listener = listener
        self.joints = listener.listen(JointState, robot.state.topic, 1000)
        self.images = [
            listener.listen(Image, camera.topic, qos_profile_sensor_data)
            for camera in robot.cameras
        ]
        info = robot.cameras[0].topic.rpartition("/")[0] + "/camera_info"
        self.info = listener.listen(CameraInfo, info, qos_profile_sensor_data)
        self.tasks = listener.listen(TaskStatus, "sim_robot/task_status")
        self.followed = [
            listener.listen(ControllerState, command.state_topic, controller_state_qos())
            for command in robot.command
        ]
        self.reset_client = listener.node.create_client(ResetTask, "sim_robot/reset")
        self.commands = [
            listener.node.create_publisher(JointTrajectory, command.topic, 10)
            for command in robot.command
        ]
        self.wait(
            lambda: (
                self.joints
                and self.tasks
                and all(self.images)
                and all(command.get_subscription_count() for command in self.commands)
            ),
            "matched endpoints",
        )

    def wait(self, condition, what):
        self.listener.wait(condition, what, self.process)

    def next_joints(self, count=1):
        """Wait for joint states of after this call, not those still on their way."""
        now_ns = time.time_ns()

        def fresh():
            return [m for m in self.joints if nanoseconds(m.header.stamp) > now_ns]

        self.wait(lambda: len(fresh()) >= count, "joint states")
        self.joints[:] = fresh()
        return self.joints[-1]

    def reset(self, task="", seed=1):
        from evo1_msgs.srv import ResetTask

        return self.listener.call(self.reset_client, ResetTask.Request(task=task, seed=seed))

    def pull(self, cameras):
        return self.set("unplugged_cameras", cameras)

    def set(self, name, value):
        from rcl_interfaces.srv import SetParametersAtomically
        from rclpy.parameter import Parameter

        service = "sim_robot/set_parameters_atomically"
        client = self.listener.node.create_client(SetParametersAtomically, service)
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParametersAtomically.Request(parameters=[parameter])
        return self.listener.call(client, request).result

    def quiet_since(self, camera, frames):
        """Whether the other camera's last `frames` frames are newer than this one's newest."""
        stamps = [[nanoseconds(image.header.stamp) for image in seen] for seen in self.images]
        return sum(stamp > stamps[camera][-1] for stamp in stamps[1 - camera]) >= frames

    def send(self, output, positions, seconds, names=None):
        from builtin_interfaces.msg import Duration
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        point = JointTrajectoryPoint(
            positions=[float(position) for position in positions],
            velocities=[0.0] * len(positions),
            time_from_start=Duration(sec=0, nanosec=round(seconds * 1e9)),
        )
        names = list(names or self.robot.command[output].joints)
        self.commands[output].publish(JointTrajectory(joint_names=names, points=[point]))

    def measured(self, output):
        message = self.joints[-1]
        return np.array(
            [message.position[message.name.index(n)] for n in self.robot.command[output].joints]
        )

    def arrive(self, output, target):
        self.wait(
            lambda: np.abs(self.measured(output) - target).max() < 0.02,
            f"the arm at {target}",
        )


@pytest.fixture(scope="module", params=["xarm6", "so100"])
def cell(request, start, listener, robots_dir):
    path = robots_dir / f"{request.param}.yaml"
    process = start(MODULE, "-p", f"robot_file:={path}", *SMALL)
    yield Cell(load_robot(path), process, listener)
    assert process.end() == 0
    assert "Traceback" not in process.output


def test_joint_states_come_in_robot_order_at_even_stamps(cell):
    cell.next_joints(100)
    assert all(tuple(message.name) == cell.robot.joint_names for message in cell.joints)
    stamps = np.array([nanoseconds(message.header.stamp) for message in cell.joints])
    assert (np.diff(stamps) >= TICK_NS).all()
    assert np.median(np.diff(stamps)) == TICK_NS
    assert all(
        len(m.position) == len(m.velocity) == len(m.effort) == cell.robot.width
        for m in cell.joints
    )


def test_both_cameras_show_the_same_instant(cell):
    for images in cell.images:
        images.clear()
    cell.wait(lambda: all(len(images) >= 10 for images in cell.images), "frames")
    first, second = (
        {nanoseconds(image.header.stamp) for image in images[:9]} for images in cell.images
    )
    assert len(first & second) >= 8  # listening began between the two of a pair
    newest = max(first | second)
    cell.wait(lambda: nanoseconds(cell.joints[-1].header.stamp) >= newest, "joint states")
    joint_stamps = {nanoseconds(message.header.stamp) for message in cell.joints}
    assert first & second <= joint_stamps
    for camera, images in zip(cell.robot.cameras, cell.images, strict=True):
        image = images[-1]
        assert (image.encoding, image.width, image.height) == ("rgb8", WIDTH, HEIGHT)
        assert image.header.frame_id == camera.topic.split("/")[0] + "_optical_frame"
        assert np.frombuffer(image.data, np.uint8).std() > 10


def test_the_calibration_is_a_pinhole_in_the_middle(cell):
    cell.wait(lambda: cell.info, "camera_info")
    info = cell.info[-1]
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert info.k[0] == info.k[4] > HEIGHT / 4
    assert (info.k[2], info.k[5]) == (63.5, 47.5)


def test_a_trajectory_moves_the_arm_to_its_target(cell):
    cell.reset()
    cell.next_joints()
    for output in range(len(cell.robot.command)):
        target = cell.measured(output) + 0.15
        cell.send(output, target, 0.6)
        cell.arrive(output, target)


def test_joint_order_of_a_message_changes_nothing(cell):
    cell.reset()
    cell.next_joints()
    names = cell.robot.command[0].joints
    target = cell.measured(0) + 0.02 * np.arange(len(names))
    cell.send(0, target[::-1], 0.5, names=names[::-1])
    cell.arrive(0, target)


def test_a_replaced_trajectory_makes_no_jump(cell):
    cell.reset()
    cell.next_joints()
    start = cell.measured(0)
    cell.send(0, start + 0.3, 0.9)
    cell.wait(lambda: cell.joints and np.abs(cell.measured(0) - start).max() > 0.1, "half the way")
    cell.send(0, start, 0.9)
    cell.wait(lambda: cell.measured(0)[0] - start[0] < 0.05, "the way back")
    path = np.array([message.position for message in cell.joints])
    seconds = np.diff([nanoseconds(message.header.stamp) for message in cell.joints]) * 1e-9
    assert (np.abs(np.diff(path, axis=0)) / seconds[:, None]).max() < 1.2


@pytest.mark.parametrize(
    ("joint", "position", "problem"),
    [("elbow_of_another_arm", 0.1, "unknown joint"), (None, float("nan"), "is nan")],
)
def test_a_bad_trajectory_is_refused_and_logged(cell, joint, position, problem):
    cell.reset()
    cell.next_joints()
    start = cell.measured(0)
    names = list(cell.robot.command[0].joints)
    names[-1] = joint or names[-1]
    cell.send(0, [*start[:-1] + 0.3, position], 0.5, names=names)
    cell.wait(lambda: problem in cell.process.output, f"'{problem}' in the log")
    assert f"{cell.robot.command[0].topic}: trajectory refused" in cell.process.output
    assert f"'{names[-1]}'" in cell.process.output
    cell.next_joints(50)
    assert cell.measured(0) == pytest.approx(start, abs=0.005)


def test_a_reset_by_seed_repeats_the_start(cell):
    starts = []
    for seed in (7, 8, 7):
        response = cell.reset(seed=seed)
        assert response.success
        assert response.seed == seed
        starts.append(list(cell.next_joints().position))
        cell.wait(lambda seed=seed: cell.tasks[-1].seed == seed, f"task status of seed {seed}")
    assert starts[0] == pytest.approx(starts[2], abs=1e-3)
    assert starts[0] != pytest.approx(starts[1], abs=1e-3)
    assert cell.reset(seed=-1).seed == 8


def test_an_unknown_task_is_refused_with_the_known_ones(cell):
    response = cell.reset(task="dance")
    assert not response.success
    assert "unknown task 'dance'" in response.message
    assert cell.tasks[-1].task in response.message


def test_a_pulled_camera_is_silent_until_it_is_plugged_in_again(cell):
    assert cell.pull("image_2").successful
    cell.wait(
        lambda: cell.quiet_since(camera=1, frames=20),
        "20 frames of image_1 while image_2 is silent",
    )
    assert cell.pull("").successful
    count = len(cell.images[1])
    cell.wait(lambda: len(cell.images[1]) > count, "frames of image_2")


def test_an_unknown_camera_cannot_be_pulled(cell):
    result = cell.pull("image_9")
    assert not result.successful
    assert result.reason == "no camera 'image_9'; known: image_1, image_2"


def test_each_controller_says_what_it_follows(cell):
    cell.reset()
    cell.next_joints()
    for output, command in enumerate(cell.robot.command):
        target = cell.measured(output) + 0.1
        cell.send(output, target, 0.4)
        heard = cell.followed[output]
        cell.wait(
            lambda heard=heard, target=target: (
                heard and np.abs(np.array(heard[-1].reference.positions) - target).max() < 1e-9
            ),
            "the target as the reference",
        )
        assert tuple(heard[-1].joint_names) == command.joints
        assert list(heard[-1].reference.velocities) == [0.0] * len(command.joints)
        moving = [m for m in heard if max(m.reference.velocities) > 0.05]
        assert len(moving) > 5  # of 40
        assert len(moving[0].feedback.positions) == len(command.joints)


def test_a_controller_that_is_switched_off_is_silent_and_deaf_until_it_is_switched_on(cell):
    cell.reset()
    cell.next_joints()
    name = cell.robot.command[0].topic.split("/")[0]
    start = cell.measured(0)
    assert cell.set("inactive_controllers", name).successful
    cell.next_joints(20)
    cell.followed[0].clear()
    cell.send(0, start + 0.2, 0.3)
    cell.next_joints(60)
    assert cell.followed[0] == []
    assert cell.measured(0) == pytest.approx(start, abs=0.005)
    assert "refused" not in cell.process.output.rpartition("reset:")[2]
    assert cell.set("inactive_controllers", "").successful
    cell.wait(lambda: cell.followed[0], "the state of the controller")
    cell.send(0, start + 0.1, 0.4)
    cell.arrive(0, start + 0.1)


def test_an_unknown_controller_cannot_be_switched_off(cell):
    result = cell.set("inactive_controllers", "arm_9")
    assert not result.successful
    assert result.reason.startswith("no controller 'arm_9'; known: ")


def test_a_reset_to_any_task_goes_on_showing_frames(cell):
    from evo1_sim.world import World

    for task in World(cell.robot.name).task_names:
        assert cell.reset(task=task).success
        cell.wait(lambda task=task: cell.tasks[-1].task == task, f"task status of {task}")
        for images in cell.images:
            images.clear()
        cell.wait(lambda: all(len(images) >= 3 for images in cell.images), "frames")
        assert all(np.frombuffer(images[-1].data, np.uint8).std() > 10 for images in cell.images)


def test_a_reset_stops_a_running_trajectory(cell):
    cell.reset()
    cell.next_joints()
    start = cell.measured(0)
    cell.send(0, start + 0.4, 0.9)
    cell.wait(lambda: np.abs(cell.measured(0) - start).max() > 0.05, "motion")
    cell.reset()
    cell.next_joints(120)
    assert cell.measured(0) == pytest.approx(start, abs=0.005)


def test_in_a_namespace_with_a_clock_and_compressed_images(start, listener, robots_dir):
    import cv2
    from rclpy.qos import qos_profile_sensor_data
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CompressedImage, JointState

    clocks = listener.listen(Clock, "/clock")
    joints = listener.listen(JointState, "/left/joint_states")
    topic = "/left/wrist_camera/image_raw/compressed"
    images = listener.listen(CompressedImage, topic, qos_profile_sensor_data)
    process = start(
        MODULE,
        "-r",
        "__ns:=/left",
        "-p",
        f"robot_file:={robots_dir / 'xarm6.yaml'}",
        "-p",
        "publish_clock:=true",
        "-p",
        "publish_compressed:=true",
        *SMALL,
    )
    listener.wait(lambda: len(clocks) > 5 and len(joints) > 5 and images, "messages", process)
    assert 0 < nanoseconds(clocks[-1].clock) < 60e9
    assert 0 < nanoseconds(joints[-1].header.stamp) < 60e9
    pixels = cv2.imdecode(np.frombuffer(images[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert images[-1].format.startswith("rgb8; jpeg")
    assert process.end() == 0


def test_sigterm_ends_it_as_cleanly(start, listener, robots_dir):
    import signal

    from sensor_msgs.msg import JointState

    joints = listener.listen(JointState, "/right/joint_states")
    arguments = ("-r", "__ns:=/right", "-p", f"robot_file:={robots_dir / 'xarm6.yaml'}", *SMALL)
    process = start(MODULE, *arguments)
    listener.wait(lambda: joints, "joint states", process)
    assert process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "parameter 'robot_file' is missing"),
        (("-p", "robot_file:=nowhere.yaml"), "nowhere.yaml: cannot read the robot file"),
        (("-p", "robot_file:={robots}/xarm6.yaml", "-p", "arm:=so100"), "joints joint1"),
        (("-p", "robot_file:={robots}/xarm6.yaml", "-p", "task:=dance"), "dance"),
        (("-p", "camera_width:=5"), "camera_width"),
    ],
)
def test_what_cannot_be_simulated_is_named(start, robots_dir, arguments, problem):
    process = start(MODULE, *(argument.format(robots=robots_dir) for argument in arguments))
    assert process.wait() == 1
    assert problem in process.output
    assert "Traceback" not in process.output


def test_without_a_gl_backend_it_says_what_to_install(start, robots_dir):
    robot_file = f"robot_file:={robots_dir / 'xarm6.yaml'}"
    process = start(MODULE, "-p", robot_file, MUJOCO_GL="disable")
    assert process.wait() == 1
    assert "rendering failed: RenderingError" in process.output
    assert "MUJOCO_GL" in process.output
    assert "Traceback" not in process.output
