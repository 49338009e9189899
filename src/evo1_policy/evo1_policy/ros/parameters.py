"""The policy node's parameters, declared to ROS and read back.

What they are stands in evo1_policy.node_parameters, facts of the robot in the robot file.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

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


def keep_parameters(
    node: Node,
    names: Collection[str],
    *,
    while_: Callable[[], bool] = lambda: True,
    live: Mapping[str, Callable[[Any], tuple[bool, str]]] | None = None,
) -> None:
    """Refuse changes that would be accepted and ignored, saying when they can be made.

    Args:
        node: owns the parameters.
        names: those that are read once.
        while_: whether they have been read, and are in use.
        live: those that take effect at once; each gets the value, answers (success, why not).
    """
    live = live or {}

    def on_set(changed: list[Parameter]) -> SetParametersResult:
        kept = [each.name for each in changed if each.name in names and each.name not in live]
        if kept and while_():
            reason = f"{kept[0]}: read when the node starts; give it then (lifecycle nodes: after "
            reason += "cleanup, before configure)"
            return SetParametersResult(successful=False, reason=reason)
        for each in changed:
            if each.name in live and while_():
                success, why = live[each.name](each.value)
                if not success:
                    return SetParametersResult(successful=False, reason=f"{each.name}: {why}")
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)
