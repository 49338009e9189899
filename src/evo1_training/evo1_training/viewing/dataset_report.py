"""The report on a dataset: a folder with report.html and its plots; the same as JSON.

Must not import ROS or torch.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evo1_training.datasets.checker.checking import CheckReport
from evo1_training.datasets.checker.joints import JointFacts
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.problems import (
    SEVERITIES,
    DatasetError,
    Finding,
    Findings,
)
from evo1_training.viewing.drawing import draw_contact_sheet, draw_joints
from evo1_training.viewing.episode_view import ViewError, spread
from evo1_training.viewing.in_dataset import view_episode

_SHOWN, _PICTURES = 8, 6  # episodes, and pictures of each camera in one
_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 76em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } img { max-width: 100%; border: 1px solid #ddd }
td, th { text-align: left; vertical-align: top; padding: .25em .8em }
tr { border-bottom: 1px solid #ddd }
.error { color: #b00020; font-weight: bold } .warning { color: #a05a00 } .note { color: #555 }
"""


def write_report(report: CheckReport, folder: Path) -> Path:
    """Write report.html and its plots; older ones of the same name are replaced.

    Returns:
        The path of report.html.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [_head(report), _findings_table(report.findings)]
    if report.meta is not None and report.meta.episodes:
        _draw_lengths(report, folder / "episodes.png")
        parts.append('<h2>Episodes</h2><img src="episodes.png" alt="lengths of the episodes">')
    if report.joints is not None and report.joints.lag_ms.size:
        _draw_lags(report.joints, folder / "lags.png")
        parts += [_joints_table(report.joints), '<img src="lags.png" alt="delay of each joint">']
    if report.meta is not None:
        parts += _episodes(report.meta, report.findings, folder)
    page = folder / "report.html"
    title = escape(f"Check of {report.root}")
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>{''.join(parts)}</html>\n",
        encoding="utf-8",
    )
    return page


def to_json(report: CheckReport) -> Mapping[str, Any]:
    """The findings and figures as JSON can hold them."""
    counts = {
        severity: sum(one.severity == severity for one in report.findings)
        for severity in SEVERITIES
    }
    tree: dict[str, Any] = {"dataset": str(report.root), "quick": report.quick, "counts": counts}
    if report.meta is not None:
        tree["version"] = report.meta.info.version
        tree["fps"] = report.meta.info.fps
        tree["episodes"] = len(report.meta.episodes)
        tree["frames"] = sum(episode.length for episode in report.meta.episodes)
        tree["tasks"] = list(report.meta.tasks.values())
    if report.joints is not None:
        tree["joints"] = list(_joint_records(report.joints))
    tree["findings"] = [asdict(finding) for finding in report.findings]
    return tree


def write_json(report: CheckReport, path: Path) -> None:
    """Write to_json() to a file.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(report), indent=1, ensure_ascii=False), encoding="utf-8")


def _joint_records(joints: JointFacts) -> Iterator[Mapping[str, Any]]:
    for j, name in enumerate(joints.names):
        known = joints.lag_ms[np.isfinite(joints.lag_ms[:, j]), j]
        low, high = float(joints.low[j]), float(joints.high[j])
        yield {
            "name": name,
            "state_min": low if np.isfinite(low) else None,
            "state_max": high if np.isfinite(high) else None,
            "lag_ms": float(np.median(known)) if known.size else None,
        }


def _head(report: CheckReport) -> str:
    lines = []
    if report.meta is not None:
        info, episodes = report.meta.info, report.meta.episodes
        frames = sum(episode.length for episode in episodes)
        lines.append(
            f"LeRobot {escape(info.version)}, robot {escape(info.robot_type or 'unknown')}, "
            f"{len(episodes)} episodes, {frames} frames at {info.fps} fps "
            f"({frames / info.fps / 60:.1f} min), tasks: "
            + "; ".join(escape(task) for task in report.meta.tasks.values())
        )
    if report.quick:
        lines.append("Quick check: only some pictures of each video were looked at.")
    if not report.findings:
        lines.append("Nothing was found.")
    return "".join(f"<p>{line}</p>" for line in lines)


