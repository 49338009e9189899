"""What a launch says with a policy that runs elsewhere."""

import pytest

from evo1_bringup.options import OptionError, parse_options
from evo1_bringup.system import describe
from evo1_policy.control.signals import StopCode
from evo1_policy.serving import calling


def described(**given):
    return describe("xarm6", parse_options("xarm6", given))


def mover(system):
    return next(item for item in system.processes if item.executable == "policy_node")


def test_the_node_is_told_and_a_simulated_arm_asks_nobody_before():
    system = described(remote="gpu:8000", remote_images="jpeg")
    assert mover(system).parameters["remote"] == "gpu:8000"
    assert mover(system).parameters["remote_images"] == "jpeg"


def test_a_real_arm_asks_the_server_where_its_policy_was_trained(monkeypatch):
    said = {"trained_in": "simulation"}
    monkeypatch.setattr(calling, "server_says", lambda address, token: said)
    real = {"robot_ip": "10.0.0.2", "remote": "gpu:8000"}
    with pytest.raises(OptionError, match=r"remote: the policy of gpu:8000 was trained in simul"):
        described(**real)
    described(**real, allow_simulation_policy="true")
    said["trained_in"] = "unknown"
    assert any("does not say whether" in note for note in described(**real).notes)

    def gone(address, token):
        raise calling.RemoteError(StopCode.REMOTE_GONE, "gpu:8000: nobody answers")

    monkeypatch.setattr(calling, "server_says", gone)
    with pytest.raises(OptionError, match="remote: gpu:8000: nobody answers"):
        described(**real)


@pytest.mark.parametrize("other", ["checkpoint", "num_steps"])
def test_what_the_server_is_told_is_no_option_beside_it(other, tmp_path):
    value = {"checkpoint": str(tmp_path), "num_steps": "4"}[other]
    with pytest.raises(ValueError, match=f"{other}: says nothing with remote"):
        described(remote="gpu:8000", **{other: value})


def test_remote_and_teleop_exclude_each_other():
    with pytest.raises(OptionError, match="remote: with teleop:=true no policy runs"):
        described(remote="gpu:8000", teleop="true")
