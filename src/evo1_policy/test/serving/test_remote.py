"""Our own protocol over a true socket, and the policy that is elsewhere."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

import msgpack
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from serving_kit import CountingPolicy, D, H, metadata, picture, served
from websockets.sync.client import connect

from evo1_policy.action_chunk import Guidance
from evo1_policy.control.signals import InferenceFailed, InferenceRequest, StopCode
from evo1_policy.control.watchdog import Hold
from evo1_policy.node_parameters import ParameterError, PolicyParameters
from evo1_policy.observation import Observation
from evo1_policy.robot_config import load_robot
from evo1_policy.ros.inference_thread import InferenceThread
from evo1_policy.serving.arrays import pack, unpack
from evo1_policy.serving.calling import Exchange, RemoteError, ServerClock, server_says, server_url
from evo1_policy.serving.evo1 import evo1_protocol
from evo1_policy.serving.remote import RemotePolicy
from evo1_policy.serving.sessions import RequestError

CAMERAS = ["image_1", "image_2"]


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def protocol(policy, robot_text="", cameras=CAMERAS, **told):
    return evo1_protocol(policy, cameras=cameras, metadata=metadata(robot_text, **told))


def observation(robot, **changes):
    parts = {
        "images": {"image_1": picture(1), "image_2": picture(2)},
        "state": np.array(robot.home),
        "instruction": "pick up the can",
        "stamp_ns": 5_000_000_000,
        "received_ns": 5_000_000_000,
        "skew_ns": 0,
    }
    return Observation(**(parts | changes))


def remote(server, robot, **more):
    return RemotePolicy(f"127.0.0.1:{server.ports[0]}", robot=robot, **more)


def test_a_policy_elsewhere_gives_the_chunk_that_it_gives_here(robot):
    policy = CountingPolicy()
    with served(protocol(policy, robot.text)) as server:
        there = remote(server, robot)
        assert (there.horizon, there.execute_actions, there.model_hash) == (H, 3, "0123456789ab")
        guidance = Guidance(actions=np.ones((4, D)), weights=np.array([1.0, 1.0, 0.5, 0.0]))
        seen = observation(robot)
        chunk = there.infer(seen, guidance)
        there.close()
    np.testing.assert_array_equal(chunk.actions, policy.infer(seen).actions)
    assert chunk.actions.dtype == np.float64
    assert chunk.start_ns == 5_000_000_000 + robot.step_ns
    assert chunk.observation_stamp_ns == 5_000_000_000
    got, guided = policy.asked[0]
    for camera in CAMERAS:
        np.testing.assert_array_equal(got.images[camera], seen.images[camera])
    assert got.instruction == "pick up the can"
    np.testing.assert_array_equal(guided.actions, guidance.actions)
    np.testing.assert_array_equal(guided.weights, guidance.weights)


def test_pictures_may_go_as_jpeg(robot):
    policy = CountingPolicy()
    grey = np.full((48, 64, 3), 90, np.uint8)
    with served(protocol(policy, robot.text)) as server:
        there = remote(server, robot, jpeg=True)
        there.infer(observation(robot, images=dict.fromkeys(CAMERAS, grey)))
        there.close()
    assert abs(policy.asked[0][0].images["image_1"].astype(int) - 90).max() <= 2


def test_clock_of_the_server_is_judged_by_the_quickest_exchange():
    clock = ServerClock()
    assert clock.best is None
    clock.add(Exchange(sent_ns=100, there_ns=1_000, back_ns=1_400, received_ns=900))
    clock.add(Exchange(sent_ns=1_000, there_ns=1_710, back_ns=1_720, received_ns=1_030))
    assert clock.best.round_trip_ns == 20
    assert clock.best.offset_ns == 700


def test_a_server_that_is_back_is_used_again_and_one_that_is_gone_is_named(robot):
    with served(protocol(CountingPolicy(), robot.text)) as server:
        there, port = remote(server, robot, answer_s=1.5), server.ports[0]
        there.infer(observation(robot))
    with served(protocol(CountingPolicy(), robot.text), port=port):
        there.infer(observation(robot))
    with pytest.raises(RemoteError, match=f":{port}: nobody answers") as gone:
        there.infer(observation(robot))
    assert gone.value.code is StopCode.REMOTE_GONE
    told = {"model_hash": "another model"}
    with served(protocol(CountingPolicy(), robot.text, **told), port=port):
        with pytest.raises(RemoteError, match="another model now") as changed:
            there.infer(observation(robot))
        assert changed.value.code is StopCode.REMOTE_REFUSED


def test_a_server_that_is_late_is_named_and_its_late_answer_is_not_taken_for_the_next(robot):
    policy = CountingPolicy(seconds=0.5)
    with served(protocol(policy, robot.text)) as server:
        there = remote(server, robot, answer_s=0.2)
        with pytest.raises(RemoteError) as late:
            there.infer(observation(robot))
        assert late.value.code is StopCode.REMOTE_LATE
        policy.seconds = 0.0
        time.sleep(0.5)
        other = np.array(robot.home) + 0.1
        chunk = there.infer(observation(robot, state=other))
        np.testing.assert_array_equal(chunk.actions[0], other)
        there.close()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("embodiment: xarm6", "embodiment: xarm7", "embodiment"),
        ("rate_hz: 30", "rate_hz: 20", "rate_hz"),
        ("image_2, topic", "wrist, topic", "cameras"),
        ("joint6", "tool", "joints"),
    ],
)
def test_a_server_for_another_robot_is_refused_by_key(robot, old, new, what):
    with (
        served(protocol(CountingPolicy(), robot.text.replace(old, new))) as server,
        pytest.raises(RemoteError, match=f"another robot: {what}") as refused,
    ):
        remote(server, robot)
    assert refused.value.code is StopCode.REMOTE_REFUSED


def test_a_server_for_no_robot_and_a_wrong_token_are_refused(robot):
    with (
        served(protocol(CountingPolicy())) as server,
        pytest.raises(RemoteError, match="is for no robot"),
    ):
        remote(server, robot)
    with served(protocol(CountingPolicy(), robot.text), token="0123456789abcdef") as server:
        with pytest.raises(RemoteError, match="wants a token: set EVO1_TOKEN"):
            remote(server, robot)
        remote(server, robot, token="0123456789abcdef").close()
        address = f"127.0.0.1:{server.ports[0]}"
        assert server_says(address, "0123456789abcdef")["horizon"] == H


@pytest.mark.parametrize("address", ["ftp://a:1", "", "a:b", "http://a", "ws://a/path"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="remote: expected host:port"):
        server_url(address)
    assert server_url("gpu") == "ws://gpu:8000"
    assert server_url("[::1]:9") == "ws://[::1]:9"


def test_the_arm_holds_for_what_happened_elsewhere(robot):
    """The reason that people see is the remote's, not that an inference failed somehow."""

    class Gone(CountingPolicy):
        fault = RemoteError(StopCode.REMOTE_GONE, "nobody answers")

        def infer(self, observation, guidance=None):
            raise RemoteError(StopCode.REMOTE_GONE, "nobody answers")

        def close(self):
            pass

    thread = InferenceThread(Gone(), now_ns=time.monotonic_ns, wake=lambda: None)
    thread.submit(InferenceRequest(request_id=1, observation=observation(robot)))
    end_s = time.monotonic() + 10
    while (result := thread.take()) is None and time.monotonic() < end_s:
        time.sleep(0.01)
    thread.close()
    assert isinstance(result.outcome, InferenceFailed)
    assert result.outcome.code is StopCode.REMOTE_GONE


