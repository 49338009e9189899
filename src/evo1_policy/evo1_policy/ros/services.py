"""The services of the policy node: thin wrappers that answer with state and reason."""

from collections.abc import Callable
from functools import partial

from evo1_msgs.srv import SetInstruction
from rclpy.node import Node
from rclpy.service import Service
from std_srvs.srv import Trigger

from evo1_policy.control.signals import Request

Answer = tuple[bool, str]

_REQUESTS = tuple(request for request in Request if request not in (Request.START, Request.FINISH))


def offer(node: Node, name: str, act: Callable[[], Answer]) -> Service:
    """A service without content that acts and answers (success, what follows in words)."""

    def on_call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = act()
        return response

    return node.create_service(Trigger, name, on_call)


class Services:
    """Services that are there as long as the node is configured.

    Args:
        node: owns the services.
        ask: hands a request to the loop; answers (success, state and reason in words).
        set_instruction: changes the instruction by a transition ('': the default); answers
            (success, what was replaced).
    """

    def __init__(
        self,
        node: Node,
        *,
        ask: Callable[[Request], Answer],
        set_instruction: Callable[[str, str], Answer],
    ) -> None:
        self._node = node
        self._services: list[Service] = [
            offer(node, f"~/{request.value}", partial(ask, request)) for request in _REQUESTS
        ]

        def on_set_instruction(
            request: SetInstruction.Request, response: SetInstruction.Response
        ) -> SetInstruction.Response:
            response.success, response.message = set_instruction(
                request.instruction, request.transition
            )
            return response

        self._services.append(
            node.create_service(SetInstruction, "~/set_instruction", on_set_instruction)
        )

    def close(self) -> None:
        """Withdraw the services."""
        for service in self._services:
            self._node.destroy_service(service)
