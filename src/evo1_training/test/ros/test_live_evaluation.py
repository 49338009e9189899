import pytest

pytestmark = pytest.mark.ros


@pytest.fixture
def system():
    from stand_in_system import StandInSystem

    running = StandInSystem()
    yield running
    running.close()


def evaluate(disturb="none", count=1, *, task="", limit_s=2.0, timeout_s=10.0, robot=""):
    from evo1_training.evaluation.outcomes import plan_trials
    from evo1_training.ros.live_evaluation import evaluate_running

    return evaluate_running(
        plan_trials(count, disturb=disturb),
        task=task,
        instruction="",
        limit_s=limit_s,
        robot=robot,
        timeout_s=timeout_s,
    )


def test_a_success_ends_the_trial_and_the_next_one_is_reset(system):
    facts, (first, second) = evaluate(count=2)
    assert facts["robot"] == "xarm6"
    assert facts["task"] == "can_into_box"
    assert (first.success, first.ended, first.chunks) == (True, "solved", 7)
    assert 0.2 < first.seconds < 2.0
    assert (second.success, second.ended) == (False, "time_up")
    assert second.detail == "the can stands"
    assert second.instruction == "pick up the can and put it into the white box"
    run = "run 2.0 pick up the can and put it into the white box"
    assert system.calls == [
        *("stop", "clear_stop", "disturb none", "reset can_into_box 1000000", run),
        *("disturb none", "reset can_into_box 1000001", run),
    ]


def test_a_stop_of_the_policy_ends_the_trial_with_its_reason(system):
    system.ending, system.solvable = "tracking_error", set()
    _, (outcome,) = evaluate("up10")
    assert (outcome.success, outcome.ended) == (False, "tracking_error")
    assert outcome.detail == "joint1 met a wall"
    assert "disturb up10" in system.calls


def test_a_refusal_says_who_refuses(system):
    from evo1_training.evaluation.outcomes import EvaluationError

    with pytest.raises(EvaluationError, match="refuses to reset: no such task"):
        evaluate(task="unknown")
    system.accepts = False
    with pytest.raises(EvaluationError, match="the policy refuses to run"):
        evaluate()


def test_another_robot_than_the_one_that_runs_is_refused(system):
    from evo1_training.evaluation.outcomes import EvaluationError

    with pytest.raises(EvaluationError, match="the system that runs is of 'xarm6'"):
        evaluate(robot="so100")


def test_a_stopped_policy_is_left_alone(system):
    from evo1_training.evaluation.outcomes import EvaluationError

    system.state = 4
    with pytest.raises(EvaluationError, match="evo1 clear-stop"):
        evaluate()
    assert system.calls == []


def test_where_nothing_runs_the_error_names_the_launch_command():
    from evo1_training.evaluation.outcomes import EvaluationError

    with pytest.raises(EvaluationError, match=r"sim_robot/task_status.*xarm6\.launch\.py"):
        evaluate(timeout_s=0.5)