def test_the_remotes_word_takes_the_place_of_what_was_seen_of_it_before():
    """The chunk is used up, and seconds later it is known why no other came."""
    hold = Hold(resume_within_ns=2_000_000_000)
    hold.begin(StopCode.INFERENCE_LATE.because("used up"), 0)
    hold.follow(None, 3_000_000_000)
    hold.add(StopCode.REMOTE_GONE.because("nobody answers"))
    assert hold.reason.code is StopCode.REMOTE_GONE
    assert not hold.recovers


def test_warming_up_sends_what_will_be_asked(robot):
    policy = CountingPolicy()
    with served(protocol(policy, robot.text)) as server:
        there = remote(server, robot)
        there.warm_up("pick up the can", guided=True)
        there.close()
    (first, free), (_, guided) = policy.asked
    assert first.instruction == "pick up the can"
    assert free is None
    np.testing.assert_array_equal(guided.actions[0], robot.home)


def test_what_a_server_is_told_is_refused_where_the_policy_is_elsewhere():
    PolicyParameters(remote="gpu:8000", robot_file="x.yaml")
    with pytest.raises(ParameterError, match="units: says nothing with remote"):
        PolicyParameters(remote="gpu:8000", units="degrees.yaml")


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Refuse())
import numpy as np
from evo1_policy.node_parameters import PolicyParameters
from evo1_policy.observation import Observation
from evo1_policy.robot_config import load_robot
from evo1_policy.ros.inference_thread import load_policy
import evo1_policy.control.policy_loop
robot = load_robot(sys.argv[1])
policy = load_policy(robot, PolicyParameters(remote=sys.argv[2], remote_images="jpeg"))
policy.warm_up()
image = np.zeros((48, 64, 3), np.uint8)
chunk = policy.infer(Observation(
    images={c.name: image for c in robot.cameras}, state=np.array(robot.home),
    instruction="go", stamp_ns=0, received_ns=0, skew_ns=0))
