"""Trials in which a policy drives and a person corrects it, kept as a dataset.

What is kept of a trial are its corrections, each an episode: the policy's last moments, whose
frames are marked as its own, then the person's, marked `evo1.intervention`. Must not import ROS.
"""

import functools
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from evo1_policy.paths import write_whole
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig, parse_robot
from evo1_policy.untrusted import read_json
from evo1_sim.env import STEP_NS, Evo1Env
from evo1_sim.experts import ExpertError
from evo1_sim.rehearsals import MAX_SEED
from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH
from evo1_training.datasets.conversion import WORK, write_simulated
from evo1_training.datasets.lerobot.encoding import encode_episode
from evo1_training.datasets.lerobot.schema import AlignedFrame, DatasetSchema
from evo1_training.datasets.worker_pool import run_all
from evo1_training.evaluation.corrections import Person, Rule, Vector, Watch
from evo1_training.evaluation.outcomes import EvaluationError
from evo1_training.evaluation.pilots import Pilot
from evo1_training.evaluation.rollouts import START_NS, Setup, make_pilot

RECORD = "trial.json"
_OWN = "own"  # name of a whole trial that the policy solved alone
TRIALS_EACH = 8  # at most for each correction that is wanted; a policy that needs none is good


@dataclass(frozen=True, kw_only=True)
class Correction:
    """One take-over that did what it was for.

    Attributes:
        why: the rule that called, or the code of what stopped the arm.
        at_s: since the trial began [s].
        seconds: how long the person drove [s].
        tool: where the tool was taken over (3,) [m].
        thing: where the thing to be taken was (3,) [m].
        frames: of the episode, what led to it included.
        driven: frames in which the person drove.
    """

    why: str
    at_s: float
    seconds: float
    tool: tuple[float, ...]
    thing: tuple[float, ...]
    frames: int
    driven: int


@dataclass(frozen=True, kw_only=True)
class CoachedTrial:
    """One trial: its scene, how it ended, what was corrected, and frames kept as its own."""

    seed: int
    solved: bool
    detail: str
    corrections: tuple[Correction, ...] = ()
    own_frames: int = 0

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of its episodes."""
        return (*map(str, range(len(self.corrections))), *([_OWN] if self.own_frames else []))


@dataclass(frozen=True, kw_only=True)
class Coaching:
    """What is tried and corrected.

    Attributes:
        setup: the policy and its task; its `report` and `keep` mean nothing here.
        disturbance: a name in tasks.DISTURBANCES.
        seed: of the first scene; below those of evaluations.
        wanted: corrections; the trials end with the one that has the last of them.
        root: of the dataset.
        rule: when the person takes over.
    """

    setup: Setup
    disturbance: str
    seed: int
    wanted: int
    root: Path
    rule: Rule = field(default_factory=Rule)

    def folder(self, seed: int) -> Path:
        """Of one trial's work."""
        return self.root / WORK / f"{seed:07d}"


def coach(
    asked: Coaching, *, workers: int, advance: Callable[[int], None]
) -> tuple[CoachedTrial, ...]:
    """Make trials until so many corrections are there, and the dataset of them.

    An unfinished one is gone on with: trials that were made stand in the dataset's `.work`.

    Args:
        asked: what.
        workers: processes.
        advance: told how many trials have ended.

    Returns:
        The trials in the order of their seeds; the same for any number of workers.

    Raises:
        EvaluationError: the policy needs no correction, or the expert cannot help it.
        CheckpointError: the checkpoint is damaged, or for another robot.
        OSError: the disk is full or gone.
    """
    seeds = range(asked.seed, min(asked.seed + TRIALS_EACH * asked.wanted, MAX_SEED + 1))
    made: list[CoachedTrial] = []
    run = functools.partial(_coached, asked)
    outcomes = run_all(run, seeds, workers=workers, advance=advance)
    try:
        for _, outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            made.append(outcome)
            if sum(len(trial.corrections) for trial in made) >= asked.wanted:
                break
    finally:
        outcomes.close()
        _bench.cache_clear()
    if not any(trial.corrections for trial in made):
        solved = sum(trial.solved for trial in made)
        raise EvaluationError(
            f"{len(made)} trials and no correction: {solved} solved by the policy alone, of the "
            f"last the simulation says: {made[-1].detail if made else 'no seeds are left'}"
        )
    schema = _schema(parse_robot(asked.setup.robot_text))
    kept = (asked.folder(trial.seed) / name for trial in made for name in trial.kept)
    write_simulated(asked.root, schema, kept)
    return tuple(made)


def _schema(robot: RobotConfig) -> DatasetSchema:
    sizes = {camera.name: (IMAGE_HEIGHT, IMAGE_WIDTH) for camera in robot.cameras}
    return DatasetSchema(
        interface=robot.interface, fps=round(robot.interface.rate_hz), image_sizes=sizes
    )


def _coached(asked: Coaching, seed: int, advance: Callable[[int], None]) -> CoachedTrial:
    """One trial, or what an earlier run left of it."""
    note = asked.folder(seed) / RECORD
    if note.is_file():
        trial = trial_from(read_json(note, what="record of a corrected trial"))
    else:
        trial = _bench(asked).run(seed)
        write_whole(note, json.dumps(asdict(trial)) + "\n", sync=False)
    advance(1)
    return trial


def trial_from(data: Any) -> CoachedTrial:
    """A trial from JSON, as asdict gives it."""
    corrections = tuple(
        Correction(**{**one, "tool": tuple(one["tool"]), "thing": tuple(one["thing"])})
        for one in data["corrections"]
    )
    return CoachedTrial(**{**data, "corrections": corrections})


