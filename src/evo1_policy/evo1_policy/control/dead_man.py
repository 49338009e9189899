"""A button that has to be held while the policy moves the arm. No ROS, no torch."""

from collections.abc import Sequence


class DeadMan:
    """Whether the button is held, by its last message.

    Args:
        topic: where the buttons come from, for messages.
        button: index of the button.
        max_age_ns: an older message says nothing [ns].
    """

    def __init__(self, *, topic: str, button: int, max_age_ns: int) -> None:
        self._topic = topic
        self._button = button
        self._max_age_ns = max_age_ns
        self._pressed = False
        self._count = 0  # buttons of the last message
        self._heard_ns: int | None = None

    def hear(self, buttons: Sequence[int], now_ns: int) -> None:
        """Take in a message; `now_ns` is of a clock that never stands still [ns]."""
        self._count, self._heard_ns = len(buttons), now_ns
        self._pressed = self._button < len(buttons) and bool(buttons[self._button])

    def problem(self, now_ns: int) -> str | None:
        """Why no chunk may run now; None while the button is held."""
        if self._heard_ns is None:
            return (
                f"dead-man button: nothing came on '{self._topic}' yet; is the gamepad's driver "
                f"running? Hold button {self._button} to let the policy run"
            )
        age_ns = now_ns - self._heard_ns
        if age_ns > self._max_age_ns:
            return (
                f"dead-man button: the last message on '{self._topic}' is {age_ns / 1e6:.0f} ms "
                f"old, allowed are {self._max_age_ns / 1e6:.0f} ms (dead_man_max_age_s); let the "
                "gamepad's driver repeat itself (autorepeat_rate)"
            )
        if self._button >= self._count:
            return (
                f"dead-man button: '{self._topic}' has {self._count} buttons and dead_man_button "
                f"is {self._button}; correct the parameter"
            )
        if self._pressed:
            return None
        return f"dead-man button {self._button} of '{self._topic}' is released; hold it to go on"