print(chunk.actions.shape, "torch" in sys.modules)
"""


def test_the_arms_computer_needs_no_torch(robot, robots_dir):
    with served(protocol(CountingPolicy(), robot.text)) as server:
        address = f"127.0.0.1:{server.ports[0]}"
        command = [sys.executable, "-c", WITHOUT_TORCH, str(robots_dir / "xarm6.yaml"), address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == f"({H}, {D}) False", done.stderr


@pytest.fixture
def another_machine():
    """A network namespace with a cable to this one: its name, and this one's address there."""
    name, net = f"evo1n{os.getpid()}", f"10.94.{os.getpid() % 250}"
    here, there = f"evo1h{os.getpid()}", f"evo1t{os.getpid()}"
    ip = shutil.which("ip") or pytest.skip("needs iproute2's ip")
    added = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if added.returncode:
        pytest.skip(f"no network namespace can be made here: {added.stderr.strip()}")
    try:
        for line in (
            f"link add {here} type veth peer name {there} netns {name}",
            f"addr add {net}.1/24 dev {here}",
            f"link set {here} up",
            f"-n {name} addr add {net}.2/24 dev {there}",
            f"-n {name} link set {there} up",
        ):
            subprocess.run([ip, *line.split()], check=True)
        yield name, f"{net}.1"
    finally:
        subprocess.run([ip, "netns", "del", name], check=False)  # the cable goes with it


def test_a_second_machine_without_torch_moves_its_arm_by_the_policy_of_the_first(
    robot, robots_dir, another_machine
):
    name, host = another_machine
    token = "a token of sixteen and more"
    with served(protocol(CountingPolicy(), robot.text), host=host, token=token) as server:
        address = f"{host}:{server.ports[0]}"
        command = ["ip", "netns", "exec", name, sys.executable, "-c", WITHOUT_TORCH]
        done = subprocess.run(
            [*command, str(robots_dir / "xarm6.yaml"), address],
            env={**os.environ, "EVO1_TOKEN": token},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.stdout.strip() == f"({H}, {D}) False", done.stderr


# -- openpi's clients, and what is none ----------------------------------------------------


def openpi_array(array):
    """As openpi_client.msgpack_numpy packs it."""
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str,
            b"shape": array.shape}  # fmt: skip


