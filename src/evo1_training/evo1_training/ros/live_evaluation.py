"""Trials on a system that runs, over its topics: the real node, DDS and controllers' timing.

For each trial: bring the policy to rest, reset the simulation, run the policy's action until the
simulation reports success or the time is over.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evo1_msgs.action import RunPolicy
from evo1_msgs.msg import PolicyStatus, TaskStatus
from tqdm import tqdm

from evo1_policy.control.motion import SETTLE_NS
from evo1_sim.tasks import TASKS
from evo1_training.evaluation.outcomes import (
    SOLVED,
    TIME_UP,
    EvaluationError,
    Trial,
    TrialOutcome,
)
from evo1_training.ros.live_cell import LiveCell

# Simulated time after a reset. The last run's stop ends within a second, and SETTLE_NS longer the
# policy takes the arm to be where it stopped, not where the reset put it.
SETTLE_S = 1.1 + SETTLE_NS / 1e9
OVERTIME_S = 10.0  # that the policy may take to end a run that is over


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is tried.

    Attributes:
        task: its name.
        instruction: what the policy is told.
        limit_s: a trial without success ends then [s].
    """

    task: str
    instruction: str
    limit_s: float


def evaluate_running(
    trials: Sequence[Trial],
    *,
    task: str,
    instruction: str,
    limit_s: float,
    robot: str = "",
    namespace: str = "",
    timeout_s: float = 15.0,
) -> tuple[dict[str, str], tuple[TrialOutcome, ...]]:
    """Make trials on the running system.

    Args:
        trials: in the order of the outcomes.
        task: its name; empty: the one that runs.
        instruction: what the policy is told; empty: the task's own words.
        limit_s: a trial without success ends then [s].
        robot: its name, checked; empty: whichever runs.
        namespace: of the arm.
        timeout_s: how long to wait for anybody to answer [s].

    Returns:
        Facts of what runs, and the outcomes.

    Raises:
        EvaluationError: a part of the system is missing or refuses; names the launch command.
    """
    with LiveCell(namespace=namespace, timeout_s=timeout_s) as cell:
        policy = cell.connect()
        if robot and robot != policy.robot:
            raise EvaluationError(f"--robot {robot}: the system that runs is of '{policy.robot}'")
        task = task or cell.task.task
        words = instruction or _own_words(policy.robot, task)
        request = Request(task=task, instruction=words, limit_s=limit_s)
        facts = {
            "robot": policy.robot,
            "task": task,
            "policy": "the node that runs",
            "model_hash": policy.model_hash,
        }
        bar = tqdm(trials, unit="trial", desc=task, file=sys.stderr)
        return facts, tuple(run_trial(cell, trial, request) for trial in bar)


def run_trial(cell: LiveCell, trial: Trial, request: Request) -> TrialOutcome:
    """Make one trial.

    Raises:
        EvaluationError: see evaluate_running.
    """
    cell.bring_to_rest()
    cell.disturb(trial.disturbance)
    cell.reset(request.task, trial.seed)
    cell.wait(
        lambda: cell.task.seed == trial.seed and cell.task.elapsed_s >= SETTLE_S,
        f"sim_robot/task_status of seed {trial.seed}",
    )
    before, began_s = cell.policy, cell.task.elapsed_s
    goal = RunPolicy.Goal(instruction=request.instruction, duration_s=request.limit_s)
    run = cell.run_policy(goal)
    solved: list[TaskStatus] = []
    finished = _until_over(cell, run.result.done, solved, request.limit_s)
    if solved or not finished:
        run.cancel()
        cell.wait(run.result.done, "the end of policy/run_policy")
    last = solved[0] if solved else cell.task
    result = run.result.result().result
    return TrialOutcome(
        trial=trial,
        success=bool(solved),
        seconds=max(0.0, last.elapsed_s - began_s),
        ended=SOLVED if solved else _ending(result),
        detail=last.detail if solved or not result.reason else result.reason,
        instruction=request.instruction or cell.policy.instruction,
        chunks=int(result.chunks),
        holds=_grown(before, cell.policy, "holds"),
        interventions=_grown(before, cell.policy, "safety_interventions"),
        inference_ms=round(float(cell.policy.inference_ms_p50), 2),
    )


def _until_over(
    cell: LiveCell, done: Callable[[], bool], solved: list[TaskStatus], limit_s: float
) -> bool:
    """Watch until the run is over, or the task solved; whether the run is over."""

    def over() -> bool:
        if cell.task.success:
            solved.append(cell.task)
        return bool(solved) or done()

    cell.wait(over, "the end of policy/run_policy", timeout_s=limit_s + OVERTIME_S)
    return done()


def _own_words(robot: str, task: str) -> str:
    """The instruction of a task; empty, which keeps the policy's present one, if it is unknown."""
    return next((known.instruction for known in TASKS.get(robot, ()) if known.name == task), "")


def _ending(result: Any) -> str:
    """Why a run without success ended."""
    return TIME_UP if result.reason_code in ("finished", "cancelled") else str(result.reason_code)


def _grown(before: PolicyStatus, after: PolicyStatus, counter: str) -> int:
    return max(0, int(getattr(after, counter)) - int(getattr(before, counter)))
