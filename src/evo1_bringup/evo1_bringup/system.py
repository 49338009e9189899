"""What to start for a name and its options: one pure description, whoever starts it.

A name is that of a robot file that ships (robots/), or `policy`: a robot of any file, which runs
already unless its options say otherwise. Or two_arms: twice the same description in the namespaces
left and right, each with its own policy. One policy for both is another thing: a robot file with
the joints of both. The launch files turn it into launch actions (launching.py), the `evo1` command
and the demo into subprocesses (supervisor.py). Must not import ROS or launch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evo1_bringup import installation
from evo1_bringup.arms import find_driver
from evo1_bringup.cameras import camera_processes
from evo1_bringup.discovery import PROFILE
from evo1_bringup.options import (
    ANY_ROBOT,
    ARM,
    EMULATED,
    FOXGLOVE,
    NO_VIEW,
    POLICY,
    RVIZ,
    OptionError,
    SystemOptions,
    options_of,
    parse_options,
    read_robot,
)
from evo1_bringup.processes import Include, Process, Programs, Setting
from evo1_policy.checkpoint_layouts.training_facts import read_training
from evo1_policy.node_parameters import Parameter
from evo1_policy.robot_config import RobotConfig

TWO_ARMS = "two_arms"
USUAL = "xarm6"  # of two arms, where nobody says
SIDES = ("left", "right")

_DEVICES = ("robot_ip", "port", "cameras")  # no device serves two arms
# What each arm has for itself; every other option is for both.
_OF_EACH_ARM = (
    *(*_DEVICES, "calibration", "driver", "checkpoint", "instruction", "task", "seed"),
    *("robot_file", "params_file", "simulated", "remote"),
)
_OTHER_HALF = {
    ARM: "Half of a system: the policy runs elsewhere (only:=policy). End that half first, which "
    "parks the arm.",
    POLICY: "Half of a system: driver and cameras run elsewhere (only:=arm). The node's log "
    "compares the clocks when it hears them (docs/two_machines.md).",
}
_EPISODES = "~/evo1_episodes"  # where the recorder puts them


@dataclass(frozen=True, kw_only=True)
class System(Programs):
    """Everything to start for one robot file: the arm's side first, then what moves it.

    Attributes:
        robot: the robot file as read.
        robot_path: the robot file.
    """

    robot: RobotConfig
    robot_path: Path


def launchable() -> tuple[str, ...]:
    """What can be launched: a robot by its name, one of any file, or two arms."""
    return (*installation.robots(), ANY_ROBOT, TWO_ARMS)


def arguments_of(name: str) -> tuple[Parameter, ...]:
    """The options of something launchable.

    Raises:
        OptionError: there is no such robot.
    """
    if name != TWO_ARMS:
        return options_of(name)
    every = {option.name: option for option in options_of(ANY_ROBOT)}
    about = "The kind of this arm: the name of a robot file with one gripper or none."
    robot = Parameter(name="robot", default=USUAL, description=about)
    own = [robot, *(every[name] for name in _OF_EACH_ARM)]
    return (
        *(replace(one, name=f"{side}_{one.name}") for side in SIDES for one in own),
        *(one for one in every.values() if one.name not in _OF_EACH_ARM),
    )


def systems_of(name: str, given: Mapping[str, str]) -> tuple[System, ...]:
    """What to start for something launchable: a system for each policy, the left arm's first.

    Args:
        name: one of `launchable`.
        given: option name -> text, as typed.

    Raises:
        OptionError: an option that does not exist or cannot be used, or a device that two arms
            would share.
    """
    if name != TWO_ARMS:
        return (describe(name, parse_options(name, given)),)
    known = [option.name for option in arguments_of(name)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise OptionError(f"{unknown[0]}: no option of {TWO_ARMS}; known: {', '.join(known)}")
    given = {name: text.strip() for name, text in given.items() if text.strip()}
    for device in _DEVICES:
        left, right = (
            {word.strip() for word in given.get(f"{side}_{device}", "").split(",")}
            for side in SIDES
        )
        twice = (left & right) - {"", EMULATED, "none"}
        if twice:
            raise OptionError(f"right_{device}: {min(twice)} is the left arm's already")
    return tuple(_one_of_two(side, given) for side in SIDES)


def describe(robot: str, options: SystemOptions) -> System:
    """Say what to start for `robot`.

    Raises:
        OptionError: options that do not fit it.
    """
    path, config = read_robot(options.policy.robot_file)
    if robot != ANY_ROBOT:
        _check_same_robot(robot, path, config)
    trained_in = ""
    if options.hardware:
        if options.has_policy:
            trained_in = _trained_in(options)
            _check_origin(options, trained_in)
    else:
        _check_policy(options, config)
        options = _with_task(_cell_of(robot, config), options, config)
    arm, includes = _arm(robot, options, path, config)
    cameras = camera_processes(options, config)
    recorder = [_recorder(options, path)] if options.record else []
    return System(
        robot=config,
        robot_path=path,
        real_arm=options.hardware,
        processes=(
            *arm,
            *cameras,
            *_mover(options, path),
            *recorder,
            *_desk(options),
            *_view(options, path, config),
        ),
        includes=includes,
        environment={PROFILE: str(installation.share_file("config", "fastdds.xml"))},
        notes=_notes(robot, options, config, trained_in),
    )


def check_installed(programs: Programs) -> None:
    """Find every program and launch file before anything starts.

    Raises:
        NotInstalledError: one is missing; the message says how to get it.
    """
    for include in programs.includes:
        installation.find_shared(include.package, f"launch/{include.launch_file}")
    for process in programs.processes:
        installation.find_executable(process.package, process.executable)


def _one_of_two(side: str, given: Mapping[str, str]) -> System:
    start = f"{side}_"
    own = {
        name.removeprefix(start): text for name, text in given.items() if name.startswith(start)
    }
    robot = own.pop("robot", USUAL)
    known = installation.robots()
    if robot not in known or len(read_robot(robot)[1].grippers) > 1:
        raise OptionError(f"{side}_robot: '{robot}' is no single arm; known: {', '.join(known)}")
    shared = {name: text for name, text in given.items() if not name.startswith(SIDES)}
    around = shared.get("namespace", "").strip("/")
    shared["namespace"] = f"{around}/{side}" if around else side
    if shared.get("record_root") or shared.get("record", "").lower() in ("true", "1"):
        shared["record_root"] = str(Path(shared.get("record_root") or _EPISODES) / side)
    try:
        options = parse_options(robot, {**shared, **own})
        if side == SIDES[-1]:
            options = replace(options, desk_port=options.desk_port + 1)
        return describe(robot, options)
    except OptionError as error:
        name = str(error).partition(":")[0]
        place = start if name in _OF_EACH_ARM else f"{side} arm: "
        raise OptionError(f"{place}{error}") from error


def _check_same_robot(robot: str, path: Path, config: RobotConfig) -> None:
    """Refuse a file that describes another arm than the one that is named."""
    own = read_robot(robot)[1]
    if config.joint_names != own.joint_names:
        raise OptionError(
            f"robot_file: {path} is no {robot} (joints {', '.join(config.joint_names)}); launch "
            f"{ANY_ROBOT} with robot_file:={path}, and simulated:=true where it shall be simulated"
        )


def _check_policy(options: SystemOptions, config: RobotConfig) -> None:
    """Refuse a simulation that nobody would move."""
    given = options.policy.checkpoint or options.policy.remote or not options.has_policy
    if not given and not installation.ships_policy(config.embodiment):
        raise OptionError(
            f"checkpoint: no policy ships for {config.embodiment}; give one (docs/launch.md), or "
            "teleop:=true"
        )


def _cell_of(robot: str, config: RobotConfig) -> str:
    """The name by which the simulation may have a cell for the robot."""
    return config.name if robot == ANY_ROBOT else robot


def _check_origin(options: SystemOptions, trained_in: str) -> None:
    """Refuse a simulation's policy on a real arm, unless somebody asked for that in words."""
    policy = options.policy
    if trained_in == "simulation" and not options.allow_simulation_policy:
        raise OptionError(
            f"{'remote' if policy.remote else 'checkpoint'}: the policy of "
            f"{policy.remote or policy.checkpoint} was trained in simulation and has never "
            "seen a real arm or camera; give one that was trained on this arm, or say "
            "allow_simulation_policy:=true and keep a hand on the emergency stop"
        )


