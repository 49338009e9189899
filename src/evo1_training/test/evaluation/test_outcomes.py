import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_training.evaluation.outcomes import (
    Evaluation,
    TrialOutcome,
    summarise,
    table,
    to_json,
    wilson_interval,
)
from evo1_training.evaluation.trials import Trial


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
