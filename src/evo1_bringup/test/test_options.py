"""Options as typed, and what they become."""

import json

import pytest

from evo1_bringup.installation import robots
from evo1_bringup.options import OptionError, options_of, parse_options
from evo1_policy.node_parameters import POLICY_PARAMETERS


@pytest.mark.parametrize("robot", robots())
def test_every_option_has_a_description_and_a_default_that_parses(robot):
    parse_options(robot, {})
    assert all(len(option.description) > 10 for option in options_of(robot))


def test_unknown_option_is_named_with_the_known_ones():
    with pytest.raises(OptionError, match=r"haste: no option of xarm6; known: robot_ip, .*task"):
        parse_options("xarm6", {"haste": "2"})


@pytest.mark.parametrize(
    ("robot", "given"),
    [
        ("xarm6", {"robot_file": "hub:lab/arm"}),
        ("xarm6", {"params_file": "hub:lab/arm"}),
        ("so100", {"port": "/dev/null", "calibration": "hub:lab/arm"}),
    ],
)
def test_only_a_checkpoint_comes_from_the_hub(robot, given):
    with pytest.raises(OptionError, match=r"'hub:lab/arm' does not exist"):
        parse_options(robot, given)
    with pytest.raises(OptionError, match=r"^checkpoint: hub:lab/arm: "):
        parse_options("xarm6", {"checkpoint": "hub:lab/arm"})


def test_options_of_the_other_robot_are_unknown():
    with pytest.raises(OptionError, match="port: no option of xarm6"):
        parse_options("xarm6", {"port": "/dev/ttyACM0"})
    with pytest.raises(OptionError, match="robot_ip: no option of so100"):
        parse_options("so100", {"robot_ip": "10.0.0.2"})


def test_unknown_robot_is_named_with_the_known_ones():
    with pytest.raises(
        OptionError,
        match=r"'ur5' is unknown; known: fr3, .*so100, .*; any other one: launch policy",
    ):
        parse_options("ur5", {})


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("false", False)]
)
def test_booleans_are_read_as_people_type_them(text, value):
    assert parse_options("xarm6", {"dry_run": text}).policy.dry_run is value


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("dry_run", "perhaps", "dry_run: expected true or false, got 'perhaps'"),
        ("device", "tpu", "device: expected one of auto, cpu, cuda, got 'tpu'"),
        ("device", "1", "device: expected one of auto, cpu, cuda, got '1'"),
        ("seed", "many", "seed: expected an integer, got 'many'"),
        ("seed", "-1", "seed: expected 0 to 2147483647, got -1"),
        ("camera_width", "2", "camera_width: expected 16 to 4096, got 2"),
        ("checkpoint", "/no/such/folder", "checkpoint: '/no/such/folder' does not exist"),
        ("robot_file", "/no/such.yaml", "robot_file: '/no/such.yaml' does not exist"),
    ],
)
def test_value_that_cannot_be_used_is_refused_by_name(name, text, problem):
    with pytest.raises(OptionError, match=problem):
        parse_options("xarm6", {name: text})


def test_simulation_starts_by_itself_and_a_real_arm_waits_for_a_person():
    real = {"robot_ip": "10.0.0.2", "teleop": "true"}

    def autostart(**given):
        return parse_options("xarm6", given).policy.autostart

    assert autostart()
    assert autostart(autostart="auto")
    assert not autostart(**real)
    assert autostart(**real, autostart="true")
    assert not autostart(autostart="false")


def test_a_real_arm_begins_slowly_unless_told_otherwise():
    real = {"robot_ip": "10.0.0.2", "teleop": "true"}

    def speed(**given):
        return parse_options("xarm6", given).policy.speed

    assert [speed(), speed(speed="auto"), speed(speed="0.5")] == [1.0, 1.0, 0.5]
    assert [speed(**real), speed(**real, speed="1")] == [0.3, 1.0]
    with pytest.raises(ValueError, match=r"speed: expected 0.1 to 1, got 30"):
        speed(speed="30")


def test_a_real_arm_asks_for_a_policy_of_its_own_or_a_demonstrator(tmp_path):
    with pytest.raises(OptionError, match=r"checkpoint: missing; .* or teleop:=true"):
        parse_options("xarm6", {"robot_ip": "10.0.0.2"})
    assert parse_options("xarm6", {"robot_ip": "10.0.0.2", "checkpoint": str(tmp_path)}).hardware
    assert parse_options("xarm6", {"robot_ip": "10.0.0.2", "teleop": "true"}).hardware


def test_every_parameter_of_the_policy_node_is_an_option():
    known = {option.name for option in options_of("so100")}
    assert set(POLICY_PARAMETERS) <= known
    parsed = parse_options("so100", {"smoothing_rad": "0.01", "num_steps": "3", "threads": "2"})
    assert parsed.policy.smoothing_rad == 0.01
    assert (parsed.policy.num_steps, parsed.policy.threads) == (3, 2)


