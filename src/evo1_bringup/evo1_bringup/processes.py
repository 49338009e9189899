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
        return self.name or self.executable


@dataclass(frozen=True, kw_only=True)
class Include:
    """A launch file of another package, and its arguments."""

    package: str
    launch_file: str
    arguments: Mapping[str, str] = field(default_factory=dict)
