"""The policy node's parameters, declared to ROS and read back.

What they are stands in evo1_policy.node_parameters, facts of the robot in the robot file.
"""

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.node import Node

from evo1_policy.node_parameters import POLICY_PARAMETERS, ParameterError, PolicyParameters


def declare_parameters(node: Node) -> None:
    """Declare every parameter with its description, default and range."""
    for name, row in POLICY_PARAMETERS.items():
        descriptor = ParameterDescriptor(description=row.described)
        if row.span is not None and isinstance(row.default, int):
            low, high = (round(bound) for bound in row.span)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        node.declare_parameter(name, row.default, descriptor)


def read_parameters(node: Node) -> PolicyParameters:
    """Read every parameter as it stands now.

    Raises:
        ParameterError: a value that cannot be used, with the parameter's name.
    """
    values = {name: node.get_parameter(name).value for name in POLICY_PARAMETERS}
    parameters = PolicyParameters(**values)
    if not parameters.robot_file:
        raise ParameterError("robot_file: missing; give the path of a robot file (YAML)")
    return parameters
