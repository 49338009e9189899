"""The page of an improvement: rounds, success with intervals, what was corrected and where.

Must not import ROS or torch.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from evo1_policy.paths import write_whole
from evo1_training.evaluation.comparison import comparison_lines
from evo1_training.evaluation.outcomes import wilson_interval
from evo1_training.evaluation.report import PAGE, STYLE

if TYPE_CHECKING:
    from evo1_training.training.improving import Round

SHEETS = 3  # pictures of a round's corrections
_SCALE = 700  # pixels of the map to a metre

_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>{{ style }}
svg { background: #f4f4f4; width: 30em } .sheet { max-width: 100% }
</style>
<h1>Improvement: {{ title }}</h1>
<table><tr><th>round</th><th class="number">solved</th><th class="number">95 % (Wilson)</th>
<th></th><th>corrections</th><th>against the best before</th><th></th></tr>
{%- for r in rounds %}
<tr><td>{{ r.number }}</td><td class="number">{{ r.solved }} / {{ r.trials }}</td>
<td class="number">{{ "{:.0%} to {:.0%}".format(r.low, r.high) }}</td>
<td><div class="bar"><i style="left:{{ r.low * 100 }}%;width:{{ (r.high - r.low) * 100 }}%"></i>
<b style="left:{{ r.solved / r.trials * 100 }}%"></b></div></td>
<td>{{ r.corrected }}</td><td>{{ r.against }}</td><td>{{ "kept" if r.kept else "not kept" }}</td>
</tr>{%- endfor %}
</table>
<p>The scenes are the same in every round and chose what was kept, so they flatter it: judge on
others. The intervals are of one policy over scenes; they say nothing about another training.</p>
{%- for r in rounds if r.places %}
<h2>Round {{ r.number }}: where it was corrected</h2>
<svg viewBox="0 0 {{ width }} {{ height }}" role="img">
{%- for p in r.places %}
<line x1="{{ p.tool[0] }}" y1="{{ p.tool[1] }}" x2="{{ p.thing[0] }}" y2="{{ p.thing[1] }}"
stroke="#999"/><circle cx="{{ p.thing[0] }}" cy="{{ p.thing[1] }}" r="9" fill="#bcd3ea"/>
<circle cx="{{ p.tool[0] }}" cy="{{ p.tool[1] }}" r="4" fill="#c0392b"><title>{{ p.told }}</title>
</circle>
{%- endfor %}
</svg>
<p>From above, the arm's base at the left edge: the tool (red) where it was taken over, the thing
that it was to take (blue).</p>
{%- for sheet in r.sheets %}
<img class="sheet" alt="pictures of a correction" src="{{ sheet }}">
{%- endfor %}
{%- endfor %}
</html>
"""


def round_lines(rounds: Sequence["Round"]) -> list[str]:
    """The rounds for people, a few lines each."""
    lines = []
    for one in rounds:
        count = len(one.evaluation.outcomes)
        low, high = wilson_interval(one.solved, count)
        told = f"round {one.number}: {one.solved}/{count} solved ({low:.0%} to {high:.0%})"
        if one.trials:
            told += f"; {_corrected(one)}; {'kept' if one.kept else 'not better, not kept'}"
        lines.append(told)
        if one.against_best is not None:
            lines += comparison_lines([one.against_best])
    return lines


def draw_page(out: Path, rounds: Sequence["Round"], *, title: str) -> Path:
    """Write the page, and pictures beside it; returns its path."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    facts = []
    for one in rounds:
        count = len(one.evaluation.outcomes)
        low, high = wilson_interval(one.solved, count)
        against = comparison_lines([one.against_best] if one.against_best else [])
        facts.append(
            {
                "number": one.number,
                "solved": one.solved,
                "trials": count,
                "low": low,
                "high": high,
                "kept": one.kept,
                "corrected": _corrected(one) if one.trials else "",
                "against": against[0].rpartition("against ")[2] if against else "",
                "places": _places(one),
                "sheets": _sheets(out, one),
            }
        )
    page = environment.from_string(_PAGE).render(
        title=title, style=STYLE, rounds=facts, width=_SCALE, height=_SCALE
    )
    write_whole(out / PAGE, page, sync=False)
    return out / PAGE


def _corrected(one: "Round") -> str:
    found = [correction for trial in one.trials for correction in trial.corrections]
    why = ", ".join(f"{name} {count}" for name, count in Counter(c.why for c in found).items())
    alone = sum(trial.solved and not trial.corrections for trial in one.trials)
    seconds = sum(correction.seconds for correction in found)
    return (
        f"{len(found)} corrections ({why}) of {seconds:.0f} s in {len(one.trials)} trials, "
        f"{alone} solved alone"
    )


def _places(one: "Round") -> list[dict[str, object]]:
    return [
        {
            "tool": _on_map(correction.tool),
            "thing": _on_map(correction.thing),
            "told": f"seed {trial.seed}: {correction.why} at {correction.at_s:.1f} s",
        }
        for trial in one.trials
        for correction in trial.corrections
        if correction.tool  # on an arm nobody knows where things are
    ]


def _on_map(place: Sequence[float]) -> tuple[float, float]:
    return round(_SCALE * place[0], 1), round(_SCALE * (0.5 - place[1]), 1)


def _sheets(out: Path, one: "Round") -> list[str]:
    """Names of contact sheets of a round's first corrections, drawn where they are not there."""
    found = []
    for number in range(min(SHEETS, sum(len(trial.corrections) for trial in one.trials))):
        path = one.folder / f"correction_{number}.png"
        if not path.is_file():
            # Late: matplotlib, which a round without corrections does without.
            from evo1_training.viewing.drawing import draw_contact_sheet
            from evo1_training.viewing.in_dataset import view_dataset

            draw_contact_sheet(view_dataset(one.folder / "corrections", number), path)
        found.append(path.relative_to(out).as_posix())
    return found
