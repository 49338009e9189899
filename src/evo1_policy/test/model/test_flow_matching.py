import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.model import flow_matching as fm


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_is_uniform_between_minus_one_and_one():
    noise = fm.sample_noise((200, 50, 24), seeded())
    assert noise.min() >= -1
    assert noise.max() <= 1
    assert abs(noise.mean()) < 0.01
    assert abs(noise.var() - 1 / 3) < 0.01


def test_random_numbers_come_from_the_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(fm.sample_noise((3, 4), seeded(1)), fm.sample_noise((3, 4), seeded(1)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("steps", "scale", "rows"),
    [
        (50, 1000, [0, 20, 40, 60, 80]),
        (50, 999, [0, 19, 39, 59, 79]),
        (32, 1000, [0, 31, 62, 93, 125]),
        (32, 999, [0, 31, 62, 93, 124, 156]),
    ],
)
def test_euler_rows_are_those_of_the_published_code(steps, scale, rows):
    assert [fm.euler_time_index(i, steps, scale) for i in range(len(rows))] == rows
    assert fm.euler_time_index(steps - 1, steps, scale) == (steps - 1) * scale // steps


@given(st.integers(1, 60), st.integers(0, 1000))
def test_euler_is_exact_for_a_constant_velocity(steps, seed):
    noise = fm.sample_noise((1, 3, 2), seeded(seed))
    velocity = torch.tensor([[[1.0, -2.0]]]).expand(1, 3, 2)
    result = fm.integrate_euler(
        lambda x, row: velocity,
        noise,
        torch.tensor([[True, True]]),
        steps=steps,
        scale=1000,
        prediction="velocity",
    )
    np.testing.assert_allclose(result, noise + velocity, atol=1e-5)


def test_sample_prediction_ends_at_the_last_predicted_chunk():
    seen = []

    def predict(x, row):
        seen.append(row)
        return torch.full_like(x, float(row))

    noise = fm.sample_noise((1, 3, 2), seeded())
    mask = torch.tensor([[True, True]])
    result = fm.integrate_euler(predict, noise, mask, steps=4, scale=1000, prediction="sample")
    assert seen == [0, 250, 500, 750]
    np.testing.assert_allclose(result, np.full((1, 3, 2), 750.0), rtol=1e-5)


def test_masked_dimensions_are_hidden_from_the_head_and_zero_in_the_result():
    inputs = []

    def predict(x, row):
        inputs.append(x)
        return torch.ones_like(x)

    noise = torch.full((1, 2, 3), 0.5)
    mask = torch.tensor([[True, True, False]])
    result = fm.integrate_euler(predict, noise, mask, steps=2, scale=999, prediction="velocity")
    assert all((x[..., 2] == 0).all() for x in inputs)
    assert result[0, 0].tolist() == [1.5, 1.5, 0.0]


def guided(weights, *, steps=32, prediction="velocity"):
    """Where a chunk of 4 actions ends that the model sends to 0.5 and a prefix to -0.25."""

    def predict(chunk, row):
        t = row / 1000
        clean = torch.full_like(chunk, 0.5)
        return clean if prediction == "sample" else (clean - chunk) / (1 - t)

    noise = fm.sample_noise((1, 4, 2), seeded())
    prefix = fm.Prefix(
        actions=torch.full((1, 4, 2), -0.25), weights=torch.tensor([weights], dtype=torch.float32)
    )
    return fm.integrate_euler(
        predict,
        noise,
        torch.ones(1, 2),
        steps=steps,
        scale=1000,
        prediction=prediction,
        prefix=prefix,
    )


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
@pytest.mark.parametrize("steps", [4, 10, 32, 50])
def test_a_prefix_moves_what_it_weighs_and_nothing_else(prediction, steps):
    chunk = guided([1.0, 0.5, 0.0, 0.0], steps=steps, prediction=prediction)
    at = chunk[0, :, 0].tolist()
    assert at[3] == pytest.approx(0.5, abs=0.02)
    assert at[2] == at[3] or abs(at[2] - at[3]) < 0.02
    assert at[0] < at[1] < at[2]  # the firmer, the nearer to the prefix
    assert all(-0.3 < value < 0.55 for value in at)  # no step overshoots


def test_a_prefix_of_weight_zero_changes_nothing():
    noise = fm.sample_noise((1, 4, 2), seeded())
    free = fm.integrate_euler(
        lambda chunk, row: (0.5 - chunk) / (1 - row / 1000),
        noise,
        torch.ones(1, 2),
        steps=32,
        scale=1000,
        prediction="velocity",
    )
    assert torch.equal(guided([0.0] * 4), free)


def test_the_gain_is_the_published_one_clamped():
    assert fm.guidance_gain(0, 32) == fm.MAX_GAIN
    assert fm.guidance_gain(16, 32) == pytest.approx(2.0)  # (1/4 + 1/4) / (1/4)
    assert fm.guidance_gain(31, 32) == fm.MAX_GAIN
    assert fm.guidance_gain(0, 4) == 4.0
