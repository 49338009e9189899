"""The report of an evaluation: one HTML page and one JSON file. Must not import ROS or torch."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jinja2

from evo1_policy.paths import write_whole
from evo1_policy.untrusted import UntrustedError, read_json
from evo1_sim.tasks import DISTURBANCES
from evo1_training.evaluation.comparison import Comparison, RecipeComparison
from evo1_training.evaluation.outcomes import Evaluation, EvaluationError, from_json, to_json

Compared = Comparison | RecipeComparison
PAGE = "index.html"
DATA = "evaluation.json"
_MOST_BYTES = 256 << 20

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

STYLE = """\
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

_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
{{ style }}
</style>
<h1>{{ title }}</h1>
<table>
{%- for name, value in facts.items() if value is not none and value != "" %}
<tr><th>{{ name.replace("_", " ") }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</table>
<table>
<tr><th>condition</th><th class="number">success</th><th class="number">rate</th>
<th class="number">95 % interval (Wilson)</th><th></th>
<th class="number">median time to success</th>
{%- if paper %}<th class="number">paper, real arm</th>{% endif %}<th>failures</th></tr>
{%- for c in conditions %}
<tr><td>{{ labels[c.disturbance] }}</td><td class="number">{{ c.successes }} / {{ c.trials }}</td>
<td class="number">{{ "{:.0%}".format(c.rate) }}</td>
<td class="number">{{ "{:.1%} to {:.1%}".format(c.low, c.high) }}</td>
<td><div class="bar"><i style="left:{{ c.low * 100 }}%;width:{{ (c.high - c.low) * 100 }}%"></i>
<b style="left:{{ c.rate * 100 }}%"></b></div></td>
<td class="number">
{%- if c.seconds_median is none %}&ndash;{% else %}{{ "%.1f" % c.seconds_median }} s{% endif -%}
</td>
{%- if paper %}<td class="number">{{ "{:.0%}".format(paper[c.disturbance]) }}</td>{% endif -%}
<td>{% for name, count in c.ended.items() %}{{ ", " if not loop.first }}{{ name }} {{ count }}
{%- endfor %}</td></tr>
{%- endfor %}
</table>
{%- for c in conditions %}
<h2>{{ labels[c.disturbance] }}</h2>
<div class="trials">
{%- for o in outcomes if o.trial.disturbance == c.disturbance %}
<div class="trial{{ " solved" if o.success }}">
{%- for jpeg in o.thumbnails %}
<img alt="{{ ("start", "end")[loop.index0] }}" src="data:image/jpeg;base64,{{ jpeg | base64 }}">
{%- endfor %}
<br><b>{{ o.ended }}</b> after {{ "%.1f" % o.seconds }} s, seed {{ o.trial.seed }}
{%- if o.video %} <a href="{{ o.video }}">video</a>{% endif %}<br>{{ o.detail }}</div>
{%- endfor %}
</div>
{%- endfor %}
</html>
"""


def write_json(
    path: Path, evaluations: Sequence[Evaluation], comparisons: Sequence[Compared] = ()
) -> None:
    """Write the JSON file; it appears complete or not at all.

    One evaluation stands there as it is, several as `policies` with their `comparisons`.
    """
    data = [to_json(evaluation) for evaluation in evaluations]
    found = {"policies": data, "comparisons": [asdict(one) for one in comparisons]}
    told = data[0] if len(data) == 1 else found
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n", sync=False)


def read_evaluations(path: Path) -> tuple[Evaluation, ...]:
    """The evaluations of a file of write_json, without their pictures.

    Raises:
        EvaluationError: it is no such file.
    """
    try:
        data = read_json(path, what="numbers of an evaluation", max_bytes=_MOST_BYTES)
        return tuple(from_json(one) for one in data.get("policies", [data]))
    except (UntrustedError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise EvaluationError(
            f"{path}: no numbers of an evaluation ({error}); expected a file of evaluate --json"
        ) from error


def write_report(folder: Path, evaluation: Evaluation) -> Path:
    """Write page and data into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DATA, [evaluation])
    write_whole(folder / PAGE, page(evaluation), sync=False)
    return folder / PAGE


def page(evaluation: Evaluation) -> str:
    """The HTML page; thumbnails are inside it, videos beside it."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    task = evaluation.facts.get("task", "")
    return environment.from_string(_PAGE).render(
        style=STYLE,
        title=f"Evaluation: {task}",
        facts={**evaluation.facts, "instruction": evaluation.instruction},
        conditions=evaluation.conditions,
        outcomes=evaluation.outcomes,
        labels=_labels(evaluation),
        paper=PAPER if task == PAPER_TASK else None,
    )


def _labels(evaluation: Evaluation) -> dict[str, str]:
    """What people call each condition; a task of a benchmark is called by its name."""
    names = [condition.disturbance for condition in evaluation.conditions]
    return {name: DISTURBANCES[name].label if name in DISTURBANCES else name for name in names}
