"""Takes in simulated time: real physics, real images, the recorder's own session and files."""

import json

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.rehearsals import plan_rehearsal
from evo1_sim.world import World
from evo1_training.datasets.action_curve import demonstrated
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.mcap_records import Wanted
from evo1_training.recording.simulated_takes import SimulatedTakes

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def short_seed():
    world = World("xarm6", varied=True)
    lengths = {
        seed: plan_rehearsal(world, "can_into_box", seed).demonstration.duration_s
        for seed in range(16)
    }
    return min(lengths, key=lambda seed: lengths[seed])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, robots_dir, short_seed):
    """One kept take of the seed with the shortest motion."""
    store = EpisodeStore(tmp_path_factory.mktemp("episodes"))
    robot = load_robot(robots_dir / "xarm6.yaml")
    takes = SimulatedTakes(robot, World("xarm6", varied=True), store, width=64, height=48)
    attempt = takes.attempt("can_into_box", short_seed)
    takes.close()
    return attempt, store


def test_a_take_is_kept_with_the_grade_pass_and_nothing_lost(recorded):
    attempt, store = recorded
    assert attempt.detail == ""
    assert attempt.take is not None
    assert (attempt.take.grade, attempt.take.grade_reasons) == ("pass", ())
    assert attempt.take.lost == 0
    assert len(store.saved) == 1


def test_an_episode_says_what_was_varied_in_its_scene(recorded, short_seed):
    _, store = recorded
    scene = json.loads(open_episode(store.saved[0]).sidecar.facts.scene)
    assert scene["seed"] == short_seed
    assert set(scene["cameras"]) == {"image_1", "image_2"}
    assert len(scene["colours"]["table"]) == 3


def test_cameras_have_thirty_frames_a_second_and_joints_a_hundred_samples(recorded):
    _, store = recorded
    episode = open_episode(store.saved[0])
    for role, rate_hz in (("camera:image_1", 30), ("camera:image_2", 30), ("state", 100)):
        topic = episode.topics(role)[0].name
        stamps = [m.log_ns for m in episode.read(Wanted(topics=frozenset([topic])))]
        assert (len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e9 == pytest.approx(
            rate_hz, rel=0.03
        )


def test_the_recorded_action_is_what_the_expert_asked_for_not_the_sway(recorded, short_seed):
    _, store = recorded
    episode = open_episode(store.saved[0])
    topic = episode.topics("camera:image_1")[0].name
    ticks = np.array([m.log_ns for m in episode.read(Wanted(topics=frozenset([topic])))])
    actions = demonstrated(episode, ticks[:-4]).actions
    rehearsal = plan_rehearsal(World("xarm6", varied=True), "can_into_box", short_seed)
    path = rehearsal.demonstration.path
    spoken = actions[~np.isnan(actions).any(axis=1)]
    np.testing.assert_allclose(spoken[0], path[0], atol=1e-6)
    np.testing.assert_allclose(spoken[-1], path[-1], atol=1e-6)
    nearest = (
        np.abs(
            spoken[:, None]
            - rehearsal.demonstration.sample(
                np.arange(-0.5, rehearsal.demonstration.duration_s + 1, 1 / 300)
            )
        )
        .max(axis=2)
        .min(axis=1)
    )
    assert nearest.max() < 0.02
