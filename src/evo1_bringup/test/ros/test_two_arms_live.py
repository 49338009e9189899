"""Two simulated arms with a policy each, started as one, over real DDS."""

import pytest
from live_listener import SMALL, STOPPED, LiveListener, patient_robot_file

from evo1_bringup.cli import main
from evo1_bringup.processes import together
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import SIDES, TWO_ARMS, systems_of

pytestmark = [pytest.mark.ros, pytest.mark.gl]

SHARED = {"/diagnostics", "/parameter_events", "/rosout", "/clock"}


class Cell(LiveListener):
    """Both arms, and what is heard from their policies."""

    def __init__(self, supervisor, lines):
        from diagnostic_msgs.msg import DiagnosticArray
        from trajectory_msgs.msg import JointTrajectory

        super().__init__(supervisor, lines, policies=SIDES)
        self.commands = dict.fromkeys(SIDES, 0)
        self.diagnostics = set()
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for side in SIDES:
            topic = f"/{side}/xarm6_traj_controller/joint_trajectory"
            self.node.create_subscription(JointTrajectory, topic, self._count(side), 10)

    def _count(self, side):
        return lambda _: self.commands.update({side: self.commands[side] + 1})

    def _on_diagnostics(self, message):
        self.diagnostics.update(status.name for status in message.status)

    def state(self, side):
        return self.status(side).state if self.status(side) else None


@pytest.fixture
def own_domain(monkeypatch):
    """A graph without the nodes that earlier tests of this run killed; they stay for a while."""
    from domain_coordinator import domain_id

    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        yield


@pytest.fixture
def cell(own_domain, robots_dir, tmp_path):
    patient = str(patient_robot_file(robots_dir, "xarm6", tmp_path))
    files = {f"{side}_robot_file": patient for side in SIDES}
    lines = []
    programs = together(systems_of(TWO_ARMS, {**SMALL, **files}))
    with Supervisor(programs, printer=lambda *line: lines.append(line)) as supervisor:
        cell = Cell(supervisor, lines)
        try:
            for side in SIDES:
                cell.wait_chunks(3, side)
            yield cell
        finally:
            cell.close()


def test_a_stop_of_one_arm_leaves_the_other_alone_and_stop_all_ends_both(cell, capsys):
    names = {name for name, _ in cell.node.get_topic_names_and_types()} - SHARED
    assert {name.split("/")[1] for name in names} == set(SIDES)

    assert main(["stop", "--namespace", "left"]) == 0
    cell.wait(lambda: cell.state("left") == STOPPED, "stop of the left arm")
    cell.wait_chunks(5, "right")  # the stop is repeated until the arm rests
    sent = cell.commands["left"]
    cell.wait_chunks(5, "right")
    assert cell.state("right") != STOPPED
    assert cell.commands["left"] == sent

    assert main(["status", "--namespace", "left"]) == 0
    assert "STOPPED" in capsys.readouterr().out
    assert main(["pause"]) == 2
    assert "here are: --namespace left, --namespace right" in capsys.readouterr().err
    assert {f"{side}/policy: loop" for side in SIDES} <= cell.diagnostics

    assert main(["stop", "--all"]) == 0
    told = capsys.readouterr().out
    assert all(f"/{side}/policy (pid " in told for side in SIDES)
    cell.wait(lambda: cell.state("right") == STOPPED, "stop of the right arm")
