"""The parameters of the recorder node: where things are. Facts of the robot are in its file."""

from dataclasses import dataclass, replace

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from evo1_policy.node_parameters import ParameterTable, parameter
from evo1_policy.ros import parameters
from evo1_training.recording.pre_roll import MAX_BYTES, MEGABYTE
from evo1_training.recording.stream_monitor import MAX_UNUSABLE

EXTRA_TOPICS = "extra_topics"


@dataclass(frozen=True, kw_only=True)
class RecorderParameters(ParameterTable):
    """The node's parameters, read once when it is configured.

    Raises:
        ParameterError: a value that cannot be used.
    """

    robot_file: str = parameter("", "Path of the robot file (YAML). Required.", required=True)
    root: str = parameter(
        "~/evo1_episodes",
        "Folder that gets one folder an episode; made where it does not exist.",
        required=True,
    )
    operator_name: str = parameter("", "Who demonstrates; stands in every episode.")
    instruction: str = parameter(
        "", "The label of the next take, in words; can be changed between takes."
    )
    compress: str = parameter(
        "",
        "Raw image topics that are kept compressed: PATTERN=jpeg[:QUALITY] or PATTERN=png "
        "(lossless), with commas between, such as /*/image_raw=jpeg:95. Empty: all stay raw.",
    )
    max_unusable: float = parameter(
        MAX_UNUSABLE,
        "A take fails where a larger share of a topic's messages cannot be used; fewer are warned "
        "of.",
        span=(0.0, 1.0),
    )
    min_free_gb: float = parameter(
        1.0,
        "No take starts with less room on the disk [GB], and one ends at half of it.",
        span=(0.0, 1e6),
    )
    keep_deleted: int = parameter(
        5,
        "So many discarded and deleted episodes stay in the trash below root.",
        span=(0, 100_000),
    )
    pre_roll_s: float = parameter(
        0.0,
        "A take that begins while a person has taken over starts with so much of what came "
        "before the take-over [s].",
        span=(0.0, 60.0),
    )
    pre_roll_mb: int = parameter(
        MAX_BYTES // MEGABYTE,
        "No more memory for it [MB]; ten seconds of two raw 640x480 cameras need 553.",
        span=(0, 100_000),
    )
    auto_activate: bool = parameter(True, "Configure and activate without a lifecycle manager.")
    extra_topics: tuple[str, ...] = ()  # an empty list has no type of its own


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description, default and range."""
    parameters.declare_parameters(node, RecorderParameters)
    about = "Topics to record beside the robot file's, as patterns such as /force/*."
    described = ParameterDescriptor(description=about)
    node.declare_parameter(EXTRA_TOPICS, Parameter.Type.STRING_ARRAY, described)


def read_parameters(node: Node) -> RecorderParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used, with the parameter's name.
    """
    patterns = node.get_parameter_or(EXTRA_TOPICS, None)
    extra = () if patterns is None or patterns.value is None else tuple(patterns.value)
    return replace(
        parameters.read_parameters(node, RecorderParameters),
        extra_topics=tuple(pattern for pattern in extra if pattern.strip()),
    )
