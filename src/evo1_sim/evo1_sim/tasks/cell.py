"""The objects on the table: where they are, how fast they move and what they touch."""

from typing import Protocol

import mujoco
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

UPRIGHT = 0.95  # least cosine between a thing's axis and the vertical: 18 degrees


class Course(Protocol):
    """What moves by itself in an episode, whatever the arm does, and what it notices there."""

    def advance(self, cell: "Cell", time_s: float) -> None:
        """Notice what the step that ends `time_s` after the reset did; set guides for the next."""
        ...


class Cell:
    """A view of the free bodies of a compiled scene. Positions are (3,) float64 [m].

    Attributes:
        course: of the running episode; None where nothing moves by itself.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model = model
        self._data = data
        self._arm = self._body("arm")
        self.course: Course | None = None

    def place(self, name: str, position: npt.ArrayLike, yaw: float = 0.0) -> None:
        """Put a free body at `position` (3,) [m], upright and turned by `yaw` [rad], at rest."""
        self.move(name, position)
        start = self._model.jnt_qposadr[self._model.body_jntadr[self._body(name)]]
        self._data.qpos[start + 3 : start + 7] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        speed = self._model.body_dofadr[self._body(name)]
        self._data.qvel[speed : speed + 6] = 0

    def move(self, name: str, position: npt.ArrayLike) -> None:
        """Put the frame of a free or sliding body at `position` (3,) [m], turned as it is."""
        start = self._model.jnt_qposadr[self._model.body_jntadr[self._body(name)]]
        self._data.qpos[start : start + 3] = position

    def guide(self, name: str, position: npt.ArrayLike, yaw: float = 0.0) -> None:
        """Put a mocap body, which pulls what is welded to it, at `position` (3,) [m]."""
        guide = self._model.body_mocapid[self._body(name)]
        self._data.mocap_pos[guide] = position
        self._data.mocap_quat[guide] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))

    def position(self, name: str) -> Vector:
        """Where the body's frame is (3,) [m]."""
        return np.array(self._data.xpos[self._body(name)])

    def rotation(self, name: str) -> npt.NDArray[np.float64]:
        """Its axes as columns (3, 3)."""
        return np.array(self._data.xmat[self._body(name)]).reshape(3, 3)

    def upright(self, name: str) -> bool:
        """Whether the body's z axis points up, give or take."""
        return bool(self.rotation(name)[2, 2] >= UPRIGHT)

    def inside(self, name: str, container: str) -> Vector:
        """Position of a body in the frame of another (3,) [m]."""
        offset = self.position(name) - self.position(container)
        return np.asarray(self.rotation(container).T @ offset)

    def velocity(self, name: str) -> Vector:
        """Velocity of a free body's frame (3,) [m/s]; of one that only slides, too."""
        start = self._model.body_dofadr[self._body(name)]
        return np.array(self._data.qvel[start : start + 3])

    def speed(self, name: str) -> float:
        """Speed of the body's frame, with 5 cm of lever for its rotation [m/s]."""
        body = self._model.body(name)  # a ball of foam has no joints to turn about
        start, end = body.dofadr[0], body.dofadr[0] + body.dofnum[0]
        turning = np.linalg.norm(self._data.qvel[start + 3 : end])
        return float(np.linalg.norm(self.velocity(name)) + 0.05 * turning)

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

    def pressure(self, name: str) -> float:
        """The strongest of the forces with which anything presses on the body [N]."""
        body, force = self._body(name), np.zeros(6)
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        strongest = 0.0
        for k in np.flatnonzero(np.any(bodies == body, axis=1)):
            mujoco.mj_contactForce(self._model, self._data, k, force)
            strongest = max(strongest, float(force[0]))
        return strongest

    def _body(self, name: str) -> int:
        return int(self._model.body(name).id)
