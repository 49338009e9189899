"""What is started for a robot and its options."""

from xml.etree import ElementTree

import pytest
import yaml
from described import process_of, system_of

from evo1_bringup import installation
from evo1_bringup.discovery import PROFILE
from evo1_bringup.installation import NotInstalledError
from evo1_bringup.options import OptionError
from evo1_bringup.system import check_installed
from evo1_policy.checkpoint import shipped_checkpoint
from evo1_policy.node_parameters import POLICY_PARAMETERS
from evo1_policy.robot_config import differences, load_robot
from evo1_training.recording.episode import SIMULATION_OPERATOR


@pytest.fixture
def calibration(tmp_path):
    file = tmp_path / "my_arm.json"
    file.write_text("{}")
    return str(file)


@pytest.mark.parametrize("robot", ["xarm6", "so100"])
def test_simulation_is_the_sim_and_the_policy(robot):
    system = system_of(robot)
    assert not system.real_arm
    assert [process.label for process in system.processes] == ["sim_robot", "policy"]
    assert system.includes == ()
    assert process_of(system, "sim_robot").parameters["arm"] == robot


def test_sim_and_policy_read_the_same_robot_file():
    system = system_of("xarm6")
    files = {process.parameters["robot_file"] for process in system.processes}
    assert files == {str(system.robot_path)}
    assert system.robot_path.name == "xarm6.yaml"


def test_defaults_are_the_first_task_and_its_instruction():
    system = system_of("so100")
    assert process_of(system, "sim_robot").parameters["task"] == "cube_into_box"
    assert "cube" in process_of(system, "policy_node").parameters["instruction"]


def test_options_reach_the_programs(tmp_path):
    system = system_of(
        "xarm6",
        instruction="on",
        task="can_stacking",
        seed="7",
        checkpoint=str(tmp_path),
        device="cpu",
        dry_run="true",
        execution_mode="rtc",
        instruction_transition="Flush",
        autostart="false",
        takeover="service",
        takeover_return="resume",
        dead_man="joy",
        camera_width="640",
        camera_height="480",
    )
    assert process_of(system, "sim_robot").parameters == {
        "arm": "xarm6",
        "robot_file": str(system.robot_path),
        "task": "can_stacking",
        "seed": 7,
        "camera_width": 640,
        "camera_height": 480,
    }
    expected = {
        "robot_file": str(system.robot_path),
        "checkpoint": str(tmp_path),
        "instruction": "on",
        "device": "cpu",
        "dry_run": True,
        "execution_mode": "rtc",
        "instruction_transition": "flush",
        "autostart": False,
        "seed": 7,
        "auto_activate": True,
        "takeover": "service",
        "takeover_return": "resume",
        "dead_man": "joy",
        "num_steps": 0,
    }
    parameters = process_of(system, "policy_node").parameters
    assert expected.items() <= parameters.items()
    assert set(parameters) == set(POLICY_PARAMETERS)


def test_one_policy_for_two_arms_needs_a_checkpoint_or_a_demonstrator(tmp_path):
    with pytest.raises(OptionError, match="checkpoint: no policy ships for xarm6_bimanual"):
        system_of("xarm6_bimanual")
    system = system_of("xarm6_bimanual", checkpoint=str(tmp_path))
    assert [process.label for process in system.processes] == ["sim_robot", "policy"]
    assert process_of(system, "sim_robot").parameters["arm"] == "xarm6_bimanual"
    assert system.robot.width == 14
    followed = system_of("xarm6_bimanual", teleop="true")
    assert any("of one arm or of both" in note for note in followed.notes)


def test_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(OptionError, match=r"task: 'dance' is unknown; known for xarm6: can_into"):
        system_of("xarm6", task="dance")


def test_namespace_reaches_every_process():
    assert {process.namespace for process in system_of("so100", namespace="left").processes} == {
        "left"
    }


def test_robot_file_of_another_place_is_read(tmp_path, robots_dir):
    file = tmp_path / "mine.yaml"
    file.write_text((robots_dir / "xarm6.yaml").read_text().replace("name: xarm6", "name: mine"))
    system = system_of("xarm6", robot_file=str(file))
    assert system.robot.name == "mine"
    assert system.robot_path == file