def test_what_is_typed_wins_over_the_parameter_file_and_that_over_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {execute_actions: 4, autostart: false, ensemble_decay: 3}\n"
        "left/policy:\n  ros__parameters: {execute_actions: 6}\n"
    )
    given = {"params_file": str(file), "namespace": "left", "smoothing_rad": "0.01", "seed": ""}
    policy = parse_options("xarm6", given).policy
    assert (policy.execute_actions, policy.smoothing_rad) == (6, 0.01)
    assert policy.autostart is False
    assert isinstance(policy.ensemble_decay, float)  # rcl takes no integer for it
    assert policy.execution_mode == "replace"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/**:\n  ros__parameters: {smothing_rad: 0.0}\n", "smothing_rad: no parameter of the"),
        ("/**:\n  ros__parameters: {seed: 1.5}\n", "seed: expected int, got 1.5"),
        ("sim:\n  ros__parameters: {seed: 1}\n", r"expected '/\*\*' or '/policy'"),
        ("a: [", "not valid YAML"),
        ("a: &a [*a]", "an alias stands for what it is in"),
        ("/**: {}\n/**: {}\n", "key '/\\*\\*' stands twice"),
        (json.dumps({"a": "x" * 300_000}), "at most 262,144"),
    ],
)
def test_a_parameter_file_that_would_be_ignored_is_refused(text, problem, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(OptionError, match=f"params_file: .*{problem}"):
        parse_options("xarm6", {"params_file": str(file)})


def test_real_so100_needs_its_calibration(tmp_path):
    with pytest.raises(OptionError, match="calibration: missing"):
        parse_options("so100", {"port": "/dev/ttyACM0"})
    file = tmp_path / "arm.json"
    file.write_text("{}")
    real = {"port": "/dev/ttyACM0", "calibration": str(file), "teleop": "true"}
    options = parse_options("so100", real)
    assert options.hardware
    with pytest.raises(OptionError, match="calibration: only used with port"):
        parse_options("so100", {"calibration": str(file)})


@pytest.mark.parametrize(
    "given", [{"port": "emulated"}, {"port": "/dev/ttyACM0", "namespace": "left"}]
)
def test_other_controllers_of_the_so100_have_neither_emulation_nor_namespace(given):
    with pytest.raises(OptionError, match="driver: with ros2_control there is no port:=emulated"):
        parse_options("so100", {"driver": "ros2_control", **given})


def test_cameras_are_for_a_real_arm_only():
    with pytest.raises(OptionError, match="cameras: the simulation renders its own"):
        parse_options("xarm6", {"cameras": "/dev/video0,/dev/video2"})
    assert parse_options("xarm6", {"cameras": "none"}).cameras == ""


def test_task_is_for_the_simulation_only():
    with pytest.raises(OptionError, match="task: a real arm has no simulated scene"):
        parse_options("xarm6", {"robot_ip": "10.0.0.2", "task": "can_into_box"})


def test_real_xarm_of_ros2_control_refuses_a_namespace():
    given = {"robot_ip": "10.0.0.2", "namespace": "left", "teleop": "true"}
    with pytest.raises(OptionError, match=r"driver: .*cannot run in a namespace .*choose direct"):
        parse_options("xarm6", given)
    assert parse_options("xarm6", {**given, "driver": "direct"}).namespace == "left"


def test_namespace_loses_its_slashes():
    assert parse_options("xarm6", {"namespace": "/left/"}).namespace == "left"
    assert parse_options("xarm6", {"namespace": "cell/left"}).namespace == "cell/left"


@pytest.mark.parametrize("text", ["left arm", "2nd", "left-arm", "a//b", "~left"])
def test_a_namespace_that_ros_would_refuse_is_refused_before(text):
    with pytest.raises(OptionError, match=f"namespace: '{text}' is no ROS name"):
        parse_options("xarm6", {"namespace": text})


def test_teleop_runs_no_policy(tmp_path):
    assert parse_options("xarm6", {"teleop": "true"}).teleop
    with pytest.raises(OptionError, match="checkpoint: with teleop:=true no policy runs"):
        parse_options("xarm6", {"teleop": "true", "checkpoint": str(tmp_path)})
    with pytest.raises(OptionError, match="dry_run: with teleop:=true no policy runs"):
        parse_options("xarm6", {"teleop": "true", "dry_run": "true"})


def test_record_root_goes_with_record(tmp_path):
    with pytest.raises(OptionError, match="record_root: only used with record:=true"):
        parse_options("xarm6", {"record_root": str(tmp_path)})
    options = parse_options("xarm6", {"record": "true", "record_root": str(tmp_path / "new")})
    assert options.record_root == str(tmp_path / "new")
