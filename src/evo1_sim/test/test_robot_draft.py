"""Robot files proposed from URDFs and graphs, and held against graphs."""

from dataclasses import replace

import pytest

from evo1_policy.kinematics.model import find_model
from evo1_policy.kinematics.urdf import parse_urdf, read_urdf
from evo1_policy.robot_config import load_robot, parse_robot
from evo1_sim.heard import IMAGES, JOINT_STATE, Controller, Graph, Stream
from evo1_sim.robot_check import check_robot
from evo1_sim.robot_draft import DraftError, answered, draft_robot

SAFETY = {"max_start_error_rad": "0.5", "max_tracking_error_rad": "0.2"}
ANSWERS = {"acceleration": "3", **SAFETY}


@pytest.fixture
def fr3(robots_dir):
    return read_urdf(robots_dir / "urdf" / "fr3.urdf")


def graph_of(robot):
    """A running robot as its file says."""
    positions = dict(zip(robot.joint_names, robot.home, strict=True))
    state = Stream(
        topic=robot.state.topic, type=JOINT_STATE, rate_hz=100, offset_ms=1, positions=positions
    )
    cameras = [
        Stream(topic=camera.topic, type=camera.type, rate_hz=30, offset_ms=20)
        for camera in robot.cameras
    ]
    controllers = tuple(
        Controller(topic=one.topic, joints=one.joints, update_rate_hz=one.rate_hz, reports=True)
        for one in robot.command
    )
    return Graph(seconds=3, streams=(state, *cameras), controllers=controllers)


def test_a_urdf_gives_joints_limits_gripper_and_units_and_acceleration_is_asked(fr3):
    robot = parse_robot(
        draft_robot("mine", urdf=fr3, urdf_path="fr3.urdf", graph=None, ask=answered(ANSWERS))
    )
    assert robot.joint_names == (*(f"fr3_joint{i}" for i in range(1, 8)), "fr3_finger_joint1")
    elbow, finger = robot.joints[3], robot.joints[7]
    assert (elbow.position_min, elbow.position_max, elbow.velocity_max) == (-2.7478, -0.4461, 1.25)
    assert (finger.unit, finger.position_max, finger.acceleration_max) == ("m", 0.04, 3.0)
    assert (robot.gripper.open, robot.gripper.closed) == (0.04, 0.0)
    assert robot.urdf == "fr3.urdf"
    assert robot.home[3] == pytest.approx((-2.7478 - 0.4461) / 2)
    assert [command.topic for command in robot.command] == [
        "joint_trajectory_controller/joint_trajectory",
        "gripper_controller/joint_trajectory",
    ]


def test_what_nobody_said_is_named_with_how_to_say_it(fr3):
    with pytest.raises(DraftError, match=r"acceleration:fr3_joint1: .*--set acceleration:fr3_joi"):
        draft_robot("mine", urdf=fr3, graph=None, ask=answered(SAFETY))
    with pytest.raises(DraftError, match="max_start_error_rad: how far from the arm"):
        draft_robot("mine", urdf=fr3, graph=None, ask=answered({"acceleration": "3"}))
    with pytest.raises(DraftError, match="acceleration:fr3_joint1: expected a number, got 'fast'"):
        draft_robot("mine", urdf=fr3, graph=None, ask=answered({"acceleration": "fast"}))
    with pytest.raises(DraftError, match="nobody says which joints"):
        draft_robot("mine", urdf=None, graph=None, ask=answered(ANSWERS))


def test_an_answer_for_one_joint_wins_and_a_person_is_asked_the_rest(fr3):
    asked = []

    def person(key, question):
        asked.append(key)
        return "0.4"

    answers = {"acceleration": "3", "acceleration:fr3_joint2": "2"}
    text = draft_robot("mine", urdf=fr3, graph=None, ask=answered(answers, person))
    assert parse_robot(text).joints[1].acceleration_max == 2.0
    assert asked == ["max_start_error_rad", "max_tracking_error_rad"]


@pytest.mark.parametrize("name", ["fr3", "xarm7", "ur5e"])
def test_a_running_robots_draft_has_its_topics_pose_and_controllers(name, robots_dir):
    known = load_robot(robots_dir / f"{name}.yaml")
    urdf = read_urdf(find_model(known.urdf))
    answers = {**ANSWERS, "open:drive_joint": "0"}
    graph = graph_of(known)
    robot = parse_robot(draft_robot(name, urdf=urdf, graph=graph, ask=answered(answers)))
    assert robot.joint_names == known.joint_names
    assert [(one.topic, set(one.joints), one.rate_hz) for one in robot.command] == [
        (one.topic, set(one.joints), one.rate_hz) for one in known.command
    ]
    assert [camera.topic for camera in robot.cameras] == [one.topic for one in known.cameras]
    assert robot.home == pytest.approx(known.home)
    assert (robot.gripper is None) is (known.gripper is None)
    if known.gripper is not None:
        assert (robot.gripper.open, robot.gripper.closed) == (
            known.gripper.open,
            pytest.approx(known.gripper.closed),
        )
    assert check_robot(robot, graph) == []


