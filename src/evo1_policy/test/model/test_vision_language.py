"""What happens to images and to masked tokens."""

import dataclasses

import pytest
import torch
from micro import MICRO, TOKENS, inputs, micro

from evo1_policy.model.vision_language import VisionLanguage, pixel_unshuffle


def backbone(config=MICRO):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionLanguage(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def run(model, batch):
    with torch.no_grad():
        return model(batch.images, batch.input_ids, batch.image_slots, batch.token_mask)


def test_pixel_unshuffle_orders_channels_by_row_then_column():
    patches = torch.arange(16.0).view(1, 16, 1)  # a 4 x 4 grid of one channel
    cells = pixel_unshuffle(patches)
    assert cells.shape == (1, 4, 4)
    assert cells[0].tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]


def test_pixel_unshuffle_keeps_each_patch_together():
    patches = torch.arange(8.0).view(1, 4, 2)  # 2 x 2 patches of two channels
    assert pixel_unshuffle(patches)[0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_image_features_fill_the_slots_in_the_order_of_views():
    model, batch = backbone(), inputs(present=3)
    captured = {}
    language = model.model.language_model
    hook = language.register_forward_pre_hook(
        lambda _, args, kwargs: captured.update(kwargs), with_kwargs=True
    )
    run(model, batch)
    hook.remove()
    embedded = captured["inputs_embeds"]
    with torch.no_grad():
        features = model.encode_images(batch.images.flatten(0, 1)).view(2, 3 * TOKENS, -1)
        words = language.embed_tokens(batch.input_ids)
    assert torch.equal(embedded[batch.image_slots].view_as(features), features)
    assert torch.equal(embedded[~batch.image_slots], words[~batch.image_slots])


def test_official_pads_are_all_the_same_and_do_not_depend_on_the_input():
    model = backbone()
    first, second = inputs(seed=0), inputs(seed=1)
    pads = run(model, first)[:, -6:]
    torch.testing.assert_close(pads, pads[:1, :1].expand_as(pads), atol=1e-6, rtol=0)
    torch.testing.assert_close(pads, run(model, second)[:, -6:], atol=1e-6, rtol=0)


def test_official_tokens_of_an_absent_view_depend_on_its_black_image_alone():
    model = backbone()
    rows = inputs().image_slots[0].nonzero().flatten()[2 * TOKENS :]
    first, second = run(model, inputs(seed=0)), run(model, inputs(seed=1))
    torch.testing.assert_close(first[:, rows], second[:, rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize("present", [1, 2])
def test_visible_tokens_are_the_same_in_both_modes(present):
    official, masked = backbone(), backbone(micro(context_mode="masked"))
    masked.load_state_dict(official.state_dict())
    batch = inputs(present=present)
    a, b = run(official, batch), run(masked, batch)
    visible = batch.token_mask
    torch.testing.assert_close(a[visible], b[visible], atol=1e-5, rtol=0)
    assert (a[~visible] - b[~visible]).abs().max() > 0.1  # masked rows are other vectors


def test_official_masked_rows_pass_through_the_mlps_only():
    model, batch = backbone(), inputs()
    language = model.model.language_model
    with torch.no_grad():
        features = model.encode_images(batch.images.flatten(0, 1))
        x = language.embed_tokens(batch.input_ids)
        x = x.masked_scatter(batch.image_slots[..., None], features)
        for layer in language.layers:
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        expected = language.norm(x)
    got = run(model, batch)
    hidden = ~batch.token_mask
    torch.testing.assert_close(got[hidden], expected[hidden], atol=1e-5, rtol=0)


def test_visible_tokens_do_not_see_masked_ones():
    model, batch = backbone(), inputs(present=2)
    images = batch.images.clone()
    images[:, 2] = 5.0  # the absent view
    other = dataclasses.replace(batch, images=images)
    visible = batch.token_mask
    a, b = run(model, batch), run(model, other)
    torch.testing.assert_close(a[visible], b[visible], atol=1e-6, rtol=0)


def test_result_equals_transformers_own_fusion_where_nothing_is_masked():
    from transformers import InternVLModel

    model, batch = backbone(), inputs(present=3, pads=0)
    config = model.model.config
    config.image_token_id = 5
    native = InternVLModel(config).eval()
    native.load_state_dict(model.model.state_dict())
    with torch.no_grad():
        expected = native(
            input_ids=batch.input_ids, pixel_values=batch.images.flatten(0, 1)
        ).last_hidden_state
    torch.testing.assert_close(run(model, batch), expected, atol=1e-5, rtol=0)
