"""What the policy node adds to inference, and whether it loses frames.

Starts an ideal robot (two 640x480 cameras at 30 Hz, joint states) and the policy node as
processes of their own, once with the shipped FastDDS profile and once with FastDDS defaults, and
listens to the node's chunks and status. Overhead is the time from the camera's stamp to the
published command, inference taken out.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evo1_msgs.msg import ActionChunk, PolicyStatus
from figures import BRINGUP, ROBOTS, bench_parser, merge_figures
from nodes import PROFILE_VARIABLE, Listener, node_command, source_command
from processes import STOP_TIMEOUT_S, cpu_seconds, together

SETTLE_S = 2.0  # not measured: discovery, first chunks

STAGES = {
    "camera to node": "capture_to_receive",
    "to inference": "receive_to_infer",
    "planning": "planning",
    "publishing": "publish",
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one run."""

    overhead_ms_p50: float
    overhead_ms_p95: float
    inference_ms_p50: float
    stages_ms: dict[str, tuple[float, float]]  # stage -> p50, p95
    chunks: int
    lost: dict[str, int]  # by camera
    sent: int  # by each camera
    holds: int
    cpu_percent: float  # of one core, the policy node's


def main() -> int:
    """Measure both settings, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="8 seconds each")
    parser.add_argument("--seconds", type=float, default=60.0, help="with the profile")
    parser.add_argument("--default-seconds", type=float, default=20.0, help="with the defaults")
    parser.add_argument("--robot", default="xarm6", choices=("xarm6", "so100"))
    parser.add_argument("--checkpoint", default="", help="empty: the one that ships")
    parser.add_argument("--one-run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = arguments.default_seconds = 8.0
    if arguments.one_run:
        print(json.dumps(asdict(_measure(arguments))), flush=True)
        return 0
    profile = _run_in_process(arguments, arguments.seconds, BRINGUP / "config" / "fastdds.xml")
    default = _run_in_process(arguments, arguments.default_seconds, None)
    _print_table({"profile": profile, "default": default})
    figures = {
        "node.overhead_ms_p50": profile.overhead_ms_p50,
        "node.overhead_ms_p95": profile.overhead_ms_p95,
        "node.inference_ms_p50": profile.inference_ms_p50,
        "node.lost_frames": sum(profile.lost.values()),
        "node.cpu_percent": profile.cpu_percent,
        "node.overhead_ms_p95_default_dds": default.overhead_ms_p95,
        "node.lost_frames_default_dds": sum(default.lost.values()),
    }
    merge_figures(arguments.json, figures)
    return 0


def _run_in_process(
    arguments: argparse.Namespace, seconds: float, profile: Path | None
) -> Figures:
    """Measure in a fresh process, because FastDDS reads its profile once a process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.pop(PROFILE_VARIABLE, None)
    if profile is not None:
        environment[PROFILE_VARIABLE] = str(profile)
    command = [sys.executable, __file__, "--one-run", "--seconds", str(seconds)]
    command += ["--robot", arguments.robot, "--checkpoint", arguments.checkpoint]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("the measurement failed; see above")
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def _measure(arguments: argparse.Namespace) -> Figures:
    robot_file = ROBOTS / f"{arguments.robot}.yaml"
    parameters = {
        "robot_file": robot_file,
        "instruction": "put the can into the box",
        "autostart": True,
        "threads": 1,
        **({"checkpoint": arguments.checkpoint} if arguments.checkpoint else {}),
    }
    policy = node_command("evo1_policy.ros.policy_node", **parameters)
    with together(source_command(robot_file), policy) as (source, node):
        return _listen(source, node, arguments.seconds)


class ChunkListener(Listener):
    """The newest status of the policy node, and the latency of every chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.status: Any = None
        self.latencies: list[Any] = []
        self.node.create_subscription(PolicyStatus, "policy/status", self._on_status, 10)
        self.node.create_subscription(ActionChunk, "policy/action_chunk", self._on_chunk, 10)

    def said(self) -> str:
        """The policy's reason."""
        return self.status.reason if self.status else "it published no status"

    def wait_for_chunks(self, **processes: "subprocess.Popen[str]") -> None:
        """Wait until two came.

        Raises:
            RuntimeError: one of the processes ends, or none comes in time.
        """

        def came() -> bool:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"the {name} ended with status {process.returncode}")
            return len(self.latencies) >= 2

        self.wait(came, "chunk")

    def _on_status(self, message: Any) -> None:
        self.status = message

    def _on_chunk(self, message: Any) -> None:
        self.latencies.append(message.latency)


def _listen(
    source: "subprocess.Popen[str]", node: "subprocess.Popen[str]", seconds: float
) -> Figures:
    listener = ChunkListener()
    try:
        listener.wait_for_chunks(camera_source=source, policy_node=node)
        listener.spin(SETTLE_S)
        listener.latencies.clear()
        holds, cpu_s = listener.status.holds, cpu_seconds(node.pid)
        listener.spin(seconds)
        cpu_percent = 100 * (cpu_seconds(node.pid) - cpu_s) / seconds
        latencies = list(listener.latencies)
        holds = listener.status.holds - holds
        source.send_signal(signal.SIGINT)  # first, so that every frame has time to arrive
        sent = json.loads(source.communicate(timeout=STOP_TIMEOUT_S)[0].splitlines()[-1])
        listener.spin(0.5)
        overhead = _percentiles([latency.overhead_ms for latency in latencies])
        return Figures(
            overhead_ms_p50=overhead[0],
            overhead_ms_p95=overhead[1],
            inference_ms_p50=float(np.median([latency.inference_ms for latency in latencies])),
            stages_ms={
                name: _percentiles([getattr(latency, f"{stage}_ms") for latency in latencies])
                for name, stage in STAGES.items()
            },
            chunks=len(latencies),
            lost={
                stream.name: sent["published"] - stream.received
                for stream in listener.status.streams
                if stream.name != "joint_states"
            },
            sent=sent["published"],
            holds=holds,
            cpu_percent=cpu_percent,
        )
    finally:
        listener.close()


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    return float(np.percentile(values, 50)), float(np.percentile(values, 95))


def _print_table(runs: Mapping[str, Figures]) -> None:
    print(
        f"{'FastDDS':<10}{'overhead p50':>14}{'p95':>9}{'inference p50':>15}"
        f"{'chunks':>8}  {'lost frames':<36}{'holds':>5}{'CPU':>7}"
    )
    for name, run in runs.items():
        lost = ", ".join(f"{camera} {count}/{run.sent}" for camera, count in run.lost.items())
        print(
            f"{name:<10}{run.overhead_ms_p50:>11.1f} ms{run.overhead_ms_p95:>6.1f} ms"
            f"{run.inference_ms_p50:>12.1f} ms{run.chunks:>8}  {lost:<36}{run.holds:>5}"
            f"{run.cpu_percent:>5.0f} %"
        )
    for name, run in runs.items():
        stages = ", ".join(
            f"{stage} {p50:.1f}/{p95:.1f}" for stage, (p50, p95) in run.stages_ms.items()
        )
        print(f"{name}: p50/p95 ms of {stages}")


if __name__ == "__main__":
    sys.exit(main())
