"""Programs and launch files to start, as plain data. Must not import ROS or launch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Parameter = bool | int | float | str | Sequence[str] | Sequence[int]


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
        name = self.name or self.executable
        return f"{self.namespace}/{name}" if self.namespace else name


@dataclass(frozen=True, kw_only=True)
class Include:
    """A launch file of another package, its arguments, and the namespace of its nodes."""

    package: str
    launch_file: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What is started together, and ends together.

    Attributes:
        processes: in this order.
        includes: launch files of others, started before the processes.
        environment: variables to set where the shell has not set them.
        notes: what a person should know before it starts.
    """

    processes: tuple[Process, ...]
    includes: tuple[Include, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def together(parts: Sequence[Programs]) -> Programs:
    """Several as one: what each starts, in order."""
    return Programs(
        processes=tuple(process for part in parts for process in part.processes),
        includes=tuple(include for part in parts for include in part.includes),
        environment={name: value for part in parts for name, value in part.environment.items()},
        notes=tuple(note for part in parts for note in part.notes),
    )
