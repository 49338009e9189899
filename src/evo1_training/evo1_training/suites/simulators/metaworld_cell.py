"""Meta-World as the authors' client makes and sees it. Runs in the suites' environment.

Their client makes all of MT50 with one seed: 50 scenes a task, drawn one task after the other, and
each task's own generator then chooses among its scenes with every reset. Both are done here with
metaworld's own functions, so that the k-th episode of a task is the k-th of theirs.
"""

import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import cv2
import metaworld
import numpy as np
import numpy.typing as npt
from metaworld.env_dict import MT50_V3
from metaworld.policies import ENV_POLICY_MAP

CAMERA = "corner2"
SIDE = 480  # pixels of the picture before the crop, Meta-World's default
KEPT = 320  # of them the middle is kept: two thirds
SEEN = 448  # pixels of what the policy gets
STATE = 8  # numbers of the observation that the policy gets
LIMIT = 400  # steps of an episode
SHADOWS, SAMPLES = 512, 0  # of light pictures; Meta-World's own are 4096 and 4
FINE, GRAIN_M = 1000, 0.006  # light: meshes of more faces lose what is smaller than a pixel
AFTER = 10  # steps of a demonstration after success, so that no chunk ends with it
PUSH = (5, 15)  # steps of a rough one's push
SWAY, SWAY_KEPT = 0.2, 0.8  # of its actions, each step's share of the last

Array = npt.NDArray[Any]


class Cell:
    """One task at a time; `open`, then `reset` and `step`. `demonstrate` stands alone."""

    def __init__(self) -> None:
        self._env: Any = None
        self._steps = 0
        self._stages: dict[tuple[int, str], Any] = {}

    def prepare(self, seed: int) -> None:
        """Draw the scenes of all 50 tasks, once for this environment: most of a minute."""
        path = _scenes(seed)
        if path.is_file():
            return
        sys.stderr.write("drawing Meta-World's scenes, once: about a minute\n")
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_bytes(pickle.dumps(metaworld.MT50(seed=seed).train_tasks))
        partial.replace(path)

    def open(self, task: int, seed: int, rendering: str) -> None:
        """Make a task's environment; its first episode comes with the first reset.

        Args:
            task: index in MT50.
            seed: of the evaluation.
            rendering: 'full': as the authors' client has it; 'light': coarser shadows.
        """
        name = _name(task)
        scenes = pickle.loads(_scenes(seed).read_bytes())  # prepare's, in this environment
        if self._env is not None:
            self._env.close()
        self._env = metaworld._init_each_env(
            env_cls=MT50_V3[name],
            tasks=[scene for scene in scenes if scene.env_name == name],
            seed=seed,
            env_id=task,
            num_tasks=len(MT50_V3),
            render_mode="rgb_array",
            camera_name=CAMERA,
            **_size(rendering),
        )
        _lighten(self._env.unwrapped, rendering)

    def reset(self, episode: int) -> dict[str, Any]:
        """Start the next episode; they come in order.

        Args:
            episode: its number; Meta-World leaves the seed of a reset aside.

        Returns:
            What is seen after the one idle step, as `step` tells it.
        """
        self._steps = 0
        self._env.reset(seed=episode)
        observation, *_ = self._env.step(np.zeros(4, dtype=np.float32))
        return self._told(observation, success=False)

    def step(self, actions: Array) -> dict[str, Any]:
        """Execute actions (n, 4) one after the other, until success or the episode's end.

        Returns:
            pictures: one (448, 448, 3) uint8 RGB; state: (8,) float32; steps of the episode so
            far; success; over.
        """
        success, space = False, self._env.action_space
        for action in np.asarray(actions, dtype=np.float32):
            clipped = np.clip(action, space.low, space.high)
            observation, _, _, truncated, told = self._env.step(clipped)
            self._steps += 1
            success = told.get("success", 0) == 1
            if success or truncated or self._steps >= LIMIT:
                break
        return self._told(observation, success=success)

    def demonstrate(
        self, task: int, seed: int, rough: bool, side: int, rendering: str
    ) -> dict[str, Any] | None:
        """Let Meta-World's scripted policy do a task, in a scene that the seed alone draws.

        Args:
            task: index in MT50.
            seed: of the scene and of what disturbs.
            rough: pushed aside first, and swaying around what the script asks for.
            side: of the pictures [px].
            rendering: as for `open`.

        Returns:
            pictures (N, side, side, 3) uint8 RGB, states (N, 8) and actions (N, 4) float32, the
            script's own; None where it fails.
        """
        env, script = self._stage(task, rendering), ENV_POLICY_MAP[_name(task)]()
        env.seed(seed)
        env.reset()
        observation, *_ = env.step(np.zeros(4, dtype=np.float32))
        chance = np.random.default_rng(seed)
        if rough:
            push = chance.uniform(-1, 1, 4).astype(np.float32)
            for _ in range(int(chance.integers(PUSH[0], PUSH[1] + 1))):
                observation, *_ = env.step(push)
        pictures, states, actions = [], [], []
        sway, solved, left = np.zeros(3), False, LIMIT
        while left:
            action = np.clip(script.get_action(observation), -1, 1).astype(np.float32)
            pictures.append(_shrunk(_seen(env.render()), side))
            states.append(np.asarray(observation, dtype=np.float32)[:STATE])
            actions.append(action.copy())
            if rough:
                sway = SWAY_KEPT * sway + SWAY * chance.normal(size=3)
                action[:3] = np.clip(action[:3] + sway, -1, 1)
            observation, _, _, _, told = env.step(action)
            left -= 1
            if told["success"] == 1 and not solved:
                solved, left = True, min(left, AFTER)
        if not solved:
            return None
        found = {"pictures": pictures, "states": states, "actions": actions}
        return {name: np.stack(rows) for name, rows in found.items()}

    def _stage(self, task: int, rendering: str) -> Any:
        """The environment of a task whose goal is seen and whose scenes come from a seed."""
        if (task, rendering) not in self._stages:
            for env in self._stages.values():
                env.close()
            kind = MT50_V3[_name(task)]
            env = kind(render_mode="rgb_array", camera_name=CAMERA, **_size(rendering))
            _lighten(env, rendering)
            env._partially_observable = False
            del env.sawyer_observation_space  # cached, with the goal at zero
            env._set_task_called, env._freeze_rand_vec, env.seeded_rand_vec = True, False, True
            self._stages = {(task, rendering): env}
        return self._stages[task, rendering]

    def _told(self, observation: Array, *, success: bool) -> dict[str, Any]:
        return {
            "pictures": (_seen(self._env.render()),),
            "state": np.asarray(observation, dtype=np.float32)[:STATE],
            "steps": self._steps,
            "success": success,
            "over": success or self._steps >= LIMIT,
        }


