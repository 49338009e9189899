"""Demonstrations of a task by the scripted expert, with pushes and noise that it recovers from.

Letters: T ticks, N windows, V views, S image size, H horizon, D joints.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.model.preprocessing import resize_image
from evo1_sim.experts import RATE_HZ, STEP_NS, Expert, ExpertError, Waypoint
from evo1_sim.kinematics import InverseKinematicsError, Kinematics
from evo1_sim.rendering import CameraRenderer
from evo1_sim.world import World

Vector = npt.NDArray[np.float64]

STRIDE = 4  # ticks between two windows
STAY_TICKS = 24  # after the end of the plan
PUSH_RATE = 0.22  # of the stages that may be pushed
PUSH_M = 0.09
NOISY_SHARE = 0.5  # of the episodes
NOISE_RAD = 0.02
SIZES = ((160, 120), (160, 120), (320, 240))  # what is rendered, drawn per episode
# Stage of the expert -> where it begins again after a push; the others are never pushed.
RECOVERY = {0: 0, 1: 0, 3: 3, 4: 4, 7: 7}


@dataclass(kw_only=True)
class Recording:
    """One episode while it runs; `pushed` marks ticks that no policy should imitate."""

    ticks: list[Vector] = field(default_factory=list)  # clean targets (D,)
    pushed: list[bool] = field(default_factory=list)
    at: list[int] = field(default_factory=list)  # tick of each window
    images: list[npt.NDArray[np.uint8]] = field(default_factory=list)  # (V, 3, S, S)
    states: list[Vector] = field(default_factory=list)  # (D,)
    places: list[Vector] = field(default_factory=list)  # (9,): can, box, tool [m]


class Demonstrator:
    """Records episodes of one arm and task at image size S."""

    def __init__(self, arm: str, task: str, *, size: int) -> None:
        self._world = World(arm, task=task)
        self._tool = Kinematics(self._world.arm, self._world.model)
        self._renderers = {
            shape: CameraRenderer(self._world, width=shape[0], height=shape[1])
            for shape in set(SIZES)
        }
        self._size = size

    def record(self, seed: int) -> Recording | None:
        """One episode; None if it did not solve the task."""
        self._world.reset(seed=seed)
        self._rng = np.random.default_rng((seed, 1))
        self._renderer = self._renderers[SIZES[self._rng.integers(len(SIZES))]]
        self._phase = int(self._rng.integers(STRIDE))
        noisy = self._rng.random() < NOISY_SHARE
        self._noise_rad = self._rng.uniform(0.25, 1.0) * NOISE_RAD * noisy
        self._noise = np.zeros(len(self._world.joint_names))
        self._recording = Recording()
        self._clean = self._world.targets
        expert = Expert(self._world)
        waypoints = expert._waypoints()
        stage, pushes = 0, 0
        while stage < len(waypoints):
            piece = expert._move(self._clean, waypoints[stage])
            push = stage in RECOVERY and pushes < 3 and self._rng.random() < PUSH_RATE
            cut = int(self._rng.uniform(0.15, 0.95) * len(piece)) if push else len(piece)
            for target in piece[:cut]:
                self._tick(target, pushed=False)
            if push:
                self._push(waypoints[stage], loose=stage < 2)
                pushes += 1
            stage = RECOVERY[stage] if push else stage + 1
        for _ in range(STAY_TICKS):
            self._tick(self._clean, pushed=False)
        return self._recording if self._world.task_status().success else None

    def _push(self, waypoint: Waypoint, *, loose: bool) -> None:
        """Move the tool somewhere else, and the gripper too where nothing is held."""
        pose = self._tool.forward(self._clean)
        offset = self._rng.uniform(-PUSH_M, PUSH_M, 3)
        low = 0.15 if loose else pose.position[2]  # never down onto the can
        position = pose.position + offset
        position[2] = np.clip(position[2], low, max(low, 0.34))
        try:
            goal = self._tool.solve(position, start=self._clean, rotation=pose.rotation)
        except InverseKinematicsError:
            return
        if loose and self._rng.random() < 0.5:
            goal[-1] = self._rng.uniform(0.0, 0.6)
        count = int(self._rng.uniform(0.35, 0.7) * RATE_HZ)
        start = self._clean
        for k in range(1, count + 1):
            s = k / count
            self._tick(start + s * s * (3 - 2 * s) * (goal - start), pushed=True)

    def _tick(self, target: Vector, *, pushed: bool) -> None:
        record = self._recording
        tick = len(record.ticks)
        if not pushed and tick % STRIDE == self._phase:
            self._observe(tick)
        record.ticks.append(target)
        record.pushed.append(pushed)
        self._clean = target
        self._noise = 0.85 * self._noise + 0.53 * self._noise_rad * self._rng.normal(
            size=len(target)
        )
        self._noise[-1] = 0
        self._world.move(target + self._noise, STEP_NS)

    def _observe(self, tick: int) -> None:
        record, world, renderer = self._recording, self._world, self._renderer
        renderer.capture()
        views = [
            resize_image(renderer.render(camera), self._size).numpy()
            for camera in renderer.cameras
        ]
        record.at.append(tick)
        record.images.append(np.stack(views))
        record.states.append(world.joint_positions())
        cell = world.cell
        tool = self._tool.forward(world.joint_positions()).position
        record.places.append(np.concatenate([cell.position("can"), cell.position("box"), tool]))


def windows(recording: Recording, horizon: int) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of an episode: images (N, V, 3, S, S), states (N, D), actions (N, H, D), mask (N, H).

    The mask ends where a push begins; the last target repeats beyond the end.
    """
    ticks = np.array(recording.ticks)
    pushed = np.array(recording.pushed)
    rows = np.array(recording.at)[:, None] + np.arange(horizon)  # (N, H)
    inside = np.minimum(rows, len(ticks) - 1)
    return {
        "images": np.array(recording.images, np.uint8),
        "states": np.array(recording.states, np.float32),
        "actions": ticks[inside].astype(np.float32),
        "mask": ~np.logical_or.accumulate(pushed[inside], axis=1),
        "places": np.array(recording.places, np.float32),
    }


def write_shard(path: Path, arm: str, task: str, seeds: range, size: int, horizon: int) -> int:
    """Record these seeds into one .npz; returns how many episodes solved the task."""
    demonstrator = Demonstrator(arm, task, size=size)
    episodes = []
    for seed in seeds:
        try:
            recording = demonstrator.record(seed)
        except ExpertError:  # pushed to where the expert does not get back from
            continue
        if recording is not None:
            episodes.append(windows(recording, horizon))
    if episodes:
        arrays = {key: np.concatenate([e[key] for e in episodes]) for key in episodes[0]}
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, count=len(episodes), **arrays)  # type: ignore[arg-type]
        partial.rename(path)
    return len(episodes)
