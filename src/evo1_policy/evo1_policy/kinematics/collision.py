"""What a trajectory would touch, along its whole course. No ROS, no torch.

Conservative advancement, pair by pair: no point of a body moves faster, seen from another body,
than the joints between the two turn, times how far from their axes it can be. So two bodies that
are d apart cannot meet before the joints have moved them by d, and are looked at again only then.
Letters: D joints, G shapes, P pairs of shapes, M grid steps.
"""

import copy
import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.kinematics.config import CollisionConfig
from evo1_policy.kinematics.model import ArmModel, ModelError, find_model, read_spec
from evo1_policy.robot_config import RobotConfig

CLEAR_M = 0.001  # nearer than this is touching ...
DEEPEST_M = 0.0015  # ... and between two looks no pair gets deeper into each other than this
LEAST_STRIDE_M = 0.0008  # of a pair that touches, between two looks
FREEING_STRIDE_M = 0.004  # of one that is deep in each other and may only come apart
NOISE_M = 1e-4  # of distances; a pair that touches already may come nearer by this
EXACT_M = 0.08  # bounding spheres further apart than this are looked at no closer
TOGETHER = 4.0  # grid steps within which pairs are looked at together: to place the arm costs

Indices = npt.NDArray[np.int64]


class TouchingError(ModelError):
    """Two bodies touch where the arm is meant to stand.

    Attributes:
        pair: names of two links, planes or boxes.
    """

    def __init__(self, message: str, pair: tuple[str, str]) -> None:
        """As ModelError, with the pair."""
        super().__init__(message)
        self.pair = pair


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Two bodies that would touch.

    Attributes:
        pair: names of two links, planes or boxes.
        tick: when, on the trajectory's grid.
        distance: then, below 0 inside each other [m].
    """

    pair: tuple[str, str]
    tick: float
    distance: float


class Workspace:
    """The arm of one robot among what stands around it. Not for two threads at once.

    Args:
        robot: whose file names a model (safety.collision).

    Attributes:
        arm: the model, with the planes and boxes in it.

    Raises:
        ModelError: the model cannot be used, a pair to leave out is unknown, or the arm touches
            something at its home or park pose.
    """

    def __init__(self, robot: RobotConfig) -> None:
        config = robot.safety.collision
        assert config is not None
        path = find_model(config.model)
        spec, followers = read_spec(path)
        names: dict[str, str] = {}  # of a shape -> of its body, plane or box
        obstacles = self._obstacles = _add_obstacles(spec, config)
        for body in spec.bodies:
            for number, geom in enumerate(list(body.geoms)):
                if not geom.name or geom.name not in obstacles:
                    geom.name = f"{body.name}/{number}"
                if geom.contype == 0 and geom.conaffinity == 0 and geom.name not in obstacles:
                    spec.delete(geom)  # it is only to be looked at
                    continue
                names[geom.name] = geom.name if geom.name in obstacles else body.name
        grippers = {gripper.joint for gripper in robot.grippers}
        self.arm = ArmModel(
            str(path),
            spec,
            robot.joint_names,
            fixed=tuple(grippers),
            tool=config.tool,
            followers=followers,
        )
        self._robot = robot
        model = self.arm.model
        self._names = [names[model.geom(shape).name] for shape in range(model.ngeom)]
        self._known_furthest: dict[tuple[int, int], float] = {}
        known = set(self._names)
        for name in itertools.chain(*config.leave_out):
            if name not in known:
                raise ModelError(
                    f"safety.collision.leave_out: no link, plane or box '{name}'; there are: "
                    f"{', '.join(sorted(known))}"
                )
        self._set_pairs(config, grippers)
        for pose, positions in (("home", robot.home), ("park", robot.park)):
            touching = self.touching(np.array(positions)) if positions is not None else None
            if touching is not None:
                raise TouchingError(
                    f"{path}: {touching.pair[0]} and {touching.pair[1]} touch at the {pose} pose "
                    f"({1e3 * touching.distance:.1f} mm); mend the model or the planes and boxes "
                    "of safety.collision, or name the pair in its leave_out",
                    touching.pair,
                )

    def touching(self, positions: Floats) -> Contact | None:
        """The nearest pair that touches at joint positions (D,); None where all are clear."""
        self.arm.place(positions)
        everything = np.arange(len(self._first))
        distances = self._distances(everything, np.full(len(everything), CLEAR_M))
        if not len(distances) or distances.min() >= CLEAR_M:
            return None
        return self._contact(int(np.argmin(distances)), 0.0, float(distances.min()))

    def contact(self, trajectory: Trajectory, first_tick: int) -> Contact | None:
        """The first pair that would touch from a grid point on; None where none does.

        What touches there already may come apart, and not nearer to each other.
        """
        first = max(first_tick, trajectory.first_tick)
        if first >= trajectory.last_tick:
            return None
        part = trajectory.knots(first, trajectory.last_tick)
        curve, fastest = _curve(part)
        turned = np.zeros((len(fastest) + 1, fastest.shape[1]))  # (M + 1, D) at most
        np.cumsum(fastest, axis=0, out=turned[1:])
        total = turned[-1] @ self._reach  # (P,) [m] that each pair moves at most
        pairs = np.flatnonzero(total > 0.0)
        self.arm.place(part.positions[0])
        distances = self._distances(pairs, total[pairs] + CLEAR_M)
        near = distances + DEEPEST_M < total[pairs]
        if not near.any():
            return None  # the usual case, and five times cheaper
        moved = turned @ self._reach[:, pairs[near]]
        found = self._advance(curve, moved, pairs[near], distances[near])
        if found is None:
            return None
        pair, at, distance = found
        return self._contact(pair, first + at, distance)

    def _advance(
        self, curve: Floats, moved: Floats, pairs: Indices, begin: Floats
    ) -> tuple[int, float, float] | None:
        """The first touching pair: its number, when [grid steps], and the distance [m].

        Args:
            curve: (4, M, D) coefficients of the powers of a step's course.
            moved: (M + 1, K) how far each pair has moved at most, up to each grid point [m].
            pairs: (K,) that could touch.
            begin: (K,) their distances at the first grid point [m].
        """
        steps, total = len(moved) - 1, moved[-1]
        floor = _lowest(begin)  # (K,) nearer than this they must not come
        due_at = _when(moved, _stride(begin, floor))  # (K,) when each is to be looked at
        now = float(due_at.min())
        while now <= steps:
            segment = min(int(now), steps - 1)
            u = now - segment
            c = curve[:, segment]
            self.arm.place(c[0] + u * (c[1] + u * (c[2] + u * c[3])))
            due = np.flatnonzero(due_at <= now + TOGETHER)
            here = moved[segment, due]
            here = here + u * (moved[segment + 1, due] - here)
            distance = self._distances(pairs[due], total[due] - here + CLEAR_M)
            short = distance - floor[due]
            worst = int(np.argmin(short))
            if short[worst] < 0.0:
                return int(pairs[due[worst]]), now, float(distance[worst])
            due_at[due] = _when(moved[:, due], here + _stride(distance, floor[due]))
            due_at[due[here + distance + DEEPEST_M >= total[due]]] = np.inf
            now = float(due_at.min()) if now < steps else np.inf
        return None

    def _distances(self, pairs: Indices, enough: Floats) -> Floats:
        """(K,) distances of pairs where the arm is placed, at least `enough` where it is more."""
        data, model = self.arm.data, self.arm.model
        places = data.geom_xpos
        apart = places[self._first[pairs]] - places[self._second[pairs]]
        spheres = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        plane = self._is_plane[pairs]
        if plane.any():
            height = np.einsum("ij,ij->i", apart, self._normal[pairs])
            spheres = np.where(plane, height, spheres)
        distances: Floats = spheres - self._radius[pairs]
        for k in np.flatnonzero(distances < np.minimum(enough, EXACT_M)):
            pair = pairs[k]
            first, second = int(self._first[pair]), int(self._second[pair])
            most = max(float(enough[k]), EXACT_M)
            distances[k] = mujoco.mj_geomDistance(model, data, first, second, most, None)
        return distances

    def _contact(self, pair: int, tick: float, distance: float) -> Contact:
        names = self._names[self._first[pair]], self._names[self._second[pair]]
        if names[0] in self._obstacles:
            names = names[::-1]
        return Contact(pair=names, tick=tick, distance=distance)

    # -- pairs -------------------------------------------------------------------------------

    def _set_pairs(self, config: CollisionConfig, grippers: Collection[str]) -> None:
        """Which shapes are looked at together, and how far each joint moves them at most."""
        model = self.arm.model
        left_out = {frozenset(pair) for pair in config.leave_out}
        leaders, planes = self.arm.leaders, model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)
        hand = {
            joint
            for joint in range(model.njnt)
            if leaders[joint] < 0 or self.arm.joint_names[leaders[joint]] in grippers
        }
        chains = [self._chain(int(body)) for body in model.geom_bodyid]
        below = [
            {joint for joint in range(model.njnt) if int(model.jnt_bodyid[joint]) in chain}
            for chain in chains
        ]
        steps = {joint: self._step(joint) for joint in range(model.njnt)}
        pairs: list[tuple[int, int]] = []
        reaches: list[Floats] = []
        for first, second in itertools.combinations(range(model.ngeom), 2):
            names = {self._names[first], self._names[second]}
            between = below[first] ^ below[second]
            # What no joint moves against each other stays as it was built; a gripper shall close.
            if between <= hand or names in left_out:
                continue
            if not names & self._obstacles and self._neighbours(first, second):
                continue
            pairs.append((second, first) if planes[first] else (first, second))
            reaches.append(
                sum((steps[j] * self._arm_of(j, *pairs[-1]) for j in between), np.zeros(1))
            )
        chosen = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self._first, self._second = chosen[:, 0], chosen[:, 1]
        self._reach = np.array(reaches).reshape(len(pairs), len(self.arm.joint_names)).T.copy()
        radius = np.where(planes, 0.0, model.geom_rbound)
        self._radius = radius[self._first] + radius[self._second]
        self._is_plane = planes[self._second]
        mujoco.mj_kinematics(model, self.arm.data)
        self._normal = self.arm.data.geom_xmat.reshape(-1, 3, 3)[self._second, :, 2]

    def _chain(self, body: int) -> frozenset[int]:
        """A body and all that it stands on, but for the base."""
        below = int(self.arm.model.body_parentid[body])
        return self._chain(below) | {body} if body > 0 else frozenset()

    def _neighbours(self, first: int, second: int) -> bool:
        """Whether one joint, or one body's, is all that is between two shapes: they meet there."""
        model = self.arm.model
        bodies = [int(model.body_weldid[model.geom_bodyid[shape]]) for shape in (first, second)]
        below = [int(model.body_weldid[model.body_parentid[body]]) for body in bodies]
        return bodies[0] == below[1] or bodies[1] == below[0]

    def _step(self, joint: int) -> Floats:
        """(D,) how far a joint of the model moves at most for each of the robot's [-]."""
        step = np.zeros(len(self.arm.joint_names))
        leader = self.arm.leaders[joint]
        if leader >= 0:
            robot = self._robot
            step[leader] = self.arm.rate(joint, robot.position_min, robot.position_max)
        return step

    def _arm_of(self, joint: int, first: int, second: int) -> float:
        """How far a joint moves two shapes against each other at most [m/rad or m/m].

        Seen from the one shape the other turns about the axis, and the other way round.
        """
        if int(self.arm.model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_SLIDE):
            return 1.0
        return min(self._furthest(joint, first), self._furthest(joint, second))

    def _furthest(self, joint: int, shape: int) -> float:
        """How far a shape's points are from a joint's axis at most, wherever others stand [m]."""
        if (joint, shape) not in self._known_furthest:
            self._known_furthest[joint, shape] = self._find_furthest(joint, shape)
        return self._known_furthest[joint, shape]

    def _find_furthest(self, joint: int, shape: int) -> float:
        model = self.arm.model
        if int(model.geom_type[shape]) == int(mujoco.mjtGeom.mjGEOM_PLANE):
            return math.inf
        body = int(model.jnt_bodyid[joint])
        # Bodies whose offsets lie between the joint's and the shape's.
        way = self._chain(body) ^ self._chain(int(model.geom_bodyid[shape]))
        anchor, own = model.jnt_pos[joint], model.geom_pos[shape]
        radius = float(model.geom_rbound[shape])
        if not way and int(model.body_jntnum[body]) == 1:
            across = np.cross(own - anchor, model.jnt_axis[joint])
            return float(np.linalg.norm(across)) + radius
        slides = sum(self._slide(passed) for passed in {body, *way})
        offsets = sum(float(np.linalg.norm(model.body_pos[passed])) for passed in way)
        ends = float(np.linalg.norm(anchor) + np.linalg.norm(own))
        return ends + offsets + slides + radius

    def _slide(self, body: int) -> float:
        """How far joints of a body put its frame off at most: slides, and axes beside it [m]."""
        model = self.arm.model
        furthest = np.maximum(np.abs(self._robot.position_min), np.abs(self._robot.position_max))
        start, total = int(model.body_jntadr[body]), 0.0
        for joint in range(start, start + int(model.body_jntnum[body])):
            total += 2.0 * float(np.linalg.norm(model.jnt_pos[joint]))
            if int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_SLIDE):
                total += float(self._step(joint) @ furthest)
        return total


