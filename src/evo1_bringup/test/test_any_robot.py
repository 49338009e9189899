"""Robots that nobody wrote code for: a file, and what is started for it."""

import re
from pathlib import Path

import pytest
from described import process_of, system_of

from evo1_bringup import installation
from evo1_bringup.arms import find_driver
from evo1_bringup.options import OptionError, parse_options
from evo1_bringup.system import describe, launchable
from evo1_policy.kinematics.model import find_model
from evo1_policy.kinematics.urdf import read_urdf
from evo1_policy.robot_config import load_robot, parse_robot

LAUNCH_FILES = Path(__file__).resolve().parents[1] / "launch"
ROBOTS = LAUNCH_FILES.with_name("robots")
RUNS = {"robot_file": "ur5e", "teleop": "true"}


def executables(system):
    return [process.executable for process in system.processes]


def any_robot(**given):
    return describe("policy", parse_options("policy", given))


@pytest.mark.parametrize("file", sorted(ROBOTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_robot_that_ships_is_kept_off_its_table_or_says_why_not(file):
    robot = load_robot(file)
    if robot.safety.collision is None:
        assert f"evo1 new-robot {robot.name} --urdf" in robot.text
    else:
        assert robot.safety.collision.planes[0].name == "table"
        assert find_model(robot.safety.collision.model).is_file()
    if robot.urdf:  # found from a copy in a checkpoint, too
        assert find_model(parse_robot(robot.text).urdf).is_file()


def test_a_robot_that_runs_already_gets_the_policy_alone(tmp_path):
    system = any_robot(robot_file="ur5e", checkpoint=str(tmp_path))
    assert executables(system) == ["policy_node"]
    assert system.includes == ()
    assert system.real_arm
    policy = process_of(system, "policy_node").parameters
    assert (policy["autostart"], policy["speed"]) == (False, 0.3)
    assert Path(policy["robot_file"]).name == "ur5e.yaml"
    note = "A REAL ur5e that runs already, at joint_states, scaled_joint_trajectory_controller/"
    assert system.notes[0].startswith(note)


def test_recorder_teleop_cameras_and_parameters_come_by_the_same_options(tmp_path):
    file = tmp_path / "parameters.yaml"
    file.write_text("/**:\n  ros__parameters: {smoothing_rad: 0.01}\n")
    cameras = "/dev/video0,/dev/video2"
    given = {"cameras": cameras, "camera_driver": "usb_cam", "namespace": "left"}
    system = any_robot(**RUNS, record="true", **given)
    assert executables(system) == [
        "usb_cam_node_exe",
        "usb_cam_node_exe",
        "teleop_relay",
        "recorder",
    ]
    policy = any_robot(robot_file="ur5e", checkpoint=str(tmp_path), params_file=str(file))
    assert process_of(policy, "policy_node").parameters["smoothing_rad"] == 0.01


def test_a_robot_of_a_file_is_simulated_only_if_that_is_asked_for():
    system = any_robot(**RUNS, simulated="true")
    assert executables(system) == ["sim_robot", "teleop_relay"]
    assert not system.real_arm
    assert process_of(system, "sim_robot").parameters["task"] == "free"
    assert "Simulated ur5e (as a kinematic arm)." in system.notes
    cell = any_robot(robot_file="xarm6", simulated="true")
    assert process_of(cell, "sim_robot").parameters["task"] == "can_into_box"


def test_a_device_starts_the_driver_that_the_file_names():
    system = any_robot(robot_file="xarm7", robot_ip="10.0.0.2", teleop="true")
    assert executables(system) == ["spawner", "gripper_bridge", "xarm_monitor", "teleop_relay"]
    with pytest.raises(OptionError, match="robot_ip: no option of policy"):
        any_robot(**RUNS, robot_ip="10.0.0.2")  # ur5e.yaml names no driver
    with pytest.raises(OptionError, match="simulated: robot_ip names a real arm"):
        any_robot(robot_file="xarm7", robot_ip="10.0.0.2", teleop="true", simulated="true")


def test_another_robots_file_does_not_start_the_xarm6s_simulation(robots_dir):
    with pytest.raises(OptionError, match=r"ur5e\.yaml is no xarm6 \(joints shoulder_pan_joint"):
        system_of("xarm6", robot_file=str(robots_dir / "ur5e.yaml"))


def test_a_robot_file_is_needed_and_those_that_ship_are_named():
    with pytest.raises(OptionError, match=r"robot_file: missing; .*ur5e"):
        any_robot()
    with pytest.raises(OptionError, match="checkpoint: missing"):
        any_robot(robot_file="ur5e")
    with pytest.raises(OptionError, match="checkpoint: no policy ships for ur5e"):
        any_robot(robot_file="ur5e", simulated="true")


def test_a_robot_without_cell_and_urdf_has_nothing_to_simulate(tmp_path, robots_dir):
    file = tmp_path / "mine.yaml"
    file.write_text(re.sub(r"urdf: .*\n", "", (robots_dir / "ur5e.yaml").read_text()))
    with pytest.raises(OptionError, match="names no urdf, so there is nothing to simulate"):
        any_robot(robot_file=str(file), simulated="true", teleop="true")


def test_an_unknown_driver_is_named_with_the_known_ones():
    with pytest.raises(OptionError, match="'abb' is unknown; known: so_arm, xarm_ros2"):
        find_driver("abb")


@pytest.mark.parametrize("robot", sorted(installation.robots()))
def test_every_robot_that_ships_starts_in_simulation(robot):
    system = system_of(robot, teleop="true")
    assert executables(system) == ["sim_robot", "teleop_relay"]
    assert system.robot.name == robot
    assert process_of(system, "sim_robot").parameters["arm"] == robot


@pytest.mark.parametrize(
    ("robot", "way", "started", "included"),
    [
        ("xarm5", "ros2_control", ["spawner", "gripper_bridge", "xarm_monitor"], "5"),
        ("xarm7", "ros2_control", ["spawner", "gripper_bridge", "xarm_monitor"], "7"),
        ("lite6", "ros2_control", ["spawner", "xarm_monitor"], "6"),
        ("uf850", "ros2_control", ["spawner", "gripper_bridge", "xarm_monitor"], "6"),
        ("xarm5", "direct", ["xarm_direct", "gripper_bridge", "xarm_monitor"], "xarm5"),
        ("xarm7", "direct", ["xarm_direct", "gripper_bridge", "xarm_monitor"], "xarm7"),
        ("lite6", "direct", ["xarm_direct", "xarm_monitor"], "lite6"),
        ("uf850", "direct", ["xarm_direct", "gripper_bridge", "xarm_monitor"], "uf850"),
    ],
)
def test_ufactorys_arms_start_what_xarm_ros2_has_for_them(robot, way, started, included):
    system = system_of(robot, robot_ip="10.0.0.2", driver=way, teleop="true")
    assert executables(system) == [*started, "teleop_relay"]
    arguments = system.includes[0].arguments
    assert arguments["add_gripper"] == ("false" if robot == "lite6" else "true")
    if way == "direct":
        assert system.includes[0].launch_file == f"{included}_driver.launch.py"
    else:
        kinds = {"lite6": "lite", "uf850": "uf850"}
        assert (arguments["dof"], arguments["robot_type"]) == (included, kinds.get(robot, "xarm"))
        assert system.processes[0].arguments == (f"{robot}_traj_controller",)


def test_the_so101_has_the_so100s_driver_emulator_and_calibration(tmp_path):
    file = tmp_path / "arm.json"
    file.write_text("{}")
    real = system_of("so101", port="/dev/ttyACM0", calibration=str(file))
    assert executables(real) == ["so100_driver", "policy_node"]
    emulated = system_of("so101", port="emulated", teleop="true")
    assert executables(emulated) == ["sim_robot", "so100_emulator", "so100_driver", "teleop_relay"]
    with pytest.raises(OptionError, match="no output for the gripper alone"):
        system_of("so101", port="/dev/ttyACM0", driver="ros2_control", teleop="true")


def test_every_launch_file_names_something_that_can_be_launched():
    for file in LAUNCH_FILES.glob("*.launch.py"):
        (name,) = re.findall(r'launch_description, "(\w+)"', file.read_text())
        assert name in launchable()
        assert file.name == f"{name}.launch.py"


def test_limits_of_a_robot_file_lie_within_those_of_its_urdf(robots_dir):
    checked = 0
    for path in robots_dir.glob("*.yaml"):
        robot = load_robot(path)
        if not robot.urdf:
            continue
        joints = read_urdf(find_model(robot.urdf)).joints
        for joint in robot.joints:
            known = joints[joint.name]
            assert known.lower <= joint.position_min < joint.position_max <= known.upper, joint
            assert joint.velocity_max <= known.velocity, joint
            checked += 1
    assert checked > 30


@pytest.mark.parametrize(
    ("robot", "given", "refused"),
    [
        ("xarm6", {"robot_ip": "10.0.0.2"}, "the gripper of xarm_ros2 (it reads"),
        ("xarm6", {"robot_ip": "10.0.0.2", "driver": "direct"}, "the gripper of xarm_ros2 (it"),
        ("so100", {"port": "emulated"}, "so100_driver takes none"),
        ("so100", {"port": "/dev/ttyACM0", "driver": "ros2_control"}, ""),
        ("xarm6", {}, ""),  # in simulation
    ],
)
def test_a_grippers_effort_is_refused_where_what_is_started_takes_none(
    robot, given, refused, robots_dir, tmp_path
):
    shipped = "ros2_control/so100" if robot == "so100" else robot
    text = (robots_dir / f"{shipped}.yaml").read_text()
    changed, count = re.subn(r"^(gripper: {)", r"\1effort: 20.0, ", text, flags=re.MULTILINE)
    assert count == 1
    file = tmp_path / "pressing.yaml"
    file.write_text(changed)
    if not refused:
        assert system_of(robot, robot_file=str(file), teleop="true", **given).robot.gripper.effort
        return
    with pytest.raises(OptionError) as caught:
        system_of(robot, robot_file=str(file), teleop="true", **given)
    assert f"robot_file: {file}: gripper.effort: {refused}" in str(caught.value)
