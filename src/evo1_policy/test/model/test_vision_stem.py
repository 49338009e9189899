"""The convolutional stem, which stands where patches are projected."""

import dataclasses

import pytest
import torch
from micro import MICRO
from test_engine import compare, scene, spread

from evo1_policy.checkpoint import (
    CheckpointError,
    read_checkpoint,
    save_checkpoint,
    shipped_checkpoint,
)
from evo1_policy.model.config import ConfigError, Evo1Config, VisionConfig
from evo1_policy.model.engine import Engine
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.vision_language import ConvolutionalStem, grid_positions
from evo1_policy.normalization import read_norm_stats


def convolutional(**changes):
    vision = dataclasses.replace(
        MICRO.vision, stem="convolutional", patch_size=16, image_size=64, **changes
    )
    return dataclasses.replace(MICRO, vision=vision)


def test_the_grid_and_the_width_are_those_of_patches():
    config = VisionConfig(image_size=96, patch_size=8, width=64, heads=2, stem="convolutional")
    assert ConvolutionalStem(config)(torch.zeros(2, 3, 96, 96)).shape == (2, 144, 64)


def test_a_patch_sees_its_surroundings_far_better_than_the_far_side():
    stem = ConvolutionalStem(VisionConfig(image_size=64, patch_size=8, width=16, heads=2))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pixels.requires_grad_()
    stem(pixels)[0, 9].sum().backward()  # row 1, column 1: pixels 8 to 15
    seen = pixels.grad.square().sum(dim=(0, 1))
    near = seen[:24, :24].sum()  # the norms look at the whole image, a little
    assert near > 0.9 * seen.sum()


def test_patches_of_nine_pixels_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"vision\.patch_size: 7: a convolutional stem"):
        dataclasses.replace(
            MICRO, vision=dataclasses.replace(MICRO.vision, stem="convolutional", patch_size=7)
        )


def test_places_are_told_apart_and_neighbours_are_alike():
    places = grid_positions(12, 64)
    likeness = (places @ places.T).view(12, 12, 12, 12)  # row, column; row, column
    assert torch.allclose(likeness.diagonal(dim1=0, dim2=2).diagonal(), torch.tensor(32.0))
    at = likeness[5, 3]
    assert at.flatten().argmax() == 5 * 12 + 3
    assert at[5, 4] > at[5, 6] > at[5, 9]
    assert torch.allclose(at, likeness[3, 5].T)  # rows as columns


def test_a_new_tower_starts_from_them():
    config = convolutional()
    model = new_model(config, seed=0)
    start = model.embedder.model.vision_tower.embeddings.position_embeddings[0, 1:]
    assert torch.equal(start, grid_positions(4, config.vision.width))


def test_older_configs_have_the_published_stem():
    data = MICRO.to_dict()
    del data["vision"]["stem"]
    assert Evo1Config.from_dict(data).vision.stem == "patch"


@pytest.mark.parametrize("present", [1, 3])
def test_fast_path_equals_the_readable_one(present):
    model = spread(convolutional())
    seen = scene(present)  # at 56 px
    larger = torch.nn.functional.interpolate(seen.images.flatten(0, 1), 64)
    seen = dataclasses.replace(seen, images=larger.unflatten(0, (2, 3)))
    compare(model, Engine(model), seen)


@pytest.mark.parametrize("layout", ["official", "lerobot"])
def test_layouts_without_its_tensors_refuse_it(tmp_path, layout):
    shipped = shipped_checkpoint("xarm6")
    with pytest.raises(CheckpointError, match=r"vision\.stem is 'convolutional'"):
        save_checkpoint(
            tmp_path / "out",
            layout=layout,
            model=new_model(convolutional(), seed=0),
            stats=read_norm_stats(shipped / "norm_stats.json"),
            interface=read_checkpoint(shipped).interface,
            tokenizer_dir=None,
        )
    assert not (tmp_path / "out").exists()
