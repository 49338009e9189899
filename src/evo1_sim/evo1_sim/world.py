"""One arm, its table and its task in MuJoCo, on the caller's clock. No ROS, no rendering."""

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_sim.arms import ARMS, Arm
from evo1_sim.scene import TIMESTEP_NS, scene_xml
from evo1_sim.tasks import (
    DISTURBANCES,
    UNDISTURBED,
    Cell,
    Disturbance,
    Task,
    TaskResult,
    tasks_of,
)
from evo1_sim.variety import SceneVariety, varied_objects

__all__ = ["TaskResult", "World", "WorldError"]

Joints = npt.NDArray[np.float64]


MOVE_PIECE_NS = 8_000_000  # about the 150 Hz of the real arm's controller
CHECK_STEPS = 10  # between two looks at a task that has to stay solved for a while


class WorldError(ValueError):
    """An unknown arm or task, or a target that no arm could take."""


class World:
    """A simulated cell. Not thread-safe: the caller locks around its methods.

    Joint arrays are (D,) float64 in the robot file's order.

    Args:
        arm: a name in ARMS, or an arm that was made elsewhere.
        task: one of `task_names`; None takes the first.
        seed: start state.
        disturbance: a name in tasks.DISTURBANCES.
        varied: whether each seed has looks, heights, friction and things beside the path of its
            own, as demonstrations want them; not together with a disturbance.

    Raises:
        WorldError: the arm, the task or the disturbance is unknown, or cannot be varied.
    """

    def __init__(
        self,
        arm: str | Arm,
        *,
        task: str | None = None,
        seed: int = 0,
        disturbance: str = UNDISTURBED.name,
        varied: bool = False,
    ) -> None:
        if isinstance(arm, str) and arm not in ARMS:
            raise WorldError(f"no arm '{arm}'; known: {', '.join(ARMS)}")
        self.arm = ARMS[arm] if isinstance(arm, str) else arm
        self._time_ns = 0
        self._start_ns = 0
        self._due_ns = 0
        self._varied = varied
        self.variety: dict[str, Any] = {}
        self._build(self._find_task(task), _find_disturbance(disturbance))
        self.reset(seed=seed)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names in the robot file's order."""
        return self.arm.joint_names

    @property
    def task_names(self) -> tuple[str, ...]:
        """Tasks of this arm; the first is the default."""
        return tuple(task.name for task in tasks_of(self.arm.name))

    @property
    def time_ns(self) -> int:
        """Simulated time since construction [ns]. A reset does not turn it back."""
        return self._time_ns

    @property
    def episode_ns(self) -> int:
        """Simulated time since the last reset [ns]."""
        return self._time_ns - self._start_ns

    @property
    def targets(self) -> Joints:
        """Where the servos were told to go (D,) [rad]."""
        return self._targets.copy()

    def reset(
        self, task: str | None = None, seed: int = 0, *, disturbance: str | None = None
    ) -> None:
        """Start an episode: same task and seed, same state to the last bit.

        Args:
            task: one of `task_names`; None keeps the current one.
            seed: not negative.
            disturbance: a name in tasks.DISTURBANCES; None keeps the current one.

        Raises:
            WorldError: the task or the disturbance is unknown, or the seed negative.
        """
        if seed < 0:
            raise WorldError(f"seed {seed}: expected 0 or more")
        wanted = self.task if task is None else self._find_task(task)
        change = self.disturbance if disturbance is None else _find_disturbance(disturbance)
        if wanted is not self.task or change is not self.disturbance:
            self._build(wanted, change)
        rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self.cell.course = self.task.place(self.cell, rng)
        if self.disturbance.moves_things:
            mujoco.mj_kinematics(self.model, self.data)
            self.disturbance.apply(self.task, self.cell, seed)
        if self._scenery is not None:
            mujoco.mj_kinematics(self.model, self.data)
            self.variety = self._scenery.apply(self.task, self.cell, self.data, seed)
        start = np.array(self.arm.home) + np.array(self.arm.start_noise) * rng.uniform(
            -1, 1, size=len(self.arm.home)
        )
        self._targets = np.clip(start, self.arm.lower, self.arm.upper)
        self.data.ctrl[:] = self._targets
        self._speeds[:] = 0.0
        if self.arm.followers:
            self._place()
        else:
            self.data.qpos[self._qpos] = self._targets
            mujoco.mj_forward(self.model, self.data)
        self.seed = seed
        self._solved_ns: int | None = None
        self._due_ns = 0
        self._start_ns = self._time_ns

    def set_targets(self, targets: npt.ArrayLike) -> None:
        """Tell the servos where to go; they get there no faster than the joints' velocity limits.

        Args:
            targets: (D,) [rad]; clipped to the position limits, as the real arm's firmware does.

        Raises:
            WorldError: wrong width, NaN or Inf.
        """
        self._targets = self._checked(targets)

    def step(self, duration_ns: int) -> None:
        """Advance physics by `duration_ns`; the rest of a 2 ms step counts for the next call."""
        self._due_ns += duration_ns
        steps, self._due_ns = divmod(self._due_ns, TIMESTEP_NS)
        if self.cell.course is None and not self.task.held_s:
            self._advance(steps)
            return
        for _ in range(steps):
            self._advance(1)
            if self.cell.course is not None:  # right after a step, whose forces it may read
                self.cell.course.advance(self.cell, self.episode_ns * 1e-9)
            if self.episode_ns % (CHECK_STEPS * TIMESTEP_NS) == 0:
                self._watch(self.task.missing(self.cell))

    def move(self, targets: npt.ArrayLike, duration_ns: int) -> None:
        """Advance physics while the targets go in a straight line to `targets` (D,) [rad].

        A policy at 30 Hz that sets its targets in jumps shakes the arm; a controller interpolates.

        Raises:
            WorldError: as set_targets.
        """
        start, goal = self.targets, self._checked(targets)
        pieces = max(1, round(duration_ns / MOVE_PIECE_NS))
        for piece in range(1, pieces + 1):
            fraction = piece / pieces
            self.set_targets(start * (1 - fraction) + goal * fraction)
            self.step(duration_ns * piece // pieces - duration_ns * (piece - 1) // pieces)

    def joint_positions(self) -> Joints:
        """Measured positions (D,) [rad]."""
        return np.array(self.data.ctrl if self.arm.followers else self.data.qpos[self._qpos])

    def joint_velocities(self) -> Joints:
        """Measured velocities (D,) [rad/s]."""
        return np.array(self._speeds if self.arm.followers else self.data.qvel[self._dofs])

    def joint_efforts(self) -> Joints:
        """Torques of the servos (D,) [N m], without the compensation of gravity."""
        forces = np.array(self.data.actuator_force)
        return np.zeros_like(forces) if self.arm.followers else forces

    def task_status(self) -> TaskResult:
        """Whether the task is solved now, and has been for as long as it asks; what is missing."""
        mujoco.mj_kinematics(self.model, self.data)  # these two leave the physics' course as it is
        mujoco.mj_collision(self.model, self.data)
        missing = self.task.missing(self.cell)
        since = self._time_ns if self._solved_ns is None else self._solved_ns
        held_s = (self._time_ns - since) * 1e-9
        if not missing and held_s < self.task.held_s:
            missing = (f"solved for {held_s:.1f} of {self.task.held_s:g} s",)
        detail = "; ".join(missing) if missing else "solved and at rest"
        return TaskResult(task=self.task.name, success=not missing, detail=detail)

    def lifted(self) -> str:
        """Which of the things that only the words tell apart the arm has lifted; '' for none."""
        return self.task.lifted(self.cell)

    def _advance(self, steps: int) -> None:
        """Advance physics by whole steps while the servos' targets go where they were told."""
        self._time_ns += steps * TIMESTEP_NS
        if self.arm.followers:
            self._go(steps)
            return
        for _ in range(steps):
            change = self._targets - self.data.ctrl
            if not change.any():
                break
            self.data.ctrl += np.clip(change, -self._max_change, self._max_change)
            mujoco.mj_step(self.model, self.data)
            steps -= 1
        if steps:
            mujoco.mj_step(self.model, self.data, nstep=steps)

    def _watch(self, missing: tuple[str, ...]) -> None:
        """Note since when nothing has been missing."""
        if missing:
            self._solved_ns = None
        elif self._solved_ns is None:
            self._solved_ns = self._time_ns

    def _go(self, steps: int) -> None:
        """An arm without weight is at its targets, no sooner than its velocities allow."""
        furthest = self._max_change * steps
        change = np.clip(self._targets - self.data.ctrl, -furthest, furthest)
        self.data.ctrl += change
        self._speeds = change / (max(steps, 1) * TIMESTEP_NS * 1e-9)
        self._place()

    def _place(self) -> None:
        for follower in self.arm.followers:
            at = follower.offset + follower.factor * self.data.ctrl[follower.column]
            self.data.joint(follower.joint).qpos[0] = at
        mujoco.mj_forward(self.model, self.data)

    def _checked(self, targets: npt.ArrayLike) -> Joints:
        wanted = np.asarray(targets, dtype=np.float64)
        if wanted.shape != self._targets.shape:
            raise WorldError(
                f"targets: expected shape ({len(self._targets)},) for "
                f"{', '.join(self.joint_names)}; got {wanted.shape}"
            )
        if not np.isfinite(wanted).all():
            bad = self.joint_names[int(np.argmin(np.isfinite(wanted)))]
            raise WorldError(f"targets: {bad} is not finite")
        return np.clip(wanted, self.arm.lower, self.arm.upper)

    def _find_task(self, name: str | None) -> Task:
        tasks = tasks_of(self.arm.name)
        if name is None:
            return tasks[0]
        for task in tasks:
            if task.name == name:
                return task
        known = ", ".join(self.task_names)
        raise WorldError(f"no task '{name}' for {self.arm.name}; known: {known}")

    def _build(self, task: Task, disturbance: Disturbance) -> None:
        if self._varied and (disturbance is not UNDISTURBED or not task.target):
            raise WorldError(
                f"varied scenes are for demonstrations of a task without a disturbance; got task "
                f"'{task.name}' with '{disturbance.name}'"
            )
        self.task, self.disturbance = task, disturbance
        objects = task.objects() + disturbance.objects(task)
        objects += varied_objects(task) if self._varied else ""
        xml = scene_xml(self.arm, objects, welds=task.welds, table_rgba=disturbance.table_rgba)
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.cell = Cell(self.model, self.data)
        self._scenery = SceneVariety(self.model) if self._varied else None
        joints = [self.model.joint(name) for name in self.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._max_change = self.arm.velocity_max * TIMESTEP_NS * 1e-9
        self._targets = np.array(self.arm.home)
        self._speeds = np.zeros(len(self.arm.home))


def _find_disturbance(name: str) -> Disturbance:
    if name not in DISTURBANCES:
        raise WorldError(f"no disturbance '{name}'; known: {', '.join(DISTURBANCES)}")
    return DISTURBANCES[name]
