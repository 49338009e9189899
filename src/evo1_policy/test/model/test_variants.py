"""The published lines against numbers worked out by hand from their formulas."""

import dataclasses

import numpy as np
import pytest
from micro import MICRO

from evo1_policy.model.config import ConfigError
from evo1_policy.model.flow_matching import euler_time_index
from evo1_policy.model.variants import VARIANTS, apply_variant, deviations, variant
from evo1_policy.normalization import FeatureStats, NormStats, pad_width

# A joint in [-1, 3] and one that never moved from 0.5.
STATS = FeatureStats(
    min=[-1.0, 0.5],
    max=[3.0, 0.5],
    mean=[1.0, 0.5],
    std=[2.0, 0.0],
    q01=[0.0, 0.5],
    q99=[2.0, 0.5],
)
NORM_STATS = NormStats(embodiment="arm", state=STATS, action=STATS)
LINES = ["authors_main", "evo1_flash", "lerobot"]


def stats_of(line, mode="bounds"):
    _, stats = apply_variant(line, MICRO, dataclasses.replace(NORM_STATS, mode=mode))
    return stats


@pytest.mark.parametrize(
    ("line", "mode", "value", "expected"),
    [
        ("authors_main", "bounds", 0.0, -0.5),  # 2 * 1/4 - 1
        ("authors_main", "bounds", 5.0, 1.0),  # 2 * 6/4 - 1 = 2, cut
        ("evo1_flash", "bounds", -3.0, -1.0),  # 2 * -2/4 - 1 = -2, cut
        ("evo1_flash", "quantiles", 0.5, -0.5),  # 2 * 0.5/2 - 1
        ("evo1_flash", "mean_std", 7.0, 3.0),  # 6/2, never cut
        ("lerobot", "bounds", 0.0, -0.5),
        ("lerobot", "bounds", 5.0, 2.0),  # not cut
        ("lerobot", "quantiles", -1.0, -2.0),  # 2 * -1/2 - 1
        ("lerobot", "mean_std", -3.0, -2.0),  # -4/2
    ],
)
def test_states_are_normalised_as_each_line_does(line, mode, value, expected):
    found = stats_of(line, mode).state_normalizer.normalise([value, 0.5])[0]
    assert found == pytest.approx(expected, abs=2e-8)


@pytest.mark.parametrize(
    ("line", "feature", "expected"),
    [
        ("authors_main", "state", -1.0),  # 2 * 0/1e-8 - 1
        ("authors_main", "action", -1.0),
        ("evo1_flash", "state", -1.0),
        ("evo1_flash", "action", 0.0),  # set to 0 for training
        ("lerobot", "state", -1.0),
        ("lerobot", "action", -1.0),
    ],
)
def test_a_joint_that_never_moved_is_normalised_as_each_line_does(line, feature, expected):
    normalizer = getattr(stats_of(line), f"{feature}_normalizer")
    assert normalizer.normalise([0.0, 0.5])[1] == pytest.approx(expected, abs=1e-12)


def test_what_lerobot_blows_up_to_millions_is_cut():
    assert stats_of("lerobot").state_normalizer.normalise([0.0, 0.6])[1] == 10.0
    assert stats_of("authors_main").state_normalizer.normalise([0.0, 0.6])[1] == 1.0


@pytest.mark.parametrize(
    ("line", "mode", "values", "expected"),
    [
        ("authors_main", "bounds", [0.5, 1.0], [2.0 + 0.75e-8, 0.5 + 1e-8]),
        ("evo1_flash", "mean_std", [2.0, 3.0], [5.0 + 2e-8, 0.5 + 3e-8]),
        ("lerobot", "bounds", [0.5, 1.0], [2.0, 0.5 + 1e-8]),
        ("lerobot", "quantiles", [3.0, -1.0], [4.0, 0.5]),
        ("lerobot", "mean_std", [2.0, 3.0], [5.0, 0.5]),  # no epsilon on the way back
    ],
)
def test_actions_come_back_as_each_line_does(line, mode, values, expected):
    found = stats_of(line, mode).action_normalizer.unnormalise(values)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("line", "pad"), [("authors_main", -1), ("evo1_flash", 0), ("lerobot", 0)]
)
def test_the_padding_of_the_state_is_what_each_line_feeds(line, pad):
    normalised = stats_of(line).state_normalizer.normalise([1.0, 0.5])
    padded = pad_width(normalised, 4, variant(line).semantics.state_pad)
    np.testing.assert_allclose(padded, [0.0, -1.0, pad, pad], atol=1e-8)


# fmt: off
EULER = {
    (50, 1000): list(range(0, 1000, 20)),
    (50, 999): [0, *range(19, 980, 20)],
    (32, 1000): [
        0, 31, 62, 93, 125, 156, 187, 218, 250, 281, 312, 343, 375, 406, 437, 468,
        500, 531, 562, 593, 625, 656, 687, 718, 750, 781, 812, 843, 875, 906, 937, 968,
    ],
    (32, 999): [
        0, 31, 62, 93, 124, 156, 187, 218, 249, 280, 312, 343, 374, 405, 437, 468,
        499, 530, 561, 593, 624, 655, 686, 718, 749, 780, 811, 842, 874, 905, 936, 967,
    ],
}
# fmt: on


@pytest.mark.parametrize(("steps", "scale"), EULER)
def test_the_rows_of_the_time_table_are_those_of_the_published_servers(steps, scale):
    rows = [euler_time_index(step, steps, scale) for step in range(steps)]
    assert rows == EULER[steps, scale]


@pytest.mark.parametrize(
    ("line", "rows"), zip(LINES, [(32, 1000), (50, 999), (32, 999)], strict=True)
)
def test_each_line_walks_its_own_rows(line, rows):
    chosen = variant(line)
    assert (chosen.num_inference_steps, chosen.semantics.time_scale) == rows


def test_lines_differ_in_context_and_image_arithmetic():
    modes = [VARIANTS[line].semantics.context_mode for line in LINES]
    assert modes == ["official_fa2", "official_fa2", "masked"]
    padding = [VARIANTS[line].semantics.context_padding for line in LINES]
    assert padding == ["fixed", "fixed", "longest"]
    dtypes = [VARIANTS[line].semantics.image_dtype for line in LINES]
    assert dtypes == ["float32", "bfloat16", "bfloat16"]
    assert {VARIANTS[line].semantics.context_length for line in LINES} == {1024}
    assert {VARIANTS[line].semantics.channel_order for line in LINES} == {"rgb"}


@pytest.mark.parametrize("line", LINES)
def test_a_line_applied_deviates_from_itself_in_nothing(line):
    assert deviations(line, *apply_variant(line, MICRO, NORM_STATS)) == ()


def test_deviations_are_named_with_both_values():
    found = deviations("lerobot", *apply_variant("evo1_flash", MICRO, NORM_STATS))
    assert "context_mode: official_fa2, there masked" in found
    assert "norm_stats.clamp: True, there False" in found
    assert "num_inference_steps: 50, there 32" in found


def test_an_unknown_line_lists_those_that_are_known():
    with pytest.raises(
        ConfigError, match="no semantics 'x'; known: authors_main, evo1_flash, ler"
    ):
        variant("x")
