"""The parameters of the policy node: where things are and how to start.

Facts of the robot are in the robot file.
"""

from dataclasses import dataclass, fields

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.node import Node


@dataclass(frozen=True, kw_only=True)
class PolicyParameters:
    """The node's parameters, read once when it is configured."""

    robot_file: str = ""
    checkpoint: str = ""
    tokenizer: str = ""
    embodiment: str = ""
    semantics: str = ""
    units: str = ""
    num_steps: int = 0
    instruction: str = ""
    device: str = "auto"
    dry_run: bool = False
    autostart: bool = False
    seed: int = 0
    threads: int = 0
    auto_activate: bool = True


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


DEVICES = ("auto", "cpu", "cuda")

_DESCRIPTIONS = {
    "robot_file": "Path of the robot file (YAML). Required.",
    "checkpoint": "Folder of the checkpoint; empty: the one that ships for this embodiment.",
    "tokenizer": "Folder of the tokenizer, where the checkpoint holds none.",
    "embodiment": "Key of the norm stats, where the checkpoint has several: arm or arm/dataset.",
    "semantics": "Rules that the weights were trained with, where the layout implies others: "
    "authors_main, evo1_flash or lerobot.",
    "units": "File with the units of the checkpoint's norm stats, where they are not radians.",
    "num_steps": "Denoising steps of one inference; 0: the checkpoint's.",
    "instruction": "What to do, in words; can be changed while the policy runs.",
    "device": "Where the model runs: auto, cpu, cuda or cuda:1.",
    "dry_run": "Publish chunks and previews, send no command to the arm.",
    "autostart": "Start to move as soon as the node is active and has an instruction.",
    "seed": "Seed of the policy's noise.",
    "threads": "CPU threads of the model; 0: half of the cores, the other half is for messages.",
    "auto_activate": "Configure and activate without a lifecycle manager.",
}
_RANGES = {"seed": (0, 2**31 - 1), "threads": (0, 256), "num_steps": (0, 1000)}


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description, default and range."""
    for field in fields(PolicyParameters):
        descriptor = ParameterDescriptor(description=_DESCRIPTIONS[field.name])
        if field.name in _RANGES:
            low, high = _RANGES[field.name]
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        node.declare_parameter(field.name, field.default, descriptor)


def read_parameters(node: Node) -> PolicyParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used, with the parameter's name.
    """
    values = {
        field.name: node.get_parameter(field.name).value for field in fields(PolicyParameters)
    }
    parameters = PolicyParameters(**values)
    if not parameters.robot_file:
        raise ParameterError("robot_file: missing; give the path of a robot file (YAML)")
    if parameters.device.partition(":")[0] not in DEVICES:
        raise ParameterError(
            f"device: expected one of {', '.join(DEVICES)}, got '{parameters.device}'"
        )
    return parameters
