import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.kinematics.end_effector import KNOWN
from evo1_policy.normalization import (
    FeatureStats,
    Normalizer,
    NormStats,
    NormStatsError,
    pad_width,
    read_norm_stats,
    width_mask,
    write_norm_stats,
)

STATS = FeatureStats(
    min=[-1.0, 0.0],
    max=[3.0, 1.0],
    mean=[1.0, 0.4],
    std=[2.0, 0.5],
    q01=[0.0, 0.1],
    q99=[2.0, 0.9],
)
NORM_STATS = NormStats(embodiment="xarm6", state=STATS, action=STATS, mode="quantiles")


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("bounds", [-1.0, 1.0], [-1.0, 1.0]),
        ("bounds", [1.0, 0.25], [0.0, -0.5]),
        ("quantiles", [0.5, 0.9], [-0.5, 1.0]),
        ("mean_std", [5.0, 0.4], [2.0, 0.0]),
    ],
)
def test_values_are_normalised_by_hand_computed_numbers(mode, values, expected):
    normalised = Normalizer(stats=STATS, mode=mode).normalise(values)
    np.testing.assert_allclose(normalised, expected, atol=1e-7)


def test_clamp_cuts_bounds_but_never_mean_and_std():
    assert Normalizer(stats=STATS, clamp=True).normalise([7.0, 0.5])[0] == 1.0
    assert Normalizer(stats=STATS, clamp=False).normalise([7.0, 0.5])[0] == pytest.approx(3.0)
    assert Normalizer(stats=STATS, mode="mean_std").normalise([7.0, 0.4])[0] == pytest.approx(3.0)


def test_a_joint_that_hardly_moved_is_scaled_by_the_floor_around_its_centre():
    still = FeatureStats(min=[0.5], max=[0.5])
    normalizer = Normalizer(stats=still, range_floor=0.2)
    np.testing.assert_allclose(normalizer.normalise([[0.45], [0.5]]), [[-0.5], [0.0]], atol=1e-6)
    np.testing.assert_allclose(normalizer.unnormalise([1.0]), [0.6], atol=1e-6)


def test_a_constant_joint_without_floor_stays_finite():
    still = FeatureStats(min=[0.5], max=[0.5])
    assert np.isfinite(Normalizer(stats=still).normalise([0.5])).all()
    np.testing.assert_allclose(Normalizer(stats=still).unnormalise([0.3]), [0.5], atol=1e-7)


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=2),
    st.sampled_from(["bounds", "quantiles", "mean_std"]),
    st.floats(0, 1),
)
def test_unnormalise_undoes_normalise(values, mode, floor):
    normalizer = Normalizer(stats=STATS, mode=mode, clamp=False, range_floor=floor)
    back = normalizer.unnormalise(normalizer.normalise(values))
    np.testing.assert_allclose(back, values, atol=1e-9)


def test_padding_fills_and_masks():
    np.testing.assert_array_equal(pad_width([[1.0, 2.0]], 4, -1.0), [[1.0, 2.0, -1.0, -1.0]])
    np.testing.assert_array_equal(width_mask(2, 4), [True, True, False, False])


def test_too_many_values_are_refused():
    with pytest.raises(ValueError, match="3 values do not fit the model's width 2"):
        pad_width([1.0, 2.0, 3.0], 2)


def test_norm_stats_survive_a_file(tmp_path):
    write_norm_stats(NORM_STATS, tmp_path / "norm_stats.json")
    again = read_norm_stats(tmp_path / "norm_stats.json")
    assert again.to_dict() == NORM_STATS.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("mode"), "mode: missing"),
        (lambda d: d.update(scale=1), "scale: unknown key"),
        (lambda d: d.update(mode="minmax"), "mode: expected one of bounds"),
        (lambda d: d.update(clamp=1), "clamp: expected true or false"),
        (lambda d: d.update(range_floor=-1), "range_floor: expected 0 to 1e"),
        (lambda d: d.update(range_floor=1e308), "range_floor: expected 0 to 1e"),
        (lambda d: d["stats"].update(other={}), "exactly one embodiment"),
        (lambda d: d["stats"]["xarm6"].pop("action"), "stats.xarm6.action: missing"),
        (lambda d: d["stats"]["xarm6"]["action"].pop("q99"), r"xarm6.action: missing key 'q99'"),
        (
            lambda d: d["stats"]["xarm6"]["action"].update(min=[0.0]),
            r"xarm6.action: max: expected",
        ),
        (lambda d: d["stats"]["xarm6"]["action"].update(min=[9.0, 0.0]), r"min\[0\] is above max"),
        (
            lambda d: d["stats"]["xarm6"]["action"].update(mean=[None, 0.0]),
            r"stats.xarm6.action: mean\[0\]: nan is no joint's angle",
        ),
        (
            lambda d: d["stats"]["xarm6"]["action"].update(max=[9.0, 1e308]),
            r"stats.xarm6.action: max\[1\]: 1e\+308 is no joint's angle.*between -1e\+06 and 1e",
        ),
        (lambda d: d["stats"]["xarm6"]["action"].update(std=[0.0, -1.0]), r"std\[1\] is negative"),
    ],
)
def test_wrong_norm_stats_are_named(change, message):
    data = json.loads(json.dumps(NORM_STATS.to_dict()))
    change(data)
    with pytest.raises(NormStatsError, match=message):
        NormStats.from_dict(data)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "norm_stats.json").write_text("{")
    with pytest.raises(NormStatsError, match=r"norm_stats\.json: not valid JSON"):
        read_norm_stats(tmp_path / "norm_stats.json")


