"""Samples of small datasets, literal in, literal out."""

import multiprocessing
import pickle

import numpy as np
import pytest
from small_dataset import SmallDataset, action_of, edit_info, level, state_of, write

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.reader import DatasetError
from evo1_training.datasets.reader.suites import Suite

TOLERANCE = 4  # levels; what the codec changes


def levels(sample):
    """Mean grey level of each view."""
    return sample.images.reshape(len(sample.images), -1).mean(axis=1)


def test_every_frame_comes_with_its_own_images_state_and_task(any_dataset, open_samples):
    samples = open_samples(any_dataset)
    assert len(samples) == 16
    places = [(0, n) for n in range(5)] + [(1, n) for n in range(7)] + [(2, n) for n in range(4)]
    for row, (episode, frame) in enumerate(places):
        sample = samples[row]
        assert (sample.episode, sample.frame) == (episode, frame)
        assert sample.images.shape == (2, 48, 64, 3)
        assert np.abs(levels(sample) - [level(row, 0), level(row, 1)]).max() < TOLERANCE
        assert sample.state.tolist() == state_of(row).tolist()
        assert sample.instruction == ("put the can into the box", "pour")[episode % 2]


def test_frames_are_right_in_any_order(any_dataset, open_samples):
    samples = open_samples(any_dataset, open_videos=2)
    for row in np.random.default_rng(0).integers(0, 16, 60).tolist():
        expected = [level(row, 0), level(row, 1)]
        assert np.abs(levels(samples[row]) - expected).max() < TOLERANCE


@pytest.mark.parametrize(("keyframes", "b_frames"), [(1, 0), (10, 0), (12, 2)])
def test_far_keyframes_and_b_frames_give_the_same_frames(
    tmp_path, open_samples, keyframes, b_frames
):
    what = SmallDataset(layout="v3.0", lengths=(20, 20), keyframes=keyframes, b_frames=b_frames)
    samples = open_samples(write(tmp_path / "d", what))
    for row in [0, 39, 20, 19, 7, 8, 9, 11, 30, 5, 5, 38]:
        assert abs(levels(samples[row])[0] - level(row, 0)) < TOLERANCE


def test_chunk_repeats_the_last_action_beyond_the_episode(any_dataset, open_samples):
    sample = open_samples(any_dataset, horizon=4)[3]  # of 0 .. 4
    assert sample.actions.tolist() == [action_of(row).tolist() for row in (3, 4, 4, 4)]
    assert sample.action_mask.tolist() == [True, True, False, False]


def test_episode_shorter_than_the_horizon_is_masked(any_dataset, open_samples):
    sample = open_samples(any_dataset, horizon=50)[12]  # the first of 4
    assert sample.actions.shape == (50, 3)
    assert sample.action_mask.sum() == 4


def test_absent_views_are_black_and_masked(v21, open_samples):
    sample = open_samples(v21, views=3)[0]
    assert sample.view_mask.tolist() == [True, True, False]
    assert sample.images.shape == (3, 48, 64, 3)
    assert not sample.images[2].any()


def test_view_map_orders_the_cameras(v21, open_samples):
    wrist = "observation.images.image_2"
    sample = open_samples(v21, spec={"view_map": {"image_1": wrist}})[2]
    assert sample.images.shape[0] == 1
    assert abs(levels(sample)[0] - level(2, 1)) < TOLERANCE


def test_images_are_resized_to_the_size_asked_for(v21, open_samples):
    assert open_samples(v21, image_size=28)[0].images.shape == (2, 28, 28, 3)


def test_held_actions_leave_the_mask_where_asked_for(tmp_path, open_samples):
    root = write(tmp_path / "d", SmallDataset(held=True))  # frames 1 and 4 of each episode
    assert open_samples(root)[0].action_mask.tolist() == [True, True, True]
    assert open_samples(root, mask_held=True)[0].action_mask.tolist() == [True, False, True]


