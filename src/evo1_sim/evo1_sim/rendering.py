"""Camera images of a World, rendered off screen while physics goes on."""

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_policy.kinematics import gl
from evo1_sim.scene import MAX_IMAGE
from evo1_sim.world import World


class RenderingError(RuntimeError):
    """There is no working GL backend; the message says what to install."""


class CameraRenderer:
    """Renders the cameras of a World in two steps: copy the state, then draw it.

    `capture` needs the caller's lock around the world and takes microseconds; `render` needs no
    lock. The GL context belongs to the thread that constructs this object: render and close there.

    Args:
        world: what to look at; a reset to another task is followed.
        width: [pixels].
        height: [pixels].
        cameras: names of cameras of the scene; None: all of them, by name.

    Raises:
        RenderingError: no GL backend works here.
        ValueError: the size is out of range, or a camera is unknown.
    """

    def __init__(
        self,
        world: World,
        *,
        width: int,
        height: int,
        cameras: tuple[str, ...] | None = None,
    ) -> None:
        if not (0 < width <= MAX_IMAGE and 0 < height <= MAX_IMAGE):
            raise ValueError(f"image of {width}x{height}: expected 1 to {MAX_IMAGE} a side")
        self.width = width
        self.height = height
        self._world = world
        self._renderer: mujoco.Renderer | None = None
        self.capture()
        known = self._scene_cameras()
        self.cameras = known if cameras is None else cameras
        for camera in self.cameras:
            if camera not in known:
                raise ValueError(f"no camera '{camera}' in the scene; known: {', '.join(known)}")
        self._prepare()

    def capture(self) -> None:
        """Copy what the images depend on. Call it under the lock that guards the world."""
        self._captured_model: mujoco.MjModel = self._world.model
        self._captured_qpos: npt.NDArray[np.float64] = self._world.data.qpos.copy()
        self.captured_ns = self._world.time_ns

    def render(self, camera: str) -> npt.NDArray[np.uint8]:
        """Draw the captured state as (H, W, 3) uint8 RGB.

        Raises:
            ValueError: the camera is none of `cameras`.
            RenderingError: after close.
        """
        if camera not in self.cameras:
            raise ValueError(f"no camera '{camera}'; known: {', '.join(self.cameras)}")
        if self._renderer is None:
            raise RenderingError("this renderer is closed")
        model, qpos = self._captured_model, self._captured_qpos
        if model is not self._model:
            self._renderer.close()
            self._prepare()
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, camera=camera)
        pixels: npt.NDArray[np.uint8] = self._renderer.render()
        return pixels

    def close(self) -> None:
        """Free the GL context; call it in the thread that created this object."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> "CameraRenderer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _scene_cameras(self) -> tuple[str, ...]:
        model = self._captured_model
        return tuple(sorted(model.camera(i).name for i in range(model.ncam)))

    def _prepare(self) -> None:
        if gl.problem is not None:
            raise RenderingError(f"cannot render: {gl.problem}")
        self._model = self._captured_model
        self._data = mujoco.MjData(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, height=self.height, width=self.width)
        except Exception as error:  # each backend fails with a type of its own
            raise RenderingError(
                f"cannot render: the GL backend fails to start ({error}): {gl.ADVICE}"
            ) from error
        flags = self._renderer.scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
