"""A planar arm above a table and beside a post, and a dense check by MuJoCo alone."""

import itertools
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from evo1_policy.action_chunk import Trajectory, interpolate
from evo1_policy.kinematics.collision import Workspace
from evo1_policy.robot_config import RobotConfig, parse_robot

STEP_NS = 16_666_667
# Two links of 0.3 m above a table, a finger that slides out of them, and a mimicking one.
MJCF = """
<mujoco model="planar"><compiler angle="radian" autolimits="true"/><worldbody>
  <body name="stand"><geom type="cylinder" fromto="0 0 0.01 0 0 0.1" size="0.05"/>
  <body name="upper" pos="0 0 0.2">
    <joint name="turn" axis="0 0 1"/><joint name="lift" axis="0 1 0"/>
    <geom type="capsule" fromto="0.02 0 0 0.3 0 0" size="0.03"/>
    <body name="lower" pos="0.3 0 0"><joint name="elbow" axis="0 1 0"/>
      <geom type="capsule" fromto="0.06 0 0 0.22 0 0" size="0.02"/>
      <geom type="box" pos="0.25 0 0" size="0.02 0.05 0.01"/>
      <body name="tip" pos="0.28 0 0"><joint name="reach" type="slide" axis="1 0 0"/>
        <geom type="box" pos="0.02 0 0" size="0.02 0.01 0.01"/><site name="tool" pos="0.04 0 0"/>
      </body></body></body></body></worldbody></mujoco>
"""
ROBOT = """
name: planar
embodiment: planar
rate_hz: 30
joints:
  - {name: turn, position: [-2.5, 2.5], velocity: 2.0, acceleration: 8.0}
  - {name: lift, position: [-1.5, 1.5], velocity: 2.0, acceleration: 8.0}
  - {name: elbow, position: [-2.8, 2.8], velocity: 2.0, acceleration: 8.0}
  - {name: reach, position: [0.0, 0.08], velocity: 0.2, acceleration: 1.0}
cameras:
  - {name: image_1, topic: env/image, type: sensor_msgs/msg/Image, max_age_ms: 150}
state: {topic: joint_states, max_age_ms: 100}
command: [{topic: arm/joint_trajectory, joints: [turn, lift, elbow, reach]}]
teleop: {topic: teleop/joint_trajectory}
home: {turn: 0.0, lift: -0.3, elbow: 0.6, reach: 0.0}
max_skew_ms: 17
safety:
  max_start_error_rad: 0.6
  max_tracking_error_rad: 0.35
  collision:
    model: MODEL
    tool: tool
    planes: [{name: table, point: [0, 0, 0], normal: [0, 0, 2]}]
    boxes:
      - {name: post, center: [0.35, 0.35, 0.2], size: [0.06, 0.06, 0.4], rpy: [0, 0, 0.4]}
"""


@pytest.fixture(scope="session")
def robot(tmp_path_factory) -> RobotConfig:
    path = tmp_path_factory.mktemp("planar") / "planar.xml"
    path.write_text(MJCF)
    return parse_robot(ROBOT.replace("MODEL", str(path)))


@pytest.fixture(scope="session")
def workspace(robot) -> Workspace:
    return Workspace(robot)


def through(*rows: tuple[float, float, float, float], points: int = 40) -> Trajectory:
    """A trajectory at rest at both ends through joint positions, `points` grid steps between."""
    ends = np.zeros_like(np.array(rows))
    slopes = np.gradient(np.array(rows), axis=0) / points if len(rows) > 2 else ends
    slopes[0] = slopes[-1] = 0.0
    at = np.linspace(0.0, len(rows) - 1.0, points * (len(rows) - 1) + 1)
    positions, speeds = interpolate(np.array(rows), slopes * points, 1.0, at)
    velocities = speeds / points / (STEP_NS / 1e9)
    velocities[0] = velocities[-1] = 0.0
    return Trajectory(first_tick=1000, step_ns=STEP_NS, positions=positions, velocities=velocities)


def dense_clearance(workspace: Workspace, trajectory: Trajectory, until_tick: float) -> float:
    """The least distance of any pair, looked at 8 times a grid step, by MuJoCo alone [m]."""
    model = workspace.arm.model
    data = mujoco.MjData(model)
    names = [model.geom(i).name for i in range(model.ngeom)]
    neighbours = [{"upper", "lower"}, {"lower", "tip"}, {"stand", "upper"}, {"stand"}]
    pairs = []
    for a, b in itertools.combinations(range(model.ngeom), 2):
        bodies = {names[a].split("/")[0], names[b].split("/")[0]}
        fixed = bodies <= {"stand", "table", "post", "world"}
        if not fixed and len(bodies) == 2 and bodies not in neighbours:
            pairs.append((a, b))
    steps = until_tick - trajectory.first_tick
    at_s = np.append(np.arange(0.0, steps, 1 / 8), steps) * (trajectory.step_ns / 1e9)
    course, _ = interpolate(
        trajectory.positions, trajectory.velocities, trajectory.step_ns / 1e9, at_s
    )
    least = np.inf
    for row in course:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        for a, b in pairs:
            least = min(least, mujoco.mj_geomDistance(model, data, a, b, 0.05, None))
    return least


@pytest.fixture(scope="session")
def kit(workspace):
    """The helpers, for tests that pytest imports without a package."""
    return SimpleNamespace(
        through=through,
        clearance=lambda trajectory, until: dense_clearance(workspace, trajectory, until),
    )
