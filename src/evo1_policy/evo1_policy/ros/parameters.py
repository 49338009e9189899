"""Tables of parameters (evo1_policy.node_parameters) declared to ROS, read back and kept."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as NodeParameter

from evo1_policy.node_parameters import Parameter, ParameterError, ParameterTable, parameters_of
from evo1_policy.robot_config import RobotConfig, load_robot

Table = TypeVar("Table", bound=ParameterTable)
Fixed = TypeVar("Fixed", bool, int, float, str)


def declare_parameters(node: Node, table: type, *, read_only: bool = False) -> None:
    """Declare every parameter of a table with its description, default and range.

    Raises:
        ParameterError: a value of another type or out of range.
    """
    for row in parameters_of(table).values():
        _declare(node, row, read_only=read_only)


def fixed_parameter(
    node: Node,
    name: str,
    default: Fixed,
    description: str,
    *,
    required: bool = False,
    span: tuple[float, float] | None = None,
) -> Fixed:
    """Declare one parameter that is read at start only, read-only; return its value.

    Raises:
        ParameterError: a value of another type, or none where one is required.
    """
    row = Parameter(
        name=name, default=default, description=description, required=required, span=span
    )
    value: Fixed = _declare(node, row, read_only=True)
    if required and not value:
        raise ParameterError(f"parameter '{name}' is missing; {description}")
    return value


def robot_parameter(node: Node) -> RobotConfig:
    """The robot of the file that the parameter `robot_file` names, read at start only.

    Raises:
        ParameterError: it is not given.
        RobotConfigError: the file cannot be used.
    """
    about = "Path of the robot file (YAML). Required."
    return load_robot(fixed_parameter(node, "robot_file", "", about, required=True))


def _declare(node: Node, row: Parameter, *, read_only: bool) -> Any:
    descriptor = ParameterDescriptor(description=row.described, read_only=read_only)
    if row.span is not None and isinstance(row.default, int):
        low, high = (round(bound) for bound in row.span)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    elif row.span is not None:
        span = FloatingPointRange(from_value=row.span[0], to_value=row.span[1])
        descriptor.floating_point_range = [span]
    try:
        return node.declare_parameter(row.name, row.default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ParameterError(str(error)) from error


def read_parameters(node: Node, table: type[Table]) -> Table:
    """Read every parameter of a table as it stands now.

    Raises:
        ParameterError: a value that cannot be used, with the parameter's name.
    """
    rows = parameters_of(table)
    values = {name: node.get_parameter(name).value for name in rows}
    for name, row in rows.items():
        if row.required and not values[name]:
            raise ParameterError(f"parameter '{name}' is missing; {row.description}")
    return table(**values)


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

    def on_set(changed: list[NodeParameter]) -> SetParametersResult:
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
