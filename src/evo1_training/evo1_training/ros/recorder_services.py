"""The services of the recorder node: thin wrappers that answer with what happened or why not."""

from collections.abc import Awaitable, Callable

from evo1_msgs.srv import SetInstruction
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.service import Service
from std_srvs.srv import Trigger

from evo1_training.ros.recorder_desk import Answer, Desk

Ask = Callable[[], Awaitable[Answer]]


class Services:
    """Services that are there as long as the node is configured.

    Args:
        node: owns the services.
        desk: knows the answers.
    """

    def __init__(self, node: Node, desk: Desk) -> None:
        self._node = node
        # an answer that waits for the disk must not keep the node's timers waiting
        self._group = ReentrantCallbackGroup()
        self._services: list[Service] = [
            self._trigger("~/start", desk.start),
            self._trigger("~/save", desk.save),
            self._trigger("~/discard", desk.discard),
            self._trigger("~/delete_last", desk.delete_last),
        ]

        def on_set_instruction(
            request: SetInstruction.Request, response: SetInstruction.Response
        ) -> SetInstruction.Response:
            response.success, response.message = desk.set_instruction(
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

    def _trigger(self, name: str, ask: Ask) -> Service:
        async def on_call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = await ask()
            return response

        return self._node.create_service(Trigger, name, on_call, callback_group=self._group)
