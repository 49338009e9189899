"""`ros2 run evo1_bringup teleop`: a person drives the arm by keyboard, gamepad or leader arm.

What is published are wishes on the robot file's teleop topic; the relay (teleop:=true in the
launch files) or, to take over from a policy, the policy node checks them and moves the arm.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import rclpy
from evo1_msgs.msg import PolicyStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.options import read_robot
from evo1_bringup.ros.commands import STATES
from evo1_bringup.teleop.devices import (
    HELP,
    Gamepad,
    GamepadMapping,
    Keyboard,
    LeaderArm,
    LeaderServos,
)
from evo1_bringup.teleop.jog import JogCommand, Jogger
from evo1_policy.action_chunk import Floats
from evo1_policy.command_line import Parser, entry_point, printable
from evo1_policy.control.teleop_target import TeleopWindow
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.listening import Listener
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import declare_parameters, read_parameters
from evo1_policy.ros.qos import JOY_TOPIC, command_qos, joy_qos
from evo1_policy.ros.starting import start_ros
from evo1_sim.ros.trajectory_messages import target_message
from evo1_sim.servo_bus.so100_calibration import load_calibration
from evo1_training.terminal import CTRL_C, CTRL_D, read_keys, single_keys

if TYPE_CHECKING:
    from evo1_sim.kinematics import Kinematics

PERIOD_S = 0.02
IDLE_S = 3.0  # stillness after which nothing is published any more
SILENT_S = 1.5  # a mover that said nothing for longer is gone: it speaks three times as often
JOY_TIMEOUT_S = 0.5  # a gamepad silent for longer is not held any more
_JOINTS_OF_A_POSE = 6  # beside the gripper
MAX_STEP_S = 0.05  # that one step of a held-up loop may stand for

_EPILOG = """\
examples, with evo1 launch xarm6 teleop:=true in another terminal (or without teleop: moving takes
over from the policy):
  evo1 teleop --robot xarm6 --device keyboard

devices:
  keyboard  jogs the arm from this terminal; the xArm6's tool, the SO-100's joints
  gamepad   the same from sensor_msgs/Joy (ros2 run joy joy_node); hold RB to move; give axes and
            buttons other numbers with --ros-args -p axis_z:=3 -p button_enable:=4
  leader    an SO-100 or SO-101 leader arm on a serial port, calibrated with LeRobot; the
            arm follows it, slowly at first where it stands elsewhere