def test_bad_robot_file_names_file_and_key(tmp_path, robots_dir):
    file = tmp_path / "bad.yaml"
    file.write_text((robots_dir / "xarm6.yaml").read_text().replace("rate_hz: 30", "rate: 30"))
    with pytest.raises(OptionError, match=r"robot_file: .*bad\.yaml: rate_hz: missing"):
        system_of("xarm6", robot_file=str(file))


def test_real_xarm6_takes_the_place_of_the_simulation():
    system = system_of("xarm6", robot_ip="10.0.0.2")
    assert system.real_arm
    assert [process.executable for process in system.processes] == [
        "spawner",
        "gripper_bridge",
        "xarm_monitor",
        "policy_node",
    ]
    assert process_of(system, "xarm_monitor").parameters["mode"] == 1
    assert [include.package for include in system.includes] == [
        "xarm_description",
        "xarm_controller",
    ]
    assert system.includes[1].launch_file == "_ros2_control.launch.py"
    spawner = system.processes[0]
    assert spawner.arguments == ("xarm6_traj_controller",)
    assert spawner.role == "finishes"


def test_the_robot_description_that_reaches_the_topic_knows_the_box():
    publishes, control = system_of("xarm6", robot_ip="10.0.0.2").includes
    expected = {"robot_ip": "10.0.0.2", "dof": "6", "report_type": "dev", "add_gripper": "true"}
    for include in (publishes, control):  # xacro gets the arguments of each
        assert include.xacro == ("xarm_description", "urdf/xarm_device.urdf.xacro")
        assert expected.items() <= include.arguments.items()
    assert publishes.arguments == control.arguments


def test_xarm_ros2s_own_xacro_puts_the_box_into_the_hardware():
    include = system_of("xarm6", robot_ip="10.0.0.2").includes[0]
    try:
        text = installation.robot_description(include)["robot_description"]
    except NotInstalledError as error:
        pytest.skip(f"needs xacro and xarm_description: {error}")
    urdf = ElementTree.fromstring(yaml.safe_load(text)["robot_description"])
    hardware = urdf.find("ros2_control/hardware")
    parameters = {one.get("name"): one.text for one in hardware.findall("param")}
    assert hardware.findtext("plugin") == "uf_robot_hardware/UFRobotSystemHardware"
    assert parameters["robot_ip"] == "R10.0.0.2"  # the plugin takes the letter off again
    assert parameters["report_type"] == "dev"
    assert parameters["dof"] == "6"


def test_roles_say_what_ends_first_and_what_holds_the_arm():
    def roles(robot, **given):
        return {process.name: process.role for process in system_of(robot, **given).processes}

    assert roles("xarm6", record="true") == {
        "sim_robot": "driver",
        "policy": "mover",
        "recorder": "optional",
    }
    real = roles("xarm6", robot_ip="10.0.0.2", driver="direct", cameras="0,1", teleop="true")
    assert real == {
        "xarm_direct": "driver",
        "gripper_bridge": "driver",
        "xarm_monitor": "needed",
        "image_1_camera": "needed",
        "image_2_camera": "needed",
        "teleop_relay": "mover",
    }


def test_a_simulations_policy_moves_a_real_arm_only_if_that_is_asked_for_in_words():
    ships = str(shipped_checkpoint("xarm6"))
    with pytest.raises(OptionError, match=r"checkpoint: .*trained in simulation .*allow_simul"):
        system_of("xarm6", robot_ip="10.0.0.2", checkpoint=ships)
    asked = {"checkpoint": ships, "allow_simulation_policy": "true"}
    assert system_of("xarm6", robot_ip="10.0.0.2", **asked).real_arm
    assert not system_of("xarm6", checkpoint=ships).real_arm


def test_the_recorder_of_a_simulation_says_that_no_real_arm_was_there():
    def operator(**given):
        process = process_of(system_of("xarm6", record="true", **given), "recorder")
        return process.parameters.get("operator_name")

    assert operator() == SIMULATION_OPERATOR
    assert operator(robot_ip="10.0.0.2") is None


