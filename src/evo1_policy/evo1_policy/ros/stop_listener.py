"""How whatever moves an arm hears `stop`: by the topic from anywhere, by a datagram from here.

A stop that came by datagram is said on the topic too, at once and not by the executor: the other
nodes of the namespace were discovered long ago, while who sent it would have to be.
"""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue

from rclpy.node import Node
from std_msgs.msg import Bool, String

from evo1_policy import stop_line
from evo1_policy.ros.qos import (
    OVERRIDABLE,
    STOP_ANSWER_TOPIC,
    STOP_TOPIC,
    report_qos,
    stop_qos,
    words_qos,
)


class MoverThereError(ValueError):
    """Somebody else moves this arm; the message names who."""


class StopListener:
    """Listens from its making to `close`; every stop is answered on the topic `stopped`.

    Args:
        node: of the arm; its executor calls back.
        on_stop: called when `stop` carries true; answers (success, state in words).
        on_clear: called when it carries false.
        part: of its namespace; there is one of each (stop_line.MOVER: policy or relay).

    Raises:
        MoverThereError: the namespace has this part already.
    """

    def __init__(
        self,
        node: Node,
        *,
        on_stop: Callable[[], tuple[bool, str]],
        on_clear: Callable[[], object] = lambda: None,
        part: str = stop_line.MOVER,
    ) -> None:
        self._node, self._on_stop, self._on_clear = node, on_stop, on_clear
        self._name = f"{node.get_fully_qualified_name()} (pid {os.getpid()})"
        self._line, self._closed = self._claim(part), False
        self._askers: SimpleQueue[bytes | None] = SimpleQueue()
        self._topic = node.create_publisher(Bool, STOP_TOPIC, words_qos())
        self._answers = node.create_publisher(String, STOP_ANSWER_TOPIC, report_qos())
        self._subscription = node.create_subscription(
            Bool, STOP_TOPIC, self._on_message, stop_qos(), qos_overriding_options=OVERRIDABLE
        )
        self._asked = node.create_guard_condition(self._on_asked)
        self._thread = threading.Thread(target=self._listen, name="stop", daemon=True)
        self._thread.start()

    def tell_cleared(self) -> None:
        """Let the drivers of the namespace leave their latch."""
        self._topic.publish(Bool(data=False))

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        if self._line is not None:
            self._line.shutdown(socket.SHUT_RDWR)  # wakes the thread
            self._thread.join()
            self._line.close()
        self._node.destroy_guard_condition(self._asked)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._answers)
        self._node.destroy_publisher(self._topic)

    def _claim(self, part: str) -> socket.socket | None:
        namespace, domain = self._node.get_namespace(), self._node.context.get_domain_id()
        address = stop_line.address_of(domain, namespace, part)
        try:
            return stop_line.claim(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise MoverThereError(
                    f"namespace '{namespace}' has a {part} already: "
                    f"{stop_line.tell(stop_line.WHO, [address], 1.0)[address] or 'it is silent'}"
                ) from error
            self._node.get_logger().warning(f"hears stop by its topic only: {error}")
            return None

    def _listen(self) -> None:
        """On the thread: say a stop on the topic, whatever the executor is at."""
        while self._line is not None:
            word, asker = self._line.recvfrom(64)
            if self._closed:
                return
            if word != stop_line.STOP:
                self._reply(asker, self._name)
                continue
            self._askers.put(asker)
            self._asked.trigger()
            self._topic.publish(Bool(data=True))

    def _on_asked(self) -> None:
        text = f"{self._name}: {self._on_stop()[1]}"
        while not self._askers.empty():
            self._reply(self._askers.get(), text)

    def _on_message(self, message: Bool) -> None:
        if message.data:
            self._answers.publish(String(data=f"{self._name}: {self._on_stop()[1]}"))
        else:
            self._on_clear()

    def _reply(self, asker: bytes | None, text: str) -> None:
        if self._line is not None and asker:  # who has no address hears no answer
            with contextlib.suppress(OSError):  # who asked has gone
                self._line.sendto(text.encode(), socket.MSG_DONTWAIT, asker)
