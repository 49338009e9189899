"""A policy in the simulator's loop, without ROS: chunks are cut off and followed at 30 Hz."""

import math
from dataclasses import dataclass

import numpy as np

from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_policy.robot_config import RobotConfig
from evo1_sim.experts import STEP_NS
from evo1_sim.rendering import CameraRenderer
from evo1_sim.world import World

WIDTH, HEIGHT = 320, 240  # what the simulation node publishes
REACHED_M = 0.05  # of the tool from the middle of the can


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One episode: solved or not, after how long [s], and what was missing or how far it got."""

    seed: int
    success: bool
    seconds: float
    lifted: bool
    nearest_m: float
    detail: str


class ClosedLoop:
    """Runs episodes of the can task."""

    def __init__(self, robot: RobotConfig, task: str) -> None:
        self._robot = robot
        self._world = World(robot.name, task=task)
        names = tuple(camera.name for camera in robot.cameras)
        self._renderer = CameraRenderer(self._world, width=WIDTH, height=HEIGHT, cameras=names)

    def run(self, policy: Policy, seed: int, *, execute: int, limit_s: float = 30.0) -> Outcome:
        """One episode, `execute` actions of each chunk, until solved or out of time."""
        world = self._world
        world.reset(seed=seed)
        lifted, nearest, result = False, math.inf, world.task_status()
        for _ in range(math.ceil(limit_s * self._robot.rate_hz / execute)):
            for target in policy.infer(self._observe()).actions[:execute]:
                world.move(target, STEP_NS)
            result = world.task_status()
            can = world.cell.position("can")
            lifted |= bool(can[2] > 0.12)
            tool = world.data.site("tool").xpos
            nearest = min(nearest, float(np.linalg.norm(tool - can)))
            if result.success:
                break
        return Outcome(
            seed=seed,
            success=result.success,
            seconds=world.episode_ns * 1e-9,
            lifted=lifted,
            nearest_m=nearest,
            detail=result.detail,
        )

    def _observe(self) -> Observation:
        world, renderer = self._world, self._renderer
        renderer.capture()
        return Observation(
            images={name: renderer.render(name) for name in renderer.cameras},
            state=world.joint_positions(),
            instruction=world.task.instruction,
            stamp_ns=world.time_ns,
            received_ns=world.time_ns,
            skew_ns=0,
        )


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a success rate."""
    z, share = 1.96, successes / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - half) / scale, (middle + half) / scale
