"""What is started for two arms, and what is refused."""

import pytest

from evo1_bringup.options import OptionError
from evo1_bringup.processes import together
from evo1_bringup.system import TWO_ARMS, arguments_of, systems_of


def describe_two_arms(given):
    return systems_of(TWO_ARMS, given)


def parameters_of(system, executable):
    return next(p.parameters for p in system.processes if p.executable == executable)


def test_each_arm_has_its_own_namespace_simulation_and_policy():
    left, right = describe_two_arms({"left_robot": "xarm6", "right_robot": "so100"})
    assert (left.robot.name, right.robot.name) == ("xarm6", "so100")
    assert [process.label for process in together([left, right]).processes] == [
        "left/sim_robot",
        "left/policy",
        "right/sim_robot",
        "right/policy",
    ]


def test_empty_options_are_as_if_not_given():  # launch gives every one
    given = {option.name: "" for option in arguments_of(TWO_ARMS)} | {"right_robot": "so100"}
    left, right = describe_two_arms(given)
    assert (left.robot.name, right.robot.name) == ("xarm6", "so100")
    assert [process.name for process in left.processes] == ["sim_robot", "policy"]


def test_options_of_a_side_stay_on_it_and_the_others_are_for_both(tmp_path):
    left, right = describe_two_arms(
        {
            "left_checkpoint": str(tmp_path),
            "left_instruction": "pour the water",
            "right_task": "can_stacking",
            "right_seed": "7",
            "device": "cpu",
            "execution_mode": "rtc",
        }
    )
    policies = [parameters_of(system, "policy_node") for system in (left, right)]
    assert [p["checkpoint"] for p in policies] == [str(tmp_path), ""]
    assert policies[0]["instruction"] == "pour the water"
    assert [p["seed"] for p in policies] == [0, 7]
    assert [p["device"] for p in policies] == ["cpu", "cpu"]
    assert [p["execution_mode"] for p in policies] == ["rtc", "rtc"]
    assert parameters_of(right, "sim_robot")["task"] == "can_stacking"
    assert parameters_of(left, "sim_robot")["task"] == "can_into_box"


def test_a_real_arm_beside_a_simulated_one(tmp_path):
    file = tmp_path / "arm.json"
    file.write_text("{}")
    left, right = describe_two_arms(
        {
            "right_robot": "so100",
            "right_port": "/dev/ttyACM0",
            "right_calibration": str(file),
            "right_cameras": "/dev/video0,/dev/video2",
            "right_checkpoint": str(tmp_path),
        }
    )
    assert not left.real_arm
    assert right.real_arm
    assert together([left, right]).real_arm
    assert parameters_of(right, "so100_driver")["port"] == "/dev/ttyACM0"
    assert parameters_of(left, "policy_node")["autostart"] is True
    assert parameters_of(right, "policy_node")["autostart"] is False


def test_two_real_xarms_are_driven_directly():
    ips = {"left_robot_ip": "10.0.0.2", "right_robot_ip": "10.0.0.3", "teleop": "true"}
    with pytest.raises(OptionError, match="left_driver: the xArm6 of ros2_control cannot run"):
        describe_two_arms(ips)
    systems = describe_two_arms({**ips, "left_driver": "direct", "right_driver": "direct"})
    drivers = together(systems).includes
    assert [driver.arguments["robot_ip"] for driver in drivers] == ["10.0.0.2", "10.0.0.3"]
    assert [driver.namespace for driver in drivers] == ["left", "right"]


def test_two_emulated_so100s_have_ports_of_their_own():
    given = {f"{side}_{name}": value for side in ("left", "right") for name, value in EMULATED}
    ports = [parameters_of(system, "so100_driver")["port"] for system in describe_two_arms(given)]
    assert len(set(ports)) == 2


EMULATED = (("robot", "so100"), ("port", "emulated"))


def test_episodes_of_the_arms_go_to_folders_of_their_own(tmp_path):
    given = {"record": "true", "record_root": str(tmp_path), "namespace": "cell"}
    systems = describe_two_arms(given)
    roots = [parameters_of(system, "recorder")["root"] for system in systems]
    assert roots == [str(tmp_path / "left"), str(tmp_path / "right")]
    assert systems[1].processes[0].namespace == "cell/right"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"robot": "xarm6"}, "robot: no option of two_arms; known: left_robot, "),
        ({"right_robot": "ur5"}, "right_robot: 'ur5' is no single arm; known: fr3, "),
        ({"left_seed": "many"}, "left_seed: expected an integer"),
        ({"left_port": "/dev/ttyACM0"}, "left_port: no option of xarm6"),
        ({"right_task": "dance"}, "right_task: 'dance' is unknown"),
        ({"device": "tpu"}, "left arm: device: expected one of auto, cpu, cuda, got 'tpu'"),
        ({"record": "perhaps"}, "record: expected true or false"),
        (
            {"left_robot_ip": "10.0.0.2", "right_robot_ip": "10.0.0.2"},
            "right_robot_ip: 10.0.0.2 is the left arm's already",
        ),
        (
            {"left_cameras": "/dev/video0,/dev/video1", "right_cameras": "/dev/video1, x"},
            "right_cameras: /dev/video1 is the left arm's already",
        ),
    ],
)
def test_what_cannot_be_started_is_refused_by_name(given, problem):
    with pytest.raises(OptionError, match=problem):
        describe_two_arms(given)


def test_every_option_has_a_description():
    options = {option.name: option for option in arguments_of(TWO_ARMS)}
    assert all(len(option.description) > 10 for option in options.values())
    assert "serial port" in options["left_port"].description.lower()
    assert "direct" in options["right_driver"].description
    assert "feetech" in options["right_driver"].description


def test_each_arm_has_a_page_of_its_own():
    left, right = describe_two_arms({"right_robot": "so100", "desk": "true", "desk_port": "9000"})
    pages = [
        process
        for one in (left, right)
        for process in one.processes
        if process.executable == "desk"
    ]
    assert [page.arguments for page in pages] == [
        ("--port", "9000", "--namespace", "left"),
        ("--port", "9001", "--namespace", "right"),
    ]
    assert {page.role for page in pages} == {"optional"}  # an arm goes on without it
