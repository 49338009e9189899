"""A node of the tests beside a system that runs in processes of its own."""

import re
import time

TIMEOUT_S = 180.0
SMALL = {"camera_width": "64", "camera_height": "48", "device": "cpu"}


class LiveListener:
    """Hears a running system in a context of its own; who derives from it subscribes.

    Args:
        supervisor: of the system; None where nobody needs to know that it ended.
        lines: what the system's processes print, for messages.
    """

    def __init__(self, supervisor=None, lines=()):
        import rclpy

        self._rclpy, self._supervisor, self._lines = rclpy, supervisor, lines
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("listener", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.status = None

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            ended = self._supervisor.exited() if self._supervisor else None
            assert ended is None, f"{ended.message}: {list(self._lines)[-20:]}"
            late = f"no {what}; {self.status}\n{list(self._lines)[-20:]}"
            assert time.monotonic() < end, late
            self._executor.spin_once(timeout_sec=0.1)

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self._rclpy.shutdown(context=self._context)


def patient_robot_file(robots_dir, robot, folder):
    """The robot file for a busy machine, on which streams are slow, not wrong."""
    text = (robots_dir / f"{robot}.yaml").read_text()
    file = folder / f"patient_{robot}.yaml"
    file.write_text(re.sub(r"max_age_ms: \d+", "max_age_ms: 3000", text))
    return file
