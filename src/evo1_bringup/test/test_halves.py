"""Halves of a system, for two machines: what each starts, and what it refuses."""

import pytest
from described import process_of, system_of

from evo1_bringup.options import OptionError
from evo1_bringup.processes import together
from evo1_bringup.system import systems_of

REAL = {"robot_ip": "10.0.0.2", "driver": "direct"}


def programs(robot, **given):
    return [process.label for process in system_of(robot, **given).processes]


def test_the_halves_of_a_simulation_are_together_the_whole():
    arm = system_of("xarm6", only="arm", record="true")
    policy = system_of("xarm6", only="policy", simulated="true")
    whole = system_of("xarm6", record="true")
    assert [process.executable for process in arm.processes] == ["sim_robot", "recorder"]
    assert [process.executable for process in policy.processes] == ["policy_node"]
    assert sorted((*arm.processes, *policy.processes), key=str) == sorted(whole.processes, key=str)
    assert (arm.real_arm, policy.real_arm) == (False, False)


def test_the_arms_half_of_a_real_arm_needs_no_checkpoint_and_waits_for_nobody():
    given = {**REAL, "only": "arm", "cameras": "/dev/video0,/dev/video2", "teleop": "false"}
    (system,) = systems_of("xarm6", given)
    names = [process.executable for process in system.processes]
    assert {"xarm_direct", "xarm_monitor", "gripper_bridge"} <= set(names)
    assert "policy_node" not in names
    assert not any("resume" in note for note in system.notes)
    assert programs("so100", only="arm", port="emulated")[-1] == "so100_driver"
    assert programs("xarm6", only="arm", teleop="true") == ["sim_robot", "teleop_relay"]


def test_a_policys_half_is_for_a_real_arm_unless_that_is_said(tmp_path):
    """Nobody there knows what stands at the other end: it waits for a person, and goes slowly."""
    system = system_of("xarm6", only="policy", checkpoint=str(tmp_path))
    assert system.real_arm
    policy = process_of(system, "policy_node").parameters
    assert (policy["autostart"], policy["speed"]) == (False, 0.3)
    with pytest.raises(OptionError, match=r"checkpoint: missing; the policies that ship"):
        system_of("xarm6", only="policy")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"only": "policy", "robot_ip": "10.0.0.2"}, "robot_ip: is the arm's half's"),
        ({"only": "policy", "cameras": "/dev/video0"}, "cameras: is the arm's half's"),
        ({"only": "policy", "teleop": "true"}, "teleop: is the arm's half's"),
        ({"only": "policy", "record": "true"}, "record: is the arm's half's"),
        ({"only": "arm", "checkpoint": "/tmp"}, "checkpoint: with only:=arm no policy runs"),
        ({"only": "head"}, "only: expected one of both, arm, policy, got 'head'"),
    ],
)
def test_what_belongs_to_the_other_half_is_refused_by_name(given, problem):
    with pytest.raises(OptionError, match=problem):
        systems_of("xarm6", given)


def test_two_arms_have_halves_too(tmp_path):
    arm = together(systems_of("two_arms", {"only": "arm"}))
    assert [process.label for process in arm.processes] == ["left/sim_robot", "right/sim_robot"]
    given = {"left_simulated": "true", "right_checkpoint": str(tmp_path), "only": "policy"}
    left, right = systems_of("two_arms", given)
    assert (left.real_arm, right.real_arm) == (False, True)
