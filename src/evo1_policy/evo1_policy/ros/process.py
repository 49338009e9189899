"""How a node becomes a process: signals, spinning, the way it ends, and the exit status.

What a callback raises ends the node, with the arm at rest: it is a bug, perhaps one of the loop.
Only the services that rclpy gives every node (lifecycle, parameters) are guarded: they raise for
a request that does not fit, which anybody may send at any time.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, TypeVar

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.timer import Timer

from evo1_policy.command_line import is_expected
from evo1_policy.ros.log import CleanLog, CleanLogger, tell_failure
from evo1_policy.ros.starting import start_ros

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_SPINS = 5  # for the results of goals that end with the node
_LAST_WORDS = Duration(seconds=0.2)  # for each topic, to be heard
REST_S = 30.0  # how long a node may take to bring what it moves to rest, before it ends
_TRANSITIONS = tuple(
    f"on_{name}"
    for name in ("configure", "cleanup", "shutdown", "activate", "deactivate", "error")
)
_OF_RCLPY = ("lifecycle_msgs", "rcl_interfaces", "type_description_interfaces")

N = TypeVar("N", bound=Node)

Transition = Callable[[LifecycleState], TransitionCallbackReturn]


class ManagedNode(CleanLog, LifecycleNode):
    """A lifecycle node that can bring itself up, and down in any state.

    A subclass keeps what configure took in `_configured` and what activate took in `_active`,
    and sets them to None where it gives that back.

    Attributes:
        broken: it could not give everything back after an error; the process has to end.
    """

    _configured: object | None = None
    _active: object | None = None

    def __init__(self, name: str, **arguments: object) -> None:
        for transition in _TRANSITIONS:
            setattr(self, transition, self._telling(getattr(self, transition)))
        super().__init__(name, **arguments)
        self.broken = False
        guard_requests(self)

    def start(self) -> bool:
        """Configure and activate, as auto_activate does; False where the log says why not."""
        success = TransitionCallbackReturn.SUCCESS
        return bool(self.trigger_configure() == success and self.trigger_activate() == success)

    def may_end(self) -> bool:
        """Whether what it moves is at rest; asked again and again before the process ends."""
        return True

    def tell_end(self, why: str) -> None:
        """Say on the node's own topic that it ends because something failed, and what."""

    def rest(self) -> None:
        """Deactivate where it is active; safe in any state."""
        if self._active is not None and not self.broken:
            self.trigger_deactivate()

    def finish(self) -> None:
        """Rest, and give everything back; safe in any state."""
        self.rest()
        if self._configured is not None and not self.broken:
            self.trigger_cleanup()

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back that configure took."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup."""
        self.on_deactivate(state)
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything and become unconfigured."""
        try:
            self.on_deactivate(state)
            self._release()
        except Exception:
            self.broken = True
            raise
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        """Give back what configure took, where it took something."""
        raise NotImplementedError

    def _telling(self, transition: Transition) -> Transition:
        """The transition, telling what it raises; rclpy makes an ERROR of it in silence."""

        def run(state: LifecycleState) -> TransitionCallbackReturn:
            try:
                return transition(state)
            except Exception:
                tell_failure(self.get_logger(), "a transition failed")
                raise

        return run


def guard_requests(node: Node) -> None:
    """Have rclpy's own services answer a request that does not fit, instead of raising.

    The answer is an empty one: `success` is false, and a parameter's value or result is missing.
    """

    def answer(call: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        try:
            return call(request, response)
        except Exception as error:  # noqa: BLE001  whatever was asked, the arm is not dropped
            node.get_logger().error(f"refused: {request}: {error}")
            return type(response)()

    for service in node.services:
        if service.srv_type.__module__.startswith(_OF_RCLPY):
            service.callback = partial(answer, service.callback)


def steady_timer(node: Node, period_s: float, act: Callable[[], object]) -> Timer:
    """A timer that a stopped /clock does not stop."""
    return node.create_timer(period_s, act, clock=Clock(clock_type=ClockType.STEADY_TIME))


def full_name(node: Node) -> str:
    """The node's name with its namespace, without the first slash: what diagnostics call it."""
    return str(node.get_fully_qualified_name()).lstrip("/")


def run_managed(make: Callable[[], ManagedNode], arguments: Sequence[str] | None = None) -> int:
    """Run a lifecycle node until SIGINT or SIGTERM; the exit status is 1 where it cannot start.

    Where its parameter `auto_activate` is false it waits for a lifecycle manager.
    """
    return _run(make, "evo1", arguments, _spin_managed)


def run_node(
    make: Callable[[], Node], *, name: str, arguments: Sequence[str] | None = None
) -> int:
    """Run a plain node until SIGINT or SIGTERM; return the exit status.

    Args:
        make: constructs it; its destroy_node gives everything back. What a person can mend of
            what it raises (command_line.is_expected) is one line of the log.
        name: of the node, for that line.
        arguments: of the command line.
    """
    return _run(make, name, arguments, _spin)


def _run(
    make: Callable[[], N],
    name: str,
    arguments: Sequence[str] | None,
    spin: Callable[[N, SingleThreadedExecutor, threading.Event], int],
) -> int:
    stop = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    try:
        start_ros(arguments)
        node = make()
    except Exception as error:
        if not is_expected(error):
            raise
        CleanLogger(name).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    with ExitStack() as ending:  # the last that was named is done first
        ending.callback(rclpy.try_shutdown)
        ending.callback(node.destroy_node)
        ending.callback(executor.shutdown)
        if isinstance(node, ManagedNode):
            ending.callback(node.finish)
        try:
            return spin(node, executor, stop)
        except Exception as error:
            _last_words(node, error)
            raise


def _spin(node: Node, executor: SingleThreadedExecutor, stop: threading.Event) -> int:
    guard_requests(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    return 0


def _spin_managed(
    node: ManagedNode, executor: SingleThreadedExecutor, stop: threading.Event
) -> int:
    if not node.get_parameter("auto_activate").value:
        node.get_logger().info("unconfigured; waiting for a lifecycle manager")
    elif not node.start():
        return 1
    while not (stop.is_set() or node.broken):
        executor.spin_once()
    stop.clear()  # by a second signal the node ends at once
    end_s = time.monotonic() + REST_S
    while not (node.broken or stop.is_set() or node.may_end()) and time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.05)
    node.rest()
    for _ in range(LAST_SPINS):
        executor.spin_once(timeout_sec=0.01)
    return int(node.broken)


def _last_words(node: Node, error: Exception) -> None:
    """Say why a node ends, where people and other nodes look, before it is gone."""
    why = f"{node.get_name()} ends: {type(error).__name__}: {error}"
    node.get_logger().fatal(why)
    tell: Callable[[str], None] | None = getattr(node, "tell_end", None)
    if tell is not None:
        with suppress(Exception):  # what failed may be the topic itself
            tell(why)
    for publisher in node.publishers:
        with suppress(Exception):
            publisher.wait_for_all_acked(_LAST_WORDS)
