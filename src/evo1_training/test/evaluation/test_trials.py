import pytest

from evo1_sim.demonstrations import MAX_SEED
from evo1_training.evaluation.trials import EVALUATION_SEEDS, Trial, TrialError, plan_trials


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
