"""Nodes that a benchmark starts, and the node by which it hears and asks them."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from figures import BRINGUP, ROOT
from std_srvs.srv import Trigger

PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
TIMEOUT_S = 120.0  # importing torch and loading a model


def stay_here() -> None:
    """Let this process and what it starts find this machine alone, by the shipped profile."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault(PROFILE_VARIABLE, str(BRINGUP / "config" / "fastdds.xml"))


def node_command(module: str, **parameters: object) -> list[str]:
    """The command of a node with these parameters, which tells warnings alone."""
    return [sys.executable, "-m", module, *ros_arguments(**parameters)]


def ros_arguments(**parameters: object) -> list[str]:
    """Parameters as a command line has them."""
    words = ["--ros-args", "--log-level", "warn"]
    for name, value in parameters.items():
        words += ["-p", f"{name}:={value}"]
    return words


def source_command(robot_file: Path, *words: str) -> list[str]:
    """The command of the ideal robot of camera_source.py."""
    source = ROOT / "bench" / "camera_source.py"
    return [sys.executable, str(source), "--robot-file", str(robot_file), *words]


class Listener:
    """A node of the benchmark's own.

    Args:
        services: triggers that it may call, by name.
    """

    def __init__(self, *services: str) -> None:
        rclpy.init(args=[])
        self.node = rclpy.create_node("listener")
        self._clients = {name: self.node.create_client(Trigger, name) for name in services}

    def said(self) -> str:
        """What was heard last, for where something does not come."""
        return "nothing was heard"

    def ask(self, name: str) -> str:
        """Ask one of the services; why it refuses, or '' where it agrees.

        Raises:
            RuntimeError: it does not answer.
        """
        client = self._clients[name]
        self.wait(client.service_is_ready, name)
        future = client.call_async(Trigger.Request())
        self.wait(future.done, f"answer of {name}")
        answer: Any = future.result()
        return "" if answer.success else f"{name}: {answer.message}"

    def wait(self, done: Callable[[], bool], what: str, seconds: float = TIMEOUT_S) -> float:
        """Listen until it is done; the seconds that it took.

        Raises:
            RuntimeError: it never was.
        """
        begun = time.monotonic()
        while not done():
            if time.monotonic() - begun > seconds:
                raise RuntimeError(f"no {what} within {seconds:g} s: {self.said()}")
            rclpy.spin_once(self.node, timeout_sec=0.01)
        return time.monotonic() - begun

    def spin(self, seconds: float) -> None:
        """Listen for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=left)

    def close(self) -> None:
        """Leave the network."""
        self.node.destroy_node()
        rclpy.try_shutdown()
