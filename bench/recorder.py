"""Whether the recorder loses anything, and what it costs: two 640x480 cameras and joints.

Starts an ideal robot (cameras at 30 Hz, joint states at 100 Hz) and the recorder as processes of
their own, records one take, raw and compressed, and compares what was published with what the
recorder received and what the bag holds. Memory is sampled all the time; its growth is that of the
medians between the second and the last fifth of the take. `--seconds 600` is what the project
promises; raw images then need 33 GB of disk.

Beside it LeRobot's own writer records the same pictures for as long (recorder_lerobot.py), where
EVO1_LEROBOT21_PYTHON or EVO1_LEROBOT30_PYTHON names an interpreter that has lerobot.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evo1_msgs.msg import RecorderStatus
from figures import BRINGUP, ROBOTS, bench_parser, merge_figures
from lerobot_clients import CLIENTS, client_python, run_with_lerobot
from mcap.reader import make_reader
from nodes import PROFILE_VARIABLE, Listener, node_command, source_command, stay_here
from processes import STOP_TIMEOUT_S, cpu_seconds, growth_mb, rss_mb, together

from evo1_training.recording.episode import FACTS_TOPIC, bag_path, read_sidecar

SAMPLE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one take."""

    lost: int  # of all topics: published and not received, or received and not in the bag
    messages: int
    seconds: float
    cpu_percent: float  # of one core
    rss_mb_max: float
    rss_growth_mb: float
    mb_a_second: float
    save_s: float = 0.0  # after the take, until the episode is there
    late: int = 0  # frames that waited for over half a period
    text: str = ""  # of what, for people


def main() -> int:
    """Measure both kinds of image, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="5 seconds each")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each take")
    parser.add_argument("--robot", default="so100", choices=("xarm6", "so100"))
    parser.add_argument("--root", type=Path, help="where to record; default: a temporary folder")
    parser.add_argument(
        "--images", choices=("raw", "compressed", "both"), default="both", help="of the cameras"
    )
    parser.add_argument("--compress", default="", help="the recorder's parameter of that name")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = 5.0
    os.environ[PROFILE_VARIABLE] = str(BRINGUP / "config" / "fastdds.xml")
    stay_here()
    text = (ROBOTS / f"{arguments.robot}.yaml").read_text()
    if arguments.root:
        arguments.root.mkdir(parents=True, exist_ok=True)
    texts = {
        "raw": text,
        "compressed": text.replace("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    }
    runs: dict[str, Figures] = {}
    for name, robot_text in texts.items():
        if arguments.images in (name, "both"):
            with tempfile.TemporaryDirectory(dir=arguments.root) as folder:
                runs[name] = _measure(
                    robot_text, Path(folder), arguments.seconds, arguments.compress
                )
    rivals: dict[str, Figures] = {}
    for variable, version in CLIENTS.items():
        if python := client_python(variable):
            with tempfile.TemporaryDirectory(dir=arguments.root) as folder:
                rivals[version] = _measure_lerobot(python, Path(folder), arguments.seconds)
    _print_table([*runs.values(), *rivals.values()])
    merge_figures(arguments.json, {**_flat(runs), **_flat_rivals(rivals)})
    return 0


def _flat(runs: Mapping[str, Figures]) -> dict[str, float]:
    figures = {
        "recorder.lost": sum(run.lost for run in runs.values()),
        "recorder.rss_mb_max": max(run.rss_mb_max for run in runs.values()),
        "recorder.rss_growth_mb": max(run.rss_growth_mb for run in runs.values()),
        "recorder.seconds": min(run.seconds for run in runs.values()),
    }
    for name, run in runs.items():
        suffix = "" if name == "raw" else f"_{name}"
        figures[f"recorder.cpu_percent{suffix}"] = run.cpu_percent
    return figures


def _flat_rivals(rivals: Mapping[str, Figures]) -> dict[str, float]:
    return {
        f"recorder.lerobot_{version}_{name}": value
        for version, run in rivals.items()
        for name, value in (
            ("lost", run.lost),
            ("late", run.late),
            ("cpu_percent", run.cpu_percent),
            ("rss_mb_max", run.rss_mb_max),
            ("rss_growth_mb", run.rss_growth_mb),
            ("save_s", run.save_s),
        )
    }


def _measure_lerobot(python: str, folder: Path, seconds: float) -> Figures:
    """LeRobot's writer over the same time; a frame counts as two images and two vectors."""
    arguments = [str(folder / "dataset"), "--seconds", str(seconds)]
    found = run_with_lerobot(python, "recorder_lerobot.py", arguments, folder / "hf")
    return Figures(
        lost=found["lost"],
        messages=4 * found["frames"],
        seconds=seconds,
        cpu_percent=found["cpu_percent"],
        rss_mb_max=max(found["rss_mb"]),
        rss_growth_mb=growth_mb(found["rss_mb"]),
        mb_a_second=found["bytes"] / 1e6 / seconds,
        save_s=found["save_s"],
        late=found["late"],
        text=f"LeRobot {found['version']}, {found['way']}",
    )


