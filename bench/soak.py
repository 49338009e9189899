"""An hour of the real system: does memory, threads, files or shared memory of a process grow?

Starts the simulated xArm6 with policy and recorder, then the SO-100's driver on an emulated bus
with the same (`--robots` chooses), each for `--minutes`. Takes are recorded one after the other;
only the newest stay on disk. Every process is looked at each 10 s; a line through what it holds
after the warm-up (5 min, or a fifth of a short run) gives its growth. `make bench` runs it only by
name:

    make bench BENCH_ARGS=soak             an hour each
    python bench/soak.py --minutes 3       to see that it runs; its slopes say nothing
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from evo1_msgs.msg import PolicyStatus
from evo1_msgs.srv import ResetTask
from figures import ROOT, bench_parser, merge_figures
from growth import JUDGED_S, METRICS, Sample, Trend, plot, table, trends, warm_up_s
from recorder import Person
from std_srvs.srv import Trigger
from tqdm import tqdm

from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import check_installed, describe

OPTIONS = {"xarm6": {}, "so100": {"port": "emulated"}}
PERIOD_S = 10.0
TAKE_S = 20.0
TAKES_KEPT = 3
HEAL_EVERY_S = 5.0
FOR_A_PERSON = ("chunk_too_far", "chunk_breaks_limits", "tracking_error")
READY_S = 240.0  # until the first chunk, on a busy machine
LINES_KEPT = 40
SHM = "/dev/shm/"
OF_THE_HOST = "/dev/shm/lttng-"  # made once by the tracing library, and meant to stay


@dataclass(kw_only=True)
class Soak:
    """What came of one system.

    Attributes:
        samples: by process.
        takes: saved.
        refused: takes that the recorder did not begin or end when asked.
        chunks: executed.
        holds: times that the arm was held.
        recoveries: times that the driver was asked to go on after a fault, or the policy after
            what only a person ends; then the scene was reset as well.
        segments: paths of shared memory that any process ever had.
        ended: which process ended before its time; '' where none did.
        lines: the last that the processes printed.
    """

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    takes: int = 0
    refused: int = 0
    chunks: int = 0
    holds: int = 0
    recoveries: int = 0
    segments: set[str] = field(default_factory=set)
    ended: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    def left(self) -> list[str]:
        """Segments that are still there once everything has ended, and that nobody else uses."""
        used: set[str] = set()
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                used |= _segments(pid)
        return sorted(Path(name).name for name in self.segments - used if Path(name).exists())


class Watcher(Person):
    """Steers the recorder, hears what the policy does, and does what it waits for a person for."""

    def __init__(self) -> None:
        super().__init__()
        self.policy: Any = None
        self._healed_s = 0.0
        self._recover = self.node.create_client(Trigger, "so100_driver/recover")
        self._resume = self.node.create_client(Trigger, "policy/resume")
        self._reset = self.node.create_client(ResetTask, "sim_robot/reset")
        self._next_scene = ResetTask.Request(seed=-1)
        self.node.create_subscription(PolicyStatus, "policy/status", self._hear_policy, 10)

    def try_call(self, name: str, soak: Soak) -> bool:
        """Ask for something that a busy machine may refuse: a stream is late."""
        try:
            self.call(name)
        except RuntimeError as error:
            soak.refused += 1
            soak.lines.append(f"[soak] {error}")
            return False
        return True

    def heal(self, soak: Soak) -> None:
        """Go on after a fault, which a busy machine makes, and after a task that went wrong."""
        policy = self.policy
        waits = policy is not None and policy.state == policy.HOLDING
        if not waits or policy.recovers_by_itself:
            return
        if time.monotonic() - self._healed_s < HEAL_EVERY_S:
            return
        if policy.reason_code == "arm_fault" and "that is over" not in policy.reason:
            self._recover.call_async(Trigger.Request())
        else:
            if policy.reason_code in FOR_A_PERSON:
                self._reset.call_async(self._next_scene)
            self._resume.call_async(Trigger.Request())
        self._healed_s = time.monotonic()
        soak.recoveries += 1

    def _hear_policy(self, message: Any) -> None:
        self.policy = message


def main() -> int:
    """Run the systems, report on each; 1 where something grew or ended early."""
    arguments = _parser().parse_args()
    minutes = 1.0 if arguments.quick else arguments.minutes
    if arguments.root:
        arguments.root.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    good = True
    for robot in arguments.robots:
        with tempfile.TemporaryDirectory(dir=arguments.root) as folder:
            soak = _soak(robot, 60 * minutes, Path(folder))
        good = _report(robot, soak, minutes, arguments.out, arguments.json) and good
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = bench_parser(__doc__, quick="one minute each")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each system (default 60)")
    parser.add_argument("--robots", nargs="+", choices=tuple(OPTIONS), default=tuple(OPTIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "soak", help="for the plots")
    parser.add_argument("--root", type=Path, help="where to record; default: a temporary folder")
    return parser


def _soak(robot: str, seconds: float, root: Path) -> Soak:
    """Run one system and look at it until the time is over or a process ends."""
    given = {"record": "true", "record_root": str(root), **OPTIONS[robot]}
    system = describe(robot, parse_options(robot, given))
    check_installed(system)
    for name, value in system.environment.items():
        os.environ.setdefault(name, value)
    soak = Soak()

    def keep(label: str, line: str) -> None:
        soak.lines.append(f"[{label}] {line}")

    person = Watcher()
    try:
        with Supervisor(system, printer=keep) as supervisor:
            _wait_until_ready(person, supervisor, soak)
            _watch(person, supervisor, soak, root, seconds)
    except RuntimeError as error:
        soak.ended = soak.ended or str(error)
    finally:
        person.close()
    return soak


def _wait_until_ready(person: Watcher, supervisor: Supervisor, soak: Soak) -> None:
    def ready() -> bool:
        ended = supervisor.exited()
        if ended is not None:
            raise RuntimeError(ended.message)
        person.heal(soak)
        policy = person.policy
        return person.status is not None and policy is not None and policy.chunks_published > 0

    try:
        person.wait(ready, "the recorder and the first chunk", seconds=READY_S)
    except RuntimeError as error:
        held = "no status of the policy" if person.policy is None else person.policy.reason
        raise RuntimeError(f"{error}; {held}") from error


def _watch(
    person: Watcher, supervisor: Supervisor, soak: Soak, root: Path, seconds: float
) -> None:
    """Record take after take and sample; times are monotonic."""
    began_s = time.monotonic()
    next_sample_s, take_until_s = 0.0, None
    with tqdm(total=round(seconds), unit="s", file=sys.stderr, disable=None) as bar:
        while (now_s := time.monotonic() - began_s) < seconds:
            if now_s >= next_sample_s:
                next_sample_s += PERIOD_S
                _sample(supervisor.pids(), now_s, soak)
            ended = supervisor.exited()
            if ended is not None:
                raise RuntimeError(ended.message)
            if take_until_s is None:
                person.try_call("recorder/start", soak)
                take_until_s = now_s + TAKE_S
            elif now_s >= take_until_s:
                soak.takes += person.try_call("recorder/save", soak)
                _prune(root)
                take_until_s = None
            person.spin(0.5)
            person.heal(soak)
            soak.chunks, soak.holds = person.policy.chunks_published, person.policy.holds
            bar.update(round(time.monotonic() - began_s) - bar.n)


def _sample(pids: Mapping[str, int], now_s: float, soak: Soak) -> None:
    """Look at every process; one that ended is told by the supervisor."""
    for label, pid in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            process = psutil.Process(pid)
            segments = _segments(pid)
            soak.segments |= segments
            soak.samples.setdefault(label, []).append(
                Sample(
                    time_s=now_s,
                    rss_mb=process.memory_info().rss / 1e6,
                    threads=process.num_threads(),
                    fds=process.num_fds(),
                    shm=len(segments),
                )
            )


def _segments(pid: int) -> set[str]:
    """Shared memory that a process has mapped or open."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    names = {line[line.find(SHM) :] for line in lines if SHM in line}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            names.add(str(entry.readlink()))
    return {
        name.removesuffix(" (deleted)")
        for name in names
        if name.startswith(SHM) and not name.startswith(OF_THE_HOST)
    }


