"""Pictures out of a JSON text, against what a JSON parser says of the same text."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_kit import picture

from evo1_policy.serving.json_images import read_images, read_request
from evo1_policy.serving.sessions import RequestError


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), (" , ", " : ")])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_pictures_are_what_a_json_parser_reads(separators, place):
    pictures = [picture(0), picture(1, 1, 1), picture(2, 3, 40), np.zeros((2, 2, 3), np.uint8)]
    others = [("state", [1, 2.5]), ("prompt", 'say "image": [[1]] \\ ]]]'), ("mask", [[1, 0]])]
    others.insert(place, ("image", [item.tolist() for item in pictures]))
    data, images = read_request(json.dumps(dict(others), separators=separators))
    assert data == {"state": [1, 2.5], "prompt": 'say "image": [[1]] \\ ]]]', "mask": [[1, 0]]}
    for image, sent in zip(images, pictures, strict=True):
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, sent)


def test_an_indented_text_and_whole_floats_are_read_too():
    text = json.dumps({"image": [picture(0).tolist()]}, indent=1)
    np.testing.assert_array_equal(read_request(text)[1][0], picture(0))
    text = json.dumps({"image": [picture(0).astype(float).tolist()]})
    np.testing.assert_array_equal(read_request(text)[1][0], picture(0))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[[[1,2,256]]]]", "image[0]"),
        ("[[[[1,2,1000]]]]", "image[0]"),
        ("[[[[1,2,-3]]]]", "image[0]"),
        ("[[[[1,2]]]]", "image[0]"),
        ("[[[[1,2,0.5]]]]", "image[0]"),
        ("[[[[1,2,NaN]]]]", "image[0]"),
        ("[[[[1,2,3]],[[1,2,3],[1,2,3]]]]", "image[0]"),
        ("[[[[1,2,3]]],[[1,2,3]]]", "image[1]"),
        ("[[[[1 2,,3]]]]", "image"),
        ("[[[[1,,23]]]]", "image"),
        ("[[[[,1,2,3]]]]", "image"),
        ("[[[[1,2,3]]]", "image"),
        ("[[[[1,2,3]]]]]", "image"),
        ("[[[]]]", "image[0]"),
        ("[null]", "image[0]"),
        ("[[[[1,2,3]]] 5]", "image"),
        ("[[[[1,2,٣]]]]", "image"),
        (f"[[[[{'9' * 400},2,3]]]]", "image[0]"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_place(text, key):
    with pytest.raises(RequestError) as refused:
        read_images(text)
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "message"),
        ("{}", "image"),
        ('{"image": 5}', "image"),
        ('{"image": [', "image"),
        ('{"image": [[[[1,2,3]]]], "image": 5}', "image"),
        ('{"a": {"image": [[[[1,2,3]]]]}}', "image"),
        ('["image", {"image": [[[[1,2,3]]]]}]', "message"),
        ('{"image": [[[[1,2,3]]]], "state": [', "message"),
        ("[" * 100_000, "message"),
        ('{"image": [[[[1,2,3]]]], "a": ' + "[" * 100 + "]" * 100 + "}", "message"),
    ],
)
def test_what_is_no_request_is_refused(text, key):
    with pytest.raises(RequestError) as refused:
        read_request(text)
    assert refused.value.key == key


@pytest.mark.fuzz
@given(st.text(alphabet='[]{},: \n0123456789.-e"a', max_size=80), st.integers(0, 60))
def test_any_text_is_what_a_json_parser_says_or_refused(text, cut):
    good = json.dumps({"image": [picture(0, 2, 2).tolist()], "state": [1]})
    for candidate in (text, good[:cut] + text[:3] + good[cut + 1 :]):
        try:
            data, images = read_request(candidate)
        except RequestError:
            continue
        parsed = json.loads(candidate)
        assert parsed.pop("image") == [image.tolist() for image in images]
        assert parsed == data
