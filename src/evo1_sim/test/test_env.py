import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from evo1_sim.env import Evo1Env
from evo1_sim.experts import Expert

pytestmark = pytest.mark.gl


@pytest.fixture(params=["xarm6", "so100"])
def env(request):
    env = Evo1Env(request.param, width=32, height=24)
    yield env
    env.close()


def test_the_environment_passes_gymnasiums_checker(env):
    check_env(env, skip_render_check=True)


def test_an_observation_has_two_images_and_the_joint_positions(env):
    observation, info = env.reset(seed=3)
    assert set(observation) == {"image_1", "image_2", "state"}
    assert observation["image_1"].shape == (24, 32, 3)
    np.testing.assert_array_equal(observation["state"], env.world.joint_positions())
    assert info["success"] is False


def test_images_can_be_left_out_and_asked_for():
    env = Evo1Env("xarm6", width=32, height=24, with_images=False)
    observation, _ = env.reset(seed=3)
    assert set(observation) == set(env.observation_space) == {"state"}
    before = env.images()["image_2"]
    env.step(observation["state"] + 0.1)
    assert not np.array_equal(env.images()["image_2"], before)
    env.close()


def test_a_reset_can_disturb_the_scene(env):
    plain, _ = env.reset(seed=3)
    cloth, _ = env.reset(seed=3, options={"disturbance": "background"})
    np.testing.assert_array_equal(cloth["state"], plain["state"])
    assert not np.array_equal(cloth["image_1"], plain["image_1"])


def test_a_step_lasts_a_thirtieth_of_a_second_and_moves_towards_the_action(env):
    observation, _ = env.reset(seed=3)
    action = observation["state"] + 0.02
    for _ in range(30):
        observation, reward, terminated, truncated, _ = env.step(action)
    assert env.world.episode_ns == pytest.approx(10**9, abs=2_000_000)
    np.testing.assert_allclose(observation["state"], action, atol=5e-3)
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_the_experts_plan_ends_the_episode_with_success():
    env = Evo1Env("xarm6", width=16, height=12)
    env.reset(seed=0)
    for action in Expert(env.world).plan():
        _, reward, terminated, _, info = env.step(action)
        if terminated:
            break
    env.close()
    assert terminated
    assert reward == 1.0
    assert info["success"]


def test_an_episode_is_truncated_after_max_steps():
    env = Evo1Env("so100", width=16, height=12, max_steps=2, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert not env.step(observation["state"])[3]
    assert env.step(observation["state"])[3]
    assert env.render().shape == (12, 16, 3)
    env.close()
