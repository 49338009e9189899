"""The `evo1` command: start a system without ros2 launch, and talk to a running one.

Must not import ROS or launch. A command imports what it needs when it is called: a stop is out
before anything else is read.
"""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from evo1_bringup.discovery import NOTE, RANGE, local_by_default
from evo1_policy.command_line import Parser, entry_point, printable

if TYPE_CHECKING:
    from evo1_bringup.processes import Programs
    from evo1_bringup.system import System

_EPILOG = """\
examples:
  evo1 launch xarm6                      the simulated xArm6 and the policy; Ctrl-C ends both
  evo1 launch xarm6 --show-args          every option, with its default
  evo1 launch xarm6 instruction:="put the can into the box" seed:=3
  evo1 instruct "put the can into the box"
  evo1 status --follow                   what the policy does, and why
  evo1 speed 30                          at 30 % of the policy's pace (a real arm begins so)
  evo1 pause / evo1 resume               hold the arm, and go on
  evo1 stop / evo1 clear-stop            latched stop, and back to idle; stop --all: every arm
  evo1 park                              slowly to the pose in which the arm can be let go
  evo1 home                              slowly to the pose in which tasks begin
  evo1 take-over / evo1 hand-back        a person drives (evo1 teleop), and gives the arm back
  evo1 unplug image_2 / evo1 plug        silence a simulated camera, and bring it back
  evo1 launch two_arms right_robot:=so100       two arms, each with its own policy
  evo1 launch xarm6_bimanual checkpoint:=DIR    two arms, one policy for both
  evo1 stop --namespace left             every command takes the namespace of its arm
  evo1 launch policy robot_file:=ur5e checkpoint:=DIR      a robot that runs already
  evo1 launch policy robot_file:=mine.yaml simulated:=true teleop:=true   made from its URDF
  evo1 launch xarm6 only:=arm            this machine's half; only:=policy on the one with the GPU
  evo1 launch so100 port:=emulated       the real driver on an emulated servo bus
  evo1 unplug arm / evo1 plug arm / evo1 recover-arm    its cable, and what a person does then
  evo1 reset --seed 7                    put the simulated scene into a start state
  evo1 launch xarm6 teleop:=true record:=true    follow a demonstrator, and record
  evo1 demonstrate --robot xarm6 --episodes 5    a scripted one, in simulation
  evo1 teleop --robot xarm6 --device keyboard    a person

{programs}

Where ros2 launch is installed, `ros2 launch evo1_bringup xarm6.launch.py` starts the same system.
"""

# Programs under one roof, by package: what each does.
_DOES = {
    "evo1_bringup": {
        "find-port": "Which serial port is the arm's.",
        "find-cameras": "Which /dev/video is which camera, with pictures.",
        "calibrate": "An SO-100's or SO-101's calibration, in LeRobot's format.",
        "new-robot": "A robot file from a URDF, from what runs, or both.",
        "check-robot": "Hold a robot file against the robot that runs.",
        "teleop": "Drive an arm: leader arm, gamepad or keyboard.",
        "desk": "The operator's page in a browser: see, stop, tell, record, judge.",
    },
    "evo1_sim": {
        "demonstrate": "The scripted expert demonstrates in a running simulation.",
    },
    "evo1_training": {
        "rehearse": "The same in simulated time: hundreds of demonstrations, no launch.",
        "record": "Record episodes by single keys.",
        "recover": "Mend recordings that were cut off or damaged.",
        "convert": "Recordings, ours or others' rosbags, to a LeRobot dataset.",
        "adopt": "Read anybody's LeRobot dataset as this robot's.",
        "check-dataset": "What is wrong with a dataset, and what to do.",
        "edit-dataset": "Leave out, cut, name anew, join; the old one stays.",
        "push": "A dataset or a checkpoint to the hub.",
        "pull": "And from it.",
        "view": "Look at a recording or a dataset: pictures and curves.",
        "train": "The paper's two stages, on GPUs or a CPU.",
        "evaluate": "How often a policy succeeds: simulation, suites, the running system.",
        "improve": "Correct a policy, train on with that, keep the better one, in rounds.",
        "trials": "A log book of real trials: order by lot, hidden names, one report.",
        "promote": "Let a policy be the current one, if it is better than that.",
        "norm-stats": "The statistics by which states and actions are scaled.",
    },
    "evo1_policy": {
        "convert-checkpoint": "Official, LeRobot and own checkpoints, each into each.",
        "replay": "A recorded run through the policy again, chunk by chunk.",
        "serve": "A policy for clients elsewhere: the authors', openpi's, an arm without a GPU.",
    },
}
# Package and executable of each.
PROGRAMS = {
    name: (package, "calibrate_so100" if name == "calibrate" else name.replace("-", "_"))
    for package, names in _DOES.items()
    for name in names
}

