"""The options of a system: what a person may choose, with defaults and descriptions.

Every parameter of the policy node is one, by its own table; the rest is SystemOptions. The launch
files and the `evo1` command both declare their arguments from here. Must not import ROS or launch.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evo1_bringup import installation
from evo1_bringup.arms import Driver, find_driver
from evo1_bringup.desk import PORT
from evo1_bringup.processes import Process, Setting
from evo1_policy.command_line import did_you_mean
from evo1_policy.node_parameters import (
    POLICY_PARAMETERS,
    Parameter,
    ParameterError,
    PolicyParameters,
    parameter,
    parameters_of,
    read_params_file,
)
from evo1_policy.robot_config import RobotConfig, RobotConfigError, load_robot
from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH

OptionError = ParameterError  # its message begins with the option's name

ANY_ROBOT = "policy"  # what is launched for a robot that runs already, or that a file describes
EMULATED = "emulated"  # a port: the whole hardware path, without hardware
ROS2_CONTROL = "ros2_control"
CAMERA_DRIVERS = ("v4l2", "usb_cam", "realsense2_camera")  # cameras.py has each
NO_VIEW, RVIZ, FOXGLOVE, MARKERS = "none", "rviz", "foxglove", "markers"
VIEWS = (NO_VIEW, RVIZ, FOXGLOVE, MARKERS)
WHOLE, ARM, POLICY = "both", "arm", "policy"  # halves of a system

_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_PIXELS = (16, 4096)
_AUTO = "auto"
REAL_SPEED = 0.3  # at which a real arm begins to follow a policy
_REAL_ARM = ("robot_ip", "port", "calibration", "driver")  # which a robot has: its Driver's
_ARMS_SIDE = (*_REAL_ARM, "cameras", "camera_driver", "teleop", "record")  # what only it reads


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """The choices for one start, parsed. Empty texts mean that nothing was chosen.

    Attributes:
        policy: parameters of the policy node. `autostart` and `speed` are decided here;
            `robot_file`, `instruction` and `seed` are for the other programs too.
        runs_already: whether the robot is there, with a driver that nobody starts here.
    """

    robot_ip: str = parameter("", "Address of the xArm's control box. Not given: the MuJoCo arm.")
    port: str = parameter(
        "",
        "Serial port of the SO-100 or SO-101, such as /dev/ttyACM0. Not given: the MuJoCo arm. "
        "'emulated': the real driver on an emulated servo bus that moves the MuJoCo arm.",
    )
    calibration: str = parameter(
        "",
        "LeRobot calibration file (JSON) of this arm. Needed with port, but for "
        "port:=emulated, which makes one.",
    )
    driver: str = parameter(
        "",
        "Way to the real arm. xArm: xarm_ros2's ros2_control hardware (servo mode), or direct: "
        "the control box plans between our targets (mode 6, firmware 1.10 or newer). SO-100 and "
        "SO-101: feetech, our driver, or ros2_control: the controllers of ros2_so_arm100, which "
        "calibrates by its own file.",
    )
    task: str = parameter("", "Scene of the simulation. Not given: the first task of the robot.")
    cameras: str = parameter(
        "",
        "Real arm only. Not given or 'none': you start the cameras. A list of devices in the "
        "order of the robot file's cameras, such as /dev/video0,/dev/video2 (RealSense: serial "
        "numbers), or a YAML parameter file; camera_driver runs for each.",
    )
    camera_driver: str = parameter(
        "",
        "Driver of the cameras that `cameras` names. Not given: usb_cam where it is installed, "
        "else v4l2, which comes with this package.",
        choices=CAMERA_DRIVERS,
    )
    teleop: bool = parameter(
        False,
        "Follow a demonstrator (keyboard, gamepad, leader arm, or the simulation's expert) in "
        "place of the policy.",
    )
    record: bool = parameter(
        False, "Start the recorder of evo1_training beside the policy or the teleoperation."
    )
    record_root: str = parameter(
        "", "Folder of the episodes; of two arms left/ and right/. Not given: ~/evo1_episodes."
    )
    pre_roll_s: float = parameter(
        10.0,
        "With record:=true: a take that begins while a person has taken over starts with so many "
        "seconds from before [s]; they wait in memory, 640 MB at most. 0: nothing.",
        span=(0.0, 60.0),
    )
    compress: str = parameter(
        "", "With record:=true: raw images are kept compressed, such as /*/image_raw=jpeg:95."
    )
    view: str = parameter(
        NO_VIEW,
        "Draw the arm, what it must not touch, the way of each chunk and a ghost at its end: in "
        "RViz, for Foxglove (by its bridge, to this machine only), or as markers for a viewer of "
        "one's own.",
        choices=VIEWS,
    )
    desk: bool = parameter(
        False, "Serve the operator's page, to this machine only; see evo1 desk."
    )
    desk_port: int = parameter(
        PORT,
        "With desk:=true: its port; of two arms the right one's is the next.",
        span=(1024, 65_534),
    )
    namespace: str = parameter("", "Namespace of every node and topic.")
    params_file: str = parameter(
        "",
        "ROS parameter file (YAML) for the policy node, below '/**' or its name. It wins over "
        "defaults; an option that is typed wins over it.",
    )
    allow_simulation_policy: bool = parameter(
        False, "Let a policy that was trained in simulation move a REAL arm."
    )
    camera_width: int = parameter(
        IMAGE_WIDTH, "Width of the rendered cameras [pixels].", span=_PIXELS
    )
    camera_height: int = parameter(
        IMAGE_HEIGHT, "Height of the rendered cameras [pixels].", span=_PIXELS
    )
    simulated: bool = parameter(
        False,
        "Simulate the robot: in its cell where this workspace has one, else as a kinematic arm "
        "made from its URDF. Not given: robot_ip or port says where it is; without them a named "
        "robot is simulated, one of a file runs already. With only:=policy: the other machine "
        "simulates it.",
    )
    only: str = parameter(
        WHOLE,
        "Half of a system, where two machines share it (docs/two_machines.md). arm: driver or "
        "simulation, cameras, recorder, relay. policy: the policy node alone, for an arm that "
        "another machine drives.",
        choices=(WHOLE, ARM, POLICY),
    )
    policy: PolicyParameters = field(default_factory=PolicyParameters)
    runs_already: bool = False

    @property
    def hardware(self) -> bool:
        """Whether a real arm is meant."""
        return self.runs_already or (bool(self.robot_ip or self.port) and not self.emulated)

    @property
    def has_policy(self) -> bool:
        """Whether the policy is among what is started."""
        return not self.teleop and self.only != ARM

    @property
    def emulated(self) -> bool:
        """Whether the servo bus of the arm is emulated."""
        return self.port == EMULATED

    def driver_node(
        self, executable: str, *, package: str = "evo1_bringup", **parameters: Setting
    ) -> Process:
        """A program of the arm's side, in its namespace."""
        return Process.node(package, executable, self.namespace, "driver", **parameters)


