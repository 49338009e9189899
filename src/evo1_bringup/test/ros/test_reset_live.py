"""A system in two halves, as two machines start it: a chunk, clocks, a reset, over real DDS."""

import pytest
from live_listener import HOLDING, RUNNING, SMALL, LiveListener, patient_robot_file

from evo1_bringup.cli import main
from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import describe

pytestmark = [pytest.mark.ros, pytest.mark.gl]


def half(only, given, lines):
    """The processes of one half."""
    system = describe("xarm6", parse_options("xarm6", {**given, "only": only}))
    return Supervisor(system, printer=lambda *line: lines.append(line))


def test_a_reset_goes_on_where_the_policy_ran_and_says_what_to_type_where_it_did_not(
    robots_dir, tmp_path, capsys
):
    given = {"robot_file": str(patient_robot_file(robots_dir, "xarm6", tmp_path)), **SMALL}
    given["simulated"] = "true"
    lines = []
    with half("arm", given, lines) as arm, half("policy", given, lines) as policy:
        assert [*arm.pids(), *policy.pids()] == ["sim_robot", "policy"]
        watcher = LiveListener(policy, lines, policies=[""])
        try:
            watcher.wait_chunks(3)
            assert [
                line for _, line in lines if "clocks: messages arrive after their stamps" in line
            ]
            assert not [line for _, line in lines if "ERROR" in line]
            for seed in ("7", "3"):
                assert main(["reset", "--seed", seed]) == 0
                assert f"seed {seed}" in capsys.readouterr().out
                watcher.wait_chunks(3)
                watcher.wait(lambda: watcher.status().state == RUNNING, "running")
            codes = {status.reason_code for status in watcher.statuses[""]}
            assert "tracking_error" not in codes
            assert main(["pause"]) == 0
            assert main(["reset"]) == 0
            assert "evo1 resume goes on" in capsys.readouterr().out
            now_s = watcher.node.get_clock().now().nanoseconds // 10**9
            watcher.wait(lambda: watcher.status().header.stamp.sec > now_s, "status")
            assert watcher.status().state == HOLDING
        finally:
            watcher.close()
