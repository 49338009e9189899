import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evo1_training.training.augmentation import augment, turn_hue
from evo1_training.training.presets import preset
from evo1_training.training.train_config import AugmentationConfig

NOTHING = AugmentationConfig(
    probability=1.0,
    crop_scale=1.0,
    rotation_deg=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
)


def images(count=3, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_changes_nothing():
    assert torch.equal(augment(images(), NOTHING, generator()), images().float())


def test_probability_zero_changes_nothing():
    config = dataclasses.replace(preset("paper").augmentation, probability=0.0)
    assert torch.equal(augment(images(), config, generator()), images().float())


def test_half_of_the_images_are_changed():
    original = images(count=200, size=8)
    changed = augment(original, preset("paper").augmentation, generator())
    same = (changed == original.float()).flatten(1).all(dim=1)
    assert 70 < int(same.sum()) < 130


def test_the_same_seed_gives_the_same_images():
    config = preset("paper").augmentation
    first, second = (augment(images(), config, generator(5)) for _ in range(2))
    assert torch.equal(first, second)


@given(st.integers(0, 1000), st.sampled_from(["paper", "tiny"]))
def test_values_stay_in_range_and_black_stays_black(seed, name):
    config = preset(name).augmentation
    changed = augment(images(seed=seed), config, generator(seed))
    assert changed.min() >= 0
    assert changed.max() <= 255
    black = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert not augment(black, config, generator(seed)).any()


def test_a_crop_keeps_what_is_in_the_middle_of_a_flat_image():
    config = dataclasses.replace(NOTHING, crop_scale=0.5, resampling="bilinear")
    grey = torch.full((20, 3, 16, 16), 90, dtype=torch.uint8)
    changed = augment(grey, config, generator())
    assert torch.allclose(changed[:, :, 1:-1, 1:-1], torch.tensor(90.0))


def test_a_third_of_the_circle_turns_red_into_green():
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 200.0
    turned = turn_hue(red, torch.full((1, 1, 1, 1), 1 / 3))
    assert turned[0, :, 0, 0].tolist() == pytest.approx([0.0, 200.0, 0.0], abs=1e-3)


def test_no_turn_keeps_every_colour():
    picture = images().float()
    assert torch.allclose(turn_hue(picture, torch.zeros(3, 1, 1, 1)), picture, atol=1e-3)