"""


class TeleopError(RuntimeError):
    """A device or a part that is missing; the message says what to do."""


class TeleopNode(CleanLog, Node):
    """Node `teleop`.

    Args:
        robot: the robot file.
        namespace: of the arm.
        device: 'keyboard', 'gamepad' or 'leader'.
        jogger: for keyboard and gamepad.
        cartesian: whether these move the tool.
        leader: for the leader arm.
    """

    def __init__(
        self,
        robot: RobotConfig,
        *,
        namespace: str,
        device: str,
        jogger: Jogger,
        cartesian: bool,
        leader: LeaderArm | None = None,
    ) -> None:
        super().__init__("teleop", namespace=namespace)
        self._robot = robot
        self._device = device
        self._jogger = jogger
        self._leader = leader
        self._window = TeleopWindow(robot.joint_names)
        self._joints: dict[str, float] = {}
        self._movers: dict[str, tuple[str, float]] = {}  # last words, and when they were heard
        self._joy: tuple[Joy, float] | None = None
        self._moved_at = self._stepped_at = 0.0
        self.note = ""
        self.keyboard = Keyboard(joints=robot.width, cartesian=cartesian)
        declare_parameters(self, GamepadMapping, read_only=True)
        self._gamepad = Gamepad(
            joints=robot.width, cartesian=cartesian, mapping=read_parameters(self, GamepadMapping)
        )
        self._publisher = self.create_publisher(JointTrajectory, robot.teleop_topic, command_qos())
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "teleop_relay/status", self._on_relay, latched)
        self.create_subscription(PolicyStatus, "policy/status", self._on_policy, 10)
        listener = Listener(self, refuse=self._on_refused)
        listener.hear_joints(robot.state.topic, robot.joint_names, self._on_joints)
        listener.hear(Joy, JOY_TOPIC, self._on_joy, joy_qos())
        self._resumes = [
            self.create_client(Trigger, f"{name}/resume") for name in ("teleop_relay", "policy")
        ]
        self._hand_back = self.create_client(Trigger, "policy/hand_back")

    @property
    def mover(self) -> str:
        """What the relay, or the policy node, says it does; that it fell silent, where it did."""
        if not self._movers:
            return "nobody moves the arm: evo1 launch ..., with teleop:=true or not"
        name = self._newest_mover()
        words = self._movers[name][0]
        if self._silent(name):
            return f"nobody moves the arm: the {name} fell silent; its last words: {words}"
        return f"{name}: {words}"

    def _newest_mover(self) -> str:
        """The relay where it speaks, else whoever spoke last."""
        if "relay" in self._movers and not self._silent("relay"):
            return "relay"
        return max(self._movers, key=lambda name: self._movers[name][1])

    def _silent(self, name: str) -> bool:
        return time.monotonic() - self._movers[name][1] > SILENT_S

    def press(self, text: str) -> None:
        """Take typed characters."""
        for key in text:
            if key in "cC":
                self.resume()
            elif key in "bB":
                self.hand_back()
            elif self._device == "keyboard":
                self.keyboard.press(key, time.monotonic())

    def resume(self) -> None:
        """Ask the relay to follow again, or the policy to go on."""
        self._jogger.stop()
        for client in self._resumes:
            if client.service_is_ready():
                client.call_async(Trigger.Request())

    def hand_back(self) -> None:
        """Give the arm back to the policy."""
        self._jogger.stop()
        if self._hand_back.service_is_ready():
            self._hand_back.call_async(Trigger.Request())

    def step(self) -> None:
        """Publish where the arm shall be now, where anything is asked for."""
        now_s = time.monotonic()
        duration_s = min(now_s - self._stepped_at, MAX_STEP_S)
        self._stepped_at = now_s
        positions = self._read_leader() if self._leader else self._jog(now_s, duration_s)
        if positions is not None:
            now_ns = int(self.get_clock().now().nanoseconds)
            self._publisher.publish(target_message(self._window.push(positions, now_ns)))

    def _read_leader(self) -> Floats | None:
        assert self._leader is not None
        try:
            positions = self._leader.read()
        except BusError as error:  # nothing is published: the arm comes to rest
            self.note = str(error)
            self.get_logger().error(self.note, throttle_duration_sec=2.0)
            return None
        self.note = ""
        return positions

    def _jog(self, now_s: float, duration_s: float) -> Floats | None:
        command = self._wanted(now_s)
        if self._movers and (self._silent(self._newest_mover()) or self._held()):
            self._jogger.stop()  # the next wish begins where the arm is then
            self.note = "held; [c] or the resume button goes on" if self._held() else ""
            return None
        if not command.still:
            self._moved_at = now_s
        elif now_s - self._moved_at > IDLE_S:
            self._jogger.stop()
        if not self._jogger.started:
            if command.still:
                return None
            measured = self._measured()
            if measured is None:
                self.note = f"no joint positions on '{self._robot.state.topic}' yet"
                return None
            self._jogger.start(measured)
        positions = self._jogger.step(command, duration_s)
        self.note = self._jogger.note
        return positions

    def _held(self) -> bool:
        return self._newest_mover() == "relay" and self._movers["relay"][0].startswith("holding")

    def _wanted(self, now_s: float) -> JogCommand:
        if self._device == "keyboard":
            return self.keyboard.command(now_s)
        if self._joy is None or now_s - self._joy[1] > JOY_TIMEOUT_S:
            return JogCommand()
        return self._gamepad.command(self._joy[0].axes, self._joy[0].buttons)

    def _measured(self) -> Floats | None:
        names = self._robot.joint_names
        if any(name not in self._joints for name in names):
            return None
        return np.array([self._joints[name] for name in names])

    def _on_relay(self, message: String) -> None:
        self._movers["relay"] = message.data, time.monotonic()

    def _on_policy(self, message: PolicyStatus) -> None:
        state = STATES.get(message.state, str(message.state))
        self._movers["policy"] = f"{state} {message.reason_code}".rstrip(), time.monotonic()

    def _on_joints(self, names: Sequence[str], positions: Floats, _: int) -> None:
        self._joints.update(zip(names, positions.tolist(), strict=True))

    def _on_refused(self, why: str) -> None:
        self.note = why

    def _on_joy(self, message: Joy, _: int) -> None:
        self._joy = message, time.monotonic()
        if self._device == "gamepad" and self._gamepad.resumes(message.buttons):
            self.resume()


def load_solver(robot: RobotConfig) -> "Kinematics":
    """Kinematics of the arm, from its MuJoCo model or its URDF.

    Raises:
        TeleopError: MuJoCo is not installed, or there is no model.
    """
    try:
        from evo1_sim.arms import find_arm
        from evo1_sim.kinematics import Kinematics
    except ImportError as error:
        raise TeleopError(
            f"moving the tool needs MuJoCo ({error}): pip install mujoco, or use --space joint"
        ) from error
    return Kinematics(find_arm(robot.name, robot))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        "evo1 teleop",
        description="Drive the arm by keyboard, gamepad or leader arm.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--robot", required=True, help="Name of a robot file that ships, or the path of one."
    )
    parser.add_argument("--device", choices=("keyboard", "gamepad", "leader"), default="keyboard")
    parser.add_argument(
        "--space",
        choices=("cartesian", "joint"),
        help="Not given: cartesian for an arm of six joints or more, else joint.",
    )
    parser.add_argument("--port", default="", help="Serial port of the leader arm.")
    parser.add_argument("--calibration", default="", help="LeRobot's file (JSON) of the leader.")
    parser.add_argument("--robot-file", default="", help="The same as a path for --robot.")
    parser.add_argument("--namespace", default="", help="Of the arm.")
    return parser


def moves_tool(arguments: argparse.Namespace, robot: RobotConfig) -> bool:
    """Whether keys and sticks move the tool rather than joints."""
    usual = "cartesian" if robot.gripper and robot.width > _JOINTS_OF_A_POSE else "joint"
    return arguments.device != "leader" and (arguments.space or usual) == "cartesian"


def run(node: TeleopNode) -> None:
    """Serve device and display until Ctrl-C."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    due, shown = time.monotonic(), ""
    with single_keys() as descriptor:
        while True:
            due = max(due + PERIOD_S, time.monotonic())
            while (left := due - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
            typed = read_keys(descriptor)
            if CTRL_C in typed or CTRL_D in typed:
                break
            node.press(typed)
            node.step()
            line = f"{node.mover}   speed x{node.keyboard.speed:.2f}   {node.note}"
            if line != shown:
                shown = line
                _show(line)
    executor.shutdown()


def _show(line: str) -> None:
    line = printable(line)
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[2K{line[:160]}")
    else:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@entry_point("teleop")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    arguments = parser.parse_args(remove_ros_args(["teleop", *words])[1:])
    if arguments.device == "leader" and not (arguments.port and arguments.calibration):
        parser.error("--device leader needs --port and --calibration of the leader arm")
    _, robot = read_robot(arguments.robot_file or arguments.robot)
    if arguments.space == "cartesian" and robot.gripper is None:
        parser.error("--space cartesian: needs an arm with one gripper, whose joint is the last")
    if len(robot.grippers) > 1:
        parser.error(f"--robot {arguments.robot}: one device moves one arm")
    if arguments.device == "leader" and robot.driver != "so_arm":
        parser.error("--device leader is an SO-100 or SO-101; it drives --robot so100 or so101")
    start_ros(words)
    bus = None
    try:
        leader = None
        if arguments.device == "leader":
            servos = load_calibration(arguments.calibration, robot.joints)
            bus = FeetechBus(arguments.port)
            leader = LeaderArm(LeaderServos(bus, servos), servos, robot)
        cartesian = moves_tool(arguments, robot)
        node = TeleopNode(
            robot,
            namespace=arguments.namespace,
            device=arguments.device,
            jogger=Jogger(robot, solver=load_solver(robot) if cartesian else None),
            cartesian=cartesian,
            leader=leader,
        )
        print(HELP[arguments.device, cartesian])  # noqa: T201
        run(node)
        node.destroy_node()
    except KeyboardInterrupt:
        return 0
    finally:
        if bus is not None:
            bus.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
