"""The tool moves no faster than its bound: chunks, one after the other, a person, the way home."""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.action_chunk import ActionChunk, interpolate
from evo1_policy.control.chunks import Chunks
from evo1_policy.control.motion import Motion
from evo1_policy.control.parking import Parking
from evo1_policy.control.signals import LoopSettings, SafeTrajectory, StopReason
from evo1_policy.control.teleop import TeleopFollower
from evo1_policy.control.teleop_target import RefusedTarget, TeleopTarget
from evo1_policy.kinematics.collision import workspace_of
from evo1_policy.kinematics.config import collisions_text
from evo1_policy.observation import JointSample
from evo1_policy.robot_config import RobotConfigError, load_robot, parse_robot

ROBOTS = Path(__file__).parents[3] / "evo1_bringup" / "robots"
NOW_NS = 100_000_000_000
MS = 1_000_000
BOUND = 0.25  # m/s


def bounded(robot, speed=BOUND):
    """The same robot with a bound on its tool's speed, and nothing to touch."""
    collision = replace(robot.safety.collision, planes=(), boxes=(), tool_speed=speed)
    return replace(robot, safety=replace(robot.safety, collision=collision))


@pytest.fixture(scope="module")
def robots(robot):
    return {"planar": bounded(robot), "xarm6": bounded(load_robot(ROBOTS / "xarm6.yaml"))}


def fastest(robot, trajectory) -> float:
    """The tool's highest speed, from its places a millisecond apart, by MuJoCo alone [m/s]."""
    arm = workspace_of(robot).arm
    step_s = trajectory.step_ns / 1e9
    at_s = np.arange(0.0, (len(trajectory.positions) - 1) * step_s, 0.001)
    course, _ = interpolate(trajectory.positions, trajectory.velocities, step_s, at_s)
    data, places = mujoco.MjData(arm.model), []
    for row in course:
        data.qpos[:] = arm.qpos_at(row)
        mujoco.mj_kinematics(arm.model, data)
        places.append(data.site("tool").xpos.copy())
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).max() / 0.001)


def wandering(robot, seed, start, seconds) -> np.ndarray:
    """(50, D) a smooth way from where the arm is to somewhere near, as fast as asked."""
    share = np.minimum(np.arange(1, 51)[:, np.newaxis] / (30.0 * seconds), 1.0)
    share = share * share * (3.0 - 2.0 * share)
    reach = np.random.default_rng(seed).uniform(-0.55, 0.55, robot.width)
    margin = 0.05 * (robot.position_max - robot.position_min)
    goal = np.clip(start + reach, robot.position_min + margin, robot.position_max - margin)
    return start + share * (goal - start)


def run_chunks(robot, seeds, seconds, between_ms):
    """Chunks one after the other, each from where the arm is commanded; what was sent of each."""
    motion, now_ns, sent = Motion(robot), NOW_NS, []
    chunks = Chunks(robot, LoopSettings(), motion, 50)
    at = np.array(robot.home)
    motion.look(JointSample(positions=at, stamp_ns=now_ns - 100 * MS), None, now_ns)
    for seed in seeds:
        sample = JointSample(positions=at, stamp_ns=now_ns)
        motion.look(sample, None, now_ns)
        chunk = ActionChunk(
            actions=wandering(robot, seed, at, seconds),
            start_ns=now_ns + 33_333_333,
            step_ns=33_333_333,
            observation_stamp_ns=now_ns,
            instruction="go",
        )
        verdict = chunks.execute(chunk, sample, now_ns, lead_ns=300 * MS)
        sent.append(verdict)
        now_ns += between_ms * MS
        if motion.executing is not None:
            at = motion.executing.sample(now_ns)[0]
    return sent