def _trained_in(options: SystemOptions) -> str:
    """Where the policy's demonstrations were recorded, as its folder or its server says."""
    policy = options.policy
    if not policy.remote:
        return read_training(policy.checkpoint).trained_in
    from evo1_policy.serving.calling import RemoteError, read_token, server_says

    try:
        said = server_says(policy.remote, read_token(policy.remote_token_file))
    except RemoteError as error:
        raise OptionError(f"remote: {error}") from error
    return str(said.get("trained_in", "unknown"))


def _with_task(cell: str, options: SystemOptions, config: RobotConfig) -> SystemOptions:
    """Fill in the scene, and the instruction that goes with it."""
    from evo1_sim.tasks import TASKS, tasks_of  # here: a real arm's machine may lack MuJoCo

    if cell not in TASKS and not config.urdf:
        raise OptionError(
            f"robot_file: '{config.name}' has no cell in the simulation and names no urdf, so "
            "there is nothing to simulate; add `urdf: FILE` to it"
        )
    tasks = {task.name: task for task in tasks_of(cell)}
    name = options.task or next(iter(tasks))
    if name not in tasks:
        raise OptionError(f"task: '{name}' is unknown; known for {cell}: {', '.join(tasks)}")
    instruction = options.policy.instruction or tasks[name].instruction
    return replace(options, task=name, policy=replace(options.policy, instruction=instruction))