def test_real_xarm6_waits_for_a_person_and_says_so():
    system = system_of("xarm6", robot_ip="10.0.0.2")
    assert process_of(system, "policy_node").parameters["autostart"] is False
    assert any("evo1 resume" in note for note in system.notes)
    assert any("REAL" in note for note in system.notes)
    assert any("does not say whether it was trained" in note for note in system.notes)


def test_real_so100_takes_the_place_of_the_simulation(calibration):
    system = system_of("so100", port="/dev/ttyACM0", calibration=calibration)
    driver = process_of(system, "so100_driver")
    assert [process.executable for process in system.processes] == ["so100_driver", "policy_node"]
    assert driver.parameters["port"] == "/dev/ttyACM0"
    assert driver.parameters["calibration"] == calibration


def test_an_emulated_port_runs_the_real_driver_on_the_simulation():
    system = system_of("so100", port="emulated", namespace="left")
    assert not system.real_arm
    assert [process.executable for process in system.processes] == [
        "sim_robot",
        "so100_emulator",
        "so100_driver",
        "policy_node",
    ]
    assert process_of(system, "sim_robot").remappings == (
        ("joint_states", "emulated/joint_states"),
        ("joint_trajectory_controller/joint_trajectory", "emulated/joint_trajectory"),
        ("joint_trajectory_controller/controller_state", "emulated/controller_state"),
    )
    emulator, driver = (
        process_of(system, name).parameters for name in ("so100_emulator", "so100_driver")
    )
    for name in ("robot_file", "port", "calibration"):
        assert driver[name] == emulator[name]
    assert "left" in driver["port"]
    assert driver["port_timeout_s"] > 0
    policy = process_of(system, "policy_node").parameters
    assert policy["autostart"] is True
    assert "cube" in policy["instruction"]


def test_an_emulated_port_takes_a_calibration_of_its_own(calibration):
    system = system_of("so100", port="emulated", calibration=calibration)
    assert process_of(system, "so100_emulator").parameters["calibration"] == calibration


def test_direct_driver_of_the_xarm6_streams_targets_without_ros2_control():
    system = system_of("xarm6", robot_ip="10.0.0.2", driver="direct")
    assert [process.executable for process in system.processes] == [
        "xarm_direct",
        "gripper_bridge",
        "xarm_monitor",
        "policy_node",
    ]
    assert [(item.package, item.launch_file) for item in system.includes] == [
        ("xarm_api", "xarm6_driver.launch.py")
    ]
    assert system.includes[0].arguments["report_type"] == "dev"
    monitor = process_of(system, "xarm_monitor").parameters
    assert (monitor["mode"], monitor["enable_at_start"]) == (6, True)


def test_real_xarm6_in_a_namespace_keeps_every_name_in_it():
    system = system_of("xarm6", robot_ip="10.0.0.2", driver="direct", namespace="left")
    assert {process.namespace for process in system.processes} == {"left"}
    for process in system.processes:
        names = [text for text in process.parameters.values() if "/xarm" in f"/{text}"]
        assert not any(str(name).startswith("/xarm") for name in names)  # relative, or both mix
    driver = system.includes[0]
    assert driver.namespace == driver.arguments["ros_namespace"] == "left"
    assert any("evo1 resume --namespace left" in note for note in system.notes)


def test_so100_behind_the_controllers_of_ros2_so_arm100():
    system = system_of("so100", port="/dev/ttyACM0", driver="ros2_control")
    assert system.robot_path.parts[-2:] == ("ros2_control", "so100.yaml")
    assert [process.executable for process in system.processes] == [
        "gripper_bridge",
        "policy_node",
    ]
    assert system.includes[0].arguments == {"hardware_type": "real", "usb_port": "/dev/ttyACM0"}
    bridge = process_of(system, "gripper_bridge").parameters
    assert bridge["action_type"] == "ParallelGripperCommand"
    assert bridge["merge_states"] is False
    assert system_of("so100", driver="ros2_control").robot_path.name == "so100.yaml"  # simulated


