"""The report on a dataset: a folder with report.html and its plots; the same as JSON.

Must not import ROS or torch.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jinja2
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
_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Check of {{ dataset }}</title><style>
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 76em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } img { max-width: 100%; border: 1px solid #ddd }
td, th { text-align: left; vertical-align: top; padding: .25em .8em }
tr { border-bottom: 1px solid #ddd }
.error { color: #b00020; font-weight: bold } .warning { color: #a05a00 } .note { color: #555 }
</style><h1>Check of {{ dataset }}</h1>
{% if version is defined %}
<p>LeRobot {{ version }}, robot {{ robot }}, {{ episodes }} episodes, {{ frames }} frames at
{{ fps }} fps ({{ "%.1f" % (frames / fps / 60) }} min), tasks: {{ tasks | join("; ") }}</p>
{% endif %}
{% if quick %}<p>Quick check: only some pictures of each video were looked at.</p>{% endif %}
{% if findings %}<h2>Findings</h2><table>
<tr><th></th><th>code</th><th>where</th><th>what</th><th>what to do</th></tr>
{% for one in findings %}<tr><td class="{{ one.severity }}">{{ one.severity }}</td>
<td>{{ one.code }}</td><td>{{ one.where }}</td><td>{{ one.what }}</td>
<td>{{ one.remedy }}</td></tr>
{% endfor %}</table>{% else %}<p>Nothing was found.</p>{% endif %}
{% if lengths %}<h2>Episodes</h2><img src="episodes.png" alt="lengths of the episodes">{% endif %}
{% if lags %}<h2>Joints</h2><table>
<tr><th>joint</th><th>state</th><th>state follows the action by</th></tr>
{% for one in joints %}<tr><td>{{ one.name }}</td>
<td>{% if one.state_min is not none %}{{ "%.3f .. %.3f" % (one.state_min, one.state_max) }}\
{% endif %}</td>
<td>{{ "cannot be told" if one.lag_ms is none else "%.0f ms" % one.lag_ms }}</td></tr>
{% endfor %}</table><img src="lags.png" alt="delay of each joint">{% endif %}
{% for number in drawn %}<h2>Episode {{ number }}</h2>
{% for what in ("contact_sheet", "joints") %}
<img src="{{ "episode_%06d_%s.png" % (number, what) }}" alt="{{ what }}">
{% endfor %}{% endfor %}</html>
"""


def write_report(report: CheckReport, folder: Path) -> Path:
    """Write report.html and its plots; older ones of the same name are replaced.

    Returns:
        The path of report.html.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta, joints = report.meta, report.joints
    lengths = meta is not None and bool(meta.episodes)
    lags = joints is not None and bool(joints.lag_ms.size)
    if lengths:
        _draw_lengths(report, folder / "episodes.png")
    if joints is not None and lags:
        _draw_lags(joints, folder / "lags.png")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(_PAGE).render(
        to_json(report),
        robot=meta.info.robot_type or "unknown" if meta is not None else "",
        lengths=lengths,
        lags=lags,
        drawn=list(_draw_episodes(meta, report.findings, folder)) if meta is not None else [],
    )
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8")
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


def _draw_episodes(
    meta: DatasetFolder, findings: Iterable[Finding], folder: Path
) -> Iterator[int]:
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
        yield episode.index
