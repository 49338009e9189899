"""Trials in simulation between two steps of a training: how often its policy does the task.

In processes of their own, which see the saved policy as `evaluate` does: neither memory nor
threads nor an OpenGL that does not work reach the training. Must not import ROS.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from evo1_policy.robot_config import RobotConfig
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.train_config import TrainConfig

SEED = 1  # the scenes of `evaluate --seed 1`: its default judges on others


class Rollouts:
    """The same scenes for every checkpoint of a run.

    Raises:
        TrainConfigError: the robot or the task is not simulated, or there are too many trials.
    """

    def __init__(self, config: TrainConfig, robot: RobotConfig | None) -> None:
        self._every = config.rollouts.every
        if not self._every:
            return
        if robot is None:
            raise TrainConfigError(
                "rollouts.every: a benchmark is not tried while training; take 0, and evaluate "
                "--suite afterwards"
            )
        # Lazily: MuJoCo, which a machine that only trains may not have.
        from evo1_sim.tasks import TASKS
        from evo1_training.evaluation.outcomes import TrialError, plan_trials
        from evo1_training.evaluation.rollouts import RolloutError, Setup

        task = config.rollouts.task or next((t.name for t in TASKS.get(robot.name, ())), "")
        self._setup = Setup(
            arm=robot.name, task=task, robot_text=robot.text, checkpoint=Path(),
            device=config.device,
        )  # fmt: skip
        try:
            self._trials = plan_trials(config.rollouts.trials, seed=SEED)
            self._setup.check()
        except (RolloutError, TrialError) as error:
            raise TrainConfigError(f"rollouts: {error}; rollouts.every=0 does without") from error

    def due(self, step: int, steps: int) -> bool:
        """Whether the policy of a step of so many is tried."""
        return bool(self._every and step and (step == steps or step % self._every == 0))

    def success(self, policy: Path, keep_on: Callable[[], None]) -> float:
        """Share of the scenes that a saved policy solves, 0 to 1.

        Args:
            policy: its folder.
            keep_on: called many times a second; what it raises ends the trials.

        Raises:
            Exception: whatever keeps the trials from being run; see run_trials.
        """
        from evo1_training.evaluation.rollouts import run_trials
        from evo1_training.evaluation.workers import fitting_workers

        setup = replace(self._setup, checkpoint=policy)
        workers = fitting_workers(len(self._trials), policy, device=setup.device)
        outcomes = run_trials(
            setup, self._trials, workers=workers, advance=lambda count: keep_on(), apart=True
        )
        return sum(outcome.success for outcome in outcomes) / len(self._trials)