_SYSTEM = parameters_of(SystemOptions)
_FIRST = (*_REAL_ARM, "checkpoint", "instruction", "task", "seed", "cameras", "camera_driver")
# What a parameter of the policy node means to a whole system.
_CHANGED: dict[str, dict[str, Any]] = {
    "robot_file": {
        "description": "Another robot file (YAML), or the name of one that ships. Not given: this "
        "package's."
    },
    "checkpoint": {
        "description": "Folder of a trained policy. Not given: in simulation the small one that "
        "ships; a real arm needs one."
    },
    "instruction": {
        "description": "What to do, in words. Not given: that of the simulated task; a real arm "
        "waits for one (evo1 instruct)."
    },
    "seed": {"description": "Start state of the simulated scene and noise of the policy."},
    "speed": {
        "default": _AUTO,
        "description": "Share of the policy's own pace at which chunks are executed, 0.1 to 1: "
        "time is slowed, the path stays. auto: 1 in simulation, 0.3 on a real arm; evo1 speed "
        "changes it.",
    },
    "autostart": {
        "default": _AUTO,
        "choices": (_AUTO, "true", "false"),
        "description": "Move as soon as the policy is ready. auto: true in simulation, false on "
        "a real arm, where a person starts it with `evo1 resume` (policy/resume) or the action "
        "policy/run_policy.",
    },
}