def workspace_of(robot: RobotConfig) -> Workspace | None:
    """A workspace of one's own of a robot whose file says what it must not touch; else None.

    Raises:
        ModelError: see Workspace.
    """
    if robot.safety.collision is None:
        return None
    workspace = copy.copy(_built(robot))
    workspace.arm = copy.copy(workspace.arm)
    workspace.arm.data = mujoco.MjData(workspace.arm.model)
    return workspace


_built = lru_cache(maxsize=8)(Workspace)


def _add_obstacles(spec: mujoco.MjSpec, config: CollisionConfig) -> set[str]:
    """Put planes and boxes into the model; returns their names."""
    for plane in config.planes:
        quat = np.zeros(4)
        mujoco.mju_quatZ2Vec(quat, np.array(plane.normal))
        kind = mujoco.mjtGeom.mjGEOM_PLANE
        spec.worldbody.add_geom(
            name=plane.name, type=kind, pos=plane.point, quat=quat, size=[0, 0, 1]
        )
    for box in config.boxes:
        quat, half = np.zeros(4), np.array(box.size) / 2.0
        mujoco.mju_euler2Quat(quat, np.array(box.rpy), "XYZ")
        kind = mujoco.mjtGeom.mjGEOM_BOX
        spec.worldbody.add_geom(name=box.name, type=kind, pos=box.center, quat=quat, size=half)
    return {plane.name for plane in config.planes} | {box.name for box in config.boxes}