def test_both_files_of_the_so100_are_one_robot_to_a_checkpoint(robots_dir):
    ours, other = (
        load_robot(robots_dir / f"{name}.yaml") for name in ("so100", "ros2_control/so100")
    )
    assert differences(ours, other) == []
    assert ours.joints == other.joints
    assert (ours.home, ours.safety, ours.gripper) == (other.home, other.safety, other.gripper)
    assert [output.joints[-1] for output in other.command] == ["wrist_roll_joint", "gripper_joint"]


def test_record_adds_the_recorder_with_the_instruction_as_its_label(tmp_path):
    system = system_of("xarm6", record="true", record_root=str(tmp_path / "new"))
    recorder = process_of(system, "recorder")
    assert recorder.package == "evo1_training"
    assert recorder.parameters == {
        "robot_file": str(system.robot_path),
        "instruction": process_of(system, "policy_node").parameters["instruction"],
        "pre_roll_s": 10.0,
        "auto_activate": True,
        "operator_name": "somebody in simulation",
        "root": str(tmp_path / "new"),
    }
    assert "root" not in process_of(system_of("xarm6", record="true"), "recorder").parameters
    smaller = system_of("xarm6", record="true", compress="/*/image_raw=jpeg:95")
    given = process_of(smaller, "recorder").parameters
    assert given["compress"] == "/*/image_raw=jpeg:95"
    with pytest.raises(OptionError, match="compress: only used with record:=true"):
        system_of("xarm6", compress="/*=png")


def test_ten_seconds_before_a_take_over_wait_for_a_take_unless_nobody_can_take_over():
    def pre_roll_s(**given):
        recorder = process_of(system_of("xarm6", record="true", **given), "recorder")
        return recorder.parameters["pre_roll_s"]

    assert pre_roll_s() == 10.0
    assert pre_roll_s(pre_roll_s="0") == 0.0
    assert pre_roll_s(teleop="true") == 0.0


@pytest.mark.parametrize("robot", ["xarm6", "so100"])
def test_teleop_takes_the_place_of_the_policy(robot):
    system = system_of(robot, teleop="true", record="true", namespace="left")
    assert [process.label for process in system.processes] == [
        "left/sim_robot",
        "left/teleop_relay",
        "left/recorder",
    ]
    relay = process_of(system, "teleop_relay")
    assert relay.parameters == {"robot_file": str(system.robot_path)}
    assert relay.namespace == "left"
    demonstrate = f"evo1 demonstrate --robot {robot} --namespace left"
    assert any(demonstrate in note for note in system.notes)


def test_teleop_of_a_real_arm_has_no_scripted_demonstrator():
    system = system_of("xarm6", robot_ip="10.0.0.2", teleop="true")
    assert system.processes[-1].executable == "teleop_relay"
    assert not any("evo1 demonstrate" in note for note in system.notes)


def test_missing_program_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    for package, name in (("evo1_sim", "sim_robot"), ("evo1_policy", "policy_node")):
        program = tmp_path / "lib" / package / name
        program.parent.mkdir(parents=True)
        program.touch()
    check_installed(system_of("xarm6"))
    with pytest.raises(NotInstalledError, match=r"no executable 'recorder'.*recording needs it"):
        check_installed(system_of("xarm6", record="true"))
    with pytest.raises(NotInstalledError, match=r"xarm_description.*robots\.repos"):
        check_installed(system_of("xarm6", robot_ip="10.0.0.2"))


def test_image_profile_is_set():
    profile = system_of("xarm6").environment[PROFILE]
    assert profile.endswith("fastdds.xml")


def test_data_files_are_found_without_an_installation(monkeypatch, robots_dir):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert installation.robot_file("so100") == robots_dir / "so100.yaml"


def test_the_overlay_wins(monkeypatch, tmp_path):
    for name in ("over", "under"):
        file = tmp_path / name / "share" / "evo1_bringup" / "robots" / "xarm6.yaml"
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'over'}:{tmp_path / 'under'}")
    assert installation.robot_file("xarm6").is_relative_to(tmp_path / "over")