def options_of(robot: str) -> tuple[Parameter, ...]:
    """The options of a robot as people are told of them, the important ones first.

    Raises:
        OptionError: no such robot.
    """
    changed = dict(_CHANGED)
    if robot == ANY_ROBOT:  # whatever its file will say
        rows = [*_rows(robot, None).values(), *(_SYSTEM[name] for name in _REAL_ARM)]
        changed["robot_file"] = {
            "description": "Robot file (YAML) of any robot, or the name of one that ships. Needed."
        }
    else:
        driver = find_driver(_shipped(robot).driver)
        rows = [*_rows(robot, driver).values()]
        changed["driver"] = {"default": driver.ways[0] if driver else ""}
    return tuple(replace(row, **changed.get(row.name, {})) for row in rows)


def parse_options(robot: str, given: Mapping[str, str]) -> SystemOptions:
    """Parse options as typed; what is empty or not given takes its default.

    Args:
        robot: the name of a robot file that ships, or ANY_ROBOT.
        given: option name -> text.

    Raises:
        OptionError: an option that this robot has not, or a value that cannot be used.
    """
    texts = {name: text.strip() for name, text in given.items() if text.strip()}
    namespace = read_namespace(texts.get("namespace", ""))
    params_file = read_file("params_file", texts.get("params_file", ""))
    policy = read_params_file(params_file, namespace) if params_file else {}
    file = texts.get("robot_file", str(policy.get("robot_file", "")))
    own = find_driver((read_robot(file)[1] if robot == ANY_ROBOT else _shipped(robot)).driver)
    rows = _rows(robot, own)
    hidden = _REAL_ARM if robot == ANY_ROBOT else ()  # launch gives every one, empty
    unknown = sorted(set(given) - set(rows) - set(hidden)) or sorted(set(texts) - set(rows))
    if unknown:
        hint = did_you_mean(unknown[0], rows)
        raise OptionError(f"{unknown[0]}: no option of {robot}{hint}; known: {', '.join(rows)}")
    for name in ("autostart", "speed"):
        if texts.get(name, "").lower() == _AUTO:
            del texts[name]
    typed: dict[str, Any] = {name: rows[name].read(text) for name, text in texts.items()}
    policy |= {name: value for name, value in typed.items() if name in POLICY_PARAMETERS}
    policy["checkpoint"] = _read_checkpoint(str(policy.get("checkpoint", "")))
    system = {name: value for name, value in typed.items() if name in _SYSTEM}
    options = _read(robot, own, {**system, "namespace": namespace})
    policy["robot_file"] = str(read_robot(file or _own_file(robot, options))[0])
    options = replace(
        options, policy=PolicyParameters(**{**_decided(hardware=options.hardware), **policy})
    )
    if own is not None:
        own.check(options)
    _check_together(options)
    return options


def read_robot(text: str) -> tuple[Path, RobotConfig]:
    """A robot file by its path or, of those that ship, by its name, and what stands in it.

    Raises:
        OptionError: there is none, or it cannot be used.
    """
    if not text:
        raise OptionError(
            "robot_file: missing; give the robot's own (evo1 new-robot writes one), or the name "
            f"of one that ships: {', '.join(installation.robots())}"
        )
    shipped = installation.robots().get(text.removesuffix(".yaml"))
    path = shipped if shipped and not Path(text).exists() else Path(read_file("robot_file", text))
    try:
        return path, load_robot(path)
    except RobotConfigError as error:
        raise OptionError(f"robot_file: {error}") from error


def _shipped(robot: str) -> RobotConfig:
    known = installation.robots()
    if robot not in known:
        raise OptionError(
            f"robot: '{robot}' is unknown; known: {', '.join(known)}; any other one: launch "
            f"{ANY_ROBOT} with robot_file:=FILE"
        )
    return load_robot(known[robot])