def _lowest(distance: Floats) -> Floats:
    """How near pairs may come that begin at a distance (K,) [m]."""
    nearer = np.maximum(distance - NOISE_M, np.minimum(distance, -DEEPEST_M) - 1e-6)
    return np.minimum(CLEAR_M, nearer)


def _stride(distance: Floats, floor: Floats) -> Floats:
    """(K,) how far pairs may move until they are looked at again [m].

    What is d apart, and not less than f after a way of s, cannot be nearer than (d + f - s) / 2
    in between.
    """
    least = np.where(floor < -DEEPEST_M, FREEING_STRIDE_M, LEAST_STRIDE_M)
    return np.asarray(np.maximum(distance + floor + 2.0 * DEEPEST_M, least))


def _when(moved: Floats, until: Floats) -> Floats:
    """(K,) when pairs have moved so far [grid steps]; the last step where they never do.

    Args:
        moved: (M + 1, K) up to each grid point [m].
        until: (K,) [m].
    """
    steps, columns = len(moved) - 1, np.arange(len(until))
    segment = np.minimum(np.count_nonzero(moved <= until, axis=0) - 1, steps - 1)
    before, after = moved[segment, columns], moved[segment + 1, columns]
    share = (until - before) / np.maximum(after - before, 1e-12)
    return np.asarray(segment + np.minimum(share, 1.0))


def _curve(part: Trajectory) -> tuple[Floats, Floats]:
    """Coefficients (4, M, D) of each step's course, and each joint's fastest (M, D) per step."""
    step_s = part.step_ns / 1e9
    start, rise = part.positions[:-1], np.diff(part.positions, axis=0)
    v0, v1 = part.velocities[:-1] * step_s, part.velocities[1:] * step_s
    curve = np.array([start, v0, 3.0 * rise - 2.0 * v0 - v1, v0 + v1 - 2.0 * rise])
    # The velocity is a weighted mean of these three (its Bezier points).
    fastest = np.maximum(np.maximum(np.abs(v0), np.abs(v1)), np.abs(3.0 * rise - v0 - v1))
    return curve, fastest