_TRIGGERS = {
    "stop": "Stop the arm and latch it: nothing moves before clear-stop.",
    "clear-stop": "Leave the latched stop; the arm stays at rest.",
    "pause": "Hold the arm until resume.",
    "resume": "Start, or go on after a pause or a fault.",
    "take-over": "A person is in charge: the policy waits, targets of evo1 teleop move the arm.",
    "hand-back": "The arm comes to rest; then resume, or what takeover_return says.",
    "park": "Go slowly to the robot file's park pose and rest there.",
    "home": "Go slowly to the robot file's home pose and rest there.",
}

# How each command asks evo1_bringup.ros.commands.
_ASKS: dict[str, Callable[[Any, Any, argparse.Namespace], Any]] = {
    **dict.fromkeys(_TRIGGERS, lambda to, arm, a: to.trigger(arm, a.command.replace("-", "_"))),
    "stop": lambda to, arm, a: to.stop(arm, everywhere=a.all),
    "clear-stop": lambda to, arm, _: to.clear_stop(arm),
    "instruct": lambda to, arm, a: to.instruct(arm, a.instruction, a.transition),
    "speed": lambda to, arm, a: to.speed(arm, a.percent),
    "reset": lambda to, arm, a: to.reset(arm, a.task, a.seed),
    "unplug": lambda to, arm, a: to.unplug(arm, a.what),
    "plug": lambda to, arm, a: to.plug(arm, a.what),
    "recover-arm": lambda to, arm, _: to.recover_arm(arm),
}
_LONGEST = 4000  # characters of a line that is shown, whoever's words are in it
_HERE_S = 0.5  # for a node of this machine to answer a stop; ROS asks again


