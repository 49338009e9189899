"""The gate: nothing passes that an independent look at the whole curve finds wrong."""

import dataclasses
import os

import numpy as np
import pytest

from evo1_policy.action_chunk import ActionChunk, Trajectory
from evo1_policy.control.chunks import Accepted, Chunks
from evo1_policy.control.limits import Limits, brake, follow
from evo1_policy.control.motion import Motion
from evo1_policy.control.safety import check
from evo1_policy.control.signals import LoopSettings, SafeTrajectory, StopCode, StopReason
from evo1_policy.observation import JointSample

CASES = int(os.environ.get("EVO1_FUZZ", "20000"))
SEED = int(os.environ.get("EVO1_FUZZ_SEED", "7"))
ODD = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320)


def sound(kit, rng, points=6):
    """A random trajectory that keeps every limit and ends at rest."""
    limits = Limits.of(kit.robot)
    start = rng.uniform(limits.position_min, limits.position_max)
    wanted = rng.uniform(limits.position_min, limits.position_max, (points, 3))
    path = Trajectory.resting(start, tick=100, step_ns=limits.step_ns)
    path = path.extended(*follow(start, np.zeros(3), (wanted, np.zeros((points, 3))), limits)[:2])
    return path.extended(*brake(path.positions[-1], path.velocities[-1], limits))


def spoil(rng, path):
    """One of many ways to make a trajectory wrong, or nearly so."""
    q, v = path.positions.copy(), path.velocities.copy()
    row, joint = int(rng.integers(len(q))), int(rng.integers(3))
    size = 10.0 ** rng.uniform(-9, 3) * rng.choice([-1.0, 1.0])
    match int(rng.integers(7)):
        case 0:
            q[row, joint] += size
        case 1:
            v[row, joint] += size
        case 2:
            (q if rng.random() < 0.5 else v)[row, joint] = rng.choice(ODD)
        case 3:
            q[:, joint] += size
        case 4:
            v *= 1.0 + abs(size)
        case 5:
            q, v = q[: row + 1], v[: row + 1]
        case 6:
            return dataclasses.replace(path, step_ns=max(int(path.step_ns * abs(size)), 0))
    return dataclasses.replace(path, positions=q, velocities=v)


def is_sound(kit, path, per_segment=16):
    if path.step_ns <= 0 or not np.isfinite(path.positions).all():
        return False
    if not np.isfinite(path.velocities).all() or np.any(path.velocities[-1] != 0.0):
        return False
    q, v, a = path.positions, path.velocities, np.zeros((1, 3))
    if len(q) > 1:
        with np.errstate(all="ignore"):
            _, q, v, a = kit.hermite(path, per_segment)
    robot, slack = kit.robot, 1e-7
    lower = np.minimum(robot.position_min, path.positions[0])
    upper = np.maximum(robot.position_max, path.positions[0])
    return bool(
        np.all(q <= upper + slack)
        and np.all(q >= lower - slack)
        and np.all(np.abs(v) <= robot.velocity_max * (1 + slack) + slack)
        and np.all(np.abs(a) <= robot.acceleration_max * (1 + slack) + slack)
    )


def test_spoilt_trajectories_never_get_through(kit):
    rng, limits = np.random.default_rng(SEED), Limits.of(kit.robot)
    originals = [sound(kit, rng) for _ in range(50)]
    passed, count = 0, CASES - CASES // 10
    for i in range(count):
        path = spoil(rng, originals[i % 50])
        if isinstance(check(path, limits), SafeTrajectory):
            passed += 1
            assert is_sound(kit, path), path
    assert 0.01 < passed / count < 0.9


