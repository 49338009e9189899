"""The objects on the table: where they are, how fast they move and what they touch."""

import mujoco
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


class Cell:
    """A view of the free bodies of a compiled scene. Positions are (3,) float64 [m]."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model = model
        self._data = data
        self._arm = self._body("arm")

    def place(self, name: str, position: npt.ArrayLike, yaw: float = 0.0) -> None:
        """Put a free body at `position` (3,) [m], upright and turned by `yaw` [rad], at rest."""
        joint = self._model.body_jntadr[self._body(name)]
        start = self._model.jnt_qposadr[joint]
        self._data.qpos[start : start + 3] = position
        self._data.qpos[start + 3 : start + 7] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        speed = self._model.jnt_dofadr[joint]
        self._data.qvel[speed : speed + 6] = 0

    def move(self, name: str, position: npt.ArrayLike) -> None:
        """Put a free body's frame at `position` (3,) [m], turned as it is."""
        start = self._model.jnt_qposadr[self._model.body_jntadr[self._body(name)]]
        self._data.qpos[start : start + 3] = position

    def position(self, name: str) -> Vector:
        """Where the body's frame is (3,) [m]."""
        return np.array(self._data.xpos[self._body(name)])

    def rotation(self, name: str) -> npt.NDArray[np.float64]:
        """Its axes as columns (3, 3)."""
        return np.array(self._data.xmat[self._body(name)]).reshape(3, 3)

    def inside(self, name: str, container: str) -> Vector:
        """Position of a body in the frame of another (3,) [m]."""
        offset = self.position(name) - self.position(container)
        return np.asarray(self.rotation(container).T @ offset)

    def speed(self, name: str) -> float:
        """Speed of the body's frame, with 5 cm of lever for its rotation [m/s]."""
        start = self._model.body_dofadr[self._body(name)]
        velocity = self._data.qvel[start : start + 6]
        return float(np.linalg.norm(velocity[:3]) + 0.05 * np.linalg.norm(velocity[3:]))

    def held(self, name: str) -> bool:
        """Whether any part of the arm touches the body."""
        body = self._body(name)
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        touching = bodies[np.any(bodies == body, axis=1)]
        return bool(np.any(self._model.body_rootid[touching] == self._arm))

    def touching(self, name: str, other: str) -> bool:
        """Whether two bodies touch."""
        pair = {self._body(name), self._body(other)}
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        return any({int(first), int(second)} == pair for first, second in bodies)

    def _body(self, name: str) -> int:
        return int(self._model.body(name).id)
