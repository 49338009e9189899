"""A system as launch actions. The only module that imports launch.

How it ends: launch and the terminal signal every process at once, so each is started through
`ending`, which holds the signal back until it is its turn; those of included launch files too, by
launch's own `launch-prefix`. launch's patience is longer than that.
"""

import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace

from evo1_bringup.discovery import NOTE, RANGE, variables
from evo1_bringup.ending import DRIVERS, PATIENCE_S, in_its_turn, orderly
from evo1_bringup.installation import find_shared, robot_description
from evo1_bringup.processes import Exit, Include, Process, Programs, Role, together
from evo1_bringup.supervisor import parameter_text
from evo1_bringup.system import arguments_of, check_installed, systems_of
from evo1_policy.node_parameters import Parameter

_SIGTERM_AFTER_S = str(PATIENCE_S[DRIVERS] + 10.0)  # launch's own patience


def launch_description(name: str) -> LaunchDescription:
    """What `ros2 launch evo1_bringup <name>.launch.py` starts."""
    options = arguments_of(name)

    def start(context: LaunchContext) -> list[Action]:
        given = {
            option.name: LaunchConfiguration(option.name).perform(context) for option in options
        }
        programs = together(systems_of(name, given))
        check_installed(programs)
        return launch_actions(programs, os.environ)

    return LaunchDescription([*map(_argument, options), OpaqueFunction(function=start)])


def launch_actions(programs: Programs, environment: Mapping[str, str]) -> list[Action]:
    """Everything to start; `environment` is what the shell has set and keeps."""
    folder = Path(tempfile.mkdtemp(prefix="evo1_"))  # locks and parameters; launch leaves its too
    actions: list[Action] = [LogInfo(msg=note) for note in programs.notes]
    added = variables(programs.environment, environment)
    if RANGE in added:
        actions.append(LogInfo(msg=NOTE))
    actions += [SetEnvironmentVariable(name, value) for name, value in added.items()]
    nodes = [_node(process, folder / f"{i}.yaml") for i, process in enumerate(programs.processes)]
    processes = dict(zip(nodes, programs.processes, strict=True))

    def ended(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if context.is_shutdown or str(folder) not in event.cmd:  # somebody else's process
            return []
        end = _exit(event, processes.get(event.action))
        if end.harmless:
            return []
        told = [LogInfo(msg=end.advice(real_arm=programs.real_arm))]
        stays = programs.real_arm or not end.missed
        return told if stays else [*told, Shutdown(reason=end.message)]

    # the watch first: a process may end at once. It sees those of the included files too
    actions.append(RegisterEventHandler(OnProcessExit(on_exit=ended)))
    actions.append(SetLaunchConfiguration("sigterm_timeout", _SIGTERM_AFTER_S))
    actions += [_include(include, folder) for include in programs.includes]
    return [*actions, *nodes]


def _argument(option: Parameter) -> DeclareLaunchArgument:
    """Without its default and choices: parse_options has them, and knows what was typed."""
    default = f" Not given: {option.default}." if option.default != "" else ""
    return DeclareLaunchArgument(
        option.name, default_value="", description=f"{option.described}{default}"
    )


def _exit(event: ProcessExited, process: Process | None) -> Exit:
    """Which process ended; one of an included file is a driver, or a spawner that is done."""
    if process is not None:
        return Exit(label=process.label, code=event.returncode, role=process.role)
    program = Path(in_its_turn(event.cmd)[0]).name
    role: Role = "finishes" if program == "spawner" else "driver"
    return Exit(label=program, code=event.returncode, role=role)


def _include(include: Include, folder: Path) -> Action:
    path = find_shared(include.package, f"launch/{include.launch_file}")
    arguments = {**include.arguments, **robot_description(include)}
    return GroupAction(
        [
            SetLaunchConfiguration("launch-prefix", shlex.join(orderly(folder, DRIVERS))),
            *([PushRosNamespace(include.namespace)] if include.namespace else []),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(path)), launch_arguments=arguments.items()
            ),
        ]
    )


def _node(process: Process, file: Path) -> Node:
    file.write_text(parameter_text(process), encoding="utf-8")
    return Node(
        package=process.package,
        executable=process.executable,
        exec_name=process.executable,
        name=process.name,
        namespace=process.namespace,
        parameters=[*process.parameter_files, *([str(file)] if process.parameters else [])],
        remappings=list(process.remappings),
        arguments=list(process.arguments),
        prefix=shlex.join(orderly(file.parent, process.rank)),
        sigterm_timeout=_SIGTERM_AFTER_S,
        output="screen",
        emulate_tty=True,
    )
