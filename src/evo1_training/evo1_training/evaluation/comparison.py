"""Which policy is better, and which recipe: by the same scenes, and by seeds of training.

Trials of one policy are not independent of each other, so those of several trainings are never
thrown together: a recipe is judged by its trainings. Must not import ROS or torch.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evo1_policy.command_line import printable
from evo1_training.evaluation.outcomes import Z_95, Evaluation, EvaluationError

RESAMPLES = 10_000
_NAMES = ("first recipe", "second recipe")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two policies on the same scenes, under one disturbance.

    Attributes:
        disturbance: its name.
        policies: their names.
        only_first: scenes that the first solved and the second did not.
        only_second: the other way round.
        difference: rate of the second less that of the first.
        low: lower end of its interval, 95 % (Bonett and Price's for paired proportions).
        high: upper end.
        p_value: of McNemar's exact test, two-sided: how often policies that are as good as each
            other differ on as many scenes by as much or more.
    """

    disturbance: str
    policies: tuple[str, str]
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test, from the scenes on which two policies differ."""
    count, fewer = only_first + only_second, min(only_first, only_second)
    as_far: int = 2 * sum(math.comb(count, k) for k in range(fewer + 1))
    return min(1.0, as_far / int(2**count))


def compare(first: Evaluation, second: Evaluation) -> list[Comparison]:
    """Compare two policies scene by scene, one comparison for each disturbance.

    Raises:
        EvaluationError: they were not tried on the same scenes.
    """
    ours, theirs = ({o.trial: o.success for o in e.outcomes} for e in (first, second))
    if ours.keys() != theirs.keys():
        raise EvaluationError("policies that were tried on other scenes cannot be paired")
    found = []
    for name in dict.fromkeys(trial.disturbance for trial in ours):
        pairs = [(ours[t], theirs[t]) for t in ours if t.disturbance == name]
        lost, won = pairs.count((True, False)), pairs.count((False, True))
        smoothed = [(count + 1) / (len(pairs) + 2) for count in (won, lost)]
        centre = smoothed[0] - smoothed[1]
        spread = Z_95 * math.sqrt((sum(smoothed) - centre**2) / (len(pairs) + 2))
        found.append(
            Comparison(
                disturbance=name,
                policies=(str(first.facts["policy"]), str(second.facts["policy"])),
                only_first=lost,
                only_second=won,
                difference=(won - lost) / len(pairs),
                low=max(centre - spread, -1.0),
                high=min(centre + spread, 1.0),
                p_value=mcnemar_p(lost, won),
            )
        )
    return found


def comparison_lines(comparisons: Iterable[Comparison]) -> list[str]:
    """The comparisons for people."""
    lines = []
    for c in comparisons:
        lines += [
            f"{c.disturbance}: {printable(c.policies[1])} against {printable(c.policies[0])}: "
            f"{c.difference:+.0%} ({c.low:+.0%} to {c.high:+.0%}); solved by it alone "
            f"{c.only_second}, by the other alone {c.only_first}; "
            f"McNemar's exact p {c.p_value:.3f}"
        ]
    return lines


def better_p(won: int, lost: int) -> float:
    """One-sided exact p, from the scenes on which two policies differ.

    How often a policy that is no better than the other wins at least so many of them by itself.
    """
    count = won + lost
    return float(sum(math.comb(count, k) for k in range(won, count + 1)) / 2**count)


@dataclass(frozen=True, kw_only=True)
class RecipeComparison:
    """Two recipes, each trained with several seeds, on the same scenes under one disturbance.

    Attributes:
        disturbance: its name.
        rates: success of each training, of the first recipe and of the second.
        difference: mean of the second's less mean of the first's.
        low: lower end of its 95 % interval, by bootstrap over trainings and scenes.
        high: upper end.
    """

    disturbance: str
    rates: tuple[tuple[float, ...], tuple[float, ...]]
    difference: float
    low: float
    high: float


def compare_recipes(
    first: Sequence[Evaluation], second: Sequence[Evaluation], *, resamples: int = RESAMPLES
) -> list[RecipeComparison]:
    """Compare two recipes; one comparison for each disturbance.

    Each resample draws trainings of each recipe with replacement, and scenes for all of them, so
    that the interval holds what another training does and what other scenes do.

    Args:
        first: one evaluation of each training, at least two.
        second: likewise, on the same scenes.
        resamples: of the bootstrap, whose seed is fixed.

    Raises:
        EvaluationError: fewer than two trainings, or other scenes.
    """
    if min(len(first), len(second)) < 2:
        raise EvaluationError("a recipe is judged by two trainings or more")
    solved = [
        [{o.trial: o.success for o in e.outcomes} for e in recipe] for recipe in (first, second)
    ]
    scenes = solved[0][0].keys()
    if any(one.keys() != scenes for recipe in solved for one in recipe):
        raise EvaluationError("policies that were tried on other scenes cannot be compared")
    rng, found = np.random.default_rng(0), []
    for name in dict.fromkeys(trial.disturbance for trial in scenes):
        these = [trial for trial in scenes if trial.disturbance == name]
        # Of each recipe (S, N): training, scene.
        tables = [np.array([[one[t] for t in these] for one in r], float) for r in solved]
        picks = rng.integers(len(these), size=(resamples, len(these)))
        counts = np.stack([np.bincount(row, minlength=len(these)) for row in picks])  # (R, N)
        means = []
        for table in tables:
            of_each = counts @ table.T / len(these)  # (R, S)
            drawn = rng.integers(len(table), size=of_each.shape)
            means.append(np.take_along_axis(of_each, drawn, axis=1).mean(axis=1))
        low, high = np.quantile(means[1] - means[0], (0.025, 0.975))
        rates = [tuple(table.mean(axis=1).tolist()) for table in tables]
        found.append(
            RecipeComparison(
                disturbance=name,
                rates=(rates[0], rates[1]),
                difference=float(np.mean(rates[1]) - np.mean(rates[0])),
                low=float(low),
                high=float(high),
            )
        )
    return found


def recipe_lines(comparisons: Iterable[RecipeComparison]) -> list[str]:
    """The comparisons of recipes for people."""
    lines = []
    for c in comparisons:
        for name, rates in zip(_NAMES, c.rates, strict=True):
            each = ", ".join(f"{rate:.0%}" for rate in rates)
            lines.append(f"{c.disturbance}: {name}: {np.mean(rates):.0%} ({each})")
        few = min(map(len, c.rates))
        hint = "; so few trainings make it too narrow" if few < 5 else ""
        lines.append(
            f"{c.disturbance}: second against first: {c.difference:+.0%} "
            f"({c.low:+.0%} to {c.high:+.0%}, bootstrap over {few} trainings and scenes{hint})"
        )
    return lines
