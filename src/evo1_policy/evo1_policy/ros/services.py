"""The services of the policy node: thin wrappers that answer with state and reason."""

from collections.abc import Callable

from evo1_msgs.srv import SetInstruction
from rclpy.node import Node
from rclpy.service import Service
from std_srvs.srv import Trigger

from evo1_policy.control.signals import Request

Answer = tuple[bool, str]

_REQUESTS = {
    "~/pause": Request.PAUSE,
    "~/resume": Request.RESUME,
    "~/stop": Request.STOP,
    "~/clear_stop": Request.CLEAR_STOP,
    "~/take_over": Request.TAKE_OVER,
    "~/hand_back": Request.HAND_BACK,
    "~/park": Request.PARK,
}


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
            self._trigger(name, request, ask) for name, request in _REQUESTS.items()
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

    def _trigger(self, name: str, request: Request, ask: Callable[[Request], Answer]) -> Service:
        def on_call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = ask(request)
            return response

        return self._node.create_service(Trigger, name, on_call)
