"""The head against the published tensor table, and against a reference in plain numpy."""

import math

import numpy as np
import pytest
import torch
from micro import MICRO

from evo1_policy.model.action_expert import ActionExpert, sinusoid_table
from evo1_policy.model.config import preset

PUBLISHED = {  # names and shapes of the published weights, one block of eight
    "time_pos_enc.pe": (1, 1000, 896),
    "transformer_blocks.0.attn.in_proj_weight": (2688, 896),
    "transformer_blocks.0.attn.in_proj_bias": (2688,),
    "transformer_blocks.0.attn.out_proj.weight": (896, 896),
    "transformer_blocks.0.attn.out_proj.bias": (896,),
    "transformer_blocks.0.norm1.weight": (896,),
    "transformer_blocks.0.norm1.bias": (896,),
    "transformer_blocks.0.norm2.weight": (896,),
    "transformer_blocks.0.norm2.bias": (896,),
    "transformer_blocks.0.ff.0.weight": (3584, 896),
    "transformer_blocks.0.ff.0.bias": (3584,),
    "transformer_blocks.0.ff.2.weight": (896, 3584),
    "transformer_blocks.0.ff.2.bias": (896,),
    "norm_out.weight": (896,),
    "norm_out.bias": (896,),
    "seq_pool_proj.weight": (896, 44800),
    "seq_pool_proj.bias": (896,),
    "mlp_head.fc1.linear.weight": (1024, 896),
    "mlp_head.fc1.linear.bias": (1024,),
    "mlp_head.fc2.linear.weight": (1200, 1024),
    "mlp_head.fc2.linear.bias": (1200,),
    "state_encoder.fc1.linear.weight": (1024, 24),
    "state_encoder.fc1.linear.bias": (1024,),
    "state_encoder.fc2.linear.weight": (896, 1024),
    "state_encoder.fc2.linear.bias": (896,),
    "action_encoder.W1.linear.weight": (896, 24),
    "action_encoder.W1.linear.bias": (896,),
    "action_encoder.W2.linear.weight": (896, 896),
    "action_encoder.W2.linear.bias": (896,),
    "action_encoder.W3.linear.weight": (896, 896),
    "action_encoder.W3.linear.bias": (896,),
    "action_encoder.pos_encoding.pe": (1, 50, 896),
}


def test_head_has_exactly_the_published_tensors():
    with torch.device("meta"):
        head = ActionExpert(preset("evo1"))
    expected = {
        name.replace("blocks.0", f"blocks.{k}"): shape
        for name, shape in PUBLISHED.items()
        for k in range(8)
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    assert len(expected) == 116
    assert shapes == expected
    assert sum(parameter.numel() for parameter in head.parameters()) == 122_029_360


def test_sinusoids_alternate_sine_and_cosine():
    table = sinusoid_table(3, 4)
    expected = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    np.testing.assert_allclose(table[2], expected, atol=1e-6)
    np.testing.assert_allclose(table[0], [0, 1, 0, 1])


def _linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(w, name, x):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _attention(w, name, x, context, heads, visible):
    weights, biases = w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]
    width = x.shape[-1]
    q = x @ weights[:width].T + biases[:width]
    k = context @ weights[width : 2 * width].T + biases[width : 2 * width]
    v = context @ weights[2 * width :].T + biases[2 * width :]
    part = width // heads
    merged = np.empty_like(q)
    for a in range(heads):
        columns = slice(a * part, (a + 1) * part)
        scores = q[:, columns] @ k[:, columns].T / math.sqrt(part)
        scores[:, ~visible] = -np.inf
        e = np.exp(scores - scores.max(-1, keepdims=True))
        merged[:, columns] = (e / e.sum(-1, keepdims=True)) @ v[:, columns]
    return _linear(w, f"{name}.out_proj", merged)


def reference_head(w, actions, row, context, visible, *, blocks, heads):
    """One sample: actions (H, D), context (S, E) -> (H, D). Written from the formulas."""
    x = np.maximum(_linear(w, "action_encoder.W1.linear", actions), 0)
    x = x + w["action_encoder.pos_encoding.pe"][0]
    x = np.maximum(_linear(w, "action_encoder.W2.linear", x), 0)
    x = _linear(w, "action_encoder.W3.linear", x)
    for k in range(blocks):
        b = f"transformer_blocks.{k}"
        x = x + _attention(w, f"{b}.attn", _norm(w, f"{b}.norm1", x), context, heads, visible)
        u = _norm(w, f"{b}.norm2", x) + w["time_pos_enc.pe"][0, row]
        x = x + _linear(w, f"{b}.ff.2", _gelu(_linear(w, f"{b}.ff.0", u)))
    pooled = _linear(w, "seq_pool_proj", _norm(w, "norm_out", x).reshape(-1))
    hidden = np.maximum(_linear(w, "mlp_head.fc1.linear", pooled), 0)
    return _linear(w, "mlp_head.fc2.linear", hidden).reshape(actions.shape)


def random_head(seed=3):
    head = ActionExpert(MICRO).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():  # norms and biases too, so that they are seen
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() * 0.5)
    return head


@pytest.mark.parametrize("masked", [False, True])
def test_head_equals_the_formulas(masked):
    head = random_head()
    generator = torch.Generator().manual_seed(4)
    actions = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    context = 3 * torch.randn(2, 9, 16, generator=generator, dtype=torch.float64)
    visible = torch.tensor([[True] * 9, [True] * 4 + [False] * 3 + [True] * 2])
    rows = torch.tensor([20, 940])
    got = head(actions, rows, context, visible if masked else None).detach().numpy()
    weights = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    for b in range(2):
        expected = reference_head(
            weights,
            actions[b].numpy(),
            int(rows[b]),
            context[b].numpy(),
            visible[b].numpy() if masked else np.ones(9, bool),
            blocks=2,
            heads=2,
        )
        np.testing.assert_allclose(got[b], expected, rtol=1e-9, atol=1e-9)


def test_state_token_is_linear_relu_linear():
    head = random_head()
    state = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    hidden = np.maximum(_linear(w, "state_encoder.fc1.linear", state.numpy()), 0)
    expected = _linear(w, "state_encoder.fc2.linear", hidden)[:, None]
    np.testing.assert_allclose(head.encode_state(state).detach(), expected, atol=1e-12)


def test_hidden_keys_do_not_change_the_output():
    head = random_head()
    generator = torch.Generator().manual_seed(5)
    actions = torch.randn(1, 5, 6, generator=generator, dtype=torch.float64)
    context = torch.randn(1, 4, 16, generator=generator, dtype=torch.float64)
    other = context.clone()
    other[0, 1] = 100.0
    visible = torch.tensor([[True, False, True, True]])
    row = torch.tensor([0])
    assert torch.equal(head(actions, row, context, visible), head(actions, row, other, visible))
    assert not torch.equal(head(actions, row, context), head(actions, row, other))
