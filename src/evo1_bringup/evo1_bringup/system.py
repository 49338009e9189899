"""What to start for a robot and its options: one pure description, whoever starts it.

The launch files turn it into launch actions (launching.py), the `evo1` command and the demo into
subprocesses (supervisor.py). Must not import ROS or launch.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evo1_bringup import installation
from evo1_bringup.options import OptionError, SystemOptions, options_of
from evo1_policy.robot_config import CameraConfig, RobotConfig, RobotConfigError, load_robot

Parameter = bool | int | float | str | Sequence[str]

PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
XARM_HARDWARE_NAMESPACE = "xarm"
# The emulator shares the processors with everything else, and starts after the first frames.
EMULATOR_PATIENCE = {"port_timeout_s": 60.0, "reply_timeout_ms": 40.0, "max_silent_cycles": 15}


@dataclass(frozen=True, kw_only=True)
class Process:
    """One program of a package.

    Attributes:
        name: node name; None keeps the program's own.
        namespace: without slashes at the ends; empty for the root.
        parameter_files: ROS parameter files, before `parameters`.
        remappings: (from, to) names.
        arguments: what stands before --ros-args.
        finishes: True for a program that does its work and ends by itself; any other one's end
            ends the system.
    """

    package: str
    executable: str
    name: str | None = None
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    parameter_files: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    finishes: bool = False

    @property
    def label(self) -> str:
        """How people are told about it."""
        return self.name or self.executable


@dataclass(frozen=True, kw_only=True)
class Include:
    """A launch file of another package, and its arguments."""

    package: str
    launch_file: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class System:
    """Everything to start.

    Attributes:
        robot: the robot file as read.
        robot_path: the robot file.
        simulated: whether the arm is the MuJoCo one.
        processes: the arm's side first, the policy or the relay of a demonstrator after it.
        includes: launch files of others, started before the processes.
        environment: variables to set where the shell has not set them.
        notes: what a person should know before it starts.
    """

    robot: RobotConfig
    robot_path: Path
    simulated: bool
    processes: tuple[Process, ...]
    includes: tuple[Include, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def describe(robot: str, options: SystemOptions) -> System:
    """Say what to start for `robot`.

    Raises:
        OptionError: no such robot, or options that do not fit it.
    """
    options_of(robot)  # names the known robots where this one is not among them
    path = Path(options.robot_file) if options.robot_file else installation.robot_file(robot)
    try:
        config = load_robot(path)
    except RobotConfigError as error:
        raise OptionError(f"robot_file: {error}") from error
    options = options if options.hardware else _with_task(robot, options)
    arm, includes = _arm(robot, options, path, config)
    cameras = _cameras(options, config)
    driver = _teleop_relay if options.teleop else _policy
    recorder = [_recorder(options, path)] if options.record else []
    return System(
        robot=config,
        robot_path=path,
        simulated=not options.hardware,
        processes=(*arm, *cameras, driver(options, path), *recorder),
        includes=includes,
        environment={PROFILE_VARIABLE: str(installation.share_file("config", "fastdds.xml"))},
        notes=_notes(robot, options, config),
    )


def check_installed(system: System) -> None:
    """Find every program and launch file of a system before anything of it starts.

    Raises:
        NotInstalledError: one is missing; the message says how to get it.
    """
    for include in system.includes:
        installation.find_launch_file(include.package, include.launch_file)
    for process in system.processes:
        installation.find_executable(process.package, process.executable)


def _with_task(robot: str, options: SystemOptions) -> SystemOptions:
    """Fill in the scene, and the instruction that goes with it."""
    from evo1_sim.tasks import TASKS  # here: a real arm's machine may lack MuJoCo

    tasks = {task.name: task for task in TASKS[robot]}
    name = options.task or next(iter(tasks))
    if name not in tasks:
        raise OptionError(f"task: '{name}' is unknown; known for {robot}: {', '.join(tasks)}")
    instruction = options.instruction or tasks[name].instruction
    return replace(options, task=name, instruction=instruction)


def _arm(
    robot: str, options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    if options.robot_ip:
        return _xarm6_hardware(options, path, config)
    if options.emulated:
        return _so100_emulated(robot, options, path, config), ()
    if options.port:
        return [_so100_hardware(options, path)], ()
    return [_simulation(robot, options, path)], ()


def _simulation(robot: str, options: SystemOptions, path: Path) -> Process:
    return Process(
        package="evo1_sim",
        executable="sim_robot",
        name="sim_robot",
        namespace=options.namespace,
        parameters={
            "arm": robot,
            "robot_file": str(path),
            "task": options.task,
            "seed": options.seed,
            "camera_width": options.camera_width,
            "camera_height": options.camera_height,
        },
    )


def _policy(options: SystemOptions, path: Path) -> Process:
    parameters: dict[str, Parameter] = {
        "robot_file": str(path),
        "checkpoint": options.checkpoint,
        "instruction": options.instruction,
        "device": options.device,
        "dry_run": options.dry_run,
        "autostart": options.autostart,
        "seed": options.seed,
        "auto_activate": True,
    }
    return Process(
        package="evo1_policy",
        executable="policy_node",
        name="policy",
        namespace=options.namespace,
        parameters=parameters,
    )


def _teleop_relay(options: SystemOptions, path: Path) -> Process:
    return Process(
        package="evo1_bringup",
        executable="teleop_relay",
        name="teleop_relay",
        namespace=options.namespace,
        parameters={"robot_file": str(path)},
    )


def _recorder(options: SystemOptions, path: Path) -> Process:
    parameters: dict[str, Parameter] = {
        "robot_file": str(path),
        "instruction": options.instruction,
        "auto_activate": True,
    }
    if options.record_root:
        parameters["root"] = options.record_root
    return Process(
        package="evo1_training",
        executable="recorder",
        name="recorder",
        namespace=options.namespace,
        parameters=parameters,
    )


def _so100_hardware(options: SystemOptions, path: Path) -> Process:
    return Process(
        package="evo1_bringup",
        executable="so100_driver",
        name="so100_driver",
        namespace=options.namespace,
        parameters={
            "robot_file": str(path),
            "port": options.port,
            "calibration": options.calibration,
        },
    )


def _so100_emulated(
    robot: str, options: SystemOptions, path: Path, config: RobotConfig
) -> list[Process]:
    """The simulation without controllers, the emulated servos that pull at it, the real driver."""
    folder = Path(tempfile.gettempdir()) / f"evo1_so100_{os.getpid()}" / options.namespace
    port = str(folder / "ttyEMULATED")
    calibration = options.calibration or str(folder / "calibration.json")
    remappings = [(config.state.topic, "emulated/joint_states")]
    remappings += [(command.topic, "emulated/joint_trajectory") for command in config.command]
    emulator = Process(
        package="evo1_bringup",
        executable="so100_emulator",
        name="so100_emulator",
        namespace=options.namespace,
        parameters={"robot_file": str(path), "port": port, "calibration": calibration},
    )
    driver = _so100_hardware(replace(options, port=port, calibration=calibration), path)
    patient = {**driver.parameters, **EMULATOR_PATIENCE}
    return [
        replace(_simulation(robot, options, path), remappings=tuple(remappings)),
        emulator,
        replace(driver, parameters=patient),
    ]


def _xarm6_hardware(
    options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    """The xarm_ros2 driver inside ros2_control, its controller, and our bridge.

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
    }
    includes = (
        Include(
            package="xarm_description", launch_file="_robot_description.launch.py", arguments=arm
        ),
        Include(
            package="xarm_controller",
            launch_file="_ros2_control.launch.py",
            # report_type dev: joint states at 100 Hz, and faults seen at once
            arguments={**arm, "robot_ip": options.robot_ip, "report_type": "dev"},
        ),
    )
    controller = config.command[0].topic.split("/")[0]
    spawner = Process(
        package="controller_manager",
        executable="spawner",
        arguments=(controller,),
        finishes=True,
    )
    bridge = Process(
        package="evo1_bringup",
        executable="gripper_bridge",
        name="gripper_bridge",
        parameters={
            "robot_file": str(path),
            "driver_joint_states": f"/{XARM_HARDWARE_NAMESPACE}/joint_states",
            "gripper_action": "/xarm_gripper/gripper_action",
        },
    )
    return [spawner, bridge], includes