def _findings_table(findings: Iterable[Finding]) -> str:
    rows = "".join(
        f'<tr><td class="{one.severity}">{one.severity}</td><td>{escape(one.code)}</td>'
        f"<td>{escape(one.where)}</td><td>{escape(one.what)}</td><td>{escape(one.remedy)}</td></tr>"
        for one in findings
    )
    if not rows:
        return ""
    head = "<tr><th></th><th>code</th><th>where</th><th>what</th><th>what to do</th></tr>"
    return f"<h2>Findings</h2><table>{head}{rows}</table>"


def _joints_table(joints: JointFacts) -> str:
    head = "<tr><th>joint</th><th>state</th><th>state follows the action by</th></tr>"
    rows = []
    for record in _joint_records(joints):
        lag = "cannot be told" if record["lag_ms"] is None else f"{record['lag_ms']:.0f} ms"
        low, high = record["state_min"], record["state_max"]
        span = "" if low is None else f"{low:.3f} .. {high:.3f}"
        rows.append(f"<tr><td>{escape(record['name'])}</td><td>{span}</td><td>{lag}</td></tr>")
    return f"<h2>Joints</h2><table>{head}{''.join(rows)}</table>"


def _draw_lengths(report: CheckReport, path: Path) -> None:
    """Draw a bar for each episode, coloured by its worst finding."""
    if report.meta is None:
        return
    worst: dict[int, str] = {}
    for finding in report.findings:  # worst first
        if finding.episode is not None:
            worst.setdefault(finding.episode, finding.severity)
    colours = {"error": "tab:red", "warning": "tab:orange"}
    episodes = report.meta.episodes
    figure = Figure(figsize=(12.6, 3.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.bar(
        [episode.index for episode in episodes],
        [episode.length / report.meta.info.fps for episode in episodes],
        color=[colours.get(worst.get(one.index, ""), "tab:blue") for one in episodes],
        width=0.9,
    )
    axis.set_xlabel("episode (red: has errors, orange: has warnings)")
    axis.set_ylabel("length [s]")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(visible=True, axis="y", alpha=0.3)
    figure.savefig(path)


def _draw_lags(joints: JointFacts, path: Path) -> None:
    figure = Figure(figsize=(12.6, 0.35 * len(joints.names) + 1.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for j in range(len(joints.names)):
        axis.plot(joints.lag_ms[:, j], np.full(len(joints.lag_ms), j), "|", color="tab:blue", ms=9)
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.set_yticks(range(len(joints.names)), joints.names)
    axis.set_ylim(len(joints.names) - 0.5, -0.5)
    axis.set_xlabel("state follows action by [ms], a mark each episode")
    axis.grid(visible=True, axis="x", alpha=0.3)
    figure.savefig(path)


def _episodes(meta: DatasetFolder, findings: Iterable[Finding], folder: Path) -> Iterator[str]:
    """Draw some episodes, evenly over the dataset; those that cannot be read are left out."""
    for number in spread(len(meta.episodes), _SHOWN):
        episode = meta.episodes[number]
        remarks = [
            f"{one.severity}: {one.code}" for one in findings if one.episode == episode.index
        ]
        try:
            view = view_episode(meta, episode, Findings(), columns=_PICTURES)
        except (DatasetError, ViewError):
            continue  # the findings say so
        view = replace(view, name=episode.label, remarks=(*view.remarks, *remarks)[:5])
        stem = f"episode_{episode.index:06d}"
        draw_contact_sheet(view, folder / f"{stem}_contact_sheet.png")
        draw_joints(view, folder / f"{stem}_joints.png")
        yield (
            f"<h2>Episode {episode.index}</h2>"
            f'<img src="{stem}_contact_sheet.png" alt="pictures">'
            f'<img src="{stem}_joints.png" alt="joints">'
        )
