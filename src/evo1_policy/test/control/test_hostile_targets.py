"""Targets torn, late, reordered, repeated, absurd: nothing leaves that breaks a limit."""

import dataclasses
import os
from collections import deque

import numpy as np

from evo1_policy.control.limits import Limits
from evo1_policy.control.safety import check
from evo1_policy.control.signals import SafeTrajectory
from evo1_policy.control.teleop import RefusedTarget, TeleopFollower
from evo1_policy.control.teleop_target import TeleopTarget, TeleopWindow
from evo1_policy.observation import JointSample

CASES = int(os.environ.get("EVO1_FUZZ", "20000")) // 20
MS = 1_000_000
NAMES = ("shoulder", "elbow", "jaw")
ODD = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 1e6)


def tear(rng, target):
    """One of many ways in which a message can be wrong."""
    positions, offsets = target.positions.copy(), target.offsets_ns
    row, joint = int(rng.integers(len(positions))), int(rng.integers(3))
    match int(rng.integers(8)):
        case 0:
            positions[row, joint] = rng.choice(ODD)
        case 1:
            positions[row] += rng.normal(0.0, 10.0 ** rng.uniform(-2, 3), 3)
        case 2:
            return dataclasses.replace(target, positions=positions[:, :2])
        case 3:
            return dataclasses.replace(target, offsets_ns=offsets[::-1])
        case 4:
            keep = int(rng.integers(len(offsets) + 1))
            return dataclasses.replace(
                target, offsets_ns=offsets[:keep], positions=positions[:keep]
            )
        case 5:
            names = [(), ("wrist",), ("jaw", "jaw", "elbow"), NAMES[::-1]]
            return dataclasses.replace(target, joint_names=names[int(rng.integers(4))])
        case 6:
            stamps = [0, 1, -(10**18), 2**31 * 10**9, target.stamp_ns - 10**9]
            return dataclasses.replace(target, stamp_ns=int(rng.choice(stamps)))
        case 7:
            return dataclasses.replace(target, stamp_ns=target.stamp_ns + int(rng.normal(0, 2e8)))
    return dataclasses.replace(target, positions=positions)


def test_whatever_comes_as_a_target_limits_hold_and_the_motion_is_continuous(kit):
    rng, limits = np.random.default_rng(5), Limits.of(kit.robot)
    follower, window = TeleopFollower(kit.robot), TeleopWindow(NAMES)
    past: deque[TeleopTarget] = deque(maxlen=20)
    now_ns, arm, sent = 10**18, kit.home, 0
    for i in range(CASES):
        now_ns += int(rng.integers(1, 40)) * MS
        wish = kit.home + 0.3 * np.sin(i / 20) * np.array([1.0, 0.5, 0.2])
        past.append(window.push(wish, now_ns))
        target = past[int(rng.integers(len(past)))] if rng.random() < 0.3 else past[-1]
        if rng.random() < 0.3:
            target = tear(rng, target)
        before = follower.motion.executing
        if before is not None:
            arm, _ = before.sample(now_ns - 20 * MS)
        measured = JointSample(positions=arm, stamp_ns=now_ns - 5 * MS)
        if rng.random() < 0.02:
            measured = None if rng.random() < 0.5 else dataclasses.replace(measured, stamp_ns=1)
        follower.resume()
        commands = [
            follower.take(target, measured, now_ns),
            follower.watch(measured, now_ns + MS),
        ]
        for command in commands:
            if isinstance(command, RefusedTarget):
                assert command.reason
            elif command is not None:
                sent += 1
                assert isinstance(check(command.trajectory, limits), SafeTrajectory)
                assert not command.trajectory.velocities[-1].any()
    assert sent > CASES // 3
