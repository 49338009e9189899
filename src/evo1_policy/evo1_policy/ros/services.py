"""What people say to the policy node: services that answer with state and reason, and topics."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from evo1_msgs.srv import SetInstruction, SetSpeed
from rclpy.node import Node
from rclpy.service import Service
from std_msgs.msg import String
from std_srvs.srv import Trigger

from evo1_policy.control.signals import Request
from evo1_policy.node_parameters import ParameterError
from evo1_policy.ros.listening import Listener, hear_faults
from evo1_policy.ros.qos import words_qos
from evo1_policy.ros.stop_listener import StopListener

if TYPE_CHECKING:
    from evo1_policy.ros.policy_node import PolicyNode

Answer = tuple[bool, str]

_REQUESTS = tuple(request for request in Request if request not in (Request.START, Request.FINISH))


def offer(node: Node, name: str, act: Callable[[], Answer]) -> Service:
    """A service without content that acts and answers (success, what follows in words)."""

    def on_call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = act()
        return response

    return node.create_service(Trigger, name, on_call)


class Services:
    """Services, and the topics `instruction`, `stop` and `arm_fault`, of a configured node.

    Args:
        node: owns them, and does what they ask; answers (success, what follows in words).

    Raises:
        MoverThereError: another policy or relay has this namespace.
    """

    def __init__(self, node: "PolicyNode") -> None:
        self._node = node
        self.stop = StopListener(node, on_stop=partial(node.ask, Request.STOP))
        listener = Listener(node)
        self._subscriptions = [
            listener.hear(
                String,
                "instruction",
                lambda message, _: node.set_instruction(message.data),
                words_qos(),
            ),
            hear_faults(listener, node, node.report_fault),
        ]
        self._services: list[Service] = [
            *(offer(node, f"~/{each.value}", partial(node.ask, each)) for each in _REQUESTS),
            node.create_service(SetInstruction, "~/set_instruction", self._on_set_instruction),
            node.create_service(SetSpeed, "~/set_speed", self._on_set_speed),
        ]

    def close(self) -> None:
        """Withdraw the services, and stop listening."""
        for service in self._services:
            self._node.destroy_service(service)
        self.stop.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_set_instruction(
        self, request: SetInstruction.Request, response: SetInstruction.Response
    ) -> SetInstruction.Response:
        response.success, response.message = self._node.set_instruction(
            request.instruction, request.transition
        )
        return response

    def _on_set_speed(
        self, request: SetSpeed.Request, response: SetSpeed.Response
    ) -> SetSpeed.Response:
        try:
            response.success, response.message = self._node.set_speed(request.speed)
        except ParameterError as error:
            response.message = str(error)
        return response
