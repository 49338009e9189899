"""The paper's Figure 4 for the simulation."""

from evo1_training.evaluation.outcomes import Evaluation, Trial, TrialOutcome
from evo1_training.evaluation.task_table import task_table


def evaluation(task, solved):
    outcomes = tuple(
        TrialOutcome(
            trial=Trial(disturbance="none", seed=1_000_000 + k),
            success=success,
            seconds=10.0,
            ended="solved" if success else "time_up",
            detail="",
            instruction="",
        )
        for k, success in enumerate(solved)
    )
    return Evaluation(facts={"task": task, "policy": "p"}, outcomes=outcomes)


def test_each_task_has_a_line_and_the_average_stands_beside_the_papers():
    solved = {"can_into_box": (True, True), "pour": (True, False), "can_stacking": (False, False)}
    assert task_table([evaluation(task, each) for task, each in solved.items()]) == [
        "none             success   rate  95 % interval   paper, real arm failures",
        "can_into_box         2/2   100%  34.2% to 100.0% 95%",
        "pour                 1/2    50%  9.5% to 90.5%   -               time_up 1",
        "can_stacking         0/2     0%  0.0% to 65.8%   -               time_up 2",
        "average              3/6    50%  18.8% to 81.2%  78%",
    ]
