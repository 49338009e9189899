"""A node of the tests beside a system that runs in processes of its own."""

import re
import time

from evo1_bringup.cli import main

TIMEOUT_S = 180.0
SMALL = {"camera_width": "64", "camera_height": "48", "device": "cpu"}
RUNNING, HOLDING, STOPPED = 1, 2, 4
STALLED = ("controller_gone", "controller_left")  # a simulation looks so that got no core


class LiveListener:
    """Hears a running system in a context of its own; who derives from it subscribes to more.

    Args:
        supervisor: of the system; None where nobody needs to know that it ended.
        lines: what the system's processes print, for messages.
        policies: namespaces whose policy's status is kept, "" for none.
    """

    def __init__(self, supervisor=None, lines=(), policies=()):
        import rclpy
        from evo1_msgs.msg import PolicyStatus

        self._rclpy, self._supervisor, self._lines = rclpy, supervisor, lines
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("listener", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.statuses = {namespace: [] for namespace in policies}
        for namespace, statuses in self.statuses.items():
            topic = f"{namespace}/policy/status" if namespace else "policy/status"
            self.node.create_subscription(PolicyStatus, topic, statuses.append, 10)

    def status(self, namespace=""):
        """The newest `PolicyStatus`, None before the first."""
        statuses = self.statuses[namespace]
        return statuses[-1] if statuses else None

    def chunks(self, namespace=""):
        status = self.status(namespace)
        return status.chunks_published if status else 0

    def wait_chunks(self, more, namespace=""):
        """Waits for `more` chunks of a policy; as a person would, it resumes what a stall held.

        Where two systems start on two cores, a simulated controller may be silent for a second,
        and an arm that holds for that waits for a person.
        """
        wanted = self.chunks(namespace) + more

        def enough():
            status = self.status(namespace)
            if status and status.state == HOLDING and status.reason_code in STALLED:
                main(["resume", *(["--namespace", namespace] if namespace else [])])
            return self.chunks(namespace) >= wanted

        self.wait(enough, f"{more} chunks of /{namespace}")

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            ended = self._supervisor.exited() if self._supervisor else None
            assert ended is None, f"{ended.message}: {list(self._lines)[-20:]}"
            newest = [self.status(namespace) for namespace in self.statuses]
            late = f"no {what}; {newest}\n{list(self._lines)[-20:]}"
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
