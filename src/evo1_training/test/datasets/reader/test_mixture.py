"""Several datasets as one stream."""

import pytest
from small_dataset import SmallDataset, write

from evo1_training.datasets.reader import (
    DatasetError,
    DatasetGroups,
    DatasetSpec,
    SampleOptions,
    open_mixture,
    read_dataset_groups,
)

OPTIONS = SampleOptions(horizon=3, views=3, image_size=28)


def spec(path, **options):
    return DatasetSpec(**{"name": path.name, "path": path, "embodiment": "xarm6", **options})


def test_datasets_and_embodiments_are_mixed_by_weight(tmp_path):
    write(tmp_path / "a", SmallDataset())
    write(tmp_path / "b", SmallDataset(layout="v3.0", dtype="image", joints=("j1", "j2")))
    (tmp_path / "config.yaml").write_text(
        "data_groups:\n  xarm6: {a: {path: a}}\n  so100: {b: {path: b, weight: 0.5}}\n"
    )
    mixture = open_mixture(read_dataset_groups(tmp_path / "config.yaml"), OPTIONS, seed=1)
    samples = [mixture[place] for place in mixture.order().epoch()]
    assert len(samples) == len(mixture) == 16 + 8
    assert mixture.embodiments == ("so100", "xarm6")
    kinds = {(s.embodiment, s.dataset, s.state.size, s.images.shape) for s in samples}
    assert kinds == {("xarm6", "a", 3, (3, 28, 28, 3)), ("so100", "b", 2, (3, 28, 28, 3))}
    assert sum(sample.dataset == "b" for sample in samples) == 8


def test_same_embodiment_with_other_joints_is_refused(tmp_path):
    a = write(tmp_path / "a", SmallDataset())
    b = write(tmp_path / "b", SmallDataset(joints=("gripper", "joint2", "joint1")))
    with pytest.raises(DatasetError, match=r"b/meta/info\.json: names: .* give it another"):
        open_mixture(DatasetGroups(specs=(spec(a), spec(b))), OPTIONS)


def test_same_embodiment_at_another_rate_is_refused(tmp_path):
    a = write(tmp_path / "a", SmallDataset())
    b = write(tmp_path / "b", SmallDataset(fps=20))
    with pytest.raises(DatasetError, match="fps: 20, but"):
        open_mixture(DatasetGroups(specs=(spec(a), spec(b))), OPTIONS)


def test_robot_wider_than_the_model_is_refused(v21):
    with pytest.raises(DatasetError, match=r"state has 3 numbers, .* width is 2 \(max_state_dim"):
        open_mixture(DatasetGroups(specs=(spec(v21),), state_width=2), OPTIONS)


def test_more_cameras_than_image_slots_are_refused(v21):
    with pytest.raises(DatasetError, match=r"2 cameras .* for 1 image slots"):
        open_mixture(DatasetGroups(specs=(spec(v21),)), SampleOptions(horizon=3, views=1))


def test_nothing_to_mix_is_refused():
    with pytest.raises(DatasetError, match="no datasets to mix"):
        open_mixture(DatasetGroups(specs=()), OPTIONS)