def test_openpis_client_hears_metadata_first_and_gets_actions():
    policy = CountingPolicy()
    with served(protocol(policy, cameras=["image", "wrist_image"])) as server:
        client = connect(f"ws://127.0.0.1:{server.ports[0]}", legacy=True, max_size=None)
        assert msgpack.unpackb(client.recv(timeout=10))["server"] == "evo1"
        chw = np.moveaxis(picture(2), 2, 0)
        request = {
            "observation/image": openpi_array(picture(1)),
            "observation/wrist_image": openpi_array(np.ascontiguousarray(chw)),
            "observation/state": openpi_array(np.arange(8, dtype=np.float32)),
            "prompt": "stack",
        }
        client.send(msgpack.packb(request))
        answer = msgpack.unpackb(client.recv(timeout=10))
        actions = answer["actions"]
        assert actions[b"shape"] == [H, 8]
        client.send("text")
        error = client.recv(timeout=10)  # as openpi's server tells one
        assert isinstance(error, str)
        assert "a text frame" in error
        client.close()
    np.testing.assert_array_equal(policy.asked[0][0].images["image_2"], picture(2))


GOOD = {
    "images": {"image_1": picture(1), "image_2": picture(2)},
    "state": np.zeros(7),
    "prompt": "go",
}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"images": {}}, "images.image_1"),
        ({"images": {**GOOD["images"], "image_2": np.zeros((4, 4), np.uint8)}}, "images.image_2"),
        ({"images": {**GOOD["images"], "image_2": np.zeros((4, 4, 3))}}, "images.image_2"),
        ({"images": {**GOOD["images"], "image_2": b"\xff\xd8 no jpeg"}}, "images.image_2"),
        ({"images": 5}, "images"),
        ({"state": np.array([0, np.inf])}, "state[1]"),
        ({"state": np.zeros((2, 3))}, "state"),
        ({"prompt": ""}, "prompt"),
        ({"guidance": {"actions": np.ones((3, 7)), "weights": np.ones(2)}}, "guidance.weights"),
        ({"guidance": 3}, "guidance.actions"),
        ({"id": -1}, "id"),
        ({"until_ns": 5}, "until_ns"),
    ],
)
def test_bad_request_is_refused_by_its_key(changes, key):
    session = protocol(CountingPolicy()).session()
    with pytest.raises(RequestError) as refused:
        session.read(pack(GOOD | changes))
    assert refused.value.key == key
    assert session.refusal("why").frame == "why"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        pack([1]),
        msgpack.packb({5: 1}),
        msgpack.packb({"a": [[]] * 1000, "b": [[]] * 1000}),
        msgpack.packb({"a": list(range(2000))}),
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        pack({"a": {"__ndarray__": True, "data": b"123", "dtype": "<f8", "shape": [1]}}),
        pack({"a": {"__ndarray__": True, "data": b"", "dtype": "O", "shape": [0]}}),
        pack({"a": {"__ndarray__": True, "data": b"", "dtype": "<f8", "shape": [1 << 62, 2]}}),
        pack({"a": {"__ndarray__": True, "data": b"", "dtype": "<f8", "shape": [-1]}}),
        pack({"a": {"__npgeneric__": True, "data": b"x", "dtype": "<f8"}}),
        pack({"a": {"__image__": True, "format": "png", "data": b"x"}}),
    ],
)
def test_what_is_no_message_is_refused(message):
    with pytest.raises(RequestError, match=r"^message|^image"):
        unpack(message)


def test_a_bomb_of_pictures_is_not_decoded():
    huge = simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8), colorspace="RGB")
    item = {"__image__": True, "format": "jpeg", "data": huge}
    with pytest.raises(RequestError, match="8 pictures"):
        unpack(pack({"images": {str(k): item for k in range(9)}}))


@pytest.mark.fuzz
@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_are_a_request_or_refused(data, cut):
    good = pack(GOOD)
    session = protocol(CountingPolicy()).session()
    for message in (data, good[:cut], good[:cut] + data + good[cut + len(data) :]):
        with contextlib.suppress(RequestError):
            session.read(message)
