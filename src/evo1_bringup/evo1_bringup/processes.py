"""Programs and launch files to start, as plain data. Must not import ROS or launch."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evo1_bringup import ending

Setting = bool | int | float | str | Sequence[str] | Sequence[int]
Role = Literal["mover", "driver", "needed", "optional", "finishes"]
RANKS: Mapping[Role, int] = {"mover": ending.MOVERS, "driver": ending.DRIVERS}  # others: between


@dataclass(frozen=True, kw_only=True)
class Process:
    """One program of a package.

    Attributes:
        name: node name; None keeps the program's own.
        namespace: without slashes at the ends; empty for the root.
        parameter_files: ROS parameter files, before `parameters`.
        remappings: (from, to) names.
        arguments: what stands before --ros-args.
        role: what its end means. mover: it commands the arm, and ends first. driver: it holds
            the arm, and ends last. needed: the arm cannot go on without it. optional: it can.
            finishes: it does its work and ends by itself.
    """

    package: str
    executable: str
    name: str | None = None
    namespace: str = ""
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    parameter_files: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    role: Role = "needed"

    @classmethod
    def node(
        cls, package: str, executable: str, namespace: str, role: Role, **parameters: Setting
    ) -> "Process":
        """A node that has the name of its program."""
        return cls(
            package=package,
            executable=executable,
            name=executable,
            namespace=namespace,
            role=role,
            parameters=parameters,
        )

    @property
    def label(self) -> str:
        """How people are told about it."""
        name = self.name or self.executable
        return f"{self.namespace}/{name}" if self.namespace else name

    @property
    def rank(self) -> int:
        """When it ends: see ending."""
        return RANKS.get(self.role, ending.REST)


@dataclass(frozen=True, kw_only=True)
class Exit:
    """A process that ended."""

    label: str
    code: int  # negative: the signal that ended it
    role: Role = "needed"

    @property
    def missed(self) -> bool:
        """Whether the arm cannot go on without it."""
        return self.role != "optional" and not self.harmless

    @property
    def harmless(self) -> bool:
        """Whether it ended because its work was done."""
        return self.role == "finishes" and self.code == 0

    @property
    def message(self) -> str:
        """What happened, for people."""
        if self.code < 0:
            return f"{self.label} was ended by {signal.Signals(-self.code).name}"
        return f"{self.label} ended with exit code {self.code}"

    def advice(self, *, real_arm: bool) -> str:
        """What happened, what becomes of the arm, and what to do."""
        if not self.missed:
            return (
                f"{self.message}. The arm does not need it: everything else goes on. To have it "
                "back, end this by Ctrl-C and launch again"
            )
        if not real_arm:
            return f"{self.message}; ending everything else"
        if self.role == "driver":
            return (
                f"{self.message}. NOTHING DRIVES THE REAL ARM NOW: it may be limp. Go to it and "
                "support it; then Ctrl-C ends the rest"
            )
        what = "nobody commands it" if self.role == "mover" else "evo1 status says what is missing"
        return (
            f"{self.message}. The REAL arm comes to rest and is HELD: its driver goes on, {what}. "
            "Go to it, and support it where it could fall; then Ctrl-C ends everything, the "
            "driver last"
        )


@dataclass(frozen=True, kw_only=True)
class Include:
    """A launch file of another package.

    Attributes:
        namespace: of its nodes.
        xacro: package and file below its share folder: what xacro makes of it with the same
            arguments becomes the argument robot_description.
    """

    package: str
    launch_file: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    xacro: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What is started together, and ends together.

    Attributes:
        processes: in this order.
        includes: launch files of others, started before the processes.
        environment: variables to set where the shell has not set them.
        notes: what a person should know before it starts.
        real_arm: whether any of it moves a real arm: then nothing but a person ends it.
    """

    processes: tuple[Process, ...]
    includes: tuple[Include, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    real_arm: bool = False


def together(parts: Sequence[Programs]) -> Programs:
    """Several as one: what each starts, in order."""
    return Programs(
        processes=tuple(process for part in parts for process in part.processes),
        includes=tuple(include for part in parts for include in part.includes),
        environment={name: value for part in parts for name, value in part.environment.items()},
        notes=tuple(note for part in parts for note in part.notes),
        real_arm=any(part.real_arm for part in parts),
    )