def _prune(root: Path) -> None:
    """Keep the newest takes."""
    for folder in sorted(root.glob("episode_*"))[:-TAKES_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def _report(robot: str, soak: Soak, minutes: float, out: Path, figures: Path | None) -> bool:
    """Print and write what one system did; whether it was good."""
    left = soak.left()
    print(
        f"\n{robot}: {soak.chunks} chunks, {soak.holds} holds, "
        f"{soak.recoveries} recoveries, {soak.takes} takes, "
        f"{soak.refused} refused; shared memory left behind: {', '.join(left) or 'nothing'}"
    )
    if soak.ended:
        print("\n".join([*soak.lines, f"ended early: {soak.ended}"]))
    try:
        found = trends(soak.samples)
    except ValueError as error:
        print(f"{robot}: no trend: {error}")
        return False
    if not found:
        return False
    print(table(found))
    path = out / f"{robot}.png"
    plot(soak.samples, path, f"{robot}, {minutes:g} min")
    print(f"plot: {path}")
    judged_s = 60 * minutes - warm_up_s(60 * minutes)
    growing = [
        f"{name}: {METRICS[key]}"
        for name, metrics in found.items()
        for key, one in metrics.items()
        if one.grows
    ]
    if judged_s < JUDGED_S:
        print(f"{judged_s / 60:.0f} min after warm-up are too few to judge growth")
        growing = []
    print(f"growing: {', '.join(growing) or 'nothing'}")
    merge_figures(figures, _flat(robot, soak, found, minutes))
    return not growing and not soak.ended


def _flat(
    robot: str, soak: Soak, found: Mapping[str, Mapping[str, Trend]], minutes: float
) -> dict[str, float]:
    def most(key: str, trends: Sequence[Mapping[str, Trend]]) -> float:
        return max(one[key].per_hour for one in trends)

    flat = {f"soak.{robot}.{key}_per_hour_max": most(key, list(found.values())) for key in METRICS}
    for name, metrics in found.items():
        flat[f"soak.{robot}.{name}.rss_mb_per_hour"] = metrics["rss_mb"].per_hour
        flat[f"soak.{robot}.{name}.rss_mb"] = metrics["rss_mb"].last
    return flat | {
        f"soak.{robot}.minutes": minutes,
        f"soak.{robot}.takes": soak.takes,
        f"soak.{robot}.refused": soak.refused,
        f"soak.{robot}.chunks": soak.chunks,
        f"soak.{robot}.holds": soak.holds,
        f"soak.{robot}.recoveries": soak.recoveries,
        f"soak.{robot}.shm_left": len(soak.left()),
        f"soak.{robot}.ended_early": float(bool(soak.ended)),
    }


if __name__ == "__main__":
    sys.exit(main())
