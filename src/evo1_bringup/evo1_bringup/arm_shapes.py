"""What a viewer draws: an arm's links, what it must not touch, the way of its tool. No ROS."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import mujoco
import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.kinematics.config import CollisionConfig
from evo1_policy.kinematics.model import ArmModel

BOX, SPHERE, CYLINDER, MESH = "box", "sphere", "cylinder", "mesh"
PLANE_SIZE = 2.0  # edge of the square that stands for a plane [m]
_PLANE_THICKNESS = 0.002  # [m]
_GEOMS = {
    mujoco.mjtGeom.mjGEOM_BOX: BOX,
    mujoco.mjtGeom.mjGEOM_SPHERE: SPHERE,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: SPHERE,
    mujoco.mjtGeom.mjGEOM_CYLINDER: CYLINDER,
    mujoco.mjtGeom.mjGEOM_CAPSULE: CYLINDER,
    mujoco.mjtGeom.mjGEOM_MESH: MESH,
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One solid in the base frame.

    Attributes:
        kind: BOX, SPHERE, CYLINDER or MESH.
        position: (3,) [m].
        quaternion: (4,) w first, as MuJoCo has it.
        size: (3,) whole edges or diameters [m].
        corners: (3 * triangles, 3) of a mesh in its own frame [m]; else (0, 3).
    """

    kind: str
    position: Floats
    quaternion: Floats
    size: Floats
    corners: Floats = field(default_factory=lambda: np.zeros((0, 3)))


def arm_shapes(arm: ArmModel, positions: Floats) -> list[Shape]:
    """The solids of an arm at its joint positions (D,) [rad or m], always in the same order."""
    arm.place(positions)
    shapes = []
    for geom in range(arm.model.ngeom):
        kind = _GEOMS.get(mujoco.mjtGeom(int(arm.model.geom_type[geom])))
        if kind is None or arm.model.geom_bodyid[geom] == 0:  # what stands around the arm
            continue
        turned = np.zeros(4)
        mujoco.mju_mat2Quat(turned, arm.data.geom_xmat[geom])
        place, size = arm.data.geom_xpos[geom].copy(), _extent(arm.model, geom)
        solid = Shape(kind=kind, position=place, quaternion=turned, size=size)
        if kind == MESH:
            solid = replace(solid, corners=_corners(arm.model, geom))
        shapes.append(solid)
        if int(arm.model.geom_type[geom]) == int(mujoco.mjtGeom.mjGEOM_CAPSULE):
            along = arm.data.geom_xmat[geom].reshape(3, 3)[:, 2] * size[2] / 2
            ball = replace(solid, kind=SPHERE, size=np.full(3, size[0]))
            shapes += [replace(ball, position=end) for end in (place - along, place + along)]
    return shapes


def obstacle_shapes(collision: CollisionConfig) -> Iterator[tuple[str, Shape]]:
    """Name and solid of each plane and box that a robot file keeps the arm off."""
    for plane in collision.planes:
        turned = np.zeros(4)
        mujoco.mju_quatZ2Vec(turned, np.array(plane.normal))
        below = np.array(plane.point) - np.array(plane.normal) * _PLANE_THICKNESS / 2
        yield plane.name, _box(below, turned, (PLANE_SIZE, PLANE_SIZE, _PLANE_THICKNESS))
    for box in collision.boxes:
        turned = np.zeros(4)
        mujoco.mju_euler2Quat(turned, np.array(box.rpy), "XYZ")
        yield box.name, _box(np.array(box.center), turned, box.size)


def tool_path(arm: ArmModel, rows: Floats) -> Floats:
    """Where the tool is (K, 3) [m] at each of K joint positions (K, D)."""
    return np.array([arm.forward(row).position for row in rows]).reshape(-1, 3)


def _box(position: Floats, quaternion: Floats, size: tuple[float, float, float]) -> Shape:
    return Shape(kind=BOX, position=position, quaternion=quaternion, size=np.array(size))


def _extent(model: mujoco.MjModel, geom: int) -> Floats:
    """Whole edges or diameters of a geom (3,) [m]; a mesh is drawn as large as it is."""
    size = model.geom_size[geom]
    kind = int(model.geom_type[geom])
    if kind == int(mujoco.mjtGeom.mjGEOM_MESH):
        return np.ones(3)
    if kind == int(mujoco.mjtGeom.mjGEOM_SPHERE):
        return np.full(3, 2 * size[0])
    if kind in (int(mujoco.mjtGeom.mjGEOM_CYLINDER), int(mujoco.mjtGeom.mjGEOM_CAPSULE)):
        return np.array([2 * size[0], 2 * size[0], 2 * size[1]])
    return np.array(2 * size)


def _corners(model: mujoco.MjModel, geom: int) -> Floats:
    mesh = int(model.geom_dataid[geom])
    first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    start = int(model.mesh_vertadr[mesh])
    faces = model.mesh_face[first : first + count].reshape(-1)
    return np.asarray(model.mesh_vert[start + faces], dtype=np.float64)
