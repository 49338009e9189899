import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_sim.rehearsals import MAX_SEED
from evo1_training.evaluation.comparison import compare, comparison_lines, mcnemar_p
from evo1_training.evaluation.outcomes import (
    EVALUATION_SEEDS,
    Evaluation,
    EvaluationError,
    Trial,
    TrialError,
    TrialOutcome,
    plan_trials,
    summarise,
    table,
    task_table,
    to_json,
    wilson_interval,
)


def outcome(
    seed,
    *,
    success,
    seconds=5.0,
    ended="time_up",
    disturbance="none",
    instruction="pick",
    choice=None,
):
    return TrialOutcome(
        trial=Trial(disturbance=disturbance, seed=seed),
        success=success,
        seconds=seconds,
        ended="solved" if success else ended,
        detail="",
        instruction=instruction,
        choice=choice,
    )


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (148, 160, 0.8735, 0.9566),
        (19, 20, 0.7639, 0.9911),
        (0, 20, 0.0, 0.1611),
        (20, 20, 0.8389, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_of_known_counts(successes, trials, low, high):
    assert wilson_interval(successes, trials) == (
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate_and_mirrors(counts):
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        wilson_interval(3, 2)


def test_a_summary_times_only_the_successes_and_counts_the_endings():
    summary = summarise(
        [
            outcome(0, success=True, seconds=6.0),
            outcome(1, success=True, seconds=8.0),
            outcome(2, success=False, seconds=30.0),
            outcome(3, success=False, seconds=1.0, ended="tracking_error"),
            outcome(4, success=False, seconds=30.0),
        ]
    )
    assert (summary.successes, summary.trials, summary.rate) == (2, 5, 0.4)
    assert (summary.seconds_median, summary.seconds_max) == (7.0, 8.0)
    assert summary.ended == {"time_up": 2, "tracking_error": 1}


def test_json_and_table_tell_the_conditions_in_order():
    evaluation = Evaluation(
        facts={"robot": "xarm6", "task": "can_into_box"},
        outcomes=(
            outcome(7, success=True, seconds=6.54321),
            outcome(7, success=False, disturbance="up10"),
        ),
    )
    data = json.loads(json.dumps(to_json(evaluation), allow_nan=False))
    assert data["robot"] == "xarm6"
    assert [c["disturbance"] for c in data["conditions"]] == ["none", "up10"]
    assert data["conditions"][1]["seconds_to_success_median"] is None
    assert data["trials"][0]["seconds"] == 6.543
    assert [t["instruction"] for t in data["trials"]] == ["pick", "pick"]
    assert data["instruction"] == "pick"
    lines = table(evaluation.conditions)
    assert lines[1].split()[:3] == ["none", "1/1", "100%"]
    assert lines[2].split()[-2:] == ["time_up", "1"]


def test_trials_that_were_told_different_things_have_no_instruction_in_common():
    told = [outcome(k, success=True, instruction=words) for k, words in enumerate(["a", "b"])]
    data = to_json(Evaluation(facts={}, outcomes=tuple(told)))
    assert data["instruction"] is None
    assert [trial["instruction"] for trial in data["trials"]] == ["a", "b"]


def test_what_was_lifted_first_is_counted_where_only_the_words_tell_what_to_take():
    made = ["told", "told", "another", "none"]
    outcomes = tuple(outcome(k, success=k == 0, choice=made[k]) for k in range(4))
    summary = summarise(outcomes)
    assert summary.choices == {"told": 2, "another": 1, "none": 1}
    assert "lifted first what it was told: 2/4" in table([summary])[-1]
    found = to_json(Evaluation(facts={}, outcomes=outcomes))
    assert found["conditions"][0]["lifted_first"] == {"told": 2, "another": 1, "none": 1}
    assert [trial["lifted_first"] for trial in found["trials"]] == made
    alone = summarise([outcome(0, success=True)])
    assert alone.choices == {}
    assert len(table([alone])) == 2


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (0, 5, 0.0625), (5, 0, 0.0625), (1, 9, 0.021484375)],
)
def test_mcnemars_exact_test_of_known_counts(only_first, only_second, p):
    assert mcnemar_p(only_first, only_second) == pytest.approx(p)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_mcnemars_p_is_a_probability_whoever_comes_first(first, second):
    assert 0.0 <= mcnemar_p(first, second) == mcnemar_p(second, first) <= 1.0


