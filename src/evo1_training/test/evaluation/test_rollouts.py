import dataclasses

import pytest

from evo1_training.evaluation import rollouts
from evo1_training.evaluation.outcomes import SOLVED, plan_trials
from evo1_training.evaluation.pilots import ExpertPilot
from evo1_training.evaluation.rollouts import RolloutError, Setup, run_trials

EXPERT = Setup(arm="xarm6", task="can_into_box", limit_s=1.0)


def outcomes_of(setup, trials, workers=1):
    ended = []
    outcomes = list(run_trials(setup, trials, workers=workers, advance=ended.append))
    assert sum(ended) == len(trials)  # for the progress bar
    return outcomes


@pytest.mark.gl
def test_the_expert_solves_a_trial_and_the_video_shows_it(tmp_path):
    setup = Setup(arm="so100", task="cube_into_box", report=tmp_path, keep="all")
    (outcome,) = outcomes_of(setup, plan_trials(1))
    assert (outcome.success, outcome.ended) == (True, SOLVED)
    assert 3.0 < outcome.seconds < 15.0
    assert (tmp_path / outcome.video).stat().st_size > 10_000
    assert len(outcome.thumbnails) == 2
    assert outcome.choice is None


@pytest.mark.gl
def test_a_trial_tells_whether_what_was_lifted_first_was_what_the_words_named():
    setup = Setup(arm="xarm6", task="blue_can_into_box", keep="none")
    (outcome,) = outcomes_of(setup, plan_trials(1))
    assert (outcome.success, outcome.choice) == (True, "told")


@pytest.mark.gl
def test_a_trial_out_of_time_is_a_failure_and_only_failures_are_filmed(tmp_path):
    setup = dataclasses.replace(EXPERT, report=tmp_path)
    (outcome,) = outcomes_of(setup, plan_trials(1, disturb="background"))
    assert (outcome.success, outcome.ended) == (False, "time_up")
    assert outcome.seconds == pytest.approx(1.0, abs=0.04)
    assert outcome.video == "videos/background_1000000.mp4"
    none = dataclasses.replace(setup, keep="none")
    assert outcomes_of(none, plan_trials(1))[0].video == ""


@pytest.mark.gl
def test_the_outcomes_do_not_depend_on_the_number_of_workers():
    trials = plan_trials(1, disturb="none,up10")
    assert outcomes_of(EXPERT, trials, workers=2) == outcomes_of(EXPERT, trials)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"arm": "ur5"}, "no simulated arm 'ur5'"),
        ({"task": "cube_into_box"}, "known: can_into_box, can_stacking"),
        ({"latency_ms": -1}, "--latency-ms -1"),
        ({"jitter_ms": 101}, "--jitter-ms 101: expected 0 to the latency"),
        ({"camera_lag_ms": -1}, "--camera-lag-ms -1"),
        ({"limit_s": 0.5}, "--limit-s 0.5"),
        ({"execute_actions": 0}, "--execute-actions 0"),
    ],
)
def test_an_impossible_setup_is_refused_before_anything_starts(change, named):
    setup = dataclasses.replace(EXPERT, **change)
    with pytest.raises(RolloutError, match=named):
        outcomes_of(setup, plan_trials(1))


@pytest.mark.gl
def test_a_lagging_camera_shows_what_was_there_some_frames_ago(monkeypatch):
    seen = []

    class Looker(ExpertPilot):
        def act(self, images, state, now_ns):
            seen.append(images["image_1"].copy())
            return super().act(images, state, now_ns)

    monkeypatch.setattr(rollouts, "make_pilot", lambda setup: Looker())
    for lag_ms in (0.0, 100.0):
        outcomes_of(dataclasses.replace(EXPERT, camera_lag_ms=lag_ms), plan_trials(1))
    now, late = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert (late[0] == now[0]).all()
    assert all((late[k] == now[k - 3]).all() for k in range(3, 30))
    assert not (now[20] == now[17]).all()
