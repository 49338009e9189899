"""A simulation node in a process of its own, and a listener that waits for conditions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[3] / "evo1_bringup" / "config"


class Process:
    """A running node: its output, and how to end it."""

    def __init__(self, module, arguments, log, environment):
        self._log = log
        variables = {
            "FASTRTPS_DEFAULT_PROFILES_FILE": str(CONFIG / "fastdds.xml"),
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        with log.open("wb") as file:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", module, "--ros-args", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=variables,
            )

    @property
    def output(self):
        return self._log.read_text(errors="replace")

    @property
    def running(self):
        return self._popen.poll() is None

    def wait(self, timeout_s=30):
        return self._popen.wait(timeout_s)

    def end(self, number=signal.SIGINT):
        """Send a signal; return the exit status."""
        if self.running:
            self._popen.send_signal(number)
        try:
            return self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            raise


class Listener:
    """A node of the test: keeps every message, waits for conditions."""

    def __init__(self, node, executor):
        self.node = node
        self._executor = executor

    def listen(self, message_type, topic, qos=10):
        """Subscribe; return the list that messages are appended to."""
        messages = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def wait(self, condition, what, process=None, timeout_s=30):
        """Spin until the condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            if process is not None and not process.running:
                pytest.fail(f"the node ended while waiting for {what}:\n{process.output}")
            if time.monotonic() > end:
                log = process.output if process is not None else ""
                pytest.fail(f"no {what} after {timeout_s} s\n{log}")
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, client, request):
        """Call a service and return its response."""
        self.wait(client.service_is_ready, f"service {client.srv_name}")
        future = client.call_async(request)
        self.wait(future.done, f"answer of {client.srv_name}")
        return future.result()


@pytest.fixture(scope="module")
def ros(ros_domain):
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(CONFIG / "fastdds.xml"))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    yield
    rclpy.shutdown()  # unlike try_shutdown, leaves a fresh default context


@pytest.fixture(scope="module")
def listener(ros):
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    node = rclpy.create_node("listener")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    yield Listener(node, executor)
    executor.shutdown()
    node.destroy_node()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start a node as a process; every one is ended after the module."""
    started = []

    def run(module, *arguments, **environment):
        log = tmp_path_factory.mktemp("node") / "log.txt"
        process = Process(module, arguments, log, environment)
        started.append(process)
        return process

    yield run
    for process in started:
        process.end()
