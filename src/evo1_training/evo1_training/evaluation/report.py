"""The report of an evaluation: one HTML page and one JSON file. Must not import ROS or torch."""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from evo1_sim.tasks import DISTURBANCES
from evo1_training.evaluation.outcomes import (
    Comparison,
    ConditionSummary,
    Evaluation,
    TrialOutcome,
    to_json,
)

PAGE = "index.html"
DATA = "evaluation.json"

# Evo-1 on a real xArm6 over 20 trials, "pick and place can": the paper's Table 3.
PAPER = {
    "none": 0.95,
    "distractor": 0.80,
    "background": 0.75,
    "back10": 0.95,
    "back20": 0.85,
    "back30": 0.80,
    "up10": 1.00,
    "up20": 0.90,
    "up30": 0.70,
}
PAPER_TASK = "can_into_box"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .3em .8em; text-align: left; border-bottom: 1px solid #ddd }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.bar { position: relative; width: 12em; height: .9em; background: #eee }
.bar i { position: absolute; height: 100%; background: #bcd3ea }
.bar b { position: absolute; width: 2px; height: 100%; background: #1b4f8a }
.trials { display: flex; flex-wrap: wrap; gap: .7em }
.trial { width: 330px; font-size: 13px; border-left: 4px solid #c0392b; padding-left: .5em }
.trial.solved { border-color: #2e8b57 }
.trial img { width: 158px }
"""


def write_json(
    path: Path, evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison] = ()
) -> None:
    """Write the JSON file; it appears complete or not at all.

    One evaluation stands there as it is, several as `policies` with their `comparisons`.
    """
    data = [to_json(evaluation) for evaluation in evaluations]
    found = {"policies": data, "comparisons": [asdict(one) for one in comparisons]}
    told = data[0] if len(data) == 1 else found
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    _write(path, text + "\n")


def write_report(folder: Path, evaluation: Evaluation) -> Path:
    """Write page and data into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DATA, [evaluation])
    _write(folder / PAGE, page(evaluation))
    return folder / PAGE


def page(evaluation: Evaluation) -> str:
    """The HTML page; thumbnails are inside it, videos beside it."""
    conditions = evaluation.conditions
    title = f"Evaluation: {evaluation.facts.get('task', '')}"
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>",
        _facts(evaluation),
        _conditions(conditions, with_paper=evaluation.facts.get("task") == PAPER_TASK),
    ]
    for condition in conditions:
        outcomes = [o for o in evaluation.outcomes if o.trial.disturbance == condition.disturbance]
        parts.append(f"<h2>{html.escape(_label(condition.disturbance))}</h2>")
        parts.append(f"<div class='trials'>{''.join(map(_trial, outcomes))}</div>")
    return "\n".join(parts) + "\n</html>\n"


def _facts(evaluation: Evaluation) -> str:
    rows = (
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th>"
        f"<td>{html.escape(str(value))}</td></tr>"
        for name, value in {**evaluation.facts, "instruction": evaluation.instruction}.items()
        if value not in (None, "")
    )
    return f"<table>{''.join(rows)}</table>"


def _conditions(conditions: Iterable[ConditionSummary], *, with_paper: bool) -> str:
    paper = "<th class='number'>paper, real arm</th>" if with_paper else ""
    head = (
        "<tr><th>condition</th><th class='number'>success</th><th class='number'>rate</th>"
        "<th class='number'>95 % interval (Wilson)</th><th></th>"
        f"<th class='number'>median time to success</th>{paper}<th>failures</th></tr>"
    )
    rows = (_condition(condition, with_paper=with_paper) for condition in conditions)
    return f"<table>{head}{''.join(rows)}</table>"


def _condition(c: ConditionSummary, *, with_paper: bool) -> str:
    median = "&ndash;" if c.seconds_median is None else f"{c.seconds_median:.1f} s"
    failures = ", ".join(f"{html.escape(name)} {count}" for name, count in c.ended.items())
    bar = (
        f"<div class='bar'><i style='left:{c.low:.1%};width:{c.high - c.low:.1%}'></i>"
        f"<b style='left:{c.rate:.1%}'></b></div>"
    )
    paper = f"<td class='number'>{PAPER[c.disturbance]:.0%}</td>" if with_paper else ""
    return (
        f"<tr><td>{html.escape(_label(c.disturbance))}</td>"
        f"<td class='number'>{c.successes} / {c.trials}</td><td class='number'>{c.rate:.0%}</td>"
        f"<td class='number'>{c.low:.1%} to {c.high:.1%}</td><td>{bar}</td>"
        f"<td class='number'>{median}</td>{paper}<td>{failures}</td></tr>"
    )


def _trial(outcome: TrialOutcome) -> str:
    pictures = "".join(
        f"<img alt='{when}' src='data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'>"
        for when, jpeg in zip(("start", "end"), outcome.thumbnails, strict=False)
    )
    video = f" <a href='{html.escape(outcome.video)}'>video</a>" if outcome.video else ""
    solved = " solved" if outcome.success else ""
    return (
        f"<div class='trial{solved}'>{pictures}<br><b>{html.escape(outcome.ended)}</b> after "
        f"{outcome.seconds:.1f} s, seed {outcome.trial.seed}{video}<br>"
        f"{html.escape(outcome.detail)}</div>"
    )


def _label(disturbance: str) -> str:
    return DISTURBANCES[disturbance].label


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