def test_names_that_yaml_would_read_as_something_else_come_back_as_they_are():
    joint = (
        '<joint name="{0}" type="revolute"><parent link="{1}"/><child link="{2}"/>'
        '<limit lower="-0.00001" upper="1" velocity="1"/></joint>'
    )
    links = "".join(f'<link name="{name}"/>' for name in "abcd")
    odd = ("on", "a: b", "7")
    joints = "".join(map(joint.format, odd, "abc", "bcd"))
    urdf = parse_urdf(f'<robot name="r">{links}{joints}</robot>', source="odd.urdf")
    robot = parse_robot(draft_robot("no", urdf=urdf, graph=None, ask=answered(ANSWERS)))
    assert (robot.name, robot.joint_names) == ("no", odd)
    assert robot.joints[0].position_min == -1e-5


def test_a_robot_that_runs_as_its_file_says_has_nothing_to_find(robots_dir):
    for path in robots_dir.glob("*.yaml"):
        robot = load_robot(path)
        assert check_robot(robot, graph_of(robot)) == [], path


def streams(graph, **changes):
    """The graph with its joint states changed."""
    state, *cameras = graph.streams
    return replace(graph, streams=(replace(state, **changes), *cameras))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda g: replace(g, streams=g.streams[1:]),
            "error: state.topic: joint_states: no sensor",
        ),
        (
            lambda g: streams(g, rate_hz=0.0),
            "error: state.topic: joint_states: is there, but noth",
        ),
        (
            lambda g: streams(g, rate_hz=5.0),
            "error: state.topic: joint_states comes at 5.0 Hz, so",
        ),
        (lambda g: streams(g, rate_hz=20.0), "warning: state.topic: joint_states comes at 20.0 H"),
        (lambda g: streams(g, offset_ms=-900.0), "error: state.topic: joint_states: arrives -900"),
        (
            lambda g: streams(g, positions={"joint1": 0.0}),
            "error: joints: joint_states has no joint2, joint3, joint4, joint5, joint6, drive_joi",
        ),
        (
            lambda g: streams(g, positions={**g.streams[0].positions, "joint2": 2.5}),
            "error: joints: joint2: stands at 2.500 rad, its limits here are [-2, 2.05]",
        ),
        (
            lambda g: replace(g, streams=g.streams[:2]),
            "error: cameras[1]: wrist_camera/image_raw: nobody publishes it; there are env_",
        ),
        (
            lambda g: replace(g, streams=(*g.streams[:2], replace(g.streams[2], type=IMAGES[1]))),
            "error: cameras[1]: wrist_camera/image_raw is sensor_msgs/msg/CompressedImage, the",
        ),
        (
            lambda g: replace(g, controllers=g.controllers[:1]),
            "error: command[1]: xarm_gripper_traj_controller/joint_trajectory: nobody takes",
        ),
        (
            lambda g: replace(
                g, controllers=(replace(g.controllers[0], joints=("joint1",)), g.controllers[1])
            ),
            "error: command[0]: xarm6_traj_controller/joint_trajectory: its controller drives joi",
        ),
        (
            lambda g: replace(
                g, controllers=(replace(g.controllers[0], listeners=2), g.controllers[1])
            ),
            "warning: command[0]: xarm6_traj_controller/joint_trajectory: 2 listen",
        ),
        (
            lambda g: replace(
                g, controllers=(replace(g.controllers[0], reports=False), g.controllers[1])
            ),
            "warning: command[0]: xarm6_traj_controller/controller_state: nobody says what",
        ),
    ],
)
def test_what_does_not_fit_is_named_by_its_key(change, line, robots_dir):
    robot = load_robot(robots_dir / "xarm6.yaml")
    (found,) = check_robot(robot, change(graph_of(robot)))
    assert found.line.startswith(line)


def test_what_the_arm_touches_where_it_stands_is_named(robots_dir):
    robot = load_robot(robots_dir / "xarm6.yaml")
    at = dict(zip(robot.joint_names, robot.home, strict=True)) | {"joint2": 1.9}
    (found,) = check_robot(robot, streams(graph_of(robot), positions=at))
    assert found.level == "warning"
    assert found.where == "safety.collision"
    assert "touches 'table' where the arm stands" in found.text
