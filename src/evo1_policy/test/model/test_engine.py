"""The fast path gives what the readable path gives, in every variant."""

import copy
import dataclasses
import itertools

import pytest
import torch
from micro import MICRO, inputs, micro
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evo1_policy.model.engine import Engine, serving_dtype
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.flow_matching import Prefix, sample_noise
from evo1_policy.model.preprocessing import normalise_images

NOISE = sample_noise((2, 5, 6), torch.Generator().manual_seed(9))
BLACK = normalise_images(torch.zeros(3, 56, 56, dtype=torch.uint8))


def spread(config, seed=0):
    """A model whose every parameter matters: norms, biases and layer scales are not neutral."""
    model = new_model(config, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def scene(present, *, pads=6, seed=0, batch=2):
    seen = inputs(present=present, pads=pads, seed=seed, batch=batch)
    seen.images[:, present:] = BLACK
    return seen


def compare(model, engine, seen, noise=NOISE, **options):
    with torch.inference_mode():
        expected = model.sample_actions(seen, noise, **options)
    got = engine.sample_actions(seen, noise, **options)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    return expected


@pytest.mark.parametrize(
    ("integration", "context_mode", "prediction"),
    itertools.product("ABCD", ["official_fa2", "masked"], ["velocity", "sample"]),
)
def test_fast_path_equals_the_readable_one(integration, context_mode, prediction):
    config = micro(integration=integration, context_mode=context_mode, prediction=prediction)
    model = spread(config)
    engine = Engine(model)
    for present, pads in ((1, 6), (2, 6), (3, 6), (3, 0), (1, 0)):
        compare(model, engine, scene(present, pads=pads))


@pytest.mark.parametrize("time_scale", [999, 1000])
@pytest.mark.parametrize("steps", [1, 3, 32])
def test_number_of_steps_is_a_choice_of_the_call(steps, time_scale):
    model = spread(micro(time_scale=time_scale))
    engine = Engine(model)
    few = compare(model, engine, scene(2), steps=steps)
    assert not torch.equal(few, compare(model, engine, scene(2), steps=steps + 1))


@pytest.mark.parametrize("part", ["input_ids", "action_mask"])
def test_rows_that_differ_in_more_than_images_and_state_are_refused(part):
    seen = scene(2)
    values = getattr(seen, part).clone()
    values[1, 0] = 14 if part == "input_ids" else False
    seen = dataclasses.replace(seen, **{part: values})
    with pytest.raises(ValueError, match="rows differ in prompt, views or dimensions"):
        Engine(spread(MICRO)).sample_actions(seen, torch.zeros(2, 5, 6))


def test_an_instruction_seen_before_is_not_analysed_again():
    model = spread(MICRO)
    engine = Engine(model)
    first, other = scene(2, batch=1), scene(2, batch=1, seed=4)
    other.input_ids[0, -8] = 13
    noise = NOISE[:1]
    expected = [compare(model, engine, seen, noise) for seen in (first, other)]
    embed = model.embedder.model.language_model.embed_tokens
    embed.weight.data.zero_()  # only a prompt that is analysed anew would notice
    for seen, actions in zip((first, other), expected, strict=True):
        got = engine.sample_actions(seen, noise)
        torch.testing.assert_close(got, actions, atol=1e-5, rtol=1e-5)


def test_images_of_absent_views_are_not_encoded():
    model = spread(micro(context_mode="masked"))
    engine = Engine(model)
    encoded = []
    model.embedder.model.vision_tower.register_forward_pre_hook(
        lambda _, arguments: encoded.append(len(arguments[0]))
    )
    engine.sample_actions(scene(2, batch=1), NOISE[:1])
    assert encoded == [2]


def test_black_image_is_encoded_once_for_all_prompts():
    model = spread(MICRO)
    engine = Engine(model)
    encoded = []
    model.embedder.model.vision_tower.register_forward_pre_hook(
        lambda _, arguments: encoded.append(len(arguments[0]))
    )
    for pads in (3, 4, 5):
        engine.sample_actions(scene(2, batch=1, pads=pads), NOISE[:1])
    assert encoded == [1, 2, 2, 2]


def test_a_view_that_is_visible_in_part_is_refused():
    seen = scene(3, batch=1)
    seen.token_mask[0, 3] = False
    with pytest.raises(ValueError, match="visible as a whole or not at all"):
        Engine(new_model(MICRO, seed=0)).sample_actions(seen, NOISE[:1])


def test_a_prompt_without_room_for_every_image_is_refused():
    seen = scene(3, batch=1)
    seen.image_slots[0, 3] = False
    with pytest.raises(ValueError, match="expected 12 image slots, got 11"):
        Engine(new_model(MICRO, seed=0)).sample_actions(seen, NOISE[:1])


def test_cpu_engine_leaves_the_model_as_it_is():
    model = spread(MICRO)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = Engine.for_device(model, torch.device("cpu"))
    compare(model, engine, scene(2))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("integration", "ABCD")
def test_bf16_matrices_with_fp32_norms_stay_close(integration):
    """What runs on a GPU, in a GPU's types."""
    model = spread(micro(integration=integration))
    with torch.inference_mode():
        expected = model.sample_actions(scene(2), NOISE)
    engine = Engine.for_device(model, torch.device("cpu"), "bf16")
    head = model.action_head
    assert head.seq_pool_proj.weight.dtype == torch.bfloat16
    assert head.transformer_blocks[0].attn.in_proj_weight.dtype == torch.bfloat16
    assert head.transformer_blocks[0].norm1.weight.dtype == torch.float32
    assert head.norm_out.bias.dtype == torch.float32
    assert head.time_pos_enc.pe.dtype == torch.float32
    assert not engine.is_readable
    got = engine.sample_actions(scene(2), NOISE)
    assert got.dtype == torch.float32
    assert (got - expected).norm() < 0.05 * expected.norm()


def test_a_cpu_serves_in_bf16_only_where_that_is_faster(monkeypatch):
    cpu = torch.device("cpu")
    for has_amx, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has_amx: has)
        assert serving_dtype("auto", cpu) == dtype
        assert serving_dtype("fp32", cpu) == torch.float32
        assert serving_dtype("bf16", cpu) == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graph_gives_what_single_kernels_give():
    device = torch.device("cuda")
    model = spread(MICRO)
    with torch.inference_mode():
        expected = model.sample_actions(scene(2), NOISE)
    engine = Engine.for_device(model, device)
    plain = Engine(model, graphs=False)
    for seed in (0, 0, 1):
        seen = scene(2, seed=seed)
        got = engine.sample_actions(seen, NOISE)
        torch.testing.assert_close(got, plain.sample_actions(seen, NOISE), atol=1e-3, rtol=1e-2)
        if seed == 0:
            assert (got.cpu() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    ("integration", "prediction"), itertools.product("AB", ["velocity", "sample"])
)
def test_fast_path_is_guided_like_the_readable_one(integration, prediction):
    model = spread(micro(integration=integration, prediction=prediction))
    engine = Engine(model)
    generator = torch.Generator().manual_seed(4)
    weights = torch.tensor([[1.0, 1.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    prefix = Prefix(actions=sample_noise((2, 5, 6), generator), weights=weights)
    free = compare(model, engine, scene(2))
    pulled = compare(model, engine, scene(2), prefix=prefix)
    assert not torch.allclose(free, pulled, atol=1e-3)


class OnTheDeviceAlone(TorchDispatchMode):
    """What a capture refuses: a tensor that is elsewhere. (Meta tensors refuse to be read.)"""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor) and leaf.device.type != "meta":
                raise AssertionError(f"{func}: a tensor on {leaf.device}")
        return result


def on_meta(value):
    """A plan, or any part of it, with its tensors on the device that has no memory."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, tuple):
        return tuple(map(on_meta, value))
    if not dataclasses.is_dataclass(value):
        return value
    names = [item.name for item in dataclasses.fields(value)]
    return dataclasses.replace(value, **{name: on_meta(getattr(value, name)) for name in names})


@pytest.mark.parametrize(
    ("integration", "prediction", "guided"),
    [*itertools.product("ABCD", ["velocity"], [False]), ("A", "sample", True)],
)
def test_what_is_captured_reads_nothing_and_stays_on_the_device(integration, prediction, guided):
    model = spread(micro(integration=integration, prediction=prediction))
    engine, seen = Engine(model, bucket=16), scene(2)
    engine.sample_actions(seen, NOISE, steps=3)
    (plan,) = engine._plans.values()
    model.to("meta")
    for biases in engine._time_biases[3].values():
        biases[:] = on_meta(tuple(biases))
    values = [seen.images[:, :2], seen.state, NOISE]
    values += [NOISE, torch.ones(2, 5)] if guided else []
    there = on_meta((plan, *values))
    with torch.inference_mode(), OnTheDeviceAlone():
        actions = engine._run(3, *there)
    assert actions.shape == NOISE.shape


@pytest.mark.parametrize("context_mode", ["official_fa2", "masked"])
@pytest.mark.parametrize("integration", "ABCD")
def test_prompts_filled_up_to_one_length_share_a_graph(integration, context_mode):
    """What a graph does: another prompt's tensors go where the first one's are."""
    config = micro(integration=integration, context_mode=context_mode)
    model = spread(config)
    engine = Engine(model, bucket=16)
    scenes = [scene(2, pads=pads, seed=pads) for pads in (3, 4, 6)]
    expected = [compare(model, engine, seen) for seen in scenes]
    first, *others = engine._plans.values()
    held = copy.deepcopy(first)
    for plan, seen, actions in zip(others, scenes[1:], expected[1:], strict=True):
        for place, value in zip(held.tensors(), plan.tensors(), strict=True):
            place.copy_(value)
        steps = config.num_inference_steps
        with torch.inference_mode():
            got = engine._run(steps, held, seen.images[:, :2], seen.state, NOISE)
        torch.testing.assert_close(got, actions, atol=1e-5, rtol=1e-5)
