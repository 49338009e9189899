import json

import numpy as np
import pytest
import torch
from micro import MICRO, micro
from PIL import Image

from evo1_policy.checkpoint import shipped_checkpoint
from evo1_policy.model.config import preset
from evo1_policy.model.preprocessing import (
    PromptEncoder,
    TokenizerError,
    load_tokenizer,
    normalise_images,
    prepare_views,
    prompt_text,
    resize_image,
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(shipped_checkpoint("xarm6") / "tokenizer")


@pytest.mark.parametrize(("height", "width"), [(480, 640), (240, 320), (300, 500), (448, 448)])
@pytest.mark.parametrize("size", [112, 448])
def test_resize_is_within_one_level_of_pil(height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    got = resize_image(image, size).permute(1, 2, 0).numpy()
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


def test_a_read_only_frame_is_accepted():
    image = np.full((8, 8, 3), 7, np.uint8)
    image.flags.writeable = False
    assert (resize_image(image, 4) == 7).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_no_rgb_image_is_refused(image):
    with pytest.raises(ValueError, match=r"expected an image \(H, W, 3\) uint8 RGB"):
        resize_image(image, 4)


def test_channels_are_normalised_in_rgb_order():
    red = torch.zeros(3, 1, 1, dtype=torch.uint8)
    red[0] = 255
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(normalise_images(red).flatten(), expected, rtol=1e-6)


def test_absent_views_are_black():
    views = prepare_views([np.full((4, 4, 3), 255, np.uint8)], views=2, size=4)
    assert views.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(views[1, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_bgr_swaps_the_channels_before_the_mean_is_taken_off():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    view = prepare_views([red], views=1, size=4, channel_order="bgr")[0, :, 0, 0]
    expected = [-0.485 / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(view, expected, rtol=1e-6)


def test_bf16_arithmetic_rounds_where_the_published_code_rounds():
    grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)
    # 100/255 -> 0.392578125; means 0.484375, 0.455078125, 0.40625; deviations 0.228515625,
    # 0.2236328125, 0.224609375; differences -0.091796875, -0.0625, -0.013671875 (exact);
    # quotients -0.401709, -0.279476, -0.0608696, each to 8 bits.
    expected = [-0.40234375, -0.279296875, -0.060791015625]
    found = normalise_images(grey, "bfloat16").flatten()
    assert found.dtype == torch.float32
    assert found.tolist() == expected
    assert not torch.equal(found, normalise_images(grey).flatten())


def test_more_images_than_views_are_refused():
    with pytest.raises(ValueError, match="2 image slots, got 3 images"):
        prepare_views([np.zeros((4, 4, 3), np.uint8)] * 3, views=2, size=4)


def test_prompt_is_the_authors():
    assert prompt_text("  pick up \n", views=2, tokens_per_view=2) == (
        "Image-1: <img><IMG_CONTEXT><IMG_CONTEXT></img>\n"
        "Image-2: <img><IMG_CONTEXT><IMG_CONTEXT></img>\n"
        "pick up"
    )


def test_tokens_of_an_absent_view_are_masked_but_its_words_are_not(tokenizer):
    tokens = PromptEncoder(tokenizer, MICRO).encode(["wave"], [2])
    assert tokens.input_ids.shape == (1, 40)
    assert tokens.image_slots.sum() == 12
    slots = tokens.image_slots[0].nonzero().flatten()
    assert tokens.token_mask[0, slots].tolist() == [True] * 8 + [False] * 4
    end = tokenizer.token_to_id("</img>")
    assert tokens.token_mask[tokens.input_ids == end].all()


def test_padding_is_masked_and_fixed_or_to_the_longest(tokenizer):
    texts = ["wave", "put the cube into the box please"]
    fixed = PromptEncoder(tokenizer, micro(context_length=90)).encode(texts, [3, 3])
    longest = PromptEncoder(tokenizer, micro(context_length=90, context_padding="longest"))
    tokens = longest.encode(texts, [3, 3])
    assert fixed.input_ids.shape == (2, 90)
    assert tokens.token_mask[1].all()
    padding = ~tokens.token_mask[0]
    assert padding.any()
    assert (tokens.input_ids[0][padding] == tokenizer.token_to_id("<|endoftext|>")).all()


def test_special_tokens_typed_by_a_user_are_not_image_slots(tokenizer):
    tokens = PromptEncoder(tokenizer, MICRO).encode(["a <IMG_CONTEXT> b"], [3])
    assert tokens.image_slots.sum() == 12


def test_a_long_instruction_is_cut_but_image_tokens_never(tokenizer):
    tokens = PromptEncoder(tokenizer, MICRO).encode(["wave " * 50], [3])
    assert tokens.input_ids.shape == (1, 40)
    with pytest.raises(TokenizerError, match=r"exceed semantics\.context_length = 20"):
        PromptEncoder(tokenizer, micro(context_length=20)).encode(["wave"], [3])


def test_any_text_round_trips_through_the_shipped_tokenizer(tokenizer):
    text = "Schraube festziehen, 拧紧 → 100 % \N{ROBOT FACE}"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_shipped_tokenizer_fits_the_tiny_preset(tokenizer):
    PromptEncoder(tokenizer, preset("evo1_tiny"))
    small = preset("evo1_tiny").to_dict()
    small["language"]["vocab_size"] = 100
    with pytest.raises(TokenizerError, match="the model only 100"):
        PromptEncoder(tokenizer, type(MICRO).from_dict(small))


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"no tokenizer; expected tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match="not readable"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_image_tokens_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"lacks the special token <\|endoftext\|>"):
        load_tokenizer(tmp_path)


def test_vocab_and_merges_load_too(tmp_path, tokenizer):
    tokenizer.model.save(str(tmp_path))
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    specials = ("<|endoftext|>", "<img>", "</img>", "<IMG_CONTEXT>")
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {
            str(vocab[token]): {"content": token, "special": True} for token in specials
        },
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = "Image-1: <img><IMG_CONTEXT></img>\nwave"
    assert load_tokenizer(tmp_path).encode(text).ids == tokenizer.encode(text).ids


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_in_a_tokenizer_folder_is_neither_run_nor_asked_for(
    tmp_path, tokenizer, monkeypatch, where
):
    folder, ran = tmp_path / "folder", tmp_path / "ran"
    folder.mkdir()
    tokenizer.model.save(str(folder))
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    names = {"AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoConfig": "evil.Evil"}
    (folder / where).write_text(json.dumps({"model_type": "internvl_chat", "auto_map": names}))
    asked = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    with pytest.raises(TokenizerError, match="folder: "):
        load_tokenizer(folder)
    assert not ran.exists()
    assert asked == []


def test_a_tokenizer_that_is_a_git_lfs_pointer_is_called_one(tmp_path):
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: a Git LFS pointer"):
        load_tokenizer(tmp_path)
