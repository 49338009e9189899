"""Training runs as they go, their plots, reports, and the log books of trials.

Everything is read from what the commands wrote: train.yaml, metrics.jsonl, summary.md, open_loop/,
report folders and log books. Must not import ROS or torch.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo1_policy.command_line import printable
from evo1_policy.paths import folders_below
from evo1_policy.untrusted import UntrustedError, read_json, read_text
from evo1_training.evaluation.logbook import LogBook
from evo1_training.evaluation.outcomes import EvaluationError
from evo1_training.evaluation.report import DATA, PAGE
from evo1_training.library.shelves import LibraryError, Roots, below
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.improving import CHOICES
from evo1_training.training.run_folder import CONFIG, METRICS, STAGES, SUMMARY, RunFolder
from evo1_training.training.watching import read_numbers

RUNNING_S = 180.0  # a run whose numbers are younger than this is taken to be under way
CHECK_PAGE = "report.html"  # of check-dataset --report
# Its page and the file beside it that tells what it is about.
_KINDS = (
    (PAGE, DATA, "evaluation"),
    (PAGE, CHOICES, "improvement"),
    (CHECK_PAGE, CHECK_PAGE, "check"),
)
_MOST_SUMMARY = 1 << 20
_DEEP = 4  # folders below a root in which reports are looked for


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """A stage of a run in a list.

    Attributes:
        name: <run>/<stage>.
        stage: of STAGES.
        steps: in all; 0 where its choices cannot be read.
        step: the last one of which there are numbers.
        running: whether numbers came within RUNNING_S.
        changed: when numbers came last, seconds since the epoch.
        best: steps of the checkpoint that `best` means; None before there is one.
        success: of it in simulation, 0..1; None where it was not tried.
        error: of it on held-out episodes, of the normalised range; None where there are none.
    """

    name: str
    stage: str
    steps: int
    step: int
    running: bool
    changed: float
    best: int | None
    success: float | None
    error: float | None


@dataclass(frozen=True, kw_only=True)
class ReportCard:
    """A report in a list.

    Attributes:
        root: number of the folder below which it was found, see report_roots.
        name: of its folder below that.
        page: its HTML file.
        kind: 'evaluation', 'improvement' or 'check'.
        title: what it is about.
        changed: when it was written, seconds since the epoch.
    """

    root: int
    name: str
    page: str
    kind: str
    title: str
    changed: float


def runs(root: Path) -> list[RunCard]:
    """Every stage of every run, the one that changed last first."""
    found = [
        _card(root, place.parent) for stage in STAGES for place in root.glob(f"*/{stage}/{CONFIG}")
    ]
    return sorted(found, key=lambda card: -card.changed)


def run_facts(root: Path, name: str, *, after: int = 0) -> Mapping[str, Any]:
    """What happened in a run since a place in its numbers.

    Args:
        root: of all runs.
        name: <run>/<stage>.
        after: bytes of metrics.jsonl that are known; 0 for all.

    Returns:
        card, curves ({name: [[step, value], ...]}), next (the `after` of the next call), plots
        (names of open-loop pictures, oldest first) and summary (how it ended, in words).

    Raises:
        LibraryError: no such run.
    """
    folder = run_folder(root, name)
    curves: dict[str, list[list[float]]] = {}
    rows, place = read_numbers(folder / METRICS, after=after)
    for row in rows:
        for key, value in row.items():
            if key != "step":
                curves.setdefault(printable(key), []).append([row["step"], value])
    plots = sorted(path.name for path in (folder / "open_loop").glob("step_*.png"))
    return {
        "card": _card(root, folder),
        "curves": curves,
        "next": place,
        "plots": plots,
        "summary": _summary(folder),
    }


def run_folder(root: Path, name: str) -> Path:
    """The folder of a stage of a run that a browser names.

    Raises:
        LibraryError: no such run.
    """
    folder = below(root, name)
    if folder.name not in STAGES or not (folder / CONFIG).is_file():
        raise LibraryError(f"{printable(name)}: no such run below {root}")
    return folder


def report_roots(roots: Roots) -> tuple[Path, ...]:
    """Where reports are looked for."""
    return tuple(dict.fromkeys((roots.runs, *roots.reports)))


def reports(roots: Roots) -> list[ReportCard]:
    """Every report, the newest first."""
    found = [
        card
        for number, root in enumerate(report_roots(roots))
        if root.is_dir()
        for card in _reports_below(number, root)
    ]
    return sorted(found, key=lambda card: -card.changed)


def books(root: Path) -> list[Mapping[str, Any]]:
    """Every log book of trials: name, task, how many are planned and left, and what is wrong."""
    return [_book_card(path) for path in sorted(root.glob("*.jsonl"))]


def book(root: Path, name: str) -> LogBook:
    """The log book that a browser names.

    Raises:
        LibraryError: it is not there.
        EvaluationError: it is none, or is damaged.
    """
    path = below(root, name)
    if path.suffix != ".jsonl":
        raise LibraryError(f"{printable(name)}: no log book")
    return LogBook(path)


def book_facts(found: LogBook) -> Mapping[str, Any]:
    """What is to be done next and what was scored; the names once they are known to all."""
    planned = found.left[0] if found.left and not found.opened else None
    return {
        "task": printable(found.facts["task"], 1000),
        "trials": len(found.order),
        "next": planned.number if planned else 0,
        "todo": [printable(line, 4000) for line in found.told(planned)] if planned else [],
        "scored": found.scored,
        "report": [printable(line, 1000) for line in found.report().lines] if found.opened else [],
    }


def _book_card(path: Path) -> Mapping[str, Any]:
    try:
        found = LogBook(path)
    except EvaluationError as error:
        return {"name": path.name, "problem": printable(error)}
    return {
        "name": path.name,
        "task": printable(found.facts["task"]),
        "trials": len(found.order),
        "left": len(found.left),
        "opened": found.opened,
        "problem": "",
    }


def _card(root: Path, folder: Path) -> RunCard:
    run, stage = RunFolder(folder), folder.name
    metrics = folder / METRICS
    changed = metrics.stat().st_mtime if metrics.is_file() else 0.0
    try:
        config = run.config()
        steps = int(getattr(config, stage).steps)
    except TrainConfigError:
        steps = 0
    tail, _ = read_numbers(metrics, after=max(0, _size(metrics) - 4096))
    newest, best = run.newest(), _best(folder)
    state: Mapping[str, Any] = {}
    # It may be replaced just now, or be damaged: the numbers are shown without it.
    with contextlib.suppress(UntrustedError, TrainConfigError, OSError):
        state = newest.state() if newest is not None else {}
    step = max((int(row["step"]) for row in tail), default=newest.step if newest else 0)
    return RunCard(
        name=folder.relative_to(root).as_posix(),
        stage=stage,
        steps=steps,
        step=step,
        running=time.time() - changed < RUNNING_S and step < steps,
        changed=changed,
        best=best,
        success=_number(state.get("best_success")),
        error=_number(state.get("best_error")),
    )


def _best(folder: Path) -> int | None:
    step = (folder / "best").resolve().parent.name.removeprefix("step_")
    return int(step) if step.isdecimal() else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _summary(folder: Path) -> str:
    try:
        text = read_text(folder / SUMMARY, what="summary of a run", max_bytes=_MOST_SUMMARY)
    except UntrustedError:
        return ""
    return "\n".join(printable(line, 4000) for line in text.splitlines())


def _reports_below(number: int, root: Path) -> Iterator[ReportCard]:
    for folder, inner, files in folders_below(root, "the reports"):
        if len(folder.relative_to(root).parts) >= _DEEP:
            inner.clear()
        for page, beside, kind in _KINDS:
            if page in files and beside in files:
                yield ReportCard(
                    root=number,
                    name=folder.relative_to(root).as_posix(),
                    page=page,
                    kind=kind,
                    title=_title(folder, beside),
                    changed=(folder / page).stat().st_mtime,
                )
                break


def _title(folder: Path, beside: str) -> str:
    """What a report says of itself in a line; a check is about the folder's name."""
    if beside == CHECK_PAGE:
        return folder.name
    try:
        data = read_json(folder / beside, what="report")
        told = [str(data.get("task", "")), str(data.get("condition", ""))]
        told += [
            f"{one['disturbance']} {one['successes']}/{one['trials']}"
            for one in data.get("conditions", ())
        ]
        return printable(", ".join(filter(None, told)))
    except (UntrustedError, OSError, LookupError, TypeError, AttributeError):
        return folder.name