def _arm(
    robot: str, options: SystemOptions, path: Path, config: RobotConfig
) -> tuple[list[Process], tuple[Include, ...]]:
    """The real arm's drivers, or the simulation; nothing where it runs already or elsewhere."""
    simulation = options.driver_node(
        "sim_robot",
        package="evo1_sim",
        arm=_cell_of(robot, config),
        robot_file=str(path),
        task=options.task,
        seed=options.policy.seed,
        camera_width=options.camera_width,
        camera_height=options.camera_height,
    )
    if options.runs_already or options.only == POLICY:
        return [], ()
    if options.hardware or options.emulated:
        own = config if robot == ANY_ROBOT else read_robot(robot)[1]
        driver = find_driver(own.driver)
        assert driver is not None  # whose option the device is
        return driver.start(options, path, config, simulation)
    return [simulation], ()


def _mover(options: SystemOptions, path: Path) -> list[Process]:
    """What commands the arm: the policy, or the relay of a demonstrator; or it is elsewhere."""
    where = options.namespace
    if options.teleop:
        file = str(path)
        return [Process.node("evo1_bringup", "teleop_relay", where, "mover", robot_file=file)]
    if options.only == ARM:
        return []
    parameters = {**asdict(options.policy), "robot_file": str(path)}
    node = Process.node("evo1_policy", "policy_node", where, "mover", **parameters)
    return [replace(node, name="policy")]


def _desk(options: SystemOptions) -> list[Process]:
    if not options.desk:
        return []
    words = ["--port", str(options.desk_port), "--namespace", options.namespace]
    if options.record_root:
        words += ["--episodes", options.record_root]
    return [
        Process(package="evo1_bringup", executable="desk", arguments=tuple(words), role="optional")
    ]


