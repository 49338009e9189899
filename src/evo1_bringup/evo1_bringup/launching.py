"""A system as launch actions. The only module that imports launch."""

import os
from collections.abc import Mapping

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
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue

from evo1_bringup.installation import find_launch_file
from evo1_bringup.launchable import arguments_of, systems_of
from evo1_bringup.options import Option
from evo1_bringup.processes import Include, Parameter, Process, Programs, together
from evo1_bringup.system import check_installed


def launch_description(name: str) -> LaunchDescription:
    """What `ros2 launch evo1_bringup <name>.launch.py` starts."""
    options = arguments_of(name)

    def start(context: LaunchContext) -> list[Action]:
        given = {option.name: _typed(context, option) for option in options}
        programs = together(systems_of(name, given))
        check_installed(programs)
        return launch_actions(programs, os.environ)

    return LaunchDescription([*map(_argument, options), OpaqueFunction(function=start)])


def launch_actions(programs: Programs, environment: Mapping[str, str]) -> list[Action]:
    """Everything to start; `environment` is what the shell has set and keeps."""
    actions: list[Action] = [LogInfo(msg=note) for note in programs.notes]
    for name, value in programs.environment.items():
        if name not in environment:
            actions.append(SetEnvironmentVariable(name, value))
    actions += [_include(include) for include in programs.includes]
    for process in programs.processes:
        actions += _node(process)
    return actions


def _argument(option: Option) -> DeclareLaunchArgument:
    boolean = "true" in option.choices  # parsed by us, since people also type True and 1
    return DeclareLaunchArgument(
        option.name,
        default_value=option.default,
        description=option.described,
        choices=None if boolean else list(option.choices) or None,
    )


def _typed(context: LaunchContext, option: Option) -> str:
    return str(LaunchConfiguration(option.name).perform(context))


def _include(include: Include) -> Action:
    path = find_launch_file(include.package, include.launch_file)
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(path)), launch_arguments=include.arguments.items()
    )
    if not include.namespace:
        return included
    return GroupAction([PushRosNamespace(include.namespace), included])


def _node(process: Process) -> list[Action]:
    node = Node(
        package=process.package,
        executable=process.executable,
        name=process.name,
        namespace=process.namespace,
        parameters=[*process.parameter_files, _parameters(process)],
        remappings=list(process.remappings),
        arguments=list(process.arguments),
        output="screen",
        emulate_tty=True,
    )

    def ended(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if context.is_shutdown or (process.finishes and event.returncode == 0):
            return []
        reason = f"{process.label} ended with exit code {event.returncode}"
        return [LogInfo(msg=f"{reason}; ending everything else"), Shutdown(reason=reason)]

    watch = OnProcessExit(target_action=node, on_exit=ended)
    return [RegisterEventHandler(watch), node]  # the watch first: a node may end at once


def _parameters(process: Process) -> dict[str, ParameterValue]:
    return {
        name: ParameterValue(_plain(value), value_type=_type(value))
        for name, value in process.parameters.items()
    }


def _plain(value: Parameter) -> Parameter:
    return value if isinstance(value, str) or not isinstance(value, tuple) else list(value)


def _type(value: Parameter) -> object:
    """Said outright, since launch guesses types from texts: an instruction 'on' is no boolean."""
    if not isinstance(value, list | tuple):
        return type(value)
    return list[int] if value and isinstance(value[0], int) else list[str]
