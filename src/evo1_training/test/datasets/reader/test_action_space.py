"""What would train without complaint and send the arm elsewhere is refused before a step."""

from dataclasses import replace

import pytest
from foreign_dataset import IMAGES, KINDS, SO100, Foreign, write

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.reader import DatasetError, read_dataset_groups

GROUPS = """
data_groups:
  so100:
    cubes:
      path: cubes
      {more}
"""


@pytest.fixture
def so100(robots_dir):
    return load_robot(robots_dir / "so100.yaml")


def read_groups(tmp_path, more):
    path = tmp_path / "groups.yaml"
    path.write_text(GROUPS.format(more=more))
    return read_dataset_groups(path)


def open_first(open_samples, tmp_path, robot, more="weight: 1"):
    (spec,) = read_groups(tmp_path, more).specs
    return open_samples(spec.path, spec=vars(spec), robot=robot)


def test_delta_actions_are_refused_with_the_key_and_what_to_do(tmp_path):
    with pytest.raises(
        DatasetError, match=r"cubes\.use_delta_action: true would .* set it to fal"
    ):
        read_groups(tmp_path, "use_delta_action: true")


@pytest.mark.parametrize("suite", ["franka_ee_pose", "metaworld"])
def test_suites_of_poses_that_nothing_explains_are_refused(tmp_path, open_samples, so100, suite):
    write(tmp_path / "cubes", "radians")
    with pytest.raises(
        DatasetError, match=rf"process_suite: '{suite}' makes poses .*end_effector"
    ):
        open_first(open_samples, tmp_path, so100, f"process_suite: {suite}")


def test_seven_numbers_of_an_end_effector_are_not_seven_joints(tmp_path, open_samples, robots_dir):
    poses = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    vectors = {"observation.eef": (poses, 7), "action": (poses, 7)}
    write(tmp_path / "cubes", Foreign(vectors=vectors, scale=1.0))
    suite = "process_suite: custom\n      suite_config: {state_key: observation.eef}"
    with pytest.raises(DatasetError, match=r"observation\.eef\.names: expected .* got x, y, z"):
        open_first(open_samples, tmp_path, load_robot(robots_dir / "xarm6.yaml"), suite)


def test_state_and_action_of_other_widths_are_refused(tmp_path, open_samples, so100):
    vectors = {"observation.state": (None, 8), "action": (SO100, 6)}
    write(tmp_path / "cubes", Foreign(vectors=vectors, scale=1.0))
    with pytest.raises(DatasetError, match=r"state\.shape: 8 numbers; expected the joints"):
        open_first(open_samples, tmp_path, so100)


def test_degrees_under_the_right_names_are_refused_with_the_numbers(tmp_path, open_samples, so100):
    root = write(tmp_path / "cubes", "renamed")
    numbers = r"shoulder_pan_joint -\d[\d.]+ \.\. 79\.\d+, limits -1\.95 \.\. 1\.95; shoulder"
    with pytest.raises(DatasetError, match=rf"state: beyond what .* {numbers}.* degrees"):
        open_samples(root, robot=so100)


def test_what_a_calibration_explains_is_taken(tmp_path, open_samples, so100):
    vectors = {"observation.state": (SO100, 6), "action": (SO100, 6)}
    middle = (0.0, 0.0, 0.71, -1.6, 1.5, 0.9)  # real elbows reach 1.71 rad, the limit is 1.57
    what = Foreign(vectors=vectors, cameras=IMAGES, scale=1.0, middle=middle)
    samples = open_samples(write(tmp_path / "cubes", what), robot=so100)
    assert 1.6 < max(sample.state[2] for sample in samples) < 1.71


def test_names_are_compared_or_given_by_the_dataset_file(tmp_path, open_samples, so100):
    write(tmp_path / "cubes", "no_names")
    with pytest.raises(
        DatasetError, match=r"got none; .*evo1 adopt.* by 'joints' in a dataset file"
    ):
        open_first(open_samples, tmp_path, so100)
    with pytest.raises(DatasetError, match=r"cubes\.joints: expected the joints of the robot"):
        open_first(open_samples, tmp_path, so100, "joints: [a, b, c, d, e, f]")
    samples = open_first(open_samples, tmp_path, so100, f"joints: [{', '.join(SO100)}]")
    assert samples.action_width == 6


def test_names_are_compared_in_custom_columns_too(tmp_path, open_samples, robots_dir):
    robot = load_robot(robots_dir / "xarm6_bimanual.yaml")
    write(tmp_path / "cubes", replace(KINDS["aloha"], fps=30))
    suite = "process_suite: custom\n      suite_config: {state_key: observation.qpos}"
    with pytest.raises(DatasetError, match=r"observation\.qpos\.names: .* got left\.0, left"):
        open_first(open_samples, tmp_path, robot, suite)


def test_more_cameras_than_slots_name_the_setting(tmp_path, open_samples):
    root = write(tmp_path / "cubes", "aloha")
    with pytest.raises(DatasetError, match=r"3 cameras .* 2 image slots; .* model\.views=3"):
        open_samples(root, views=2)
