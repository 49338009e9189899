"""What the server holds whatever the protocol: limits, strangers, turns, its end."""

import logging
import socket
import time
import urllib.error
import urllib.request

import pytest
from serving_kit import CountingPolicy, authors_request, metadata, served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from evo1_policy.serving.authors import authors_protocol
from evo1_policy.serving.evo1 import evo1_protocol
from evo1_policy.serving.server import PolicyServer, ServeError, is_authorised

TOKEN = "a token of some length"


def authors(policy=None):
    return authors_protocol(policy or CountingPolicy(), lambda arm, dataset: None)


def call(server, **more):
    return connect(f"ws://127.0.0.1:{server.ports[0]}", legacy=True, **more)


def fetch(server, path, token=""):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{server.ports[0]}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        return reply.read().decode()


def test_others_need_a_token_and_a_long_one():
    with pytest.raises(ServeError, match=r"--host 0\.0\.0\.0: others could reach it"):
        PolicyServer([], host="0.0.0.0")
    with pytest.raises(ServeError, match="too short"):
        PolicyServer([], token="short")
    PolicyServer([], host="localhost")
    PolicyServer([], host="0.0.0.0", token=TOKEN)


@pytest.mark.parametrize(
    ("header", "right"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (f"Api-Key {TOKEN}", True),
        ("Basic ZXZvMTphIHRva2VuIG9mIHNvbWUgbGVuZ3Ro", True),  # evo1:TOKEN
        ("Basic ZXZvMTphIHRva2Vu", False),
        ("Basic ***", False),
        ("Bearer another", False),
        (TOKEN, False),
        ("", False),
        (None, False),
    ],
)
def test_token_is_shown_as_each_client_can(header, right):
    assert is_authorised(header, TOKEN) is right


def test_strangers_get_a_401_and_health_is_for_all():
    with served(authors(), token=TOKEN) as server:
        assert fetch(server, "/healthz") == "OK\n"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetch(server, "/metrics")
        assert "evo1_clients 0" in fetch(server, "/metrics", TOKEN)
        with pytest.raises(InvalidStatus, match="401"):
            call(server)
        with pytest.raises(InvalidStatus, match="403"):  # a page in a browser
            call(server, origin="http://example.org", additional_headers=_bearer())
        client = connect(f"ws://evo1:{TOKEN.replace(' ', '%20')}@127.0.0.1:{server.ports[0]}",
                         legacy=True, max_size=None)  # fmt: skip
        client.send(authors_request())
        assert client.recv(timeout=10)
        client.close()
        assert 'evo1_answers_total{protocol="authors"} 1' in fetch(server, "/metrics", TOKEN)


def _bearer():
    return {"Authorization": f"Bearer {TOKEN}"}


def test_more_clients_than_allowed_are_turned_away():
    with served(authors(), clients=1) as server:
        first = call(server)
        with pytest.raises(InvalidStatus, match="503"):
            call(server)
        first.close()


def test_port_that_is_taken_is_named():
    with served(authors()) as server:
        port = server.ports[0]
        with (
            pytest.raises(ServeError, match=f":{port}: cannot listen there.*authors:PORT"),
            served(authors(), port=port),
        ):
            pass


def test_pings_are_answered_while_the_policy_infers_and_clients_are_served_in_turn():
    policy = CountingPolicy(seconds=0.4)
    with served(authors(policy)) as server:
        clients = [call(server) for _ in range(3)]
        for client in clients:
            client.send(authors_request())
        assert clients[0].ping().wait(0.35)
        for client in clients:
            assert client.recv(timeout=10)
        for client in clients:
            client.close()
    assert len(policy.asked) == 3


def test_a_request_that_takes_too_long_is_refused_and_the_next_is_served(caplog):
    policy = CountingPolicy(seconds=0.5)
    protocol = evo1_protocol(policy, cameras=["image_1", "image_2"], metadata=metadata())
    with served(authors(policy), protocol, answer_s=0.1) as server:
        client = call(server)
        client.send(authors_request())
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
    assert "no answer within 0.1 s" in caplog.text


def test_a_bug_in_the_policy_is_told_and_the_server_stays(caplog):
    policy = CountingPolicy()
    policy.fault = RuntimeError("kernel panic")
    with served(authors(policy)) as server:
        client = call(server)
        client.send(authors_request())
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
        policy.fault = None
        with call(server) as other:
            other.send(authors_request())
            assert other.recv(timeout=10)
    assert "kernel panic" in caplog.text


def test_slow_senders_are_hung_up_on_and_hurt_nobody(caplog):
    """A frame that says 50 MB and sends ten bytes; one of a message that never ends."""
    caplog.set_level(logging.WARNING)
    with served(authors(), message_s=0.3) as server:
        idle = call(server)  # says nothing, may stay
        slow = [_handshake(server.ports[0]) for _ in range(2)]
        slow[0].sendall(b"\x81\xff" + (50_000_000).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 10)
        slow[1].sendall(b"\x01\x81" + b"\0\0\0\0" + b"{")  # a first fragment
        begun = time.monotonic()
        idle.send(authors_request())
        assert idle.recv(timeout=10)
        for sender in slow:
            sender.settimeout(10)
            assert sender.recv(100) == b""  # hung up
        assert time.monotonic() - begun < 10
        idle.send(authors_request())
        assert idle.recv(timeout=10)
        idle.close()
    assert caplog.text.count("did not end within 0.3 s") == 2


def test_a_client_that_sends_ahead_while_it_is_answered_is_not_slow():
    """Half of its next message lies there for longer than a message may take."""
    payload = authors_request().encode()
    frame = b"\x81\xff" + len(payload).to_bytes(8, "big") + b"\0\0\0\0" + payload
    with served(authors(CountingPolicy(seconds=0.8)), message_s=0.3) as server:
        client = _handshake(server.ports[0])
        client.settimeout(10)
        client.sendall(frame + frame[:5000])
        answers = client.recv(4096)
        client.sendall(frame[5000:])
        while answers.count(b"]]") < 2:
            more = client.recv(4096)
            assert more, "hung up on"
            answers += more
        client.close()


def test_a_message_beyond_the_limit_closes_with_1009():
    with served(authors()) as server:
        sender = _handshake(server.ports[0])
        sender.sendall(b"\x81\xff" + (100_000_001).to_bytes(8, "big") + b"\0\0\0\0")
        sender.settimeout(10)
        frame = sender.recv(100)
        assert frame[0] == 0x88
        assert int.from_bytes(frame[2:4], "big") == 1009
        sender.close()


def test_the_end_says_good_bye_to_clients():
    with served(authors()) as server:
        client = call(server)
        server.loop.call_soon_threadsafe(server.stop.set)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd.code == 1001


def _handshake(port):
    """A socket behind its opening handshake, to send frames by hand."""
    opened = socket.create_connection(("127.0.0.1", port))
    opened.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += opened.recv(1)
    assert b" 101 " in answer
    return opened
