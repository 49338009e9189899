"""The formulas against counts that were taken from the paper's model by a profiler."""

import pytest

from evo1_policy.model.config import preset
from evo1_policy.model.costs import (
    fast_flops,
    language_flops,
    projection_flops,
    readable_flops,
    step_flops,
    vision_flops,
)

PAPER = preset("evo1")


def gigaflops(value):
    return round(value / 1e9, 1)


def test_one_image_costs_726_gigaflops():
    assert gigaflops(vision_flops(PAPER)) == 725.9


@pytest.mark.parametrize(("tokens", "expected"), [(1024, 454), (804, 352), (548, 236)])
def test_language_model_costs(tokens, expected):
    assert round(language_flops(PAPER, tokens) / 1e9) == expected


def test_one_step_of_the_head_is_mostly_the_projection_of_its_context():
    assert round(projection_flops(PAPER, 1025) / 1e9, 2) == 26.33
    assert round(step_flops(PAPER, 1025) / 1e9, 2) == 8.14


@pytest.mark.parametrize(
    ("steps", "total", "shares"), [(50, 4355, (50.0, 10.4, 39.6)), (32, 3735, (58, 12, 30))]
)
def test_readable_path_costs_what_the_published_code_does(steps, total, shares):
    flops = readable_flops(PAPER, tokens=1024, steps=steps)
    assert round(flops.total / 1e9) == total
    for part, share in zip((flops.vision, flops.language, flops.head), shares, strict=True):
        assert abs(100 * part / flops.total - share) < 0.5


@pytest.mark.parametrize(
    ("present", "visible", "hidden", "steps", "total"),
    [
        (2, 548, 257, 50, 2093),
        (2, 548, 257, 32, 1953),
        (3, 804, 1, 50, 2941),
        (3, 804, 1, 32, 2801),
    ],
)
def test_fast_path_costs_the_exact_minimum(present, visible, hidden, steps, total):
    flops = fast_flops(PAPER, present=present, visible=visible, hidden=hidden, steps=steps)
    assert abs(flops.total / 1e9 - total) < 1.0
