import dataclasses
import json

import pytest

from evo1_policy.model.config import ConfigError, Evo1Config, HeadConfig, VisionConfig, preset


@pytest.mark.parametrize("name", ["evo1", "evo1_tiny"])
def test_config_survives_json(name):
    config = preset(name)
    assert Evo1Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_keys_added_since_mean_their_defaults_and_old_ones_stay_required():
    data = preset("evo1").to_dict()
    for key in ("channel_order", "image_dtype", "episode_tail"):
        del data["semantics"][key]
    del data["execute_actions"]
    assert Evo1Config.from_dict(data) == preset("evo1")
    del data["semantics"]["time_scale"]
    with pytest.raises(ConfigError, match="semantics: missing key 'time_scale'"):
        Evo1Config.from_dict(data)


def test_paper_size_has_256_tokens_a_view():
    assert preset("evo1").vision.tokens_per_view == 256


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="no preset 'evo2'; known: evo1, evo1_tiny"):
        preset("evo2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(colour="bgr"), "top level: unknown key 'colour'"),
        (lambda d: d.pop("horizon"), "top level: missing key 'horizon'"),
        (lambda d: d["vision"].pop("width"), "vision: missing key 'width'"),
        (lambda d: d["language"].update(layers="14"), "language.layers: expected int"),
        (lambda d: d["language"].update(layers=True), "language.layers: expected int"),
        (lambda d: d.update(head=3), "head: expected a mapping, got int"),
        (
            lambda d: d["semantics"].update(prediction="noise"),
            "semantics.prediction: expected one of velocity, sample, got 'noise'",
        ),
        (lambda d: d["semantics"].update(time_scale=500), "semantics.time_scale: expected 999"),
    ],
)
def test_wrong_config_is_refused_by_key(change, message):
    data = preset("evo1").to_dict()
    change(data)
    with pytest.raises(ConfigError, match=message):
        Evo1Config.from_dict(data)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"vision": VisionConfig(image_size=450)}, "vision.image_size: expected a multiple of 28"),
        ({"head": HeadConfig(heads=9)}, "language.width: expected a multiple of 9"),
        ({"head": HeadConfig(dropout=1.0)}, "head.dropout"),
        ({"horizon": 1}, "horizon: expected 2 or more"),
        ({"execute_actions": -1}, "execute_actions: expected 0 or more, got -1"),
    ],
)
def test_impossible_sizes_are_refused(parts, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(preset("evo1"), **parts)