def _name(task: int) -> str:
    return str(list(MT50_V3)[task])


def _scenes(seed: int) -> Path:
    return Path(sys.prefix) / f"mt50_{seed}.pickle"


def _size(rendering: str) -> dict[str, int]:
    side = SIDE if rendering == "full" else KEPT
    return {"width": side, "height": side}


def _lighten(env: Any, rendering: str) -> None:
    """Coarser shadows and meshes, no multisampling, and only the middle of the picture.

    Only what is drawn changes: contacts use the meshes' hulls and the simpler geoms.
    """
    if rendering == "full":
        return
    for mesh in range(env.model.nmesh):
        if env.model.mesh_facenum[mesh] > FINE:
            _coarsen(env.model, mesh)
    quality, camera = env.model.vis.quality, env.model.camera(CAMERA)
    quality.shadowsize, quality.offsamples = SHADOWS, SAMPLES
    half = math.tan(math.radians(float(camera.fovy[0])) / 2)
    camera.fovy[0] = math.degrees(2 * math.atan(half * KEPT / SIDE))


def _coarsen(model: Any, mesh: int) -> None:
    """Merge a mesh's vertices that lie within a grain, and drop the faces that vanish."""
    first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    grains = np.floor(model.mesh_vert[first : first + count] / GRAIN_M).astype(np.int64)
    _, kept, merged = np.unique(grains, axis=0, return_index=True, return_inverse=True)
    begin, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    whole = slice(begin, begin + count)
    corners = merged.ravel()[model.mesh_face[whole]]
    a, b, c = corners.T
    _, once = np.unique(np.sort(corners, axis=1), axis=0, return_index=True)
    faces = np.intersect1d(once, np.flatnonzero((a != b) & (b != c) & (c != a)))
    left = slice(begin, begin + len(faces))
    model.mesh_facenormal[left] = model.mesh_facenormal[whole][faces]
    model.mesh_facetexcoord[left] = model.mesh_facetexcoord[whole][faces]
    model.mesh_face[left] = kept[corners[faces]]
    model.mesh_facenum[mesh] = len(faces)


def _seen(picture: Array) -> Any:
    """What the policy gets of a rendered picture: upright, its middle, (448, 448, 3) RGB."""
    upright = cv2.rotate(np.ascontiguousarray(picture, dtype=np.uint8), cv2.ROTATE_180)
    edge = (len(upright) - KEPT) // 2
    middle = np.ascontiguousarray(upright[edge : edge + KEPT, edge : edge + KEPT])
    return cv2.resize(middle, (SEEN, SEEN), interpolation=cv2.INTER_LINEAR)


def _shrunk(picture: Array, side: int) -> Any:
    if side == SEEN:
        return picture
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
