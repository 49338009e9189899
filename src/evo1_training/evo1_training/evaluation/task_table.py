"""The paper's Figure 4: success by task and on average, beside the paper's real arm."""

from collections.abc import Sequence
from statistics import fmean

from evo1_training.evaluation.outcomes import ConditionSummary, Evaluation, wilson_interval

PAPER_AVERAGE = 0.78  # over its four tasks, 20 trials each
PAPER_RATES = {"can_into_box": 0.95}  # Table 3; the other tasks are only bars in Figure 4


def task_table(evaluations: Sequence[Evaluation]) -> list[str]:
    """Lines of a plain table, one task a line, and the average of their rates.

    Args:
        evaluations: one of each task, all with the same conditions.
    """
    lines: list[str] = []
    by_condition = zip(*(evaluation.conditions for evaluation in evaluations), strict=True)
    tasks = [str(evaluation.facts["task"]) for evaluation in evaluations]
    for conditions in by_condition:
        lines += [
            f"{conditions[0].disturbance:14} {'success':>9} {'rate':>6}  "
            f"{'95 % interval':15} {'paper, real arm':15} failures"
        ]
        for task, c in zip(tasks, conditions, strict=True):
            paper = PAPER_RATES.get(task) if c.disturbance == "none" else None
            lines.append(_line(task, [c], paper))
        whole = PAPER_AVERAGE if conditions[0].disturbance == "none" else None
        lines.append(_line("average", conditions, whole))
    return lines


def _line(name: str, conditions: Sequence[ConditionSummary], paper: float | None) -> str:
    successes, trials = sum(c.successes for c in conditions), sum(c.trials for c in conditions)
    low, high = wilson_interval(successes, trials)
    ended = ", ".join(f"{why} {count}" for c in conditions for why, count in c.ended.items())
    return (
        f"{name:14} {f'{successes}/{trials}':>9} {fmean(c.rate for c in conditions):6.0%}  "
        f"{f'{low:.1%} to {high:.1%}':15} {'-' if paper is None else f'{paper:.0%}':15} "
        f"{ended if len(conditions) == 1 else ''}"
    ).rstrip()
