"""The parameters of the recorder node: where things are. Facts of the robot are in its file."""

from dataclasses import dataclass, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from evo1_training.recording.pre_roll import MAX_BYTES, MEGABYTE


@dataclass(frozen=True, kw_only=True)
class RecorderParameters:
    """The node's parameters, read once when it is configured."""

    robot_file: str = ""
    root: str = "~/evo1_episodes"
    operator_name: str = ""
    instruction: str = ""
    extra_topics: tuple[str, ...] = ()
    min_free_gb: float = 1.0
    keep_deleted: int = 5
    pre_roll_s: float = 0.0
    pre_roll_mb: int = MAX_BYTES // MEGABYTE
    auto_activate: bool = True


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names it."""


_DESCRIPTIONS = {
    "robot_file": "Path of the robot file (YAML). Required.",
    "root": "Folder that gets one folder an episode; made where it does not exist.",
    "operator_name": "Who demonstrates; stands in every episode.",
    "instruction": "The label of the next take, in words; can be changed between takes.",
    "extra_topics": "Topics to record beside the robot file's, as patterns such as /force/*.",
    "min_free_gb": "No take starts with less room on the disk [GB], and one ends at half of it.",
    "keep_deleted": "So many discarded and deleted episodes stay in the trash below root.",
    "pre_roll_s": "A take that begins while a person has taken over starts with so much of what "
    "came before the take-over [s].",
    "pre_roll_mb": "No more memory for it [MB]; ten seconds of two raw 640x480 cameras need 553.",
    "auto_activate": "Configure and activate without a lifecycle manager.",
}


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description, default and range."""
    for field in fields(RecorderParameters):
        descriptor = ParameterDescriptor(description=_DESCRIPTIONS[field.name])
        if field.name == "min_free_gb":
            descriptor.floating_point_range = [FloatingPointRange(from_value=0.0, to_value=1e6)]
        if field.name == "pre_roll_s":
            descriptor.floating_point_range = [FloatingPointRange(from_value=0.0, to_value=60.0)]
        if field.name == "pre_roll_mb":
            descriptor.integer_range = [IntegerRange(from_value=0, to_value=100_000, step=1)]
        if field.name == "keep_deleted":
            descriptor.integer_range = [IntegerRange(from_value=0, to_value=100_000, step=1)]
        if field.name == "extra_topics":  # an empty list has no type of its own
            node.declare_parameter(field.name, Parameter.Type.STRING_ARRAY, descriptor)
        else:
            node.declare_parameter(field.name, field.default, descriptor)


def read_parameters(node: Node) -> RecorderParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used, with the parameter's name.
    """
    values = {
        field.name: node.get_parameter(field.name).value
        for field in fields(RecorderParameters)
        if field.name != "extra_topics"
    }
    patterns = node.get_parameter_or("extra_topics", None)
    extra = () if patterns is None or patterns.value is None else tuple(patterns.value)
    parameters = RecorderParameters(**values, extra_topics=tuple(p for p in extra if p.strip()))
    if not parameters.robot_file:
        raise ParameterError("robot_file: missing; give the path of a robot file (YAML)")
    if not parameters.root:
        raise ParameterError("root: empty; give the folder that episodes are saved into")
    return parameters