class UsageError(ValueError):
    """A command line that cannot be understood."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of `evo1`."""
    parser = Parser(
        "evo1",
        words=PROGRAMS,
        description="Evo-1 for ROS 2 on the command line.",
        epilog=_EPILOG.format(programs=_program_lines()),
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    launch = _add(commands, "launch", "Start an arm and the policy.")
    launch.add_argument(
        "name", help="Which robot; policy: any one, by its robot_file; or two_arms."
    )
    launch.add_argument("arguments", nargs="*", metavar="name:=value")
    launch.add_argument("--show-args", action="store_true", help="List the options and end.")
    launch.add_argument("--dry-list", action="store_true", help="List what would start and end.")
    instruct = _add(commands, "instruct", "Change the instruction while it runs.")
    instruct.add_argument("instruction", help="What to do, in words.")
    instruct.add_argument(
        "--transition",
        default="",
        help="flush: brake, then begin anew; blend: the next chunk takes over; finish: after the "
        "present chunk. Not given: as the node was started.",
    )
    speed = _add(commands, "speed", "Let the policy move the arm slower, or at its pace.")
    speed.add_argument("percent", type=float, help="Of the policy's own pace, 10 to 100.")
    status = _add(commands, "status", "Print what the policy does, and why.")
    status.add_argument("--follow", action="store_true", help="Go on until Ctrl-C.")
    for name, text in _TRIGGERS.items():
        _add(commands, name, text)
    commands.choices["stop"].add_argument(
        "--all", action="store_true", help="Whatever moves an arm in this ROS domain."
    )
    reset = _add(commands, "reset", "Reset the simulated scene.")
    reset.add_argument("--task", default="", help="Not given: the same task again.")
    reset.add_argument("--seed", type=int, default=-1, help="Not given: the next start state.")
    unplug = _add(commands, "unplug", "Silence a simulated camera: the arm holds.")
    unplug.add_argument("what", help="A camera, such as image_2, or 'arm' with port:=emulated.")
    plug = _add(commands, "plug", "Plug every simulated camera in again.")
    plug.add_argument("what", nargs="?", default="", help="'arm' with port:=emulated.")
    _add(commands, "recover-arm", "After a fault of the SO-100: hold it where it is.")
    for name, command in commands.choices.items():
        command.set_defaults(parser=command)
        about = "The same as namespace:=." if name == "launch" else "Of the arm to talk to."
        command.add_argument("--namespace", default="", metavar="NAME", help=about)
        if name != "launch":
            command.add_argument(
                "--timeout", type=float, default=10.0, help="Seconds to wait for an answer."
            )
    return parser


def _add(commands: Any, name: str, sentence: str) -> Any:
    """A command, its help with the examples that name it."""
    lines = [line for line in _EPILOG.splitlines() if re.search(rf"evo1 {name}\b", line)]
    epilog = "\n".join(["examples:", *lines])
    return commands.add_parser(name, help=sentence, description=sentence, epilog=epilog)


@entry_point("evo1", failed=2)
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.update(local_by_default(os.environ))  # what is started here is found here
    told = _stop_here(words[1:]) if words[:1] == ["stop"] else ()
    if words and words[0] in PROGRAMS:
        _run_program(words[0], words[1:])
    arguments, rest = build_parser().parse_known_args(words)
    if arguments.command == "launch" and not any(word.startswith("-") for word in rest):
        arguments.arguments += rest  # argparse takes no name:=value behind an option
    elif rest:
        arguments.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return _launch(arguments) if arguments.command == "launch" else _talk(arguments, told)


def _run_program(name: str, words: Sequence[str]) -> NoReturn:
    """Become another program."""
    from evo1_bringup.installation import find_executable

    path = str(find_executable(*PROGRAMS[name]))
    os.execv(path, [path, *words])


def _program_lines() -> str:
    told = [each for names in _DOES.values() for each in names.items()]
    lines = [f"  evo1 {name:<18} {does}" for name, does in told]
    head = "programs, each with its own --help, and each a `ros2 run` of its package:"
    return "\n".join([head, *lines])


def parse_assignments(words: Sequence[str]) -> dict[str, str]:
    """Read `name:=value` words.

    Raises:
        UsageError: a word of another form, or a name given twice.
    """
    given: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise UsageError(f"'{word}': expected name:=value")
        if name in given:
            raise UsageError(f"{name}: given twice")
        given[name] = value
    return given


def option_lines(name: str) -> list[str]:
    """The options of something to launch, for people."""
    from evo1_bringup.system import arguments_of

    lines = [f"Options of {name}, given as name:=value:", ""]
    for option in arguments_of(name):
        lines += [f"  {option.name}  (default: '{option.default}')", f"      {option.described}"]
    return lines


def system_lines(system: "System") -> list[str]:
    """What would start, for people."""
    lines = [*system.notes, f"robot file: {system.robot_path}"]
    lines += [f"launch file: {item.package} {item.launch_file}" for item in system.includes]
    for process in system.processes:
        place = f" in /{process.namespace}" if process.namespace else ""
        lines.append(f"process: ros2 run {process.package} {process.executable}{place}")
        lines += [f"    {name}: {value}" for name, value in process.parameters.items()]
        lines += [f"    {source} -> {target}" for source, target in process.remappings]
    return lines


def _launch(arguments: argparse.Namespace) -> int:
    from evo1_bringup.processes import together
    from evo1_bringup.system import check_installed, launchable, systems_of

    if arguments.name not in launchable():
        raise UsageError(
            f"launch {arguments.name}: expected one of {', '.join(launchable())}; a robot of your "
            "own: launch policy robot_file:=FILE"
        )
    if arguments.show_args:
        _say(*option_lines(arguments.name))
        return 0
    words = arguments.arguments
    if arguments.namespace:
        words = [*words, f"namespace:={arguments.namespace}"]
    systems = systems_of(arguments.name, parse_assignments(words))
    if arguments.dry_list:
        for system in systems:
            _say(*system_lines(system))
        return 0
    programs = together(systems)
    movers = [process for process in programs.processes if process.role == "mover"]
    for place in sorted({f"/{process.namespace}" for process in movers}):
        _check_free(place)
    check_installed(programs)
    if programs.includes:
        raise UsageError(
            "this way to a real arm comes with launch files of others; "
            f"use ros2 launch evo1_bringup {arguments.name}.launch.py with the same arguments"
        )
    return run_programs(programs)


def _check_free(namespace: str) -> None:
    """Refuse before anything starts: a second simulation alone would disturb the first system.

    Raises:
        UsageError: a policy or a relay of this machine moves an arm in the namespace.
    """
    from evo1_policy import stop_line

    domain = stop_line.domain_id()
    address = stop_line.address_of(domain, namespace)
    if address in stop_line.claimed(domain, namespace):
        who = stop_line.tell(stop_line.WHO, [address], 1.0)[address] or "a policy or a relay"
        raise UsageError(
            f"{who} moves an arm in namespace '{namespace}' already; end it, or give another one "
            "(namespace:=...)"
        )


def run_programs(programs: "Programs") -> int:
    """Run them until Ctrl-C (0), or until one that the arm needs ends (1).

    A simulation ends with it; a real arm is held until Ctrl-C. A second Ctrl-C waits for nobody.
    """
    from evo1_bringup.supervisor import Supervisor

    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            supervisor.hurry()

    supervisor = Supervisor(programs, printer=_print_line)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    local = os.environ.get(RANGE) == "LOCALHOST"
    _say(*programs.notes, *([NOTE] if local else []), "Ctrl-C ends it.")
    with supervisor:
        ended = supervisor.wait(lambda: asked > 0)
        if ended is not None:
            _say(f"evo1: {ended.message}; everything else ends too.")
        _say("evo1: what moves the arm ends first, then the rest; Ctrl-C again waits for nobody.")
    return 0 if ended is None else 1


def _talk(arguments: argparse.Namespace, told: Sequence[str]) -> int:
    try:
        from evo1_bringup.options import read_namespace
        from evo1_bringup.ros import commands
    except ImportError as error:
        raise UsageError(
            f"{arguments.command}: needs ROS 2 and the built workspace ({error}); "
            "source install/setup.bash"
        ) from error
    namespace = read_namespace(arguments.namespace)
    target = commands.Target(namespace=namespace, timeout_s=arguments.timeout)
    if arguments.command == "status":
        return int(commands.status(target, follow=arguments.follow, printer=_say))
    answer = _ASKS[arguments.command](commands, target, arguments)
    _say(*(line for line in answer.message.splitlines() if line not in told))
    return 0 if answer.success else 1


def _stop_here(words: Sequence[str]) -> tuple[str, ...]:
    """Stop what runs on this machine, before anything is imported; the answers, printed."""
    from evo1_policy import stop_line

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--namespace", default="")
    given, rest = parser.parse_known_args(words)
    if {"-h", "--help"} & set(rest):
        return ()
    place = None if given.all else f"/{given.namespace.strip('/')}"
    addresses = stop_line.claimed(stop_line.domain_id(), place)
    answers = tuple(filter(None, stop_line.tell(stop_line.STOP, addresses, _HERE_S).values()))
    _say(*answers)
    return answers


def _print_line(label: str, line: str) -> None:
    _say(f"[{label}] {line}")


def _say(*lines: str) -> None:
    for line in lines:
        print(printable(line, _LONGEST), flush=True)  # noqa: T201
