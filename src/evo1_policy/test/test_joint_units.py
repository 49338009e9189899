import json
import math

import numpy as np
import pytest

from evo1_policy.joint_units import JointUnits, JointUnitsError, load_units
from evo1_policy.normalization import FeatureStats, NormStats, NormStatsError
from evo1_policy.robot_config import load_robot

DEGREES_AND_PULSES = JointUnits(
    scale=np.array([math.pi / 180, -0.001]), offset=np.array([0.0, 0.85])
)


def stats(units):
    feature = FeatureStats(min=[-90, 0], max=[90, 850])
    return NormStats(embodiment="arm", state=feature, action=feature, units=units)


def test_angles_and_others_values_are_told_apart_by_scale_and_offset():
    # 180 degrees are pi; 850 pulses are open, which is 0 rad, and 0 pulses closed, 0.85 rad
    np.testing.assert_allclose(DEGREES_AND_PULSES.to_rad([180, 850]), [math.pi, 0.0], atol=1e-12)
    np.testing.assert_allclose(DEGREES_AND_PULSES.from_rad([math.pi, 0.85]), [180, 0], atol=1e-9)


def test_normalisation_of_radians_is_that_of_the_others_numbers():
    normalizer = stats(DEGREES_AND_PULSES).state_normalizer
    # 45 of -90..90 degrees is 0.5; 0.2125 rad are 637.5 of 0..850 pulses: 0.5 too
    np.testing.assert_allclose(normalizer.normalise([math.pi / 4, 0.2125]), [0.5, 0.5], atol=1e-9)
    back = stats(DEGREES_AND_PULSES).action_normalizer.unnormalise([0.5, 0.5])
    np.testing.assert_allclose(back, [math.pi / 4, 0.2125], atol=1e-9)


def test_units_travel_with_the_norm_stats():
    written = json.loads(json.dumps(stats(DEGREES_AND_PULSES).to_dict()))
    read = NormStats.from_dict(written)
    assert read.units.to_dict() == DEGREES_AND_PULSES.to_dict()
    assert "units" not in stats(None).to_dict()
    written["units"] = {"scale": [1.0, 0.0], "offset": [0.0, 0.0]}
    with pytest.raises(NormStatsError, match="units: scale"):
        NormStats.from_dict(written)


@pytest.mark.parametrize(
    ("robot", "file"), [("xarm6", "xarm6_authors.yaml"), ("so100", "so100_lerobot.yaml")]
)
def test_files_that_ship_cover_their_robot(robots_dir, robot, file):
    config = load_robot(robots_dir / f"{robot}.yaml")
    units = load_units(robots_dir / "units" / file, config.joint_names)
    ends = units.from_rad(np.array([config.position_min, config.position_max]))
    assert np.abs(ends).max() < 1000
    np.testing.assert_allclose(units.to_rad(units.from_rad(config.home)), config.home, atol=1e-12)


def test_pulses_of_the_authors_gripper_count_from_closed_to_open(robots_dir):
    config = load_robot(robots_dir / "xarm6.yaml")
    units = load_units(robots_dir / "units" / "xarm6_authors.yaml", config.joint_names)
    assert units.from_rad([0] * 6 + [config.gripper.open])[-1] == pytest.approx(850)
    assert units.from_rad([0] * 6 + [config.gripper.closed])[-1] == pytest.approx(0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: {scale: 1, offset: 0}", "b"),
        ("a: {scale: 1, offset: 0}\nb: {scale: 1}", "b.offset"),
        ("a: {scale: 1, offset: 0}\nb: {scale: 0, offset: 0}", "none of them 0"),
        ("a: {scale: 1, offset: 0}\nb: {scale: 1, offset: 0}\nc: {scale: 1, offset: 0}", "c"),
    ],
)
def test_wrong_files_are_refused_by_joint(tmp_path, text, named):
    path = tmp_path / "units.yaml"
    path.write_text(text)
    with pytest.raises(JointUnitsError, match=named):
        load_units(path, ("a", "b"))
