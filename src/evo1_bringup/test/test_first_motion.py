"""Someone with a UR5e and its URDF: robot file, check, dry run, slow first motion, the table."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from evo1_bringup import new_robot
from evo1_bringup.options import parse_options
from evo1_bringup.system import describe
from evo1_policy.kinematics.collision import workspace_of
from evo1_policy.robot_config import load_robot
from evo1_sim.closed_loop import HORIZON, ClosedLoop, Situation
from evo1_sim.controller import ControllerSettings
from evo1_sim.heard import Controller, Graph, Stream
from evo1_sim.robot_check import check_robot

ANSWERS = {
    "acceleration": "3",
    "max_start_error_rad": "0.5",
    "max_tracking_error_rad": "0.2",
}
SLOWLY = Situation(name="first motion", speed=0.2, pauses_s=())
HOME = (0.0, -1.57, 1.57, -1.57, -1.57, 0.0)


@pytest.fixture
def file(robots_dir, tmp_path):
    """What evo1 new-robot writes, its home set by a person as the file asks for."""
    to = tmp_path / "cell_ur5e.yaml"
    words = ["cell_ur5e", "--urdf", str(robots_dir / "urdf/ur5e.urdf"), "--to", str(to)]
    assert new_robot.main([*words, *(f"--set={k}={v}" for k, v in ANSWERS.items())]) == 0
    text = to.read_text()
    document = yaml.safe_load(text)
    for name, at in zip(document["home"], HOME, strict=True):
        text = text.replace(f"\n  {name}: {document['home'][name]}", f"\n  {name}: {at}")
    to.write_text(text)
    return to


def graph_of(robot):
    """The kinematic arm, as somebody hears it."""
    positions = dict(zip(robot.joint_names, robot.home, strict=True))
    joints = Stream(
        topic="joint_states", type="sensor_msgs/msg/JointState", rate_hz=100, positions=positions
    )
    cameras = [Stream(topic=c.topic, type=c.type, rate_hz=30) for c in robot.cameras]
    taker = Controller(topic=robot.command[0].topic, joints=robot.joint_names, reports=True)
    return Graph(seconds=3, streams=(joints, *cameras), controllers=(taker,))


class Taught(ClosedLoop):
    """A policy that goes straight to a goal (D,), at 20 % of its pace."""

    def __init__(self, robot, goal):
        super().__init__(robot, SLOWLY, ControllerSettings(update_rate_hz=100.0))
        self._goal = np.array(goal)

    def _result(self, now_ns):
        done = super()._result(now_ns)
        if done is None:
            return None
        start = self._position(done.chunk.observation_stamp_ns)
        share = np.linspace(0.0, 1.0, HORIZON + 1)[1:, None]
        chunk = replace(done.chunk, actions=start + share * (self._goal - start))
        return replace(done, chunk=chunk)


def test_a_new_arm_is_kept_off_its_table_by_what_new_robot_proposes(file, capsys, tmp_path):
    robot = load_robot(file)
    assert robot.safety.collision.planes[0].name == "table"
    assert check_robot(robot, graph_of(robot)) == []

    given = {"robot_file": str(file), "checkpoint": str(tmp_path), "dry_run": "true"}
    system = describe("policy", parse_options("policy", {**given, "view": "foxglove"}))
    (policy, arm_view, bridge) = system.processes
    assert policy.parameters["dry_run"]
    assert [arm_view.executable, bridge.executable] == ["arm_view", "foxglove_bridge"]

    workspace = workspace_of(robot)
    aside = (0.3, *HOME[1:])
    loop = Taught(robot, aside)
    loop.run(2.0)
    told = np.array(loop._told)
    assert 0.01 < told[-1, 0] < 0.3
    assert np.abs(np.diff(told, axis=0)).max() * 100 < 0.2 * 1.05 * robot.velocity_max[0]
    assert workspace.touching(told[-1]) is None

    low = np.array([0.0, 0.2, 0.6, -1.57, -1.57, 0.0])  # the forearm in the table
    assert workspace.touching(low) is not None
    loop = Taught(robot, low)
    loop.run(12.0)
    told = np.array(loop._told)
    assert np.abs(told - HOME).max() > 0.3
    deepest = [workspace.touching(row) for row in told[::5]]
    assert all(contact is None or contact.distance > -0.002 for contact in deepest)
    assert "would_touch" in loop.measure().reasons


def test_what_the_proposal_says_can_be_chosen(robots_dir, tmp_path, capsys):
    urdf, to = robots_dir / "urdf/fr3.urdf", tmp_path / "mine.yaml"
    words = ["mine", "--urdf", str(urdf), "--to", str(to), "--overwrite"]
    words += [f"--set={k}={v}" for k, v in ANSWERS.items()]
    assert new_robot.main([*words, "--set", "table=none"]) == 0
    assert load_robot(to).safety.collision.planes == ()
    assert new_robot.main([*words, "--set", "table=-0.2"]) == 0
    assert load_robot(to).safety.collision.planes[0].point == (0.0, 0.0, -0.2)
    assert new_robot.main([*words, "--set", "table=0.6"]) == 2
    assert "is in it at the home pose; give its height" in capsys.readouterr().err
    assert new_robot.main([*words, "--set", "table=low"]) == 2
    assert "table: expected a height in metres, or none, got 'low'" in capsys.readouterr().err
