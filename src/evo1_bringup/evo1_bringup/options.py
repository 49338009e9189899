"""The options of a system: what a person may choose, with defaults and descriptions.

The launch files and the `evo1` command both declare their arguments from here. Must not import
ROS or launch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from evo1_bringup.option_values import (
    BOOLEANS,
    read_boolean,
    read_file,
    read_folder,
    read_namespace,
    read_seconds,
    read_seed,
    read_size,
)
from evo1_bringup.option_values import OptionError as OptionError
from evo1_policy.control.modes import ExecutionMode, Transition
from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH

SINGLE_ARMS = ("xarm6", "so100")
BIMANUAL = "xarm6_bimanual"  # one policy for two arms; in simulation, or on drivers of one's own
ROBOTS = (*SINGLE_ARMS, BIMANUAL)
EMULATED = "emulated"  # a port: the whole hardware path, without hardware
DIRECT, ROS2_CONTROL, FEETECH = "direct", "ros2_control", "feetech"
USB_CAM, V4L2_CAMERA, REALSENSE = "usb_cam", "v4l2_camera", "realsense2_camera"
CAMERA_DRIVERS = (USB_CAM, V4L2_CAMERA, REALSENSE)
TOPIC, SERVICE, OFF = "topic", "service", "off"
HOLD, RESUME = "hold", "resume"
NONE, JOY = "none", "joy"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One argument as a person types it: `name:=value`."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()  # empty: free text

    @property
    def described(self) -> str:
        """The description with the choices."""
        if not self.choices:
            return self.description
        return f"{self.description} ({', '.join(self.choices)})"


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """The choices for one start, parsed. Empty texts mean that nothing was chosen."""

    robot_ip: str = ""
    port: str = ""
    calibration: str = ""
    driver: str = ""
    checkpoint: str = ""
    instruction: str = ""
    task: str = ""
    seed: int = 0
    cameras: str = ""
    camera_driver: str = USB_CAM
    dry_run: bool = False
    execution_mode: str = ExecutionMode.REPLACE.value
    instruction_transition: str = Transition.BLEND.value
    teleop: bool = False
    record: bool = False
    record_root: str = ""
    pre_roll_s: float = 10.0
    namespace: str = ""
    device: str = "auto"
    robot_file: str = ""
    autostart: bool = True
    takeover: str = TOPIC
    takeover_return: str = HOLD
    dead_man: str = NONE
    camera_width: int = IMAGE_WIDTH
    camera_height: int = IMAGE_HEIGHT

    @property
    def hardware(self) -> bool:
        """Whether a real arm is meant."""
        return bool(self.robot_ip or self.port) and not self.emulated

    @property
    def emulated(self) -> bool:
        """Whether the servo bus of the SO-100 is emulated."""
        return self.port == EMULATED


_XARM6 = (
    Option(
        name="robot_ip",
        default="",
        description="Address of the xArm6's control box. Not given: the MuJoCo arm.",
    ),
    Option(
        name="driver",
        default=ROS2_CONTROL,
        description="Way to the real arm: xarm_ros2's ros2_control hardware (servo mode), or "
        "direct: the control box plans between our targets (mode 6, firmware 1.10 or newer).",
        choices=(ROS2_CONTROL, DIRECT),
    ),
)
_SO100 = (
    Option(
        name="port",
        default="",
        description="Serial port of the SO-100, such as /dev/ttyACM0. Not given: the MuJoCo arm. "
        "'emulated': the real driver on an emulated servo bus that moves the MuJoCo arm.",
    ),
    Option(
        name="calibration",
        default="",
        description="LeRobot calibration file (JSON) of this SO-100. Needed with port, but for "
        "port:=emulated, which makes one.",
    ),
    Option(
        name="driver",
        default=FEETECH,
        description="Way to the real arm: our driver, or ros2_control: the controllers of "
        "ros2_so_arm100, which calibrates by its own file.",
        choices=(FEETECH, ROS2_CONTROL),
    ),
)
_COMMON = (
    Option(
        name="checkpoint",
        default="",
        description="Folder of a trained policy. Not given: the small one that ships with it.",
    ),
    Option(
        name="instruction",
        default="",
        description="What to do, in words. Not given: that of the simulated task; a real arm "
        "waits for one (evo1 instruct).",
    ),
    Option(
        name="task",
        default="",
        description="Scene of the simulation. Not given: the first task of the robot.",
    ),
    Option(
        name="seed",
        default="0",
        description="Start state of the simulated scene and noise of the policy, an integer.",
    ),
    Option(
        name="cameras",
        default="",
        description="Real arm only. Not given or 'none': you start the cameras. A list of "
        "devices in the order of the robot file's cameras, such as /dev/video0,/dev/video2 "
        "(RealSense: serial numbers), or a YAML parameter file; camera_driver runs for each.",
    ),
    Option(
        name="camera_driver",
        default=USB_CAM,
        description="Driver of the cameras that `cameras` names.",
        choices=CAMERA_DRIVERS,
    ),
    Option(
        name="dry_run",
        default="false",
        description="Publish chunks as a preview and send the arm no command.",
        choices=("true", "false"),
    ),
    Option(
        name="execution_mode",
        default=ExecutionMode.REPLACE.value,
        description="How chunks follow one another (docs/execution.md).",
        choices=tuple(mode.value for mode in ExecutionMode),
    ),
    Option(
        name="instruction_transition",
        default=Transition.BLEND.value,
        description="What a new instruction does to the chunk being executed.",
        choices=tuple(transition.value for transition in Transition),
    ),
    Option(
        name="teleop",
        default="false",
        description="Follow a demonstrator (keyboard, gamepad, leader arm, or the simulation's "
        "expert) in place of the policy.",
        choices=("true", "false"),
    ),
    Option(
        name="record",
        default="false",
        description="Start the recorder of evo1_training beside the policy or the teleoperation.",
        choices=("true", "false"),
    ),
    Option(
        name="record_root",
        default="",
        description="Folder of the recorded episodes. Not given: ~/evo1_episodes.",
    ),
    Option(
        name="pre_roll_s",
        default="10",
        description="With record:=true: a take that begins while a person has taken over starts "
        "with so many seconds from before [s]; they wait in memory, 640 MB at most. 0: nothing.",
    ),
    Option(
        name="namespace",
        default="",
        description="Namespace of every node and topic, for a second arm.",
    ),
    Option(
        name="device",
        default="auto",
        description="Where the policy computes: auto takes the GPU where there is one.",
        choices=("auto", "cpu", "cuda"),
    ),
    Option(
        name="robot_file",
        default="",
        description="Another robot file (YAML). Not given: the one of this package.",
    ),
    Option(
        name="autostart",
        default="auto",
        description="Move as soon as the policy is ready. auto: true in simulation, false on a "
        "real arm, where a person starts it with `evo1 resume` (policy/resume) or the action "
        "policy/run_policy.",
        choices=("auto", "true", "false"),
    ),
    Option(
        name="takeover",
        default=TOPIC,
        description="How a person takes over from the policy: topic (by moving: evo1 teleop, or "
        "evo1 take-over), service (evo1 take-over only) or off.",
        choices=(TOPIC, SERVICE, OFF),
    ),
    Option(
        name="takeover_return",
        default=HOLD,
        description="After a person handed back: wait for evo1 resume, or go on.",
        choices=(HOLD, RESUME),
    ),
    Option(
        name="dead_man",
        default=NONE,
        description="joy: the policy moves the arm only while a button of the gamepad is held "
        "(topic joy, button 4; docs/safety.md).",
        choices=(NONE, JOY),
    ),
    Option(
        name="camera_width",
        default=str(IMAGE_WIDTH),
        description="Width of the rendered cameras [pixels].",
    ),
    Option(
        name="camera_height",
        default=str(IMAGE_HEIGHT),
        description="Height of the rendered cameras [pixels].",
    ),
)


def options_of(robot: str) -> tuple[Option, ...]:
    """The options of a robot, the important ones first.

    Raises:
        OptionError: no such robot.
    """
    own = {"xarm6": _XARM6, "so100": _SO100, BIMANUAL: ()}.get(robot)
    if own is None:
        raise OptionError(f"robot: '{robot}' is unknown; known: {', '.join(ROBOTS)}")
    return own + _COMMON


def parse_options(robot: str, given: Mapping[str, str]) -> SystemOptions:
    """Parse options as typed; what is not given takes its default.

    Args:
        robot: one of ROBOTS.
        given: option name -> text.

    Raises:
        OptionError: an option that this robot has not, or a value that cannot be used.
    """
    declared = {option.name: option for option in options_of(robot)}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise OptionError(f"{unknown[0]}: no option of {robot}; known: {', '.join(declared)}")
    texts = {name: given.get(name, option.default).strip() for name, option in declared.items()}
    for name, option in declared.items():
        words = (*option.choices, *(BOOLEANS if "true" in option.choices else ()))
        if words and texts[name].lower() not in words:
            raise OptionError(f"{name}: '{texts[name]}' is none of {', '.join(option.choices)}")
    options = SystemOptions(
        robot_ip=texts.get("robot_ip", ""),
        port=texts.get("port", ""),
        calibration=read_file("calibration", texts.get("calibration", "")),
        driver=texts.get("driver", "").lower(),
        checkpoint=read_file("checkpoint", texts["checkpoint"]),
        instruction=texts["instruction"],
        task=texts["task"],
        seed=read_seed(texts["seed"]),
        cameras="" if texts["cameras"] == "none" else texts["cameras"],
        camera_driver=texts["camera_driver"].lower(),
        dry_run=read_boolean("dry_run", texts["dry_run"]),
        execution_mode=texts["execution_mode"].lower(),
        instruction_transition=texts["instruction_transition"].lower(),
        teleop=read_boolean("teleop", texts["teleop"]),
        record=read_boolean("record", texts["record"]),
        record_root=read_folder(texts["record_root"]),
        pre_roll_s=read_seconds("pre_roll_s", texts["pre_roll_s"]),
        namespace=read_namespace(texts["namespace"]),
        device=texts["device"].lower(),
        robot_file=read_file("robot_file", texts["robot_file"]),
        autostart=_autostart(texts),
        takeover=texts["takeover"].lower(),
        takeover_return=texts["takeover_return"].lower(),
        dead_man=texts["dead_man"].lower(),
        camera_width=read_size("camera_width", texts["camera_width"]),
        camera_height=read_size("camera_height", texts["camera_height"]),
    )
    _check_together(options)
    return options


def _autostart(texts: Mapping[str, str]) -> bool:
    if texts["autostart"].lower() != "auto":
        return read_boolean("autostart", texts["autostart"])
    return not (texts.get("robot_ip") or texts.get("port", "") not in ("", EMULATED))


def _check_together(options: SystemOptions) -> None:
    if options.cameras and not options.hardware:
        raise OptionError(
            "cameras: the simulation renders its own; leave it out, or give robot_ip or port"
        )
    if options.task and options.hardware:
        raise OptionError("task: a real arm has no simulated scene; leave it out")
    _check_so100(options)
    if options.record_root and not options.record:
        raise OptionError("record_root: only used with record:=true; give it, or leave this out")
    if options.teleop and (options.checkpoint or options.dry_run):
        name = "checkpoint" if options.checkpoint else "dry_run"
        raise OptionError(f"{name}: with teleop:=true no policy runs; leave one of them out")
    if options.robot_ip and options.namespace and options.driver != DIRECT:
        raise OptionError(
            "driver: the xArm6 of ros2_control cannot run in a namespace (names in "
            "controller_manager are fixed); choose direct, or leave the namespace out"
        )


def _check_so100(options: SystemOptions) -> None:
    if options.driver == ROS2_CONTROL and options.port:
        if options.emulated or options.calibration or options.namespace:
            raise OptionError(
                "driver: with ros2_control there is no port:=emulated, no calibration (it has "
                "offsets of its own) and no namespace (it renames the joints); leave them out"
            )
        return
    if options.port and not (options.calibration or options.emulated):
        raise OptionError(
            "calibration: missing; a real SO-100 needs the JSON file that evo1 calibrate or "
            "LeRobot's calibration wrote for it"
        )
    if options.calibration and not options.port:
        raise OptionError("calibration: only used with port; give port, or leave it out")