def _own_file(robot: str, options: SystemOptions) -> str:
    """What ships for a robot; a way to the real arm may have a file of its own."""
    if options.port or options.robot_ip:
        try:
            return str(installation.share_file("robots", options.driver, f"{robot}.yaml"))
        except installation.NotInstalledError:
            pass
    return robot


def _decided(*, hardware: bool) -> dict[str, Any]:
    """What is decided for an arm where nobody says: a real one begins slowly, and by a person."""
    return {"autostart": not hardware, "speed": REAL_SPEED if hardware else 1.0}


def _rows(robot: str, driver: Driver | None) -> dict[str, Parameter]:
    """Everything that this robot's options are, the important ones first."""
    every = {**_SYSTEM, **POLICY_PARAMETERS}
    own: tuple[str, ...] = ()
    if driver is not None:
        own = (*driver.options, "driver")
        every["driver"] = replace(every["driver"], choices=driver.ways)
    first = _FIRST if robot != ANY_ROBOT else ("robot_file", "simulated", *_FIRST)
    names = dict.fromkeys((*first, *every))
    return {name: every[name] for name in names if name in own or name not in _REAL_ARM}


def _read(robot: str, driver: Driver | None, values: dict[str, Any]) -> SystemOptions:
    other = [name for name in _ARMS_SIDE if values.get("only") == POLICY and values.get(name)]
    if other:
        raise OptionError(f"{other[0]}: is the arm's half's; give it there, with only:=arm")
    device = values.get(driver.device, "") if driver is not None else ""
    if driver is not None:
        values.setdefault("driver", driver.ways[0])
    if device and values.get("simulated"):
        raise OptionError(f"simulated: {driver and driver.device} names a real arm; leave one out")
    if values.get("cameras") == "none":
        values["cameras"] = ""
    values["calibration"] = read_file("calibration", str(values.get("calibration", "")))
    if "record_root" in values:
        values["record_root"] = str(Path(values["record_root"]).expanduser().resolve())
    elsewhere = robot == ANY_ROBOT or values.get("only") == POLICY
    there = elsewhere and not (device or values.get("simulated"))
    return SystemOptions(**values, runs_already=there)


def _check_together(options: SystemOptions) -> None:
    if options.cameras and not options.hardware:
        raise OptionError(
            "cameras: the simulation renders its own; leave it out, or give robot_ip or port"
        )
    if options.task and options.hardware:
        raise OptionError("task: a real arm has no simulated scene; leave it out")
    for name in ("record_root", "compress"):
        if getattr(options, name) and not options.record:
            raise OptionError(f"{name}: only used with record:=true; give it, or leave this out")
    given = [name for name in ("checkpoint", "remote") if getattr(options.policy, name)]
    if not options.has_policy and (given or options.policy.dry_run):
        without = "teleop:=true" if options.teleop else "only:=arm"
        name = given[0] if given else "dry_run"
        raise OptionError(f"{name}: with {without} no policy runs; leave one of them out")
    if options.hardware and options.has_policy and not given:
        raise OptionError(
            "checkpoint: missing; the policies that ship were trained in simulation and no real "
            "arm should follow them. Give the folder of one trained for this arm, or teleop:=true"
        )


def read_file(name: str, text: str) -> str:
    """An existing file or folder as its full path; '' stays ''."""
    if not text:
        return ""
    path = Path(text).expanduser()
    if not path.exists():
        raise OptionError(f"{name}: '{path}' does not exist")
    return str(path.resolve())


def _read_checkpoint(text: str) -> str:
    """The same for a checkpoint, which may also be hub:user/name: then where it lies here."""
    if not text:
        return ""
    from evo1_policy.checkpoint_layouts.hub import CheckpointError, local_checkpoint  # lazily

    try:
        return read_file("checkpoint", str(local_checkpoint(text)))
    except CheckpointError as error:
        raise OptionError(f"checkpoint: {error}") from error


def read_namespace(text: str) -> str:
    """A ROS namespace without slashes at its ends; '' is the root."""
    namespace = text.strip("/")
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise OptionError(
            f"namespace: '{text}' is no ROS name; expected letters, digits and underscores, no "
            "digit first, such as left or cell/left"
        )
    return namespace