@pytest.mark.parametrize("name", ["planar", "xarm6"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
    seconds=st.sampled_from([0.4, 0.8, 1.5]),
    between_ms=st.sampled_from([300, 700]),
)
def test_no_chunk_moves_the_tool_faster(robots, name, seeds, seconds, between_ms):
    robot = robots[name]
    for verdict in run_chunks(robot, seeds, seconds, between_ms):
        if not isinstance(verdict, StopReason):
            assert fastest(robot, verdict.command.trajectory) <= 1.02 * BOUND


@pytest.mark.parametrize("name", ["planar", "xarm6"])
def test_a_slowed_chunk_keeps_its_path_and_nothing_is_cut(robots, name):
    free = bounded(robots[name], 0.0)
    ways = []
    for robot in (free, robots[name]):
        (verdict,) = run_chunks(robot, [3], 0.4, 0)
        assert verdict.cut == ""
        ways.append(verdict.command.trajectory)
    assert fastest(free, ways[0]) > 1.5 * BOUND
    assert 0.8 * BOUND < fastest(robots[name], ways[1]) <= 1.02 * BOUND
    step_s = ways[0].step_ns / 1e9
    at_s = np.linspace(0.0, (len(ways[0].positions) - 1) * step_s, 4000)
    course, _ = interpolate(ways[0].positions, ways[0].velocities, step_s, at_s)
    apart = np.abs(ways[1].positions[:, np.newaxis] - course).max(axis=2).min(axis=1)
    assert apart.max() < 0.01  # rad


def test_a_stop_is_not_refused_for_the_speed_of_its_tool(robots, robot):
    fast = Motion(bounded(robot, 0.0))
    chunks = Chunks(fast._robot, LoopSettings(), fast, 50)
    at = np.array(robot.home)
    for earlier_ns in (100 * MS, 0):
        sample = JointSample(positions=at, stamp_ns=NOW_NS - earlier_ns)
        fast.look(sample, None, NOW_NS)
    chunk = ActionChunk(
        actions=wandering(robot, 3, at, 0.8),
        start_ns=NOW_NS + 33_333_333,
        step_ns=33_333_333,
        observation_stamp_ns=NOW_NS,
        instruction="go",
    )
    chunks.execute(chunk, sample, NOW_NS, lead_ns=300 * MS)
    motion = Motion(robots["planar"])
    motion.executing = fast.executing  # of somebody whose tool may be faster
    stop = motion.stop(NOW_NS + 400 * MS)
    assert isinstance(stop, SafeTrajectory)
    assert fastest(robot, stop.trajectory) > 1.02 * BOUND


@pytest.mark.parametrize("name", ["planar", "xarm6"])
def test_a_person_leads_the_tool_no_faster_and_is_never_held_for_it(robots, name):
    robot = robots[name]
    follower = TeleopFollower(robot)
    at = np.array(robot.home)
    for k in range(80):
        now_ns = NOW_NS + k * 33 * MS
        if follower.motion.executing is not None:
            at = follower.motion.executing.sample(now_ns)[0]
        for earlier_ns in (50 * MS, 0):
            sample = JointSample(positions=at, stamp_ns=now_ns - earlier_ns)
            follower.watch(sample, now_ns)
        swing = 0.35 * np.sin(k / 6.0 + np.arange(robot.width)) - 0.35 * np.sin(
            np.arange(robot.width)
        )
        target = TeleopTarget(
            joint_names=robot.joint_names,
            stamp_ns=now_ns,
            offsets_ns=(60 * MS,),
            positions=robot.position_min.clip(np.array(robot.home) + swing)[np.newaxis],
        )
        verdict = follower.take(target, sample, now_ns)
        assert not isinstance(verdict, RefusedTarget), verdict.reason
        assert fastest(robot, verdict.trajectory) <= 1.02 * BOUND
    assert not follower.fault


def test_the_way_to_the_park_pose_takes_the_time_that_the_tool_needs(robots):
    robot = bounded(robots["planar"], 0.05)
    motion = Motion(robot)
    parking = Parking(motion, (1.2, -0.6, 1.0, 0.0))
    at, now_ns, sent = np.array(robot.home), NOW_NS, []
    while not parking.over(now_ns):
        if motion.executing is not None:
            at = motion.executing.sample(now_ns)[0]
        sample = JointSample(positions=at, stamp_ns=now_ns)
        motion.look(sample, None, now_ns)
        step = parking.step(sample, now_ns) if now_ns > NOW_NS + 200 * MS else None
        assert step is None or isinstance(step, SafeTrajectory), step
        sent += [step.trajectory] if step else []
        now_ns += 50 * MS
        assert now_ns < NOW_NS + 60_000 * MS
    assert max(fastest(robot, trajectory) for trajectory in sent) <= 1.02 * 0.05
    np.testing.assert_allclose(motion.executing.positions[-1], (1.2, -0.6, 1.0, 0.0), atol=1e-3)


def test_the_key_is_read_and_said(robot):
    text = robot.text.replace("    tool: tool\n", "    tool: tool\n    tool_speed: 0.25\n")
    assert parse_robot(text).safety.collision.tool_speed == 0.25
    said = collisions_text(parse_robot(text).safety.collision)
    assert said.endswith("itself, table, post; the tool moves at most 0.25 m/s")
    assert "moves at most" not in collisions_text(robot.safety.collision)
    for wrong in ("0.0", "-1", "fast", ".nan"):
        with pytest.raises(RobotConfigError, match=r"tool_speed"):
            parse_robot(text.replace("tool_speed: 0.25", f"tool_speed: {wrong}"))