def solved(policy, *scenes, count=20, disturbance="none"):
    outcomes = (outcome(k, success=k in scenes, disturbance=disturbance) for k in range(count))
    return Evaluation(facts={"policy": policy}, outcomes=tuple(outcomes))


def test_two_policies_are_compared_by_the_scenes_that_one_of_them_solved():
    (found,) = compare(solved("a", 0, 1, 2), solved("b", *range(1, 9)))
    assert (found.only_first, found.only_second) == (1, 6)
    assert found.difference == pytest.approx(0.25)
    # Bonett and Price: (7 - 2) / 22, plus and minus 1.96 sqrt((9 / 22 - (5 / 22)^2) / 22).
    assert (found.low, found.high) == pytest.approx((-0.023, 0.477), abs=1e-3)
    assert found.p_value == pytest.approx(0.125)
    assert comparison_lines([found]) == [
        "none: b against a: +25% (-2% to +48%); solved by it alone 6, by the other alone 1; "
        "McNemar's exact p 0.125"
    ]


def test_policies_on_other_scenes_are_not_compared():
    with pytest.raises(EvaluationError, match="other scenes cannot be paired"):
        compare(solved("a", count=3), solved("b", count=4))


def test_the_seeds_of_an_evaluation_are_never_those_of_demonstrations():
    assert EVALUATION_SEEDS == MAX_SEED + 1 == 1_000_000
    assert plan_trials(2) == (
        Trial(disturbance="none", seed=1_000_000),
        Trial(disturbance="none", seed=1_000_001),
    )


def test_two_seeds_have_no_start_state_in_common():
    first = {trial.seed for trial in plan_trials(10_000, seed=3)}
    second = {trial.seed for trial in plan_trials(10_000, seed=4)}
    assert not first & second


def test_every_condition_has_the_same_seeds():
    trials = plan_trials(1, seed=2, disturb="background,up30,background")
    assert trials == (
        Trial(disturbance="background", seed=1_020_000),
        Trial(disturbance="up30", seed=1_020_000),
    )


def test_all_means_the_nine_rows_of_the_papers_table():
    names = [trial.disturbance for trial in plan_trials(1, disturb="all")]
    assert names == [
        *("none", "distractor", "background"),
        *("back10", "back20", "back30", "up10", "up20", "up30"),
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"count": 0}, "--trials 0"),
        ({"count": 10_001}, "--trials 10001"),
        ({"count": 1, "seed": -1}, "--seed -1"),
        ({"count": 1, "seed": 10**9}, "--seed 1000000000"),
        ({"count": 1, "disturb": "fog"}, "--disturb fog"),
    ],
)
def test_an_impossible_plan_names_the_option(arguments, named):
    with pytest.raises(TrialError, match=named):
        plan_trials(**arguments)


def of_task(task, solved):
    outcomes = tuple(outcome(k, success=each) for k, each in enumerate(solved))
    return Evaluation(facts={"task": task, "policy": "p"}, outcomes=outcomes)


def test_each_task_has_a_line_and_the_average_stands_beside_the_papers():
    solved = {"can_into_box": (True, True), "pour": (True, False), "can_stacking": (False, False)}
    assert task_table([of_task(task, each) for task, each in solved.items()]) == [
        "none             success   rate  95 % interval   paper, real arm failures",
        "can_into_box         2/2   100%  34.2% to 100.0% 95%",
        "pour                 1/2    50%  9.5% to 90.5%   -               time_up 1",
        "can_stacking         0/2     0%  0.0% to 65.8%   -               time_up 2",
        "average              3/6    50%  18.8% to 81.2%  78%",
    ]
