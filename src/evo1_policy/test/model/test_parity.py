"""Fixed numbers that come from the published formulas, not from the code under test."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evo1_policy.model.action_expert import ActionExpert, CrossAttention, sinusoid_table
from evo1_policy.model.config import preset
from evo1_policy.model.fast_head import FastHead
from evo1_policy.model.flow_matching import euler_time_index, integrate_euler
from evo1_policy.model.vision_language import pixel_unshuffle


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, 0, 0.0),
        (0, 1, 1.0),
        (1, 0, 0.8414709848078965),  # sin 1
        (1, 1, 0.5403023058681398),  # cos 1
        (20, 0, 0.9129452507276277),  # sin 20
        (20, 1, 0.40808206181339196),  # cos 20
        (500, 448, -0.9589242746631385),  # sin(500 / 100): column 896/2 has frequency 1/100
        (500, 449, 0.2836621854632263),  # cos 5
        (999, 894, math.sin(999 * 10000 ** (-894 / 896))),
        (999, 895, math.cos(999 * 10000 ** (-894 / 896))),
    ],
)
def test_time_table_of_the_papers_width(row, column, value):
    assert sinusoid_table(1000, 896)[row, column].item() == pytest.approx(value, abs=2e-5)


def test_all_32_and_50_euler_rows():
    assert [euler_time_index(k, 50, 1000) for k in range(50)] == list(range(0, 1000, 20))
    assert [euler_time_index(k, 50, 999) for k in range(50)] == [0, *range(19, 980, 20)]
    assert [euler_time_index(k, 32, 1000) for k in range(32)] == [
        *(0, 31, 62, 93, 125, 156, 187, 218, 250, 281, 312, 343, 375, 406, 437, 468),
        *(500, 531, 562, 593, 625, 656, 687, 718, 750, 781, 812, 843, 875, 906, 937, 968),
    ]
    assert [euler_time_index(k, 32, 999) for k in range(32)] == [
        *(0, 31, 62, 93, 124, 156, 187, 218, 249, 280, 312, 343, 374, 405, 437, 468),
        *(499, 530, 561, 593, 624, 655, 686, 718, 749, 780, 811, 842, 874, 905, 936, 967),
    ]


def test_two_euler_steps_by_hand():
    """v = 2x on one dimension: 1 -> 1 + 2/2 = 2 -> 2 + 4/2 = 4."""
    result = integrate_euler(
        lambda x, row: 2 * x,
        torch.tensor([[[1.0]]]),
        torch.tensor([[1.0]]),
        steps=2,
        scale=1000,
        prediction="velocity",
    )
    assert result.item() == 4.0


def test_sample_prediction_by_hand():
    """Clean chunk 10 from 2: 2 + (10 - 2)/1/2 = 6, then 6 + (10 - 6)/(1/2)/2 = 10."""
    seen = []

    def predict(x, row):
        seen.append(x.item())
        return torch.full_like(x, 10.0)

    start, mask = torch.tensor([[[2.0]]]), torch.tensor([[1.0]])
    result = integrate_euler(predict, start, mask, steps=2, scale=1000, prediction="sample")
    assert seen == [2.0, 6.0]
    assert result.item() == 10.0


def test_unshuffled_channels_of_the_papers_grid():
    """Cell (r, c) of 16x16 holds the patches (2r, 2c), (2r, 2c+1), (2r+1, 2c), (2r+1, 2c+1)."""
    patches = torch.arange(1024.0).view(1, 1024, 1).expand(1, 1024, 1024)  # its number, 32 a row
    cells = pixel_unshuffle(patches)
    assert cells.shape == (1, 256, 4096)
    starts = cells[0, :, ::1024]
    assert starts[0].tolist() == [0, 1, 32, 33]
    assert starts[17].tolist() == [66, 67, 98, 99]  # cell (1, 1)
    assert starts[255].tolist() == [990, 991, 1022, 1023]


def _identity_attention():
    """One head of width 2 whose projections are the identity."""
    attention = CrossAttention(2, 1, 0.0).eval()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.eye(2).repeat(3, 1))
        attention.out_proj.weight.copy_(torch.eye(2))
    return attention


def test_hidden_key_leaves_the_softmax_by_hand():
    """Scores 0, hidden, ln 3 (over sqrt 2, undone in the key): weights 1/4 and 3/4."""
    logit = math.log(3) * math.sqrt(2)
    keys = torch.tensor([[[0.0, 4.0], [50.0, 50.0], [logit, 0.0]]])
    query = torch.tensor([[[1.0, 0.0]]])
    with torch.no_grad():
        got = _identity_attention()(query, keys, torch.tensor([[True, False, True]]))
    np.testing.assert_allclose(got[0, 0], [0.75 * logit, 1.0], atol=1e-6)


def test_equal_keys_count_as_one_with_the_logarithm_of_their_number():
    """Three keys of score 0 and one of score ln 3: half the weight each."""
    logit = math.log(3) * math.sqrt(2)
    query = torch.tensor([[[[1.0, 0.0]]]])
    keys = torch.tensor([[[[0.0, 4.0], [logit, 0.0]]]])
    bias = torch.tensor([math.log(3), 0.0])
    got = F.scaled_dot_product_attention(query, keys, keys, attn_mask=bias[None, None, None])
    np.testing.assert_allclose(got[0, 0, 0], [0.5 * logit, 2.0], atol=1e-6)
    many = torch.tensor([[[0.0, 4.0], [0.0, 4.0], [0.0, 4.0], [logit, 0.0]]])
    with torch.no_grad():
        readable = _identity_attention()(query[0], many, None)
    np.testing.assert_allclose(readable[0, 0], [0.5 * logit, 2.0], atol=1e-6)


def test_fast_head_equals_the_readable_one_at_the_papers_size():
    config = preset("evo1")
    torch.manual_seed(0)
    head = ActionExpert(config).eval()
    fast = FastHead(head)
    generator = torch.Generator().manual_seed(3)
    context = torch.randn(1, 1024, 896, generator=generator)
    context[:, 804:] = context[:, 804:805]  # 220 pads
    state = torch.rand(1, 24, generator=generator)
    chunk = torch.rand(1, 50, 24, generator=generator)
    chunk[..., 7:] = 0
    used = torch.arange(7)
    with torch.inference_mode():
        keys = torch.cat((context, head.encode_state(state)), dim=1)
        expected = head(chunk, torch.tensor([620]), keys)[..., :7]
        collapsed = fast.keys(
            context[:, :804],
            state,
            fast.project(context[:, 804:805]),
            torch.cat((torch.zeros(805), torch.tensor([math.log(220)]))),
        )
        biases, columns = fast.time_biases([620]), fast.columns(used)
        got = fast.predict(chunk[..., :7], biases[620], collapsed, columns)
    assert collapsed.blocks[0].shape == (2, 1, 8, 806, 112)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
