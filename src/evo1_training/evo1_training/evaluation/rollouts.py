"""Trials in the simulated cell, as fast as this machine goes, in several processes.

Must not import ROS; torch comes with the policy, where there is one.
"""

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from evo1_policy.control import reference
from evo1_policy.control.signals import ExecutionMode, LoopSettings
from evo1_policy.robot_config import RobotConfig, parse_robot
from evo1_sim.env import STEP_NS, Evo1Env
from evo1_sim.experts import ExpertError
from evo1_sim.tasks import TASKS
from evo1_training.datasets.worker_pool import run_all
from evo1_training.evaluation.outcomes import SOLVED, TIME_UP, Choice, Trial, TrialOutcome
from evo1_training.evaluation.pilots import ExpertPilot, Images, Pilot, PolicyPilot
from evo1_training.evaluation.videos import Image, TrialVideo, thumbnail

START_NS = 1_000 * STEP_NS  # of each trial's clock: on the grid of chunks, and not zero
VIDEOS = "videos"

Keep = Literal["none", "failures", "all"]


class RolloutError(ValueError):
    """A set-up that cannot run; the message names the choice and what was expected."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is evaluated and how; every worker process builds its own cell from it.

    Attributes:
        arm: 'xarm6' or 'so100'.
        task: its name.
        instruction: what the policy is told; empty: the task's own words.
        checkpoint: the policy's directory; None: the scripted expert.
        robot_text: text of the robot file; empty with the expert.
        reading: what else Policy.load is told of a folder of others, as pairs.
        device: torch's.
        latency_ms: simulated time from a frame to its chunk [ms].
        jitter_ms: by so much each of them is longer or shorter, drawn by the scene's seed [ms].
        camera_lag_ms: how old what a picture shows is when it is stamped, as with a driver that
            stamps on arrival, in whole frames [ms].
        execute_actions: of each chunk; None: as the checkpoint says, else half of it.
        mode: how chunks follow one another.
        smoothing_rad: how far an action may be moved to take noise out [rad].
        limit_s: a trial without success ends then [s].
        report: folder of the report, which takes the videos; None: neither.
        keep: which videos.
    """

    arm: str
    task: str
    instruction: str = ""
    checkpoint: Path | None = None
    robot_text: str = ""
    reading: tuple[tuple[str, Any], ...] = ()
    device: str = "auto"
    latency_ms: float = 100.0
    jitter_ms: float = 0.0
    camera_lag_ms: float = 0.0
    execute_actions: int | None = None
    mode: ExecutionMode = ExecutionMode.REPLACE
    smoothing_rad: float = LoopSettings.smoothing_rad
    limit_s: float = 30.0
    report: Path | None = None
    keep: Keep = "failures"

    def check(self) -> None:
        """Look at the choices before anything is started.

        Raises:
            RolloutError: one cannot be.
        """
        if self.arm not in TASKS:
            raise RolloutError(f"no simulated arm '{self.arm}'; known: {', '.join(TASKS)}")
        tasks = [task.name for task in TASKS[self.arm]]
        if self.task not in tasks:
            raise RolloutError(f"no task '{self.task}' for {self.arm}; known: {', '.join(tasks)}")
        if not 0 <= self.latency_ms <= 5000:
            raise RolloutError(f"--latency-ms {self.latency_ms:g}: expected 0 to 5000")
        if not 0 <= self.jitter_ms <= self.latency_ms:
            raise RolloutError(f"--jitter-ms {self.jitter_ms:g}: expected 0 to the latency")
        if not 0 <= self.camera_lag_ms <= 1000:
            raise RolloutError(f"--camera-lag-ms {self.camera_lag_ms:g}: expected 0 to 1000")
        if not 0 <= self.smoothing_rad <= reference.MOST_RAD:
            raise RolloutError(
                f"--smoothing-rad {self.smoothing_rad:g}: expected 0 to {reference.MOST_RAD:g}"
            )
        if not 1 <= self.limit_s <= 600:
            raise RolloutError(f"--limit-s {self.limit_s:g}: expected 1 to 600")
        if self.execute_actions is not None and self.execute_actions < 1:
            raise RolloutError(f"--execute-actions {self.execute_actions}: expected 1 or more")
        if self.checkpoint is not None and parse_robot(self.robot_text).step_ns != STEP_NS:
            raise RolloutError("the simulation steps at 30 Hz; the robot file has another rate_hz")


def run_trials(
    setup: Setup,
    trials: Sequence[Trial],
    *,
    workers: int,
    advance: Callable[[int], None],
    apart: bool = False,
) -> Iterator[TrialOutcome]:
    """Run the trials; the outcomes do not depend on the number of workers.

    Args:
        setup: what is evaluated.
        trials: in the order of the outcomes.
        workers: processes; 1: this one.
        advance: told how many trials have ended.
        apart: one worker is a process of its own, too.

    Raises:
        RolloutError: the set-up cannot run.
        CheckpointError: the checkpoint is damaged, or for another robot.
        RenderingError: no GL backend works here.
        BrokenProcessPool: a worker was killed, as Linux does where memory runs out.
    """
    setup.check()
    if setup.report is not None:
        (setup.report / VIDEOS).mkdir(parents=True, exist_ok=True)
    run = functools.partial(_run_in_worker, setup)
    try:
        for _, outcome in run_all(run, trials, workers=workers, advance=advance, apart=apart):
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
    finally:
        if _bench.cache_info().currsize:
            _bench(setup).close()
            _bench.cache_clear()