def _cameras(options: SystemOptions, config: RobotConfig) -> list[Process]:
    if not options.cameras:
        return []
    if options.cameras.endswith((".yaml", ".yml")):
        if not Path(options.cameras).is_file():
            raise OptionError(f"cameras: '{options.cameras}' does not exist")
        return [
            _usb_camera(camera, options, parameter_file=options.cameras)
            for camera in config.cameras
        ]
    devices = [device.strip() for device in options.cameras.split(",")]
    if len(devices) != len(config.cameras):
        names = ", ".join(f"{camera.name} ({camera.topic})" for camera in config.cameras)
        raise OptionError(
            f"cameras: expected {len(config.cameras)} devices, one for each of {names}; "
            f"got {len(devices)}: {options.cameras}"
        )
    return [
        _usb_camera(camera, options, device=device)
        for camera, device in zip(config.cameras, devices, strict=True)
    ]


def _usb_camera(
    camera: CameraConfig, options: SystemOptions, *, device: str = "", parameter_file: str = ""
) -> Process:
    base = camera.topic.removesuffix("/compressed")  # image_transport adds it by itself
    parameters: dict[str, Parameter] = {}
    if device:
        parameters = {
            "video_device": device,
            "image_width": 640,
            "image_height": 480,
            "framerate": 30.0,
            "pixel_format": "mjpeg2rgb",
        }
    return Process(
        package="usb_cam",
        executable="usb_cam_node_exe",
        name=f"{camera.name}_camera",
        namespace=options.namespace,
        parameters={**parameters, "camera_name": camera.name, "frame_id": camera.name},
        parameter_files=(parameter_file,) if parameter_file else (),
        remappings=(
            ("image_raw", base),
            ("camera_info", f"{base.rpartition('/')[0]}/camera_info".lstrip("/")),
        ),
    )


def _teleop_note(robot: str, options: SystemOptions) -> str:
    ways = f"evo1 teleop --robot {robot} --device keyboard (gamepad, leader)"
    if not options.hardware:
        ways += f", or evo1 demonstrate --robot {robot} --episodes 5"
    return f"The arm follows a demonstrator: {ways}."


def _notes(robot: str, options: SystemOptions, config: RobotConfig) -> tuple[str, ...]:
    notes = []
    if options.hardware:
        where = options.robot_ip or options.port
        notes.append(f"A REAL {config.name} at {where}: keep its workspace clear.")
        if not options.cameras:
            topics = ", ".join(camera.topic for camera in config.cameras)
            notes.append(f"Start the cameras yourself; they are expected on {topics}.")
    else:
        bus = " behind an emulated servo bus" if options.emulated else ""
        notes.append(f"Simulated {config.name} (MuJoCo){bus}.")
    if options.teleop:
        notes.append(_teleop_note(robot, options))
    elif options.dry_run:
        notes.append("dry_run: the policy sends the arm no command.")
    elif not options.autostart:
        notes.append("The arm stays at rest until `evo1 resume` or the action policy/run_policy.")
    return tuple(notes)