def _measure(robot_text: str, folder: Path, seconds: float, compress: str) -> Figures:
    robot_file = folder / "robot.yaml"
    robot_file.write_text(robot_text)
    parameters = {
        "robot_file": robot_file,
        "root": folder / "episodes",
        "instruction": "measure",
        **({"compress": compress} if compress else {}),
    }
    recorder = node_command("evo1_training.ros.recorder_node", **parameters)
    text = "ours, JPEG" if "CompressedImage" in robot_text else "ours, raw images"
    with together(source_command(robot_file), recorder) as (source, node):
        person = Person()
        try:
            figures = _record(person, source, node, folder / "episodes", seconds)
        finally:
            person.close()
    return replace(figures, text=f"{text} {compress}".strip())


def _record(
    person: "Person",
    source: "subprocess.Popen[str]",
    node: "subprocess.Popen[str]",
    root: Path,
    seconds: float,
) -> Figures:
    person.wait(lambda: person.status is not None, "the recorder's status")
    person.call("recorder/start")
    person.wait(lambda: person.status.state == RecorderStatus.RECORDING, "the take to begin")
    cpu_s, began_s, memory = cpu_seconds(node.pid), time.monotonic(), [rss_mb(node.pid)]
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        person.spin(min(SAMPLE_S, seconds - elapsed_s))
        memory.append(rss_mb(node.pid))
    ended_s = time.monotonic()
    cpu_percent = 100 * (cpu_seconds(node.pid) - cpu_s) / (ended_s - began_s)
    person.call("recorder/save")
    save_s = time.monotonic() - ended_s
    source.send_signal(signal.SIGINT)
    published = json.loads(source.communicate(timeout=STOP_TIMEOUT_S)[0].splitlines()[-1])
    person.spin(1.0)
    folder = root / "episode_000000"
    outcome = read_sidecar(folder).outcome
    if outcome is None:
        raise RuntimeError(f"{folder}: the take was not saved")
    missed = sum(
        max(0, published["published"] - stream.received)
        for stream in person.status.streams
        if stream.name.startswith("image")
    )
    size, in_bag = bag_path(folder).stat().st_size, _messages(bag_path(folder))
    told = sum(stream.messages for stream in outcome.streams)
    known = sum(stream.lost for stream in outcome.streams)
    return Figures(
        lost=max(missed, known) + abs(told - in_bag),
        messages=in_bag,
        seconds=seconds,
        cpu_percent=cpu_percent,
        rss_mb_max=max(memory),
        rss_growth_mb=growth_mb(memory),
        mb_a_second=size / 1e6 / seconds,
        save_s=save_s,
    )


class Person(Listener):
    """Calls the recorder's services and hears its status."""

    def __init__(self) -> None:
        super().__init__("recorder/start", "recorder/save")
        self.status: Any = None
        self.node.create_subscription(RecorderStatus, "recorder/status", self._hear, 10)

    def call(self, name: str) -> None:
        """Ask one of the services, which must agree.

        Raises:
            RuntimeError: it refuses, or does not answer.
        """
        if refused := self.ask(name):
            raise RuntimeError(refused)

    def said(self) -> str:
        """The recorder's reason."""
        return self.status.reason if self.status else "the recorder has no status"

    def _hear(self, message: Any) -> None:
        self.status = message


def _messages(path: Path) -> int:
    """Messages in a bag beside the facts, as its own statistics tell."""
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    if summary is None or summary.statistics is None:
        raise RuntimeError(f"{path}: no summary")
    facts = [c.id for c in summary.channels.values() if c.topic == FACTS_TOPIC]
    counts = summary.statistics.channel_message_counts
    return sum(count for channel, count in counts.items() if channel not in facts)


def _print_table(runs: Sequence[Figures]) -> None:
    print(
        f"{'recorder':<38}{'seconds':>8}{'messages':>10}{'lost':>6}{'late':>6}{'CPU':>7}"
        f"{'memory':>10}{'growth':>9}{'disk':>11}{'save':>8}"
    )
    for run in runs:
        print(
            f"{run.text:<38}{run.seconds:>8.0f}{run.messages:>10}{run.lost:>6}{run.late:>6}"
            f"{run.cpu_percent:>5.0f} %{run.rss_mb_max:>7.0f} MB{run.rss_growth_mb:>6.0f} MB"
            f"{run.mb_a_second:>6.1f} MB/s{run.save_s:>6.1f} s"
        )


if __name__ == "__main__":
    sys.exit(main())
