"""Moves a running robot's joints through its teleop relay: what evo1 check-robot --move does."""

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_bringup.ros.commands import NoAnswerError, command_node, spin_for
from evo1_policy.perception.messages import MessageError
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.listening import decode
from evo1_policy.ros.qos import command_qos, fault_qos, joints_qos

_PATIENCE_S = 5.0


class RelayedHand:
    """Targets on the teleop topic, which the relay checks, and joint states (joint_trial.Hand).

    Args:
        node: speaks and listens.
        robot: the robot file.
        root: namespace with slashes around it, of the robot.
    """

    def __init__(self, node: Node, robot: RobotConfig, root: str) -> None:
        self._node, self._robot = node, robot
        self._positions: dict[str, float] = {}
        self._status = ""
        self._targets = node.create_publisher(
            JointTrajectory, root + robot.teleop_topic, command_qos()
        )
        topic = root + robot.state.topic
        node.create_subscription(JointState, topic, self._on_joints, joints_qos(), raw=True)
        status = f"{root}teleop_relay/status"
        node.create_subscription(String, status, self._on_status, fault_qos())

    def positions(self) -> dict[str, float]:
        """Joint -> measured position [its unit]."""
        return self._positions

    def follow(self, name: str, position: float) -> None:
        """Say once where a joint shall be now; the relay decides."""
        point = JointTrajectoryPoint(positions=[position])
        self._targets.publish(JointTrajectory(joint_names=[name], points=[point]))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        spin_for(self._node, seconds)

    def refusal(self) -> str:
        """What the relay says, where it does not follow."""
        return "" if self._status.startswith(("waiting", "following")) else self._status

    def ready(self, *, moves: bool) -> bool:
        """Whether the robot is heard and, where it is to be moved, the relay listens."""
        heard = set(self._robot.joint_names) <= set(self._positions)
        return heard and (not moves or bool(self._targets.get_subscription_count()))

    def _on_joints(self, raw: bytes) -> None:
        try:
            message = decode(raw, JointState, topic=self._robot.state.topic)
        except MessageError:
            return
        self._positions |= dict(zip(message.name, message.position, strict=False))

    def _on_status(self, message: String) -> None:
        self._status = str(message.data)


@contextmanager
def relayed_hand(robot: RobotConfig, namespace: str, *, moves: bool) -> Iterator[RelayedHand]:
    """A hand for a while.

    Raises:
        NoAnswerError: the robot is silent, or nobody would move it.
    """
    with command_node() as node:
        hand = RelayedHand(node, robot, f"/{namespace}/".replace("//", "/"))
        if not spin_for(node, _PATIENCE_S, lambda: hand.ready(moves=moves)):
            missing = [name for name in robot.joint_names if name not in hand.positions()]
            relay = "nobody listens to its teleop topic; in another terminal: evo1 launch policy "
            relay += "robot_file:=FILE teleop:=true"
            silent = f"{robot.state.topic}: nothing of {', '.join(missing)}"
            raise NoAnswerError(silent if missing else relay)
        yield hand