def test_frames_per_episode_limits_where_chunks_start(v21, open_samples):
    samples = open_samples(v21, spec={"frames_per_episode": 2})
    found = [(sample.episode, sample.frame) for sample in samples]
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert samples[1].action_mask.all()  # the chunk itself is not cut


def test_samples_travel_to_another_process(any_dataset, open_samples):
    samples = open_samples(any_dataset)
    before = samples[3]
    after = pickle.loads(pickle.dumps(samples))[3]
    assert (after.images == before.images).all()


def test_forked_workers_read_while_the_parent_does(any_dataset, open_samples):
    samples = open_samples(any_dataset)
    samples[0]  # opens the videos before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        tasks = [pool.apply_async(_levels_of, (samples, row)) for row in range(16)]
        ours = [levels(samples[row]).tolist() for row in range(16)]
        assert [task.get(timeout=60) for task in tasks] == ours


def _levels_of(samples, row):
    return levels(samples[row]).tolist()


def test_text_is_no_state(v21, open_samples):
    features = features_with(SmallDataset(), "observation.images.image_2", [48, 64, 3])
    edit_info(v21, features={**features, "words": {"dtype": "string", "shape": [1]}})
    with pytest.raises(DatasetError, match=r"features\.words: string, expected numbers"):
        open_samples(v21, spec={"suite": Suite(state=("words",))})


def test_sample_beyond_the_end_is_refused(v21, open_samples):
    with pytest.raises(IndexError, match="no sample 16, there are 16"):
        open_samples(v21)[16]


def test_cameras_of_different_sizes_need_an_image_size(v21, open_samples):
    info = SmallDataset()
    edit_info(v21, features=features_with(info, "observation.images.image_2", [24, 32, 3]))
    with pytest.raises(DatasetError, match="different sizes"):
        open_samples(v21)


def test_frame_of_another_size_than_promised_is_refused(v21, open_samples):
    what = SmallDataset()
    edit_info(v21, features=features_with(what, "observation.images.image_2", [24, 32, 3]))
    with pytest.raises(DatasetError, match=r"image_2: frame 0 is 64x48, .* says 32x24"):
        open_samples(v21, image_size=28)[0]


def features_with(what, key, shape):
    vector = {"dtype": "float32", "shape": [3], "names": list(what.joints)}
    camera = {"dtype": "video", "shape": [48, 64, 3], "names": None}
    whole = {"dtype": "int64", "shape": [1], "names": None}
    return {
        "observation.state": vector,
        "action": vector,
        "observation.images.image_1": camera,
        "task_index": whole,
        key: {**camera, "shape": shape},
    }


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def test_dataset_of_the_robot_is_accepted(tmp_path, open_samples, robot):
    root = write(tmp_path / "d", SmallDataset(joints=robot.joint_names, scale=0.02))
    (root / "meta" / "evo1").mkdir()
    (root / "meta" / "evo1" / "robot.yaml").write_text(robot.text)
    assert open_samples(root, robot=robot).cameras == (
        "observation.images.image_1",
        "observation.images.image_2",
    )


def test_joints_in_another_order_are_refused(tmp_path, open_samples, robot):
    joints = tuple(reversed(robot.joint_names))
    root = write(tmp_path / "d", SmallDataset(joints=joints))
    with pytest.raises(DatasetError, match=r"observation\.state\.names: expected the joints"):
        open_samples(root, robot=robot)


def test_dataset_of_another_robot_file_is_refused(tmp_path, open_samples, robot):
    root = write(tmp_path / "d", SmallDataset(joints=robot.joint_names))
    (root / "meta" / "evo1").mkdir()
    text = robot.text.replace("embodiment: xarm6", "embodiment: xarm7")
    (root / "meta" / "evo1" / "robot.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"robot\.yaml: embodiment: xarm7"):
        open_samples(root, robot=robot)


def test_another_rate_than_the_robots_is_refused(tmp_path, open_samples, robot):
    root = write(tmp_path / "d", SmallDataset(joints=robot.joint_names, fps=20))
    with pytest.raises(DatasetError, match="fps: 20, but the robot file has rate_hz 30"):
        open_samples(root, robot=robot)
