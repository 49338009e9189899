"""The simulated cell as a gymnasium environment, for offline use: no ROS, no real time."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt

from evo1_sim.rendering import CameraRenderer
from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH
from evo1_sim.world import World

STEP_NS = round(1e9 / 30)


class Evo1Env(gymnasium.Env[dict[str, Any], npt.NDArray[np.float64]]):
    """One arm and one task.

    Observation: `image_1`, `image_2`, ... (H, W, 3) uint8 RGB, `state` (D,) float64 measured
    positions [rad]. Action: (D,) float64 absolute joint targets [rad], held within the limits.
    A step lasts 1/30 s. The reward is 1 in the step that solves the task, which also ends the
    episode; `info` holds `success` and `detail`.

    Args:
        arm: 'xarm6', 'so100' or 'xarm6_bimanual'.
        task: None takes the arm's first.
        width: of the images [pixels].
        height: of the images [pixels].
        max_steps: an episode is truncated after so many.
        disturbance: a name in tasks.DISTURBANCES.
        with_images: False leaves the images out of the observations, which is many times faster;
            `images` then renders them where they are wanted.
        render_mode: 'rgb_array' makes `render` return `image_1`.

    Raises:
        WorldError: arm, task or disturbance are unknown.
        RenderingError: no GL backend works here.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["rgb_array"],
        "render_fps": 30,
    }

    def __init__(
        self,
        arm: str,
        task: str | None = None,
        *,
        width: int = IMAGE_WIDTH,
        height: int = IMAGE_HEIGHT,
        max_steps: int = 900,
        disturbance: str = "none",
        with_images: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self.world = World(arm, task=task, disturbance=disturbance)
        self.render_mode = render_mode
        self._max_steps = max_steps
        self._with_images = with_images
        self._renderer = CameraRenderer(self.world, width=width, height=height)
        lower, upper = self.world.arm.lower, self.world.arm.upper
        image = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        # Joints may be pressed a little past their limits, so the state is not bounded by them.
        state = gymnasium.spaces.Box(-np.inf, np.inf, lower.shape, np.float64)
        self.observation_space = gymnasium.spaces.Dict(
            {**dict.fromkeys(self._renderer.cameras if with_images else (), image), "state": state}
        )
        self.action_space = gymnasium.spaces.Box(lower, upper, dtype=np.float64)
        self._steps = 0

    @property
    def instruction(self) -> str:
        """The task in words."""
        return self.world.task.instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: start state; None draws one.
            options: `{"task": name}` and `{"disturbance": name}` change these.
        """
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        wanted = options or {}
        self.world.reset(wanted.get("task"), seed, disturbance=wanted.get("disturbance"))
        self._steps = 0
        return self._observe(), self._info()

    def step(
        self, action: npt.NDArray[np.float64]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Move towards `action` (D,) [rad] for 1/30 s.

        Raises:
            WorldError: wrong width, NaN or Inf.
        """
        self.world.move(action, STEP_NS)
        self._steps += 1
        info = self._info()
        solved = bool(info["success"])
        return self._observe(), float(solved), solved, self._steps >= self._max_steps, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The environment camera's image (H, W, 3) uint8 RGB, in render mode 'rgb_array'."""
        if self.render_mode != "rgb_array":
            return None
        self._renderer.capture()
        return self._renderer.render("image_1")

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()

    def images(self) -> dict[str, npt.NDArray[np.uint8]]:
        """What the cameras see now: camera -> (H, W, 3) uint8 RGB."""
        self._renderer.capture()
        return {name: self._renderer.render(name) for name in self._renderer.cameras}

    def _observe(self) -> dict[str, Any]:
        images = self.images() if self._with_images else {}
        return {**images, "state": self.world.joint_positions()}

    def _info(self) -> dict[str, Any]:
        result = self.world.task_status()
        return {"success": result.success, "detail": result.detail, "seed": self.world.seed}
