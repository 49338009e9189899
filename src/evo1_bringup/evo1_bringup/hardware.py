"""What stands between the policy's topics and real hardware: arms, and the drivers of cameras.

Must not import ROS or launch.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evo1_bringup.drivers.xarm_faults import ONLINE_MODE, SERVO_MODE
from evo1_bringup.options import (
    DIRECT,
    REALSENSE,
    ROS2_CONTROL,
    USB_CAM,
    V4L2_CAMERA,
    OptionError,
    SystemOptions,
    read_file,
)
from evo1_bringup.processes import Include, Process, Setting
from evo1_policy.robot_config import CameraConfig, RobotConfig

XARM_HARDWARE_NAMESPACE = "xarm"
# The emulator shares the processors with everything else, and starts after the first frames.
EMULATOR_PATIENCE: Mapping[str, Setting] = {
    "port_timeout_s": 60.0,
    "reply_timeout_ms": 40.0,
    "max_silent_cycles": 15,
}


def so100_arm(
    options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    """Our driver of a real SO-100, or the controllers of ros2_so_arm100 with a bridge."""
    if options.driver != ROS2_CONTROL:
        return [_so100_driver(options, path)], ()
    controllers = Include(
        package="so_arm100_description",
        launch_file="controllers_bringup.launch.py",
        arguments={"hardware_type": "real", "usb_port": options.port},
    )
    bridge = _node(
        options,
        "gripper_bridge",
        robot_file=str(path),
        merge_states=False,  # joint_state_broadcaster has them all
        driver_joint_states=config.state.topic,
        gripper_action="gripper_controller/gripper_cmd",
        action_type="ParallelGripperCommand",
    )
    return [bridge], (controllers,)


def _node(options: SystemOptions, executable: str, **parameters: Setting) -> Process:
    return Process.node("evo1_bringup", executable, options.namespace, "driver", **parameters)


def _so100_driver(options: SystemOptions, path: Path, **parameters: Setting) -> Process:
    return _node(
        options,
        "so100_driver",
        robot_file=str(path),
        port=options.port,
        calibration=options.calibration,
        **parameters,
    )


def so100_emulated(
    options: SystemOptions, path: Path, config: RobotConfig, simulation: Process
) -> list[Process]:
    """The simulation without controllers, the emulated servos that pull at it, the real driver."""
    folder = Path(tempfile.gettempdir()) / f"evo1_so100_{os.getpid()}" / options.namespace
    port = str(folder / "ttyEMULATED")
    calibration = options.calibration or str(folder / "calibration.json")
    remappings = [(config.state.topic, "emulated/joint_states")]
    for command in config.command:  # of which the driver is the controller, not the simulation
        remappings.append((command.topic, "emulated/joint_trajectory"))
        remappings.append((command.state_topic, "emulated/controller_state"))
    wired = replace(options, port=port, calibration=calibration)
    return [
        replace(simulation, remappings=tuple(remappings)),
        Process.node(
            "evo1_sim",
            "so100_emulator",
            options.namespace,
            "driver",
            robot_file=str(path),
            port=port,
            calibration=calibration,
        ),
        _so100_driver(wired, path, **EMULATOR_PATIENCE),
    ]


def xarm6_arm(
    options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    """The xarm_ros2 driver in one of two ways, our gripper bridge, and the watch over its box."""
    direct = options.driver == DIRECT
    bridge = _node(
        options,
        "gripper_bridge",
        robot_file=str(path),
        driver_joint_states=f"{XARM_HARDWARE_NAMESPACE}/joint_states",
        gripper_action="xarm_gripper/gripper_action",
    )
    monitor = _node(
        options,
        "xarm_monitor",
        hardware_namespace=XARM_HARDWARE_NAMESPACE,
        mode=ONLINE_MODE if direct else SERVO_MODE,
        enable_at_start=direct,  # ros2_control's hardware does it by itself
    )
    if direct:
        way, includes = _xarm6_direct(options, path)
    else:
        way, includes = _xarm6_ros2_control(options, config)
    return [way, bridge, replace(monitor, role="needed")], includes


def _xarm6_direct(options: SystemOptions, path: Path) -> tuple[Process, tuple[Include, ...]]:
    driver = Include(
        package="xarm_api",
        launch_file="xarm6_driver.launch.py",
        arguments={
            "robot_ip": options.robot_ip,
            "report_type": "dev",
            "add_gripper": "true",
            "hw_ns": XARM_HARDWARE_NAMESPACE,
            # its parameter file names its node in full
            **({"ros_namespace": options.namespace} if options.namespace else {}),
        },
        namespace=options.namespace,
    )
    translator = _node(
        options,
        "xarm_direct",
        robot_file=str(path),
        hardware_namespace=XARM_HARDWARE_NAMESPACE,
    )
    return translator, (driver,)


def _xarm6_ros2_control(
    options: SystemOptions, config: RobotConfig
) -> tuple[Process, tuple[Include, ...]]:
    """The driver inside ros2_control, and its controller.

    Jazzy's controller_manager takes the URDF from the topic robot_description, which the first
    launch file publishes; its own one would be without the box's address. So both get ours, as
    in xarm_ros2's own launch files.

    Not xarm_controller's _robot_ros2_control.launch.py: that one adds joint_state_publisher, which
    repeats old positions under fresh stamps at 10 Hz, so that a dead driver would look alive. The
    bridge merges the joint states instead and keeps the arm's own stamps.
    """
    arm = {
        "dof": "6",
        "robot_type": "xarm",
        "hw_ns": XARM_HARDWARE_NAMESPACE,
        "add_gripper": "true",
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
    controller = config.command[0].topic.split("/")[0]
    spawner = Process(
        package="controller_manager",
        executable="spawner",
        arguments=(controller,),
        role="finishes",
    )
    return spawner, includes


WIDTH, HEIGHT, RATE_HZ = 640, 480, 30


def camera_processes(options: SystemOptions, config: RobotConfig) -> list[Process]:
    """One program for each camera of the robot file, where `cameras` names them.

    Raises:
        OptionError: a file that does not exist, or another number of devices.
    """
    if not options.cameras:
        return []
    cameras, file = config.cameras, ""
    devices = [device.strip() for device in options.cameras.split(",")]
    if options.cameras.endswith((".yaml", ".yml")):
        file, devices = read_file("cameras", options.cameras), [""] * len(cameras)
    if len(devices) != len(cameras):
        names = ", ".join(f"{camera.name} ({camera.topic})" for camera in cameras)
        raise OptionError(
            f"cameras: expected {len(cameras)} devices, one for each of {names}; "
            f"got {len(devices)}: {options.cameras}"
        )
    pairs = zip(cameras, devices, strict=True)
    return [_camera(camera, options, device, file) for camera, device in pairs]


def _camera(
    camera: CameraConfig, options: SystemOptions, device: str, parameter_file: str
) -> Process:
    executable, published, names = _DRIVERS[options.camera_driver]
    topic = camera.topic.removesuffix("/compressed")  # image_transport adds it by itself
    folder, _, image = topic.rpartition("/")
    root = "" if topic.startswith("/") else options.namespace
    return Process(
        package=options.camera_driver,
        executable=executable,
        name=f"{camera.name}_camera",
        namespace="/".join(part for part in (root, folder.strip("/")) if part),
        parameters={
            **(_of_device(options.camera_driver, device) if device else {}),
            **dict.fromkeys(names, camera.name),
        },
        parameter_files=(parameter_file,) if parameter_file else (),
        remappings=_remappings(published, image),
    )


def _remappings(published: str, wanted: str) -> tuple[tuple[str, str], ...]:
    """From what a driver publishes to what is wanted, in the camera's own namespace.

    A rule for each: image_transport applies none of `published` to the topics of its transports.
    """
    names = [(f"{published}{end}", f"{wanted}{end}") for end in ("", "/compressed")]
    names.append((f"{published.rpartition('image_raw')[0]}camera_info", "camera_info"))
    return tuple((source, target) for source, target in names if source != target)


# Of each driver: its executable, the topic of its images, parameters that take the camera's name.
_DRIVERS = {
    USB_CAM: ("usb_cam_node_exe", "image_raw", ("camera_name", "frame_id")),
    V4L2_CAMERA: ("v4l2_camera_node", "image_raw", ("camera_frame_id",)),
    REALSENSE: ("realsense2_camera_node", "~/color/image_raw", ("camera_name",)),
}


def _of_device(driver: str, device: str) -> dict[str, Setting]:
    """The parameters of a driver for a device."""
    if driver == USB_CAM:
        return {
            "video_device": device,
            "image_width": WIDTH,
            "image_height": HEIGHT,
            "framerate": float(RATE_HZ),
            "pixel_format": "mjpeg2rgb",
        }
    if driver == V4L2_CAMERA:
        return {"video_device": device, "image_size": [WIDTH, HEIGHT], "output_encoding": "rgb8"}
    return {
        "serial_no": f"_{device.lstrip('_')}",  # or ROS would make a number of it
        "rgb_camera.color_profile": f"{WIDTH}x{HEIGHT}x{RATE_HZ}",
        "enable_depth": False,
        "enable_infra1": False,
        "enable_infra2": False,
    }