class Glance(Mapping[str, Image]):
    """The images of one step, rendered only if somebody looks before the next step.

    Rendering is most of a trial's time, and a policy looks at one frame in twenty.
    """

    def __init__(self, env: Evo1Env) -> None:
        self._env = env
        self._images: dict[str, Image] = {}

    def __getitem__(self, camera: str) -> Image:
        return self._seen()[camera]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen())

    def __len__(self) -> int:
        return len(self._seen())

    def _seen(self) -> dict[str, Image]:
        if not self._images:
            self._images = self._env.images()
        return self._images


class Bench:
    """A cell and who moves its arm; makes one trial after the other.

    Args:
        setup: what is evaluated.

    Raises:
        CheckpointError: the checkpoint is damaged, or for another robot.
        RenderingError: no GL backend works here.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._pilot = make_pilot(setup)
        max_steps = math.ceil(setup.limit_s * 1e9 / STEP_NS)
        self._env = Evo1Env(setup.arm, setup.task, max_steps=max_steps, with_images=False)

    def run(self, trial: Trial) -> TrialOutcome:
        """Make one trial."""
        folder, keep = self._setup.report, self._setup.keep
        if folder is None or keep == "none":
            return self._run(trial, None)
        path = folder / VIDEOS / f"{trial.disturbance}_{trial.seed}.mp4"
        video = TrialVideo(path, rate_hz=1e9 / STEP_NS)
        outcome = None
        try:
            outcome = self._run(trial, video)
        finally:
            video.close(keep=_kept(outcome, keep))
        return replace(outcome, video=f"{VIDEOS}/{path.name}") if _kept(outcome, keep) else outcome

    @property
    def _instruction(self) -> str:
        """What the policy is told: the set-up's words, or the task's own."""
        return self._setup.instruction or self._env.instruction

    def close(self) -> None:
        """Free the GL context."""
        self._env.close()

    def _run(self, trial: Trial, video: TrialVideo | None) -> TrialOutcome:
        env, pilot = self._env, self._pilot
        frame, info = env.reset(seed=trial.seed, options={"disturbance": trial.disturbance})
        first = env.images()["image_1"]
        try:
            pilot.begin(env.world, self._instruction)
        except ExpertError as error:
            return self._outcome(trial, 0, "no_plan", str(error))
        solved, over, steps, code, message = False, False, 0, "", ""
        taken = ""
        lag = round(self._setup.camera_lag_ms * 1e6 / STEP_NS)
        seen: deque[Images] = deque(maxlen=lag + 1)
        while not (solved or over or code):
            seen.append(env.images() if lag else Glance(env))  # a glance only sees what is now
            images = seen[0]
            if video is not None:
                video.add(images)
            target = pilot.act(images, frame["state"], START_NS + steps * STEP_NS)
            frame, _, solved, over, info = env.step(target)
            steps += 1
            taken = taken or env.world.lifted()
            code, message = pilot.stopped
        ended = SOLVED if solved else code or TIME_UP
        detail = info["detail"] if solved or not code else message
        outcome = replace(self._outcome(trial, steps, ended, detail), choice=self._choice(taken))
        if self._setup.report is None:
            return outcome
        return replace(outcome, thumbnails=(thumbnail(first), thumbnail(env.images()["image_1"])))

    def _choice(self, taken: str) -> Choice | None:
        """What it took first, where only the words tell what to take."""
        task = self._env.world.task
        if not task.choices:
            return None
        return "told" if taken == task.target else "another" if taken else "none"

    def _outcome(self, trial: Trial, steps: int, ended: str, detail: str) -> TrialOutcome:
        status = self._pilot.status
        took_ms = self._pilot.inference_ms
        return TrialOutcome(
            trial=trial,
            success=ended == SOLVED,
            seconds=steps * STEP_NS * 1e-9,
            ended=ended,
            detail=detail,
            instruction=self._instruction,
            chunks=status.chunks_accepted if status else 0,
            holds=status.holds if status else 0,
            interventions=status.interventions if status else 0,
            inference_ms=None if took_ms is None else round(took_ms, 2),
        )


def make_pilot(setup: Setup) -> Pilot:
    """Who moves the arm: the set-up's policy, loaded into this process, or the expert.

    Raises:
        CheckpointError: the checkpoint is damaged, or for another robot.
    """
    if setup.checkpoint is None:
        return ExpertPilot()
    from evo1_policy.policy import Policy  # late: torch takes seconds to import

    robot: RobotConfig = parse_robot(setup.robot_text)
    policy = Policy.load(
        setup.checkpoint, robot=robot, device=setup.device, threads=1, **dict(setup.reading)
    )
    settings = LoopSettings(
        execute_actions=setup.execute_actions or policy.execute_actions,
        mode=setup.mode,
        smoothing_rad=setup.smoothing_rad,
    )
    return PolicyPilot(
        policy,
        robot,
        latency_ns=round(setup.latency_ms * 1e6),
        jitter_ns=round(setup.jitter_ms * 1e6),
        settings=settings,
    )


@functools.lru_cache(maxsize=1)
def _bench(setup: Setup) -> Bench:
    """The cell of this process."""
    return Bench(setup)


def _run_in_worker(setup: Setup, trial: Trial, advance: Callable[[int], None]) -> TrialOutcome:
    outcome = _bench(setup).run(trial)
    advance(1)
    return outcome


def _kept(outcome: TrialOutcome | None, keep: Keep) -> bool:
    return outcome is not None and (keep == "all" or not outcome.success)
