"""Takes the messages of a few subscriptions on a thread of its own.

An executor of rclpy gathers every entity of its node for each message, about a millisecond in
which nothing is read, and an inference or a service call delays it further. Camera frames do not
wait for that: they are taken from a wait set that holds nothing but their subscriptions.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.subscription import Subscription

WAIT_NS = 50_000_000  # how long closing may take


class ReadElsewhere(CallbackGroup):
    """Keeps subscriptions and their QoS events from the executor.

    Both share one condition in DDS: an executor that waited for the events would wake for every
    message.
    """

    def can_execute(self, entity: object) -> bool:
        """Whether the executor may serve this."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Whether the executor may begin."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing waits for this."""


class ReadingThread:
    """Waits for messages and calls the subscriptions' callbacks, in the order given.

    Args:
        subscriptions: of the callback group ReadElsewhere.
        context: of their node.
        on_failure: called from this thread with what a callback raised; the thread ends then.
        urgent: so many of the first subscriptions are emptied before each message of another.
    """

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        context: Context,
        on_failure: Callable[[BaseException], None],
        *,
        urgent: int = 0,
    ) -> None:
        self._subscriptions = tuple(subscriptions)
        self._urgent, self._others = self._subscriptions[:urgent], self._subscriptions[urgent:]
        self._context = context
        self._on_failure = on_failure
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; afterwards no callback runs."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  whatever it is, somebody must hear of it
            if not self._closing.is_set():
                self._on_failure(error)

    def _read(self) -> None:
        with ExitStack() as held:  # or they could be destroyed while they are waited for
            held.enter_context(self._context.handle)
            events = [event for one in self._subscriptions for event in one.event_handlers]
            for subscription in self._subscriptions:
                held.enter_context(subscription.handle)
            for event in events:
                held.enter_context(event)
            wait_set = _rclpy.WaitSet(
                len(self._subscriptions), 0, 0, 0, 0, len(events), self._context.handle
            )
            while not self._closing.is_set() and self._context.ok():
                wait_set.clear_entities()
                for subscription in self._subscriptions:
                    wait_set.add_subscription(subscription.handle)
                for event in events:
                    event.add_to_wait_set(wait_set)
                wait_set.wait(WAIT_NS)
                ready = wait_set.get_ready_entities("subscription")
                self._empty_urgent()
                for subscription in self._others:
                    if subscription.handle.pointer in ready and _take(subscription):
                        self._empty_urgent()
                for event in events:
                    if event.is_ready(wait_set) and (told := event.take_data()):
                        event.callback(told)

    def _empty_urgent(self) -> None:
        for subscription in self._urgent:
            while _take(subscription) and not self._closing.is_set():
                pass


def _take(subscription: Subscription) -> bool:
    taken: tuple[Any, Any] | None = subscription.handle.take_message(
        subscription.msg_type, subscription.raw
    )
    if taken is None:
        return False
    if subscription._callback_type is Subscription.CallbackType.WithMessageInfo:
        subscription.callback(*taken)
    else:
        subscription.callback(taken[0])
    return True
