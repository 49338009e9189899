"""Attention maps and drift, on the small policy that ships."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

from evo1_policy.checkpoint import load_model, read_checkpoint, shipped_checkpoint
from evo1_policy.model.preprocessing import ModelInputs, PromptEncoder, load_tokenizer, prompt_text
from evo1_training.cli.attention import main
from evo1_training.evaluation.attention import WordError, attention_maps, drift, word_tokens

torch.set_num_threads(1)
INSTRUCTION = "put the can into the can holder"


@pytest.fixture(scope="module")
def checkpoint():
    return read_checkpoint(shipped_checkpoint("xarm6"))


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint)


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint.tokenizer_dir)


def inputs_of(checkpoint, tokenizer, present=2):
    config = checkpoint.config
    prompt = PromptEncoder(tokenizer, config).encode([INSTRUCTION], [present])
    size = config.vision.image_size
    generator = torch.Generator().manual_seed(0)
    return ModelInputs(
        images=torch.randn((1, config.views, 3, size, size), generator=generator),
        input_ids=prompt.input_ids,
        image_slots=prompt.image_slots,
        token_mask=prompt.token_mask,
        state=torch.zeros((1, config.state_width)),
        action_mask=torch.ones((1, config.action_width), dtype=torch.bool),
    )


def test_tokens_of_a_word_are_those_of_its_last_occurrence(model, tokenizer):
    config = model.config
    text = prompt_text(
        INSTRUCTION, views=config.views, tokens_per_view=config.vision.tokens_per_view
    )
    encoding = tokenizer.encode(text, add_special_tokens=False)
    places = word_tokens(tokenizer, INSTRUCTION, "can", model)
    begin = min(encoding.offsets[place][0] for place in places)
    end = max(encoding.offsets[place][1] for place in places)
    assert text[begin:end].strip() == "can"
    assert begin > text.index("can into")


@pytest.mark.parametrize("word", ["cube", "", "Image-1"])
def test_word_that_the_instruction_lacks_is_refused_by_name(model, tokenizer, word):
    with pytest.raises(WordError, match=INSTRUCTION):
        word_tokens(tokenizer, INSTRUCTION, word, model)


def test_maps_share_out_the_attention_to_the_images(checkpoint, model, tokenizer):
    inputs = inputs_of(checkpoint, tokenizer)
    found = attention_maps(model, inputs, word_tokens(tokenizer, INSTRUCTION, "can", model))
    edge = round(model.config.vision.tokens_per_view**0.5)
    assert found.maps.shape == (2, edge, edge)
    assert found.maps.min() >= 0
    assert found.maps.sum() == pytest.approx(1)
    assert 0 < found.image_share < 1


def test_absent_view_has_no_map_and_gets_no_attention(checkpoint, model, tokenizer):
    inputs = inputs_of(checkpoint, tokenizer, present=1)
    found = attention_maps(model, inputs, word_tokens(tokenizer, INSTRUCTION, "can", model))
    assert len(found.maps) == 1
    assert found.maps.sum() == pytest.approx(1)


def test_looking_leaves_the_model_as_it_was(checkpoint, model, tokenizer):
    inputs = inputs_of(checkpoint, tokenizer)
    with torch.inference_mode():
        before = model.encode(inputs).keys
        attention_maps(model, inputs, [3])
        assert torch.equal(model.encode(inputs).keys, before)


def test_drift_is_zero_for_the_same_and_names_the_part_that_moved(checkpoint, model, tokenizer):
    inputs = inputs_of(checkpoint, tokenizer)
    same = drift(model, model, inputs)
    assert dict(same.weights) == {"vision": 0, "projector": 0, "language": 0, "all": 0}
    assert same.hidden_cosine == pytest.approx(1)
    moved = copy.deepcopy(model)
    for parameter in moved.embedder.model.multi_modal_projector.parameters():
        parameter.data *= 1.5
    found = drift(model, moved, inputs)
    assert found.weights["projector"] == pytest.approx(0.5)
    assert found.weights["vision"] == found.weights["language"] == 0
    assert 0 < found.weights["all"] < 0.5
    assert found.hidden_cosine < 0.9999


def test_command_writes_the_picture_and_the_numbers(tmp_path, capsys):
    pictures = []
    for name in ("env", "wrist"):
        path = tmp_path / f"{name}.png"
        pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        pictures.append(str(path))
    folder = str(shipped_checkpoint("xarm6"))
    words = ["--checkpoint", folder, "--before", folder, "--word", "can", "--out", str(tmp_path)]
    assert main([*words, "--images", *pictures, "--instruction", INSTRUCTION]) == 0
    report = json.loads((tmp_path / "attention.json").read_text())
    assert report["weights"]["all"] == 0
    assert report["map_overlap"] == pytest.approx(1)
    with Image.open(tmp_path / "can.png") as picture:
        assert picture.width > 400
    assert main([*words, "--images", pictures[0], "--instruction", INSTRUCTION]) == 1
    assert "expected 2, one for each of image_1, image_2" in capsys.readouterr().err


def test_a_picture_that_is_a_bomb_or_none_is_named(tmp_path, capsys):
    huge, text = tmp_path / "huge.png", tmp_path / "text.png"
    Image.new("1", (8000, 4200)).save(huge)
    text.write_text("not a picture")
    for path, told in ((huge, "more than 33,177,600 pixels"), (text, "cannot identify")):
        words = ["--checkpoint", str(shipped_checkpoint("so100")), "--word", "block"]
        words += ["--instruction", "block", "--images", str(path), str(path)]
        assert main([*words, "--out", str(tmp_path)]) == 1
        said = capsys.readouterr().err
        assert f"{path}: not a readable picture: " in said
        assert told in said