def _recorder(options: SystemOptions, path: Path) -> Process:
    parameters: dict[str, Setting] = {
        "robot_file": str(path),
        "instruction": options.policy.instruction,
        "pre_roll_s": 0.0 if options.teleop else options.pre_roll_s,  # nobody takes over there
        "auto_activate": True,
    }
    if not options.hardware:
        parameters["operator_name"] = "somebody in simulation"  # evo1_training knows it by that
    if options.record_root:
        parameters["root"] = options.record_root
    if options.compress:
        parameters["compress"] = options.compress
    return Process.node("evo1_training", "recorder", options.namespace, "optional", **parameters)


def _view(options: SystemOptions, path: Path, config: RobotConfig) -> list[Process]:
    """What shows people the arm and where it goes; nothing waits for it."""
    if options.view == NO_VIEW:
        return []
    if config.safety.collision is None and not config.urdf:
        raise OptionError(
            f"view: the robot file of '{config.name}' names no model to draw; add "
            "safety.collision.model or urdf"
        )
    where, file = options.namespace, str(path)
    arm = Process.node("evo1_bringup", "arm_view", where, "optional", robot_file=file)
    if options.view == RVIZ:
        layout = str(installation.share_file("config", "evo1.rviz"))
        rviz = Process.node("rviz2", "rviz2", where, "optional")
        return [arm, replace(rviz, arguments=("-d", layout))]
    if options.view == FOXGLOVE:
        package = "foxglove_bridge"
        return [arm, Process.node(package, package, where, "optional", address="127.0.0.1")]
    return [arm]


def _teleop_note(robot: str, options: SystemOptions, config: RobotConfig) -> str:
    named = options.policy.robot_file if robot == ANY_ROBOT else robot
    where = f"--robot {named}{_namespace_words(options)}"
    if len(config.grippers) > 1:
        return f"The arms follow {config.teleop_topic}, joints by name, of one arm or of both."
    ways = f"evo1 teleop {where} --device keyboard (gamepad, leader)"
    if options.task not in ("", "free") and not options.emulated:  # resets tear at servos
        ways += f", or evo1 demonstrate {where} --episodes 5"
    return f"The arm follows a demonstrator: {ways}."


def _namespace_words(options: SystemOptions) -> str:
    return f" --namespace {options.namespace}" if options.namespace else ""


def _notes(
    robot: str, options: SystemOptions, config: RobotConfig, trained_in: str
) -> tuple[str, ...]:
    notes = []
    if options.hardware:
        topics = ", ".join(command.topic for command in config.command)
        where = options.robot_ip or options.port or f"{config.state.topic}, {topics}"
        runs = "that runs already, " if options.runs_already else ""
        notes.append(f"A REAL {config.name} {runs}at {where}: keep its workspace clear.")
        if trained_in == "unknown":
            notes.append("The checkpoint does not say whether it was trained in simulation.")
        if not options.cameras and options.only != POLICY:
            topics = ", ".join(camera.topic for camera in config.cameras)
            notes.append(f"Start the cameras yourself; they are expected on {topics}.")
    else:
        bus = " behind an emulated servo bus" if options.emulated else ""
        kind = "as a kinematic arm" if options.task == "free" else "MuJoCo"
        notes.append(f"Simulated {config.name} ({kind}){bus}.")
    if options.only in _OTHER_HALF:
        notes.append(_OTHER_HALF[options.only])
    if options.teleop:
        notes.append(_teleop_note(robot, options, config))
    elif options.policy.dry_run:
        notes.append("dry_run: the policy sends the arm no command.")
    elif options.has_policy and not options.policy.autostart:
        resume = f"evo1 resume{_namespace_words(options)}"
        notes.append(f"The arm stays at rest until `{resume}` or the action policy/run_policy.")
    if options.view == FOXGLOVE:
        layout = installation.share_file("config", "foxglove_layout.json")
        notes.append(f"Foxglove: open ws://localhost:8765 and import the layout {layout}.")
    place = f"{options.namespace}: " if options.namespace else ""
    return tuple(f"{place}{note}" for note in notes)
