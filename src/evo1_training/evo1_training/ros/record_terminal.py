"""`ros2 run evo1_training record`: steer the recorder by single keys or a gamepad."""

import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import rclpy
from evo1_msgs.msg import RecorderStatus
from evo1_msgs.srv import SetInstruction
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

from evo1_policy.command_line import Parser, entry_point, printable
from evo1_policy.ros.parameters import fixed_parameter
from evo1_policy.ros.starting import start_ros
from evo1_training.recording.terminal import (
    BUTTONS,
    DEFAULT_BUTTONS,
    KEYS_HELP,
    Buttons,
    FromNowOn,
    Keys,
    RecorderView,
    Wish,
    recorder_view,
    screen,
)
from evo1_training.terminal import read_keys, single_keys

FRESH_S = 1.5  # a status older than this is no longer shown
FRAME_S = 0.1
ANSWER_S = 30.0  # saving may have to wait for the disk

_EPILOG = f"""\
keys: {KEYS_HELP}

example, with evo1 launch xarm6 teleop:=true record:=true in another terminal:
  evo1 record --namespace left            (the arm's, where it has one)

A gamepad works beside the keys once `ros2 run joy joy_node` runs; give buttons other numbers with
--ros-args -p button_save:=0 -p button_discard:=1 (start, save, discard, rerecord, delete_last).
"""


class TerminalNode(Node):
    """Node `record`: clients of the recorder, its status, and the gamepad.

    Raises:
        ValueError: a gamepad mapping that cannot be used.
    """

    def __init__(self, namespace: str) -> None:
        super().__init__("record", namespace=namespace)
        numbers = {
            name: fixed_parameter(
                self,
                f"button_{name}",
                DEFAULT_BUTTONS.get(name, -1),
                "Index of the gamepad's button; -1: none.",
                span=(-1, 63),
            )
            for name in BUTTONS
        }
        self._buttons = Buttons(numbers)
        self.keys = Keys()
        self.message = ""
        self.quit = False
        self._view: RecorderView | None = None
        self._heard_at = 0.0
        self._wishes: deque[Wish | str] = deque()
        self._asked: tuple[Wish | str, Future, float] | None = None
        self._triggers: dict[Wish, Any] = {
            wish: self.create_client(Trigger, f"recorder/{wish.value}")
            for wish in Wish
            if wish is not Wish.QUIT
        }
        self._instruct = self.create_client(SetInstruction, "recorder/set_instruction")
        self.create_subscription(RecorderStatus, "recorder/status", self._on_status, 10)
        self.create_subscription(Joy, "joy", self._on_joy, 10)

    def view(self) -> RecorderView | None:
        """The recorder as last heard; None where that is too long ago."""
        return self._view if time.monotonic() - self._heard_at < FRESH_S else None

    def press(self, text: str) -> None:
        """Take typed characters."""
        view = self.view()
        self._want(self.keys.press(text, busy=view is not None and view.busy))
        if self.keys.note:
            self.message = self.keys.note

    def work(self) -> None:
        """Ask the recorder for the next wish once the last was answered."""
        if self._asked is not None:
            self._hear()
        if self._asked is None and self._wishes:
            self._ask(self._wishes.popleft())

    def _want(self, wishes: Sequence[Wish | str]) -> None:
        for wish in wishes:
            if wish is Wish.QUIT:
                self.quit = True
            else:
                self._wishes.append(wish)

    def _ask(self, wish: Wish | str) -> None:
        client = self._instruct if isinstance(wish, str) else self._triggers[wish]
        if not client.service_is_ready():
            name = self.resolve_service_name(client.srv_name)
            self.message = f"nobody offers {name}; is the recorder running?"
            self._wishes.clear()
            return
        request: Any = Trigger.Request()
        if isinstance(wish, str):
            transition = "now" if isinstance(wish, FromNowOn) else ""
            request = SetInstruction.Request(instruction=wish, transition=transition)
        self._asked = wish, client.call_async(request), time.monotonic()
        self.message = f"{_name(wish)} ..."

    def _hear(self) -> None:
        assert self._asked is not None
        wish, future, since = self._asked
        if not future.done():
            if time.monotonic() - since > ANSWER_S:
                self._asked, self.message = None, f"{_name(wish)}: no answer; see its log"
                self._wishes.clear()
            return
        self._asked, answer = None, future.result()
        said = printable(answer.message)
        self.message = f"{_name(wish)}: {said or 'done'}"
        # A take that could not be discarded is not recorded over, but none at all is no obstacle.
        if not answer.success and not (wish is Wish.DISCARD and self._wishes and self._idle()):
            self.message = f"{_name(wish)} refused: {said}"
            self._wishes.clear()

    def _idle(self) -> bool:
        view = self.view()
        return view is not None and not view.busy

    def _on_status(self, message: RecorderStatus) -> None:
        self._view, self._heard_at = recorder_view(message), time.monotonic()

    def _on_joy(self, message: Joy) -> None:
        self._want(self._buttons.press(message.buttons))


def _name(wish: Wish | str) -> str:
    return "instruction" if isinstance(wish, str) else wish.value.replace("_", " ")


class Display:
    """Draws lines over the last ones; on anything but a terminal prints changed headlines."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._drawn = 0
        self._said = ""

    def draw(self, node: TerminalNode) -> None:
        """Show the present state."""
        view = node.view()
        if not self._terminal:
            state = view.state if view else "no status"
            text = f"{state} {node.message}"
            if text != self._said:
                self._said = text
                print(text, flush=True)  # noqa: T201
            return
        lines = screen(
            view,
            typed=node.keys.typed,
            message=node.message,
            colours=True,
            width=shutil.get_terminal_size().columns,
        )
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        body = "".join(f"\r\x1b[2K{line}\n" for line in lines)
        sys.stdout.write(f"{up}{body}\x1b[J")
        sys.stdout.flush()
        self._drawn = len(lines)


def run(node: TerminalNode) -> None:
    """Serve keys, buttons and the display until somebody quits."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    display = Display()
    drawn_at = 0.0
    with single_keys() as descriptor:
        while not node.quit:
            executor.spin_once(timeout_sec=0.02)
            if pressed := read_keys(descriptor):
                node.press(pressed)
            node.work()
            if time.monotonic() - drawn_at > FRAME_S:
                display.draw(node)
                drawn_at = time.monotonic()
        display.draw(node)
    executor.shutdown()


@entry_point("record")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        "evo1 record",
        description="Steer the recorder by single keys or a gamepad.",
        epilog=_EPILOG,
    )
    parser.add_argument("--namespace", default="", help="Of the arm.")
    arguments = parser.parse_args(remove_ros_args(["record", *words])[1:])
    start_ros(words)
    try:
        node = TerminalNode(arguments.namespace)
        try:
            run(node)
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
