"""The authors' protocol over a true socket, spoken as their clients speak it."""

import json
import logging

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_kit import CountingPolicy, authors_request, picture, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from evo1_policy.checkpoint import CheckpointError
from evo1_policy.serving.authors import authors_protocol, read, stats_by_key
from evo1_policy.serving.sessions import RequestError


def stats_of(arm, dataset):
    return None


def asking(server):
    return connect(f"ws://127.0.0.1:{server.ports[0]}", max_size=100_000_000, legacy=True)


def test_request_is_read_as_their_server_reads_it():
    """Bilinear to 448, then BGR to RGB whatever came; masks flat or nested; the state as sent."""
    sent = picture(3, 48, 64)
    nested = {"action_mask": [[1] * 7 + [0] * 17], "image_mask": [1, 1, 0]}
    text = authors_request(image=[sent.tolist()] * 3, **nested)
    request = read(text, stats_of)
    theirs = cv2.cvtColor(cv2.resize(sent, (448, 448)), cv2.COLOR_BGR2RGB)
    for image in request.images:
        np.testing.assert_array_equal(image, theirs)
    assert request.state.tolist() == [0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0, -0.5]
    assert request.image_mask == [True, True, False]
    assert request.action_mask == [True] * 7 + [False] * 17


def test_client_gets_rows_of_24_and_may_ask_again():
    policy = CountingPolicy(width=14)
    with served(authors_protocol(policy, stats_of, views=1, width=14)) as server:
        client = asking(server)
        for _ in range(2):
            client.send(authors_request())
            reply = client.recv(timeout=10)
            assert isinstance(reply, str)
            rows = json.loads(reply)
            assert np.shape(rows) == (6, 24)
            assert rows[0][:8] == [0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0, -0.5]
        client.close()
    images, _, prompt, stats, image_mask, action_mask = policy.asked[-1]
    assert len(images) == 1  # what the model has no view for was masked
    assert (prompt, stats, list(image_mask)) == ("press the button from the top", None, [True])
    assert list(action_mask) == [True] * 4 + [False] * 10


BAD = [
    ({"image": ...}, "image"),
    ({"state": ...}, "state"),
    ({"image": [picture(0).tolist()] * 2}, "image"),
    ({"image": [[[[1, 2, 300]]]] * 3}, "image[0]"),
    ({"state": [0.1, float("nan")]}, "state[1]"),
    ({"state": [0.1] * 25}, "state"),
    ({"state": "8 numbers"}, "state"),
    ({"state": [True, 2]}, "state"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": "x" * 2000}, "prompt"),
    ({"image_mask": [0, 0, 0]}, "image_mask"),
    ({"image_mask": [1, 0]}, "image_mask"),
    ({"image_mask": [1, 1, 0]}, "image_mask"),  # the model of this test has one view
    ({"action_mask": [1] * 24}, "action_mask"),  # and 14 numbers of an action
    ({"action_mask": [2] * 24}, "action_mask"),
    ({"arm_key": 5}, "arm_key"),
    ({"arm_key": "franka"}, "arm_key"),
]


@pytest.mark.parametrize(("changes", "key"), BAD)
def test_bad_request_closes_with_1011_and_the_log_names_client_and_key(changes, key, caplog):
    caplog.set_level(logging.WARNING)

    def known(arm, dataset):
        raise CheckpointError("no norm stats of franka")

    table = stats_by_key(known, arm="metaworld")
    with served(authors_protocol(CountingPolicy(), table, views=1, width=14)) as server:
        client = asking(server)
        client.send(authors_request(**changes))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd.code == 1011
        with asking(server) as other:  # nobody else is hurt
            other.send(authors_request())
            assert other.recv(timeout=10)
    assert f"refused: {key}" in caplog.text
    assert "127.0.0.1:" in caplog.text


@pytest.mark.parametrize("message", [b"binary", "no json", "[]", "{}", '{"image": [['])
def test_what_is_no_request_closes_too(message):
    with served(authors_protocol(CountingPolicy(), stats_of)) as server:
        client = asking(server)
        client.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd.code == 1011


def test_arm_and_dataset_of_a_request_choose_the_norm_stats_once():
    asked = []

    def known(arm, dataset):
        asked.append((arm, dataset))
        return f"{arm}/{dataset}"

    table = stats_by_key(known, arm="aloha_joint")
    assert table(None, None) is None
    assert table("aloha_joint", None) is None
    for _ in range(2):
        assert table("aloha_joint", "robotwin_stack") == "aloha_joint/robotwin_stack"
    assert table(None, "robotwin_stack") == "aloha_joint/robotwin_stack"
    assert asked == [("aloha_joint", "robotwin_stack")]


@pytest.mark.fuzz
@given(
    st.sampled_from(["image", "state", "prompt", "image_mask", "action_mask", "arm_key"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ),
)
def test_any_value_under_any_key_is_read_or_refused(key, value):
    try:
        request = read(
            authors_request(**({"image": [[[[1, 2, 3]]]] * 3} | {key: value})), stats_of
        )
    except RequestError:
        return
    assert len(request.images) == 3
    assert np.isfinite(request.state).all()
