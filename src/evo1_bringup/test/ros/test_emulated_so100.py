"""The whole hardware path without hardware: simulation, emulated bus, real driver, policy."""

import numpy as np
import pytest
from live_listener import HOLDING, SMALL, TIMEOUT_S, LiveListener, patient_robot_file

from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import describe

pytestmark = [pytest.mark.ros, pytest.mark.gl]


class Watcher(LiveListener):
    """Hears the policy and the joints."""

    def __init__(self, supervisor, lines):
        from sensor_msgs.msg import JointState

        super().__init__(supervisor, lines, policies=[""])
        self.positions = []
        self.node.create_subscription(
            JointState, "joint_states", lambda m: self.positions.append(list(m.position)), 10
        )

    @property
    def moved(self):
        return len(self.positions) and np.ptp(self.positions, axis=0).max() > 0.02


def test_the_arm_holds_when_its_cable_is_pulled_and_goes_on_when_a_person_says_so(
    robots_dir, tmp_path
):
    from evo1_bringup.ros import commands

    patient = patient_robot_file(robots_dir, "so100", tmp_path)
    given = {"port": "emulated", "robot_file": str(patient), **SMALL}
    person, lines = commands.Target(timeout_s=TIMEOUT_S), []
    system = describe("so100", parse_options("so100", given))
    with Supervisor(system, printer=lambda label, line: lines.append(line)) as running:
        watcher = Watcher(running, lines)
        try:
            watcher.wait_chunks(2)
            watcher.wait(lambda: watcher.moved, "motion")
            assert commands.plug_arm(person, plugged=False).success
            watcher.wait(lambda: watcher.status().reason_code == "arm_fault", "fault")
            assert watcher.status().state == HOLDING
            assert "port_lost" in watcher.status().reason
            assert commands.plug_arm(person, plugged=True).success
            assert commands.recover_arm(person).success
            watcher.wait(
                lambda: "that is over" in watcher.status().reason, "words on what is over"
            )
            watcher.positions = []
            assert commands.trigger(person, "resume").success
            watcher.wait_chunks(2)
            watcher.wait(lambda: watcher.moved, "motion after recovery")
        finally:
            watcher.close()
    assert any("torque off: the arm goes limp" in line for line in lines)