DEGENERATE = FeatureStats(  # a joint that stood still, a gripper that is open 98 % of the time
    min=[1.5680, 0.0],
    max=[1.5700, 0.85],
    q01=[1.5691, 0.0],
    q99=[1.5691, 0.0],
    mean=[1.5691, 0.004],
    std=[0.0003, 0.05],
)


@pytest.mark.parametrize("floor", [0.0, 0.2])
@pytest.mark.parametrize("mode", ["bounds", "quantiles", "mean_std"])
def test_a_gripper_that_is_seldom_closed_comes_back_closed(mode, floor):
    normalizer = Normalizer(stats=DEGENERATE, mode=mode, range_floor=floor)
    back = normalizer.unnormalise(normalizer.normalise([1.5691, 0.85]))
    np.testing.assert_allclose(back, [1.5691, 0.85], atol=1e-6)


@pytest.mark.parametrize("mode", ["bounds", "quantiles", "mean_std"])
def test_a_joint_that_never_moved_gives_no_thousands_elsewhere(mode):
    stats = NormStats(
        embodiment="xarm6",
        state=DEGENERATE,
        action=DEGENERATE,
        mode=mode,
        clamp=False,
        zero_guard="if_zero",
    )
    assert np.abs(stats.state_normalizer.normalise([0.0, 0.0])).max() <= 10.0


RELATIVE = NormStats(
    embodiment="xarm6",
    state=STATS,
    action=STATS,
    action_space="joint_relative",
    absolute_joints=(1,),
)


def test_relative_actions_count_from_the_state_but_for_grippers():
    chunk = [[1.5, 1.0], [4.5, 0.25]]
    normalised = RELATIVE.normalise_actions(chunk, [0.5, 0.5])
    # 1.5 - 0.5 = 1 is the middle of [-1, 3], 4 is beyond and clamped; the gripper is as it was.
    np.testing.assert_allclose(normalised, [[0.0, 1.0], [1.0, -0.5]], atol=1e-7)
    back = RELATIVE.unnormalise_actions([[0.0, 1.0]], [-2.0, 0.5])
    np.testing.assert_allclose(back, [[-1.0, 1.0]], atol=1e-7)


joints = st.tuples(st.floats(-3, 3), st.floats(-3, 3))


@given(st.lists(joints, min_size=1, max_size=4), joints, st.sampled_from(["bounds", "mean_std"]))
def test_relative_actions_come_back_as_the_same_joint_targets(chunk, state, mode):
    stats = dataclasses.replace(RELATIVE, mode=mode, clamp=False)
    back = stats.unnormalise_actions(stats.normalise_actions(chunk, state), state)
    np.testing.assert_allclose(back, chunk, atol=1e-6)


def test_the_action_space_travels_in_the_file_and_joint_needs_no_word(tmp_path):
    write_norm_stats(RELATIVE, tmp_path / "a.json")
    assert read_norm_stats(tmp_path / "a.json").to_dict() == RELATIVE.to_dict()
    assert "action_space" not in NORM_STATS.to_dict()


def test_what_end_effector_numbers_mean_travels_in_the_file(tmp_path):
    libero, width = KNOWN["libero"], 8
    state, action = (feature_of(count) for count in (width, 7))
    stats = NormStats(
        embodiment="xarm6",
        state=state,
        action=action,
        action_space="ee_delta",
        end_effector=libero,
    )
    write_norm_stats(stats, tmp_path / "a.json")
    assert read_norm_stats(tmp_path / "a.json").end_effector == libero
    assert stats.widths(7, 7) == (8, 7)
    for changes, message in (
        ({"action_space": "ee_pose"}, "reference: 'previous' is that of ee_delta"),
        ({"end_effector": None}, "ee_delta: end_effector: missing"),
        ({"state": action}, r"numbers \(state, action\); got \(7, 7\)"),
        ({"action_space": "joint"}, "joint: end_effector: expected none"),
    ):
        with pytest.raises(NormStatsError, match=message):
            dataclasses.replace(stats, **changes)
    data = stats.to_dict() | {"end_effector": {"action": {"turn": 3}}}
    with pytest.raises(NormStatsError, match=r"end_effector\.action\.turn: unknown key"):
        NormStats.from_dict(data)


def feature_of(width):
    return FeatureStats(min=-np.ones(width), max=np.ones(width))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"action_space": "polar"},
            "expected one of joint, .*ee_delta, raw, got 'polar'",
        ),
        ({"absolute_joints": [2]}, "absolute_joints: expected indices from 0 to 1"),
        ({"absolute_joints": [True]}, "absolute_joints: expected whole numbers"),
        ({"absolute_joints": "1"}, "absolute_joints: expected whole numbers"),
        (
            {"units": {"scale": [1, 1], "offset": [0, 0]}},
            "relative: expected .* in radians.*units",
        ),
    ],
)
def test_relative_stats_that_cannot_be_inverted_are_refused(changes, message):
    with pytest.raises(NormStatsError, match=message):
        NormStats.from_dict(RELATIVE.to_dict() | changes)
