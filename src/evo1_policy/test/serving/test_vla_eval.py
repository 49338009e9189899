"""vla-evaluation-harness's conversation, as its Connection holds it."""

import time

import msgpack
import numpy as np
import pytest
from serving_kit import CountingPolicy, metadata, picture, served
from websockets.sync.client import connect

from evo1_policy.serving.sessions import Job, RequestError
from evo1_policy.serving.vla_eval import vla_eval_protocol


def array(value):
    """As vla_eval.protocol.numpy_codec packs it, uncompressed."""
    return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str,
            "shape": list(value.shape)}  # fmt: skip


def message(kind, payload, seq):
    raw = {"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()}
    return msgpack.packb(raw, use_bin_type=True)


def observation():
    raw = picture(1)
    image = {"__image__": True, "format": "raw", "data": raw.tobytes(), "dtype": "|u1",
             "shape": list(raw.shape)}  # fmt: skip
    return {
        "images": {"agentview": image, "wrist": array(picture(2))},
        "states": array(np.arange(8.0)),
        "task_description": "pick up the bowl",
    }


def protocol(policy):
    return vla_eval_protocol(policy, cameras=["agentview", "wrist"], metadata=metadata())


def test_a_chunk_is_given_out_action_by_action_and_an_episode_begins_anew():
    policy = CountingPolicy()  # executes 3 actions of a chunk
    with served(protocol(policy)) as server:
        client = connect(f"ws://127.0.0.1:{server.ports[0]}", legacy=True)

        def ask(kind, payload, seq):
            client.send(message(kind, payload, seq))
            return msgpack.unpackb(client.recv(timeout=10))

        hello = ask("hello", {"harness_version": "0.1", "protocol_version": 1}, 1)
        assert (hello["type"], hello["seq"]) == ("hello", 1)
        assert hello["payload"]["protocol_version"] == 1
        assert hello["payload"]["observation_params"]["send_wrist_image"] is True
        client.send(message("episode_start", {"task": {"name": "x"}}, 2))
        first = [ask("observation", observation(), seq) for seq in (3, 4, 5, 6)]
        client.send(message("episode_end", {"success": True}, 7))
        client.send(message("episode_start", {}, 8))
        ask("observation", observation(), 9)
        wrong = ask("observation", {"images": {}}, 10)  # while a chunk is given out: not looked at
        assert wrong["type"] == "action"
        client.close()
    assert [(answer["type"], answer["seq"]) for answer in first] == [
        ("action", seq) for seq in (3, 4, 5, 6)
    ]
    actions = first[1]["payload"]["actions"]
    values = np.frombuffer(actions["data"], actions["dtype"])
    assert (actions["dtype"], actions["shape"]) == ("<f4", [8])
    np.testing.assert_allclose(values, np.arange(8) + 0.01, rtol=1e-6)
    assert len(policy.asked) == 3  # of 3 actions each, and one for the new episode
    np.testing.assert_array_equal(policy.asked[0][0].images["image_1"], picture(1))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"images": 5}, "images"),
        ({"images": {"agentview": array(picture(1))}}, "images.wrist"),
        ({"states": None}, "states"),
        ({"task_description": 5}, "task_description"),
    ],
)
def test_bad_observation_is_an_error_message_of_their_kind(changes, key):
    session = protocol(CountingPolicy()).session()
    with pytest.raises(RequestError) as refused:
        session.read(message("observation", observation() | changes, 3))
    assert refused.value.key == key
    refusal = session.refusal("states: missing")
    told = msgpack.unpackb(refusal.frame)
    assert (told["type"], told["seq"], refusal.closes) == ("error", 3, False)
    assert isinstance(session.read(message("observation", observation(), 4)), Job)


@pytest.mark.parametrize(
    "raw",
    ["text", msgpack.packb({}), message("dance", {}, 1)],
    ids=["text", "nothing", "another_type"],  # the last has the time in it
)
def test_what_is_no_message_of_theirs_is_refused(raw):
    with pytest.raises(RequestError):
        protocol(CountingPolicy()).session().read(raw)