@functools.lru_cache(maxsize=1)
def _bench(asked: Coaching) -> "_Bench":
    """The cell of this process."""
    return _Bench(asked)


class _Bench:
    """A cell, a policy and a person beside it."""

    def __init__(self, asked: Coaching) -> None:
        self.asked, self.rule = asked, asked.rule
        self.robot = parse_robot(asked.setup.robot_text)
        self.pilot: Pilot = make_pilot(asked.setup)
        self.env = Evo1Env(
            asked.setup.arm, asked.setup.task, max_steps=round(asked.setup.limit_s * 1e9 / STEP_NS)
        )

    def run(self, seed: int) -> CoachedTrial:
        """Make one trial; what it kept lies encoded in its folder."""
        folder = self.asked.folder(seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        frame, info = self.env.reset(seed=seed, options={"disturbance": self.asked.disturbance})
        words = self.asked.setup.instruction or self.env.instruction
        try:
            return _Course(self, seed, words).run(frame, info)
        except ExpertError as error:  # a scene that nobody can mend, such as a can that lies
            return CoachedTrial(seed=seed, solved=False, detail=f"given up: {error}")

    def encode(self, frames: list[AlignedFrame], seed: int, name: str, words: str) -> None:
        """Keep an episode."""
        what = "demonstration" if self.rule.at_once else "correction"
        encode_episode(
            frames,
            schema=_schema(self.robot),
            instruction=words,
            source=f"{what}/{self.asked.setup.task}/{self.asked.disturbance}/{seed}/{name}",
            folder=self.asked.folder(seed) / name,
        )


class _Course:
    """One trial from its reset to its end."""

    def __init__(self, bench: _Bench, seed: int, words: str) -> None:
        self._bench, self._seed, self._words = bench, seed, words
        self._env, self._pilot, self._rule = bench.env, bench.pilot, bench.rule
        self._person = Person(self._env.world, seed)
        self._lead = round(self._rule.lead_s * 1e9 / STEP_NS)
        self._frames: deque[AlignedFrame]
        self._driving: Iterator[Vector] | None = None
        self._open: Correction | None = None
        self._corrections: list[Correction] = []
        self._policy_drives()

    def run(self, frame: dict[str, Any], info: dict[str, Any]) -> CoachedTrial:
        """Go through the trial."""
        solved, over, step = False, False, 0
        while not (solved or over):
            now_ns = START_NS + step * STEP_NS
            state = frame["state"]
            target = self._target(frame, state, now_ns, step)
            if target is None:
                break
            self._frames.append(self._seen(frame, target, now_ns))
            frame, _, solved, over, info = self._env.step(target)
            step += 1
        if self._open is not None and solved:
            self._keep()
        own = list(self._frames) if self._rule.own and solved and not self._corrections else []
        if own:
            self._bench.encode(own, self._seed, _OWN, self._words)
        return CoachedTrial(
            seed=self._seed,
            solved=solved,
            detail=info["detail"],
            corrections=tuple(self._corrections),
            own_frames=len(own),
        )

    def _target(
        self, frame: dict[str, Any], state: Vector, now_ns: int, step: int
    ) -> Vector | None:
        """Where the joints go (D,) [rad], by whoever drives; None where the trial is given up."""
        if self._driving is None:
            images = {camera.name: frame[camera.name] for camera in self._bench.robot.cameras}
            target: Vector | None = self._pilot.act(images, state, now_ns)
            why = self._watch.look(self._person.tool, self._person.thing)
            why = why or self._pilot.stopped[0]
            if not why:
                return target
            if len(self._corrections) == self._rule.most:
                return None
            self._take_over(why, step)
        assert self._driving is not None
        target = next(self._driving, None)
        if target is not None:
            return target
        if not self._person.has_lifted:  # it drove to the end, or its grasp failed
            return None
        self._keep()
        self._policy_drives()
        return self._target(frame, state, now_ns, step)

    def _policy_drives(self) -> None:
        self._driving = None
        whole = self._rule.own and not self._corrections
        self._frames = deque(maxlen=None if whole else self._lead)
        self._pilot.begin(self._env.world, self._words)
        self._watch = Watch(self._person.course(), self._rule)

    def _take_over(self, why: str, step: int) -> None:
        person = self._person
        self._driving = person.demonstrate() if self._rule.at_once else person.drive()
        # Without an end: all of what the person does stays.
        self._frames = deque(list(self._frames)[-self._lead :] if self._lead else [])
        self._open = Correction(
            why=why,
            at_s=round(step * STEP_NS * 1e-9, 3),
            seconds=0.0,
            tool=tuple(np.round(person.tool, 4).tolist()),
            thing=tuple(np.round(person.thing, 4).tolist()),
            frames=0,
            driven=0,
        )

    def _keep(self) -> None:
        assert self._open is not None
        frames = list(self._frames)
        driven = sum(one.intervention for one in frames)
        self._bench.encode(frames, self._seed, str(len(self._corrections)), self._words)
        seconds = round(driven * STEP_NS * 1e-9, 3)
        done = replace(self._open, seconds=seconds, frames=len(frames), driven=driven)
        self._corrections.append(done)
        self._open = None

    def _seen(self, frame: dict[str, Any], target: Vector, now_ns: int) -> AlignedFrame:
        cameras = [camera.name for camera in self._bench.robot.cameras]
        return AlignedFrame(
            tick_ns=now_ns,
            images={name: frame[name] for name in cameras},
            state=frame["state"],
            action=np.asarray(target, dtype=np.float64),
            source_stamps_ns=dict.fromkeys((*cameras, JOINT_STREAM), now_ns),
            intervention=self._driving is not None,
        )
