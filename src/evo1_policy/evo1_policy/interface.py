"""What a policy sees and answers, whatever it is that it moves: a robot, or a benchmark's world.

A robot file yields one (RobotConfig.interface); for what has no joints, limits and home, a small
YAML says it. Policies, checkpoints, datasets and training know interfaces; whoever moves an arm
knows its robot. Must not import ROS or torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evo1_policy.paths import shares
from evo1_policy.strict_yaml import Section, read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, read_text

ActionSpace = Literal["joint", "joint_relative", "ee_pose", "ee_delta", "raw"]

INTERFACE, ROBOT = "interface.yaml", "robot.yaml"  # beside weights and data, one of the two
MAX_RATE_HZ = 1000.0  # faster actions than any controller interpolates
_MOST_NUMBERS = 1024  # that the widest model takes


class InterfaceError(ValueError):
    """A description that cannot be used; the message names the file and the dotted key."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What goes into a policy and what comes out; no arm, no limits, no home.

    Attributes:
        name: of the robot or the benchmark.
        embodiment: key of the norm stats.
        state: names of the S numbers of a state.
        action: names of the A numbers of an action; A and S may differ.
        cameras: names, in the order of the model's image slots.
        rate_hz: actions in a second.
        action_space: 'joint', targets of a robot's joints [rad, or the joint's unit]; 'raw' where
            there is no robot: the numbers go out as the demonstrations had them.
        text: the YAML as read, to be copied beside weights and data; a robot's is its robot file.
    """

    name: str
    embodiment: str
    state: tuple[str, ...]
    action: tuple[str, ...]
    cameras: tuple[str, ...]
    rate_hz: float
    action_space: ActionSpace
    text: str

    @property
    def file(self) -> str:
        """Name of the file that holds `text` beside weights and data."""
        return INTERFACE if self.action_space == "raw" else ROBOT

    @property
    def widths(self) -> tuple[int, int]:
        """S and A."""
        return len(self.state), len(self.action)

    @property
    def step_ns(self) -> int:
        """Time between two actions of a chunk [ns]."""
        return round(1e9 / self.rate_hz)

    def names_of(self, feature: str) -> str:
        """How many numbers 'action', or else the state, has, and which, for an error."""
        names = self.action if feature == "action" else self.state
        return f"{len(names)} ({', '.join(names)})"


def load_interface(path: Path | str) -> Interface:
    """Read the file of an interface, or a shipped one by its name ('metaworld').

    Raises:
        InterfaceError: there is none, it is no YAML, or a key is unknown, missing or wrong.
    """
    try:
        text = read_text(_found(path), what="interface", max_bytes=MOST_YAML_BYTES)
    except UntrustedError as error:
        raise InterfaceError(str(error)) from error
    return parse_interface(text, source=str(path))


def parse_interface(text: str, *, source: str = INTERFACE) -> Interface:
    """Parse the text of an interface; `source` stands in error messages.

    Raises:
        InterfaceError: see load_interface.
    """
    try:
        root = read_section(text, source=source)
        interface = Interface(
            name=root.text("name"),
            embodiment=root.text("embodiment"),
            state=_names(root, "state"),
            action=_names(root, "action"),
            cameras=_names(root, "cameras"),
            rate_hz=read_rate(root),
            # Without an arm nothing turns numbers into joint targets.
            action_space=root.choice("action_space", ("raw",), "raw"),  # type: ignore[arg-type]
            text=text,
        )
        root.finish()
    except UntrustedError as error:
        raise InterfaceError(str(error)) from error
    return interface


def differences(ours: Interface, theirs: Interface) -> list[tuple[str, str, str]]:
    """What makes a checkpoint or dataset of `theirs` unusable for `ours`: (key, ours, theirs)."""
    pairs = (
        ("embodiment", ours.embodiment, theirs.embodiment),
        ("state", ", ".join(ours.state), ", ".join(theirs.state)),
        ("action", ", ".join(ours.action), ", ".join(theirs.action)),
        ("action_space", ours.action_space, theirs.action_space),
        ("cameras", ", ".join(ours.cameras), ", ".join(theirs.cameras)),
        ("rate_hz", f"{ours.rate_hz:g}", f"{theirs.rate_hz:g}"),
    )
    return [(key, mine, other) for key, mine, other in pairs if mine != other]


def read_rate(root: Section) -> float:
    """The rate of actions in a robot file or an interface [Hz].

    Raises:
        StrictYamlError: it is missing, or no rate of actions.
    """
    rate_hz = root.positive("rate_hz")
    if rate_hz > MAX_RATE_HZ:
        raise root.error("rate_hz", f"expected at most {MAX_RATE_HZ:g} Hz, got {rate_hz:g}")
    return rate_hz


def check_unique(root: Section, key: str, names: Sequence[str]) -> None:
    """Refuse a name that stands twice; `key` has {} for its place.

    Raises:
        StrictYamlError: names both places.
    """
    for i, name in enumerate(names):
        first = names.index(name)
        if first < i:
            raise root.error(key.format(i), f"'{name}' is {key.format(first)} already")


def _names(root: Section, key: str) -> tuple[str, ...]:
    names = root.names(key)
    if len(names) > _MOST_NUMBERS:
        raise root.error(key, f"expected at most {_MOST_NUMBERS} names, got {len(names)}")
    check_unique(root, key + "[{}]", names)
    return names


def _found(path: Path | str) -> Path:
    """A file, or the shipped one of a bare name; the path itself where there is neither."""
    named = Path(path).expanduser()
    if named.is_file() or named.name != str(path) or named.suffix:
        return named
    folders = [share / "interfaces" for share in shares("evo1_policy")]
    shipped = [folder / f"{named}.yaml" for folder in folders]
    found = next((file for file in shipped if file.is_file()), None)
    if found is None:
        known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
        raise InterfaceError(
            f"{path}: no such file, and no interface of this name ships; known: "
            f"{', '.join(known) or 'none'}"
        )
    return found
