"""The demo: run the simulated cell and the policy, watch the topics, report what was seen.

Imports ROS when it runs. Also `python -m evo1_bringup.demo`.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from evo1_bringup.cli import UsageError, parse_assignments
from evo1_bringup.installation import robots
from evo1_bringup.options import EMULATED, parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import System, check_installed, describe
from evo1_policy.command_line import INTERRUPTED, entry_point, positive, tell
from evo1_training.evaluation.videos import TrialVideo
from evo1_training.live_run.plot import plot_joints
from evo1_training.live_run.recording import Recording
from evo1_training.live_run.summary import summarise
from evo1_training.live_run.table import table

if TYPE_CHECKING:
    from evo1_training.ros.run_observer import RunObserver

_VIDEO_FRAMES = 600  # of each camera, kept in memory
_POLL_S = 0.1
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(RuntimeError):
    """The run could not begin; the message says what was waited for."""


@entry_point("demo", failed=2)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 where the run was good, 1 where it was not, 2 where it could not begin."""
    arguments = _parser().parse_intermixed_args(argv)
    given = parse_assignments(arguments.arguments)
    if given.get("robot_ip") or given.get("port", "") not in ("", EMULATED):
        raise UsageError("the demo runs in simulation; use ros2 launch for a real arm")
    options = parse_options(arguments.robot, given)
    system = describe(arguments.robot, options)
    check_installed(system)
    try:
        return run(system, arguments, namespace=options.namespace)
    except KeyboardInterrupt:
        tell("demo", "interrupted; everything was ended.")
        return INTERRUPTED


def run(system: System, settings: argparse.Namespace, *, namespace: str = "") -> int:
    """Run a system for a while and report on it; `settings` as main parses them."""
    for number in _ENDING:
        signal.signal(number, _interrupt)
    settings.out.mkdir(parents=True, exist_ok=True)
    for name, value in system.environment.items():
        os.environ.setdefault(name, value)  # before the middleware starts in this process
    from evo1_training.ros.run_observer import RunObserver

    observer = RunObserver(
        system.robot, namespace=namespace, video_rate_hz=_video_rate_hz(settings)
    )
    log_path = settings.out / "log.txt"
    with log_path.open("w", encoding="utf-8", buffering=1) as log, observer:

        def keep(label: str, line: str) -> None:
            log.write(f"[{label}] {line}\n")
            if settings.verbose:
                tqdm.write(f"[{label}] {line}")

        _say(*system.notes)
        try:
            with Supervisor(system, printer=keep) as supervisor:
                _wait_until_ready(supervisor, observer, settings.ready_timeout)
                recording = _watch(supervisor, observer, settings.seconds)
        except DemoError as error:
            return _fail(str(error), settings, log_path)
        return _report(recording, observer, system, settings, log_path)


def _wait_until_ready(supervisor: Supervisor, observer: "RunObserver", timeout_s: float) -> None:
    begin = time.monotonic()
    waited_for = ""
    while (missing := observer.missing()) is not None:
        if missing != waited_for:
            _say(f"waiting for {missing} ...")
            waited_for = missing
        if (ended := supervisor.exited()) is not None:
            raise DemoError(f"{ended.message} before the run began")
        if (blocked := observer.blocked()) is not None:
            raise DemoError(f"the policy cannot start by itself ({blocked})")
        if time.monotonic() - begin > timeout_s:
            raise DemoError(f"waited {timeout_s:g} s in vain for {missing}")
        time.sleep(_POLL_S)
    _say(f"ready after {time.monotonic() - begin:.1f} s")


def _watch(supervisor: Supervisor, observer: "RunObserver", seconds: float) -> Recording:
    observer.start()
    begin = time.monotonic()
    form = "{percentage:3.0f}% |{bar:24}| {n:.0f}/{total:.0f} s  {postfix}"
    with tqdm(total=seconds, bar_format=form, mininterval=0.5, file=sys.stdout) as bar:
        process_end = None
        while (elapsed := time.monotonic() - begin) < seconds and process_end is None:
            bar.n = min(elapsed, seconds)
            bar.set_postfix_str(observer.progress(), refresh=True)
            time.sleep(0.5)
            if (ended := supervisor.exited()) is not None:
                process_end = f"{ended.message} after {time.monotonic() - begin:.1f} s"
        bar.n = min(time.monotonic() - begin, seconds)
        bar.set_postfix_str(observer.progress(), refresh=True)
    return observer.finish(process_end=process_end)


def _report(
    recording: Recording,
    observer: "RunObserver",
    system: System,
    settings: argparse.Namespace,
    log_path: Path,
) -> int:
    policy = next(p for p in system.processes if p.name == "policy")
    summary = summarise(recording, system.robot, str(policy.parameters["instruction"]))
    video = _write_video(observer, settings)
    plot = plot_joints(settings.out / "joints.png", recording, system.robot)
    written = [_write_summary(asdict(summary), settings.out), plot, video, log_path]
    _say("", table(summary), "", *(f"wrote {path}" for path in written if path is not None))
    return 0 if summary.ok else 1


def _fail(reason: str, settings: argparse.Namespace, log_path: Path) -> int:
    _write_summary({"ok": False, "reason": reason}, settings.out)
    _say(*log_path.read_text(encoding="utf-8").splitlines()[-20:])
    _say(f"demo: FAILED: {reason}", f"all output of the processes: {log_path}")
    return 1


def _write_video(observer: "RunObserver", settings: argparse.Namespace) -> Path | None:
    """Every camera side by side; None where nothing was seen."""
    path, frames = settings.out / "video.mp4", observer.video_frames()
    video = TrialVideo(path, rate_hz=_video_rate_hz(settings), every=1)
    for row in zip(*frames.values(), strict=False):
        video.add(dict(zip(frames, row, strict=True)))
    return path if video.close(keep=True) else None


def _write_summary(summary: dict[str, Any], out: Path) -> Path:
    path = out / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Run the simulated cell and the policy as separate processes, watch the "
        "topics, and write a table, a video, a plot and summary.json.",
        epilog="Options of the system (name:=value) are those of `evo1 launch <robot> "
        "--show-args`. While it runs, try in another terminal: evo1 status --follow, "
        'evo1 instruct "...", evo1 pause, evo1 resume.',
    )
    parser.add_argument("--robot", choices=robots(), default="xarm6")
    parser.add_argument("--seconds", type=positive, default=30.0, help="Length of the run [s].")
    parser.add_argument(
        "--ready-timeout",
        type=positive,
        default=120.0,
        metavar="S",
        help="Longest wait for everything to be ready [s].",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="For video, plot and summary."
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="Print the processes' output; it is always kept in OUT/log.txt.",
    )
    parser.add_argument("arguments", nargs="*", metavar="name:=value")
    return parser


def _video_rate_hz(settings: argparse.Namespace) -> int:
    """Frames a second of the video, fewer for a long run [Hz]."""
    return max(min(10, int(_VIDEO_FRAMES / settings.seconds)), 1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for again in _ENDING:  # taking everything down must not be interrupted in turn
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(*lines: str) -> None:
    for line in lines:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
