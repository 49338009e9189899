"""A leader arm on an emulated bus of its own drives a follower on another."""

import numpy as np
import pytest
from so100_rig import Rig, run

from evo1_bringup.drivers.feetech import BusError
from evo1_bringup.drivers.following import Asked
from evo1_bringup.teleop.devices import LeaderArm, LeaderServos
from evo1_sim.trajectory import TrajectoryPoint

TICK = 2 * np.pi / 4096
POSE = np.array([0.4, -1.0, 0.9, -1.2, 1.2, 0.8])


@pytest.fixture
def leader_rig(so100, tmp_path):
    rig = Rig(so100, tmp_path / "ttyLEADER")
    yield rig
    rig.close()


def test_the_follower_goes_where_the_leader_is_held(rig, leader_rig, so100):
    bus = leader_rig.bus()
    leader = LeaderArm(LeaderServos(bus, leader_rig.servos), leader_rig.servos, so100)
    follower = rig.engaged()
    leader_rig.arm.place(POSE)
    leader_rig.faults.corrupt_rate = 0.02
    for _ in range(40):
        wanted = leader.read()
        point = TrajectoryPoint(positions=wanted.tolist(), time_from_start_ns=60_000_000)
        follower.follow(Asked(points=[point], joint_names=so100.joint_names))
        run(follower, 0.02)
    run(follower, 0.3)
    assert leader_rig.arm.torques() == [False] * 6
    np.testing.assert_allclose(rig.arm.positions()[:5], POSE[:5], atol=4 * TICK)
    np.testing.assert_allclose(rig.arm.positions()[5], wanted[5], atol=4 * TICK)
    bus.close()


def test_a_leader_that_loses_a_servo_says_which(leader_rig, so100):
    bus = leader_rig.bus()
    leader = LeaderArm(LeaderServos(bus, leader_rig.servos), leader_rig.servos, so100)
    leader.read()
    leader_rig.faults.silent.add(3)
    with pytest.raises(BusError, match=r"nothing credible was heard of elbow_flex_joint \(id 3\)"):
        leader.read()
    bus.close()
