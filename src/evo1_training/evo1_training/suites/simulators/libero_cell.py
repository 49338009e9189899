"""LIBERO as the authors' client makes and sees it. Runs in the suites' environment."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from libero.libero import benchmark, get_libero_path
from libero.libero.envs import OffScreenRenderEnv

SIDE = 448  # pixels of both cameras
IDLE = 10  # steps before an episode, in which things come to rest
CAMERAS = ("agentview_image", "robot0_eye_in_hand_image")

Array = npt.NDArray[Any]


class Cell:
    """One task at a time; `open`, then `reset` and `step`."""

    def __init__(self) -> None:
        self._env: Any = None
        self._states: Array = np.zeros(0)
        self._last: dict[str, Array] = {}
        self._steps = 0

    def tasks(self, suite: str) -> list[tuple[str, str]]:
        """Name and words of each task of a suite."""
        suites = benchmark.get_benchmark_dict()
        return [(task.name, str(task.language)) for task in suites[suite]().tasks]

    def open(self, suite: str, task: int, seed: int) -> int:
        """Make a task's environment, which takes ten seconds and more.

        Returns:
            How many initial states the task has.
        """
        chosen = benchmark.get_benchmark_dict()[suite]()
        facts = chosen.get_task(task)
        file = Path(get_libero_path("bddl_files")) / facts.problem_folder / facts.bddl_file
        if self._env is not None:
            self._env.close()
        self._env = OffScreenRenderEnv(
            bddl_file_name=file, camera_heights=SIDE, camera_widths=SIDE
        )
        self._env.seed(seed)
        self._states = chosen.get_task_init_states(task)
        return len(self._states)

    def reset(self, episode: int) -> dict[str, Any]:
        """Start an episode from its initial state.

        Returns:
            What is seen after the idle steps, as `step` tells it.
        """
        self._env.reset()
        self._steps = 0
        observation = self._env.set_init_state(self._states[episode])
        for _ in range(IDLE):
            observation, *_ = self._env.step([0.0] * 7)
        self._last = observation
        return self._told(success=False)

    def step(self, actions: Array) -> dict[str, Any]:
        """Execute actions (n, 7) one after the other until success.

        The last number opens the gripper where it is above 0.5, and closes it elsewhere.

        Returns:
            pictures: two (448, 448, 3) uint8 RGB; state: (8,) float64; steps of the episode so
            far; success; over.
        """
        done = ended = False
        for action in np.asarray(actions).tolist():
            action[6] = -1 if action[6] > 0.5 else 1
            try:
                self._last, _, done, _ = self._env.step(action[:7])
            except ValueError:  # LIBERO ends an episode after 1000 steps
                ended = True
                break
            self._steps += 1
            if done:
                break
        return self._told(success=bool(done), ended=ended)

    def _told(self, *, success: bool, ended: bool = False) -> dict[str, Any]:
        observation = self._last
        return {
            "pictures": tuple(
                np.ascontiguousarray(observation[name][::-1, ::-1]) for name in CAMERAS
            ),
            "state": np.concatenate(
                (
                    observation["robot0_eef_pos"],
                    _axis_angle(observation["robot0_eef_quat"]),
                    observation["robot0_gripper_qpos"],
                )
            ),
            "steps": self._steps,
            "success": success,
            "over": success or ended,
        }


def _axis_angle(quaternion: Array) -> Any:
    """Rotation vector [rad] of a quaternion x, y, z, w, as the authors' client makes it."""
    x, y, z, w = quaternion
    w = min(1.0, max(-1.0, w))
    length = np.sqrt(1.0 - w * w)
    if math.isclose(length, 0.0):
        return np.zeros(3)
    return (np.array([x, y, z]) * 2.0 * math.acos(w)) / length