def spoilt_chunk(kit, rng, now_ns, here):
    """A chunk near the arm, or wrong in one of many ways."""
    count, width, robot = int(rng.integers(1, 9)), 3, kit.robot
    actions = here + rng.normal(0.0, 10.0 ** rng.uniform(-4, 0), (count, width)).cumsum(axis=0)
    start_ns, step_ns = now_ns + int(rng.normal(0.0, 60)) * 1_000_000, robot.step_ns
    row, joint = int(rng.integers(count)), int(rng.integers(width))
    match int(rng.integers(10)):
        case 0:
            actions[row, joint] = rng.choice(ODD)
        case 1:
            actions[row:] += 10.0 ** rng.uniform(-3, 300) * rng.choice([-1.0, 1.0])
        case 2:
            shapes = [(count, 4), (0, 3), (count,), (), (count, 3, 1)]
            actions = np.zeros(shapes[int(rng.integers(len(shapes)))])
        case 3:
            start_ns = int(rng.choice([0, 1, now_ns // 2, 2 * now_ns, 2**31 * 10**9]))
        case 4:
            step_ns = int(rng.choice([0, -robot.step_ns, 1, 2 * robot.step_ns, 10**15]))
        case 5:
            actions = rng.permutation(actions, axis=0) + rng.choice([-0.55, 0.55])
    return ActionChunk(
        actions=actions,
        start_ns=start_ns,
        step_ns=step_ns,
        observation_stamp_ns=start_ns - robot.step_ns,
        instruction="",
    )


def spoilt_state(kit, rng, executing, now_ns):
    """Where the arm is measured: near its command, far away, absent, or nonsense."""
    here, _ = executing.sample(now_ns)
    kind = int(rng.integers(8))
    if kind == 0:
        return None
    if kind == 1:
        here[int(rng.integers(3))] = rng.choice(ODD)
    elif kind == 2:
        here += rng.normal(0.0, 2.0, 3)
    else:
        here += rng.normal(0.0, 0.02, 3)
    return JointSample(positions=here, stamp_ns=now_ns - int(rng.integers(0, 60)) * 1_000_000)


def test_spoilt_chunks_on_spoilt_states_never_get_through(kit):
    """EVO1_FUZZ=1000000 runs a million cases, a tenth of them here."""
    rng, limits = np.random.default_rng(SEED), Limits.of(kit.robot)
    originals = [sound(kit, rng) for _ in range(50)]
    count, passed = CASES // 10, 0
    for i in range(count):
        executing = originals[i % 50]
        now_ns = executing.start_ns + int(rng.integers(-50, 400)) * 1_000_000
        choices = LoopSettings(dry_run=bool(rng.random() < 0.1))
        motion = Motion(kit.robot, dry_run=choices.dry_run)
        chunks = Chunks(kit.robot, choices, motion, None)
        measured = spoilt_state(kit, rng, executing, now_ns)
        if rng.random() < 0.9:
            motion.executing = executing
        elif measured is not None:
            earlier = dataclasses.replace(measured, stamp_ns=measured.stamp_ns - 100_000_000)
            motion.look(earlier, None, now_ns)
            motion.look(measured, None, now_ns)
        chunk = spoilt_chunk(kit, rng, now_ns, executing.sample(now_ns)[0])
        with np.errstate(all="ignore"):
            verdict = chunks.execute(chunk, measured, now_ns, lead_ns=140_000_000)
        if isinstance(verdict, Accepted):
            passed += 1
            assert is_sound(kit, verdict.command.trajectory, per_segment=8)
            assert isinstance(check(verdict.command.trajectory, limits), SafeTrajectory)
        else:
            assert verdict.message
    assert 0.1 < passed / count < 0.9


def test_what_keeps_every_limit_is_let_through(kit):
    rng = np.random.default_rng(3)
    for _ in range(200):
        path = sound(kit, rng, points=40)
        assert isinstance(check(path, Limits.of(kit.robot), executing=path), SafeTrajectory)


def line(velocities, *, start=(0.0, 0.2, 0.4), tick=0):
    """Trajectory of the mini robot whose shoulder takes these velocities at 10 ms steps."""
    v = np.zeros((len(velocities), 3))
    v[:, 0] = velocities
    q = np.array(start) + np.concatenate(
        [np.zeros((1, 3)), np.cumsum((v[1:] + v[:-1]) / 2 * 0.01, axis=0)]
    )
    return Trajectory(first_tick=tick, step_ns=10_000_000, positions=q, velocities=v)


@pytest.mark.parametrize(
    ("trajectory", "words"),
    [
        (line([0.0, 0.1, 0.0]), "'shoulder' would reach acceleration 10.0000 rad/s^2, limit 6"),
        (line([1.56, 1.56, 1.5]), "does not end at rest"),
        (line([1.5, 1.56, *np.linspace(1.5, 0.0, 31)]), "velocity 1.5600 rad/s, limit 1.5"),
        (line([0.0, 0.05, 0.0], start=(1.9999, 0.2, 0.4)), "[-2, 2] rad, reaching"),
        (line([0.0, 0.05, 0.0], start=(2.05, 0.2, 0.4)), "[-2, 2] rad, reaching"),
    ],
)
def test_a_broken_limit_is_named_with_its_joint(kit, trajectory, words):
    verdict = check(trajectory, Limits.of(kit.robot))
    assert isinstance(verdict, StopReason)
    assert verdict.code is StopCode.CHUNK_BREAKS_LIMITS
    assert words in verdict.message


def test_a_velocity_peak_between_two_points_is_seen(kit):
    # 0.4 rad/s at both points, but 0.0265 rad in 1/60 s needs 2.2 rad/s in between.
    path = Trajectory(
        first_tick=0,
        step_ns=16_666_666,
        positions=np.array([[0.0, 0.2, 0.4], [0.0265, 0.2, 0.4]]),
        velocities=np.zeros((2, 3)),
    )
    limits = dataclasses.replace(Limits.of(kit.robot), acceleration_max=np.full(3, 1e6))
    verdict = check(path, limits)
    assert isinstance(verdict, StopReason)
    assert "velocity 2.3850 rad/s" in verdict.message


def test_an_arm_outside_its_limits_may_come_back(kit):
    path = line([0.0, -0.05, -0.05, 0.0], start=(2.05, 0.2, 0.4))
    assert isinstance(check(path, Limits.of(kit.robot)), SafeTrajectory)


def test_a_trajectory_that_leaves_the_executed_one_is_rejected(kit):
    limits = Limits.of(kit.robot)
    executing = line([0.0, 0.05, 0.1, 0.1, 0.05, 0.0])
    moved = dataclasses.replace(executing, positions=executing.positions + 1e-5)
    assert isinstance(check(executing, limits, executing=executing, splice_tick=3), SafeTrajectory)
    verdict = check(moved, limits, executing=executing, splice_tick=3)
    assert isinstance(verdict, StopReason)
    assert "does not continue what the arm is executing" in verdict.message


def test_a_first_trajectory_must_begin_near_the_measured_arm(kit):
    path = line([0.0, 0.05, 0.0])
    verdict = check(path, Limits.of(kit.robot), measured=np.array([0.7, 0.2, 0.4]))
    assert isinstance(verdict, StopReason)
    assert "'shoulder' is measured" in verdict.message


def test_only_safety_makes_a_safe_trajectory(kit):
    with pytest.raises(TypeError, match="only evo1_policy"):
        SafeTrajectory(trajectory=line([0.0, 0.0]), _key=object())
