"""Two simulated arms and one policy of random weights, started as people start them."""

import time
from dataclasses import replace

import numpy as np
import pytest
from live_listener import SMALL, STOPPED, LiveListener, patient_robot_file

from evo1_bringup.cli import main
from evo1_bringup.processes import together
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import systems_of
from evo1_policy.robot_config import load_robot

pytestmark = [pytest.mark.ros, pytest.mark.gl]

SWAY_RAD = 0.12


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6_bimanual.yaml")


@pytest.fixture(scope="module")
def checkpoint(robot, tmp_path_factory):
    """A policy of the shipped ones' size, with random weights: it sways around the home pose."""
    from evo1_policy.checkpoint import read_checkpoint, save_checkpoint, shipped_checkpoint
    from evo1_policy.model.evo1 import new_model
    from evo1_policy.normalization import FeatureStats, NormStats

    shipped = shipped_checkpoint("so100")
    config = replace(read_checkpoint(shipped).config, views=len(robot.cameras))
    assert config.action_width == 24  # 14 of them used
    home = np.array(robot.home)
    low, high = (
        np.clip(home + sway, robot.position_min, robot.position_max)
        for sway in (-SWAY_RAD, SWAY_RAD)
    )
    stats = FeatureStats(min=low, max=high)
    folder = tmp_path_factory.mktemp("policy") / "random"
    save_checkpoint(
        folder,
        model=new_model(config, seed=0),
        stats=NormStats(embodiment=robot.embodiment, state=stats, action=stats),
        interface=robot.interface,
        tokenizer_dir=shipped / "tokenizer",
        card="# random weights\n",
    )
    return folder


class Cell(LiveListener):
    """What is heard of both arms and of their policy."""

    def __init__(self, robot, supervisor, lines):
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        super().__init__(supervisor, lines, policies=[""])
        self._robot = robot
        self.joints = None
        self.positions = []  # (14,) each
        self.commands = {command.topic: 0 for command in robot.command}
        self.node.create_subscription(JointState, "joint_states", self._on_joints, 10)
        for topic in self.commands:
            self.node.create_subscription(JointTrajectory, topic, self._counter(topic), 10)

    def _counter(self, topic):
        return lambda _: self.commands.update({topic: self.commands[topic] + 1})

    def _on_joints(self, message):
        assert tuple(message.name) == self._robot.joint_names
        self.joints = message
        self.positions.append(np.array(message.position))

    def moved(self):
        """How far each joint has got from where it was first seen (14,) [rad]."""
        rows = np.array(self.positions)
        return np.ptp(rows, axis=0) if len(rows) else np.zeros(self._robot.width)


@pytest.fixture
def cell(robot, robots_dir, checkpoint, tmp_path):
    patient = patient_robot_file(robots_dir, "xarm6_bimanual", tmp_path)
    given = {"checkpoint": str(checkpoint), "robot_file": str(patient), **SMALL}
    lines = []
    programs = together(systems_of("xarm6_bimanual", given))
    with Supervisor(programs, printer=lambda *line: lines.append(line)) as supervisor:
        cell = Cell(robot, supervisor, lines)
        try:
            yield cell
        finally:
            cell.close()


def test_one_policy_moves_both_arms_within_their_limits_and_stops_both(cell, robot):
    arm = np.array([not name.endswith("drive_joint") for name in robot.joint_names])
    left = np.array([name.startswith("left") for name in robot.joint_names])
    for side, of_side in (("left", left), ("right", ~left)):
        cell.wait(lambda s=of_side: (cell.moved()[s & arm] > 0.02).sum() >= 3, f"motion: {side}")
    assert all(cell.commands.values()), cell.commands
    assert main(["stop"]) == 0
    cell.wait(lambda: cell.status().state == STOPPED, "the stop")
    cell.wait(lambda: np.abs(cell.joints.velocity).max() < 0.01, "both arms at rest")
    rows = np.array(cell.positions)
    slack = 0.01  # a joint may overshoot its target
    assert (rows >= robot.position_min - slack).all()
    assert (rows <= robot.position_max + slack).all()
    said = time.monotonic() + 0.5  # a stop may have been lost, so it is sent more than once
    cell.wait(lambda: time.monotonic() > said, "the stop's repeats")
    sent = dict(cell.commands)
    until = time.monotonic() + 1.0
    cell.wait(lambda: time.monotonic() > until, "a second of rest")
    assert cell.commands == sent
    assert np.abs(cell.joints.velocity).max() < 0.01
