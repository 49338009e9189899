"""What came of the trials, and what that says about the policy. Must not import ROS or torch."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from evo1_training.evaluation.trials import Trial

Z_95 = 1.959964  # two-sided 95 % of the normal distribution

Choice = Literal["told", "another", "none"]
SOLVED = "solved"
TIME_UP = "time_up"


class EvaluationError(RuntimeError):
    """An evaluation that broke off; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """One trial.

    Attributes:
        trial: what was tried.
        success: whether the task's criterion held within the time.
        seconds: until then, or until the end [s].
        ended: 'solved', 'time_up', or the code of what stopped the arm.
        detail: what the task's check says at the end, or why the arm stopped, for people.
        instruction: what the policy was told; the scripted expert knows its task without.
        chunks: chunks executed.
        holds: times that the arm was held.
        interventions: chunks that a limit changed or refused.
        inference_ms: median of the inferences on this machine [ms]; None without any.
        video: path of the video below the report's folder; empty: none.
        thumbnails: JPEGs of the environment camera at start and end.
        choice: whether the first thing that the arm lifted was what it was told; None where there
            was nothing else to take, or nobody looked.
    """

    trial: Trial
    success: bool
    seconds: float
    ended: str
    detail: str
    instruction: str
    chunks: int = 0
    holds: int = 0
    interventions: int = 0
    inference_ms: float | None = None
    video: str = ""
    thumbnails: tuple[bytes, ...] = ()
    choice: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class ConditionSummary:
    """All trials of one disturbance.

    Attributes:
        disturbance: its name.
        trials: how many.
        successes: how many of them.
        low: lower end of the success rate's Wilson interval, 95 %.
        high: upper end.
        seconds_median: of the time to success [s]; None without any.
        seconds_max: the longest [s].
        ended: how often each ending came, most often first, without 'solved'.
        choices: how often the arm lifted first what it was told, another thing, none; empty where
            there was nothing to choose.
    """

    disturbance: str
    trials: int
    successes: int
    low: float
    high: float
    seconds_median: float | None
    seconds_max: float | None
    ended: Mapping[str, int]
    choices: Mapping[Choice, int]

    @property
    def rate(self) -> float:
        """Share of successes."""
        return self.successes / self.trials


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole evaluation: what was evaluated and how, by name, and every trial."""

    facts: Mapping[str, str | int | float | None]
    outcomes: tuple[TrialOutcome, ...]

    @property
    def instruction(self) -> str | None:
        """What every trial was told; None where that differs."""
        told = {outcome.instruction for outcome in self.outcomes}
        return told.pop() if len(told) == 1 else None

    @property
    def conditions(self) -> tuple[ConditionSummary, ...]:
        """One summary for each disturbance, in the order of the trials."""
        names = dict.fromkeys(outcome.trial.disturbance for outcome in self.outcomes)
        return tuple(
            summarise([o for o in self.outcomes if o.trial.disturbance == name]) for name in names
        )


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a success rate, lowest and highest; (0, 1) without trials.

    Raises:
        ValueError: more successes than trials, or a negative number.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials: expected 0 to all of them")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    weight = 1.0 + z * z / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1.0 - rate) / trials + (z / (2 * trials)) ** 2)
    # Exact at both ends, where rounding would leave 1e-17.
    low = 0.0 if successes == 0 else (centre - spread) / weight
    high = 1.0 if successes == trials else (centre + spread) / weight
    return low, high


def summarise(outcomes: Sequence[TrialOutcome]) -> ConditionSummary:
    """Summarise the trials of one disturbance; there is at least one."""
    times = [outcome.seconds for outcome in outcomes if outcome.success]
    low, high = wilson_interval(len(times), len(outcomes))
    ended = Counter(outcome.ended for outcome in outcomes if not outcome.success)
    return ConditionSummary(
        disturbance=outcomes[0].trial.disturbance,
        trials=len(outcomes),
        successes=len(times),
        low=low,
        high=high,
        seconds_median=statistics.median(times) if times else None,
        seconds_max=max(times, default=None),
        ended=dict(ended.most_common()),
        choices=_choices(outcomes),
    )


def _choices(outcomes: Sequence[TrialOutcome]) -> dict[Choice, int]:
    made = Counter(outcome.choice for outcome in outcomes if outcome.choice is not None)
    return {choice: made[choice] for choice in get_args(Choice)} if made else {}


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON has it: facts flat, then `conditions` and `trials`."""
    return {
        **evaluation.facts,
        "instruction": evaluation.instruction,
        "conditions": [_condition_json(condition) for condition in evaluation.conditions],
        "trials": [_trial_json(outcome) for outcome in evaluation.outcomes],
    }


def table(conditions: Iterable[ConditionSummary]) -> list[str]:
    """Lines of a plain table, one condition a line."""
    lines = [f"{'condition':12} {'success':>9} {'rate':>6}  {'95 % interval':15} time to success"]
    for c in conditions:
        median = "-" if c.seconds_median is None else f"{c.seconds_median:.1f} s"
        ended = ", ".join(f"{name} {count}" for name, count in c.ended.items())
        lines.append(
            f"{c.disturbance:12} {f'{c.successes}/{c.trials}':>9} {c.rate:6.0%}  "
            f"{f'{c.low:.1%} to {c.high:.1%}':15} {median:15} {ended}".rstrip()
        )
        if c.choices:
            low, high = wilson_interval(c.choices["told"], c.trials)
            lines.append(
                f"{'':12} lifted first what it was told: {c.choices['told']}/{c.trials} "
                f"({low:.1%} to {high:.1%}); another: {c.choices['another']}; nothing: "
                f"{c.choices['none']}"
            )
    return lines


def _condition_json(condition: ConditionSummary) -> dict[str, Any]:
    return {
        "disturbance": condition.disturbance,
        "trials": condition.trials,
        "successes": condition.successes,
        "success_rate": condition.rate,
        "wilson_low": condition.low,
        "wilson_high": condition.high,
        "seconds_to_success_median": condition.seconds_median,
        "seconds_to_success_max": condition.seconds_max,
        "failures": dict(condition.ended),
        "lifted_first": dict(condition.choices),
    }


def _trial_json(outcome: TrialOutcome) -> dict[str, Any]:
    return {
        "disturbance": outcome.trial.disturbance,
        "seed": outcome.trial.seed,
        "success": outcome.success,
        "seconds": round(outcome.seconds, 3),
        "ended": outcome.ended,
        "detail": outcome.detail,
        "instruction": outcome.instruction,
        "chunks": outcome.chunks,
        "holds": outcome.holds,
        "interventions": outcome.interventions,
        "inference_ms": outcome.inference_ms,
        "video": outcome.video,
        "lifted_first": outcome.choice,
    }
