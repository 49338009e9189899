"""UFACTORY's arms by xarm_ros2: xArm5, xArm6, xArm7, Lite 6, UF850, with or without the gripper.

Must not import ROS or launch.
"""

import re
from dataclasses import replace
from pathlib import Path

from evo1_bringup.arms import Arm, Driver, refuse_effort
from evo1_bringup.drivers.xarm_faults import ONLINE_MODE, SERVO_MODE
from evo1_bringup.options import ROS2_CONTROL, OptionError, SystemOptions
from evo1_bringup.processes import Include, Process
from evo1_policy.robot_config import RobotConfig

DIRECT = "direct"
HARDWARE_NAMESPACE = "xarm"
_KINDS = {"lite": "lite", "uf": "uf850", "xarm": "xarm"}  # start of the name -> its robot_type


def check(options: SystemOptions) -> None:
    """Refuse options that do not go together."""
    if options.robot_ip and options.namespace and options.driver != DIRECT:
        raise OptionError(
            "driver: the xArm6 of ros2_control cannot run in a namespace (names in "
            "controller_manager are fixed); choose direct, or leave the namespace out"
        )


def start(options: SystemOptions, path: Path, config: RobotConfig, simulation: Process) -> Arm:
    """The driver in one of two ways, our gripper bridge, and the watch over the control box."""
    refuse_effort(path, config, "the gripper of xarm_ros2 (it reads the goal's position alone)")
    direct = options.driver == DIRECT
    monitor = options.driver_node(
        "xarm_monitor",
        hardware_namespace=HARDWARE_NAMESPACE,
        mode=ONLINE_MODE if direct else SERVO_MODE,
        enable_at_start=direct,  # ros2_control's hardware does it by itself
    )
    way, includes = (_direct if direct else _ros2_control)(options, path, config)
    bridges = []
    if config.gripper is not None:
        bridges = [
            options.driver_node(
                "gripper_bridge",
                robot_file=str(path),
                driver_joint_states=f"{HARDWARE_NAMESPACE}/joint_states",
                gripper_action="xarm_gripper/gripper_action",
            )
        ]
    return [*way, *bridges, replace(monitor, role="needed")], includes


def _model(config: RobotConfig) -> tuple[str, int]:
    """What xarm_ros2 calls its kind, and how many joints it has without the gripper."""
    kind = next((kind for name, kind in _KINDS.items() if config.name.startswith(name)), None)
    if kind is None or not re.search(r"\d", config.name):
        raise OptionError(
            f"robot_file: driver: xarm_ros2 knows names such as xarm7, lite6, uf850; got "
            f"'{config.name}'"
        )
    return kind, config.width - len(config.grippers)


def _direct(
    options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    kind, joints = _model(config)
    driver = Include(
        package="xarm_api",
        launch_file=f"{kind if kind == 'uf850' else f'{kind}{joints}'}_driver.launch.py",
        arguments={
            "robot_ip": options.robot_ip,
            "report_type": "dev",
            **_gripper(config),
            "hw_ns": HARDWARE_NAMESPACE,
            # its parameter file names its node in full
            **({"ros_namespace": options.namespace} if options.namespace else {}),
        },
        namespace=options.namespace,
    )
    translator = options.driver_node(
        "xarm_direct", robot_file=str(path), hardware_namespace=HARDWARE_NAMESPACE
    )
    return [translator], (driver,)


def _gripper(config: RobotConfig) -> dict[str, str]:
    return {"add_gripper": "true" if config.gripper is not None else "false"}


def _ros2_control(
    options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    """The driver inside ros2_control, and its controller.

    Jazzy's controller_manager takes the URDF from the topic robot_description, which the first
    launch file publishes; its own one would be without the box's address. So both get ours, as
    in xarm_ros2's own launch files.

    Not xarm_controller's _robot_ros2_control.launch.py: that one adds joint_state_publisher, which
    repeats old positions under fresh stamps at 10 Hz, so that a dead driver would look alive. The
    bridge merges the joint states instead and keeps the arm's own stamps; without a gripper there
    is nothing to merge, and the robot file's state topic is the driver's own.
    """
    kind, joints = _model(config)
    arm = {
        "dof": str(joints),
        "robot_type": kind,
        "hw_ns": HARDWARE_NAMESPACE,
        **_gripper(config),
        "ros2_control_plugin": "uf_robot_hardware/UFRobotSystemHardware",
        "robot_ip": options.robot_ip,
        "report_type": "dev",  # joint states at 100 Hz, and faults seen at once
    }
    files = {
        "xarm_description": "_robot_description.launch.py",
        "xarm_controller": "_ros2_control.launch.py",
    }
    urdf = ("xarm_description", "urdf/xarm_device.urdf.xacro")
    includes = tuple(
        Include(package=package, launch_file=file, arguments=arm, xacro=urdf)
        for package, file in files.items()
    )
    spawner = Process(
        package="controller_manager",
        executable="spawner",
        arguments=(config.command[0].topic.split("/")[0],),
        role="finishes",
    )
    return [spawner], includes


DRIVER = Driver(
    device="robot_ip",
    options=("robot_ip",),
    ways=(ROS2_CONTROL, DIRECT),
    check=check,
    start=start,
)
