"""Which trials an evaluation makes, and what came of them.

Seeds of scenes below EVALUATION_SEEDS belong to demonstrations, those from there on to
evaluations, so that no policy is judged on a start state that it was shown. Must not import ROS
or torch.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from evo1_sim.tasks import DISTURBANCES, UNDISTURBED

EVALUATION_SEEDS = 1_000_000
MAX_TRIALS = 10_000  # of one condition; the seeds of two values of --seed never meet
MAX_SEED = (2**31 - 1 - EVALUATION_SEEDS) // MAX_TRIALS - 1
ALL = "all"
PAPER_AVERAGE = 0.78  # over its four tasks on a real arm, 20 trials each: its Figure 4
PAPER_RATES = {"can_into_box": 0.95}  # Table 3; the other tasks are only bars in Figure 4
Z_95 = 1.959964  # two-sided 95 % of the normal distribution

Choice = Literal["told", "another", "none"]
SOLVED = "solved"
TIME_UP = "time_up"


class EvaluationError(RuntimeError):
    """An evaluation that broke off; the message says why and what to do."""


class TrialError(ValueError):
    """Trials that cannot be made; the message says what was expected."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One start state: a disturbance by name, and the seed of the scene."""

    disturbance: str
    seed: int


def plan_trials(
    count: int, *, seed: int = 0, disturb: str = UNDISTURBED.name
) -> tuple[Trial, ...]:
    """List the trials of an evaluation; every condition has the same seeds.

    Args:
        count: trials of each condition.
        seed: which set of start states: two numbers have none in common.
        disturb: a name in DISTURBANCES, several with commas between, or 'all'.

    Raises:
        TrialError: the count or the seed is out of range, or a disturbance unknown.
    """
    if not 1 <= count <= MAX_TRIALS:
        raise TrialError(f"--trials {count}: expected 1 to {MAX_TRIALS}")
    if not 0 <= seed <= MAX_SEED:
        raise TrialError(f"--seed {seed}: expected 0 to {MAX_SEED}")
    names = list(DISTURBANCES) if disturb == ALL else disturb.split(",")
    for name in names:
        if name not in DISTURBANCES:
            known = ", ".join(DISTURBANCES)
            raise TrialError(f"--disturb {name}: expected {ALL}, or of {known}")
    first = EVALUATION_SEEDS + seed * MAX_TRIALS
    return tuple(
        Trial(disturbance=name, seed=first + k)
        for name in dict.fromkeys(names)
        for k in range(count)
    )


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


def from_json(data: Mapping[str, Any]) -> Evaluation:
    """The evaluation that to_json gave; videos stay names, pictures are gone.

    Raises:
        LookupError, TypeError, ValueError: it is none.
    """
    outcomes = []
    for one in data["trials"]:
        told = {**one, "choice": one["lifted_first"]}
        told["trial"] = Trial(disturbance=str(told.pop("disturbance")), seed=int(told.pop("seed")))
        del told["lifted_first"]
        outcomes.append(TrialOutcome(**told))
    parts = ("conditions", "trials", "instruction")
    facts = {name: value for name, value in data.items() if name not in parts}
    if not outcomes:
        raise ValueError("it has no trials")
    return Evaluation(facts=facts, outcomes=tuple(outcomes))


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


def task_table(evaluations: Sequence[Evaluation]) -> list[str]:
    """Lines of a plain table, one task a line, and the average: Figure 4.

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
            lines.append(_task_line(task, [c], paper))
        whole = PAPER_AVERAGE if conditions[0].disturbance == "none" else None
        lines.append(_task_line("average", conditions, whole))
    return lines


def _task_line(name: str, conditions: Sequence[ConditionSummary], paper: float | None) -> str:
    successes, trials = sum(c.successes for c in conditions), sum(c.trials for c in conditions)
    low, high = wilson_interval(successes, trials)
    ended = ", ".join(f"{why} {count}" for c in conditions for why, count in c.ended.items())
    rate = statistics.fmean(c.rate for c in conditions)
    return (
        f"{name:14} {f'{successes}/{trials}':>9} {rate:6.0%}  "
        f"{f'{low:.1%} to {high:.1%}':15} {'-' if paper is None else f'{paper:.0%}':15} "
        f"{ended if len(conditions) == 1 else ''}"
    ).rstrip()


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
    apart = ("trial", "thumbnails", "choice")
    told = {name: value for name, value in vars(outcome).items() if name not in apart}
    told["seconds"] = round(outcome.seconds, 3)
    return {**vars(outcome.trial), **told, "lifted_first": outcome.choice}
