"""The four designs of the paper's section 4.4.1."""

import numpy as np
import pytest
import torch
from micro import MICRO, inputs, micro

from evo1_policy.model.action_expert import ActionExpert, block_attends, context_layers, integrate
from evo1_policy.model.config import ConfigError, Evo1Config, preset
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.flow_matching import sample_noise

DESIGNS = ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("integration", "blocks"),
    [
        ("A", ["context"] * 4),
        ("B", ["context", "actions", "context", "actions"]),
        ("C", ["context"] * 4),
        ("D", ["both"] * 4),
    ],
)
def test_blocks_attend_as_the_paper_draws_them(integration, blocks):
    assert [block_attends(integration, k) for k in range(4)] == blocks


def test_design_c_pairs_the_papers_blocks_with_the_upper_half_of_the_language_model():
    assert context_layers("C", 14, 8) == (7, 8, 9, 10, 11, 12, 13, 14)


@pytest.mark.parametrize(
    ("language_layers", "blocks", "layers"),
    [(3, 2, (1, 3)), (1, 3, (1, 1, 1)), (14, 1, (14,)), (24, 4, (12, 16, 20, 24))],
)
def test_design_c_spreads_evenly_and_ends_with_the_last_layer(language_layers, blocks, layers):
    assert context_layers("C", language_layers, blocks) == layers


@pytest.mark.parametrize("integration", ["A", "B", "D"])
def test_other_designs_read_the_last_layer_alone(integration):
    assert context_layers(integration, 14, 8) is None


def test_state_is_the_last_key_and_always_visible():
    context = torch.tensor([[[1.0], [2.0], [3.0]]])
    token_mask = torch.tensor([[True, False, True]])
    state = torch.tensor([[[9.0]]])
    keys, mask = integrate(context, token_mask, state, "masked")
    assert keys.flatten().tolist() == [1, 2, 3, 9]
    assert mask.tolist() == [[True, False, True, True]]
    keys, mask = integrate(context, token_mask, state, "official_fa2")
    assert keys.flatten().tolist() == [1, 2, 3, 9]
    assert mask is None


def test_state_joins_the_context_of_every_block():
    context = torch.tensor([[[[1.0]]], [[[2.0]]]])  # two blocks, one token each
    keys, _ = integrate(context, torch.tensor([[True]]), torch.tensor([[[9.0]]]), "official_fa2")
    assert keys.shape == (2, 1, 2, 1)
    assert keys.flatten().tolist() == [1, 9, 2, 9]


@pytest.mark.parametrize("integration", DESIGNS)
def test_every_design_has_the_published_tensors(integration):
    with torch.device("meta"):
        head, published = ActionExpert(micro(integration=integration)), ActionExpert(MICRO)
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in published.state_dict().items()}


def test_designs_give_different_actions_from_the_same_weights():
    noise = sample_noise((2, 5, 6), torch.Generator().manual_seed(9))
    weights = new_model(MICRO, seed=0).state_dict()
    chunks = []
    for integration in DESIGNS:
        model = new_model(micro(integration=integration), seed=0).eval()
        model.load_state_dict(weights)
        with torch.inference_mode():
            chunks.append(model.sample_actions(inputs(), noise))
    for k, chunk in enumerate(chunks):
        for other in chunks[:k]:
            assert (chunk - other).abs().max() > 1e-5


def test_design_b_lets_actions_influence_each_other_before_the_pooling():
    head = ActionExpert(micro(integration="B")).eval()
    changed = _influence_of_the_first_action(head)
    assert all(change > 0 for change in changed)


def test_design_a_keeps_actions_apart_until_the_pooling():
    changed = _influence_of_the_first_action(ActionExpert(MICRO).eval())
    assert changed[0] > 0
    assert changed[1:] == [0, 0, 0, 0]


def _influence_of_the_first_action(head):
    """How far each token moves before the pooling when the first action changes."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(1, 4, 16, generator=generator)
    chunk = torch.randn(1, 5, 6, generator=generator)
    other = chunk.clone()
    other[:, 0] += 1
    seen = []
    head.norm_out.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        for actions in (chunk, other):
            head(actions, torch.tensor([0]), keys)
    return (seen[0] - seen[1]).abs().amax(dim=-1)[0].tolist()


def test_joint_attention_adds_the_actions_as_keys():
    """One block against softmax(QK)V in numpy, with one hidden context key."""
    head = ActionExpert(micro(integration="D")).double()
    block = head.transformer_blocks[0]
    torch.manual_seed(0)
    x, context = torch.randn(1, 5, 16).double(), torch.randn(1, 3, 16).double()
    mask = torch.tensor([[True, False, True]])
    with torch.no_grad():
        got = block(x, context, torch.zeros(1, 1, 16).double(), mask).numpy()
        h = block.norm1(x)
        joined = torch.cat((context[:, [0, 2]], h), dim=1).numpy()[0]
    w, b = (getattr(block.attn, f"in_proj_{part}").detach().numpy() for part in ("weight", "bias"))
    q, k, v = (
        rows @ w[i * 16 : i * 16 + 16].T + b[i * 16 : i * 16 + 16]
        for i, rows in enumerate((h.numpy()[0], joined, joined))
    )
    merged = np.zeros((5, 16))
    for part in (slice(0, 8), slice(8, 16)):  # two heads
        scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(8))
        merged[:, part] = scores / scores.sum(axis=1, keepdims=True) @ v[:, part]
    out = block.attn.out_proj
    with torch.no_grad():
        y = x + torch.from_numpy(merged) @ out.weight.T + out.bias
        expected = (y + block.ff(block.norm2(y))).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("integration", DESIGNS)
def test_design_survives_the_config_file(integration):
    data = preset("evo1").to_dict()
    data["semantics"]["integration"] = integration
    assert Evo1Config.from_dict(data).semantics.integration == integration


def test_unknown_design_is_refused_by_key():
    data = preset("evo1").to_dict()
    data["semantics"]["integration"] = "E"
    with pytest.raises(ConfigError, match=r"semantics\.integration: expected one of A, B, C, D"):
        Evo1Config.from_dict(data)
