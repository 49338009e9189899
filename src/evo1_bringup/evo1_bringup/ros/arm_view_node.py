"""Draws an arm, what it must not touch and where its policy goes, for RViz and Foxglove.

It only listens: nothing that moves an arm waits for it. What it draws comes from the robot file's
model (safety.collision, or urdf), so it needs no robot_description and no robot_state_publisher.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from evo1_msgs.msg import ActionChunk
from geometry_msgs.msg import Point, Pose, Vector3
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from std_msgs.msg import ColorRGBA, Header
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from evo1_bringup.arm_shapes import (
    BOX,
    CYLINDER,
    MESH,
    SPHERE,
    Shape,
    arm_shapes,
    obstacle_shapes,
    tool_path,
)
from evo1_policy.action_chunk import Floats
from evo1_policy.kinematics.model import arm_model
from evo1_policy.ros.listening import Listener
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import fixed_parameter, robot_parameter
from evo1_policy.ros.process import run_node, steady_timer
from evo1_policy.ros.qos import report_qos
from evo1_sim.ros.description import BASE_FRAME, quaternion, xyz

PERIOD_S = 0.1
CHUNK_TOPIC = "policy/action_chunk"
_KINDS = {
    BOX: Marker.CUBE,
    SPHERE: Marker.SPHERE,
    CYLINDER: Marker.CYLINDER,
    MESH: Marker.TRIANGLE_LIST,
}
_ARM = (0.80, 0.82, 0.85, 1.0)
_OBSTACLE = (0.95, 0.60, 0.20, 0.25)
_SENT = (0.10, 0.65, 0.95, 0.9)
_PREVIEW = (0.95, 0.75, 0.10, 0.9)  # a dry run: proposed, not sent
_GHOST_ALPHA = 0.25
_LINE_WIDTH = 0.006  # m


class ArmViewNode(CleanLog, Node):
    """Node `arm_view`.

    Raises:
        ParameterError: a parameter cannot be used.
        RobotConfigError: the robot file cannot be used.
        ModelError: it names no model of its arm.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("arm_view", **options)
        self._robot = robot_parameter(self)
        self._arm = arm_model(self._robot)
        self._frame = fixed_parameter(
            self, "base_frame", BASE_FRAME, "Frame that the robot file's model stands in."
        )
        self._positions: Floats | None = None
        self._known = dict(zip(self._robot.joint_names, self._robot.home, strict=True))
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self._markers = self.create_publisher(MarkerArray, "~/markers", report_qos())
        self._around = self.create_publisher(MarkerArray, "~/obstacles", latched)
        listener = Listener(self)
        listener.hear_joints(self._robot.state.topic, self._robot.joint_names, self._on_joints)
        listener.hear(ActionChunk, CHUNK_TOPIC, self._on_chunk, report_qos())
        self._draw_obstacles()
        steady_timer(self, PERIOD_S, self._draw_arm)

    def _on_joints(self, names: Sequence[str], positions: Floats, _: int) -> None:
        self._known.update(zip(names, positions.tolist(), strict=True))
        self._positions = np.array([self._known[name] for name in self._robot.joint_names])

    def _draw_arm(self) -> None:
        if self._positions is None:
            return
        shapes = arm_shapes(self._arm, self._positions)
        self._markers.publish(MarkerArray(markers=self._solids("arm", shapes, _ARM)))

    def _on_chunk(self, chunk: ActionChunk, _: int) -> None:
        sent = bool(chunk.commanded.points)
        rows = self._rows(chunk.commanded if sent else chunk.proposed)
        if not len(rows):
            return
        colour = _SENT if sent else _PREVIEW
        line = self._marker("chunk", 0, Marker.LINE_STRIP, colour)
        line.scale.x = _LINE_WIDTH
        line.points = [_point(place) for place in tool_path(self._arm, rows)]
        ghost = self._solids("ghost", arm_shapes(self._arm, rows[-1]), (*colour[:3], _GHOST_ALPHA))
        self._markers.publish(MarkerArray(markers=[line, *ghost]))

    def _rows(self, trajectory: JointTrajectory) -> Floats:
        """Joint positions (K, D) of a trajectory in the robot file's order."""
        width = len(self._robot.joint_names)
        if sorted(trajectory.joint_names) != sorted(self._robot.joint_names):
            self.get_logger().warning(
                f"{CHUNK_TOPIC}: joints {', '.join(trajectory.joint_names)}; expected those of "
                f"{self._robot.name}",
                throttle_duration_sec=5.0,
            )
            return np.zeros((0, width))
        order = [list(trajectory.joint_names).index(name) for name in self._robot.joint_names]
        rows = [point.positions for point in trajectory.points if len(point.positions) == width]
        values: Floats = np.array(rows, dtype=np.float64).reshape(-1, width)[:, order]
        return values[np.isfinite(values).all(axis=1)]

    def _draw_obstacles(self) -> None:
        markers: list[Marker] = []
        collision = self._robot.safety.collision
        for name, shape in obstacle_shapes(collision) if collision else ():
            markers += self._solids(name, [shape], _OBSTACLE)
        self._around.publish(MarkerArray(markers=markers))

    def _solids(self, what: str, shapes: Sequence[Shape], colour: Sequence[float]) -> list[Marker]:
        markers = []
        for number, shape in enumerate(shapes):
            marker = self._marker(what, number, _KINDS[shape.kind], colour)
            _place(marker, shape)
            markers.append(marker)
        return markers

    def _marker(self, what: str, number: int, kind: int, colour: Sequence[float]) -> Marker:
        red, green, blue, alpha = colour
        return Marker(
            header=Header(frame_id=self._frame),  # no stamp: drawn where the frame is now
            ns=what,
            id=number,
            type=kind,
            color=ColorRGBA(r=red, g=green, b=blue, a=alpha),
        )


def _place(marker: Marker, shape: Shape) -> None:
    marker.pose = Pose(position=_point(shape.position), orientation=quaternion(shape.quaternion))
    marker.scale = Vector3(**xyz(shape.size))
    marker.points = [_point(corner) for corner in shape.corners]


def _point(place: Floats) -> Point:
    return Point(**xyz(place))


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    return run_node(ArmViewNode, name="arm_view")
