import subprocess
import sys

import numpy as np
import pytest
import torch

from evo1_policy.action_chunk import Guidance
from evo1_policy.checkpoint import CheckpointError, read_checkpoint, shipped_checkpoint
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy, PolicyError
from evo1_policy.robot_config import load_robot, parse_robot

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture(scope="module")
def policy(robot):
    return Policy.load(shipped_checkpoint("xarm6"), robot=robot, device="cpu")


def observation(robot, **changes):
    generator = np.random.default_rng(0)
    parts = {
        "images": {
            camera.name: generator.integers(0, 256, (24, 32, 3)).astype(np.uint8)
            for camera in robot.cameras
        },
        "state": np.array(robot.home),
        "instruction": "pick up the can and place it in the box",
        "stamp_ns": 5_000_000_000,
        "received_ns": 5_001_000_000,
        "skew_ns": 0,
    }
    return Observation(**(parts | changes))


def test_chunk_has_the_robots_width_and_is_anchored_one_step_after_the_observation(policy, robot):
    chunk = policy.infer(observation(robot))
    assert chunk.actions.shape == (policy.horizon, 7)
    assert chunk.actions.dtype == np.float64
    assert chunk.start_ns == 5_000_000_000 + robot.step_ns
    assert chunk.step_ns == robot.step_ns
    assert chunk.observation_stamp_ns == 5_000_000_000
    assert chunk.instruction == "pick up the can and place it in the box"
    assert policy.horizon == read_checkpoint(shipped_checkpoint("xarm6")).config.horizon
    assert policy.device == "cpu"
    assert len(policy.model_hash) == 12


def test_equal_seeds_and_observations_give_equal_chunks(policy, robot):
    first = policy.infer(observation(robot)).actions
    again = policy.infer(observation(robot)).actions
    np.testing.assert_array_equal(first, again)
    other = Policy.load(shipped_checkpoint("xarm6"), robot=robot, device="cpu", seed=0)
    np.testing.assert_array_equal(first, other.infer(observation(robot)).actions)
    seeded = Policy.load(shipped_checkpoint("xarm6"), robot=robot, device="cpu", seed=1)
    assert np.abs(first - seeded.infer(observation(robot)).actions).max() > 0


def test_guidance_moves_the_beginning_of_a_chunk_to_what_was_sent(policy, robot):
    free = policy.infer(observation(robot)).actions
    sent = free[:20] + 0.1
    weights = np.concatenate([np.ones(10), np.linspace(0.9, 0.0, 10)])
    pulled = policy.infer(observation(robot), Guidance(actions=sent, weights=weights)).actions
    assert pulled.shape == free.shape
    before, after = np.abs(free[:10] - sent[:10]).mean(), np.abs(pulled[:10] - sent[:10]).mean()
    assert after < 0.5 * before
    longer = Guidance(actions=np.tile(sent[:1], (80, 1)), weights=np.ones(80))
    assert policy.infer(observation(robot), longer).actions.shape == free.shape


def test_inference_leaves_the_global_random_generator_alone(policy, robot):
    before = torch.get_rng_state()
    policy.infer(observation(robot))
    assert torch.equal(before, torch.get_rng_state())


def test_chunk_depends_on_images_state_instruction_and_colour_order(policy, robot):
    first = policy.infer(observation(robot))
    images = observation(robot).images
    swapped = dict(zip(images, reversed(images.values()), strict=True))
    bgr = {name: image[..., ::-1].copy() for name, image in images.items()}
    for changes in (
        {"images": swapped},
        {"images": bgr},
        {"state": np.array(robot.home) + 0.05},
        {"instruction": "wave"},
    ):
        other = policy.infer(observation(robot, **changes))
        assert np.abs(first.actions - other.actions).max() > 1e-6, changes.keys()


def test_order_of_the_image_mapping_does_not_matter(policy, robot):
    images = observation(robot).images
    backwards = dict(reversed(images.items()))
    np.testing.assert_array_equal(
        policy.infer(observation(robot)).actions,
        policy.infer(observation(robot, images=backwards)).actions,
    )


def test_warm_up_runs(policy):
    policy.warm_up()
    policy.warm_up("push the can", guided=True)


def test_warm_up_sees_every_learnt_length_where_graphs_are_captured(policy, monkeypatch):
    words = []
    monkeypatch.setattr(policy, "infer", lambda seen, *_: words.append(seen.instruction))
    monkeypatch.setattr(policy, "instructions", ("stack", "put the can into the box"))
    policy.warm_up("push the can")
    assert words == ["push the can"]  # nothing is captured on the CPU
    monkeypatch.setattr(type(policy._engine), "captures", True)
    policy.warm_up("push the can", guided=True)
    assert words[1::2] == ["stack", "put the can into the box", "push the can"]
    assert words[1::2] == words[2::2]  # without and with guidance


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("embodiment: xarm6", "embodiment: xarm7", "embodiment: this robot has 'xarm7', the"),
        ("rate_hz: 30", "rate_hz: 20", "rate_hz: this robot has '20', the checkpoint has '30'"),
        ("image_2, topic", "wrist, topic", "cameras: this robot has 'image_1, wrist', the"),
        ("joint6", "tool", "joints: this robot has 'joint1, .*tool, drive_joint', the checkpoint"),
    ],
)
def test_a_checkpoint_of_another_robot_is_refused_by_key(robot, old, new, message):
    other = parse_robot(robot.text.replace(old, new))
    with pytest.raises(CheckpointError, match=message):
        Policy.load(shipped_checkpoint("xarm6"), robot=other, device="cpu")


def test_the_other_shipped_checkpoint_is_refused(robot):
    with pytest.raises(CheckpointError, match="made for something else: embodiment"):
        Policy.load(shipped_checkpoint("so100"), robot=robot, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "lacks the image of camera image_1"),
        (
            {"images": {"image_1": np.zeros((4, 4)), "image_2": np.zeros((4, 4, 3), np.uint8)}},
            "camera image_1: expected",
        ),
        ({"state": np.zeros(6)}, "state: expected 7 finite"),
        ({"state": np.full(7, np.nan)}, "state: expected 7 finite"),
    ],
)
def test_an_unusable_observation_is_refused_by_name(policy, robot, changes, message):
    with pytest.raises(PolicyError, match=message):
        policy.infer(observation(robot, **changes))


@pytest.mark.parametrize("device", ["gpu please", "cuda"])
def test_a_device_that_is_not_there_is_refused(robot, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(CheckpointError, match=f"device '{device}'"):
        Policy.load(shipped_checkpoint("xarm6"), robot=robot, device=device)


def test_a_damaged_tokenizer_is_a_checkpoint_error(robot, tmp_path):
    import shutil

    shutil.copytree(shipped_checkpoint("xarm6"), tmp_path / "ckpt")
    (tmp_path / "ckpt" / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not readable"):
        Policy.load(tmp_path / "ckpt", robot=robot, device="cpu")


def test_a_weight_that_turns_to_nan_later_is_not_hidden_and_named_once(robot, caplog):
    policy = Policy.load(shipped_checkpoint("xarm6"), robot=robot, device="cpu")
    with torch.no_grad():
        policy._model.action_head.norm_out.bias.fill_(float("nan"))
    assert np.isnan(policy.infer(observation(robot)).actions).all()
    policy.infer(observation(robot))
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the chunk is not finite; first at weight action_head.norm_out.bias[0]"]


@pytest.mark.parametrize(
    ("line", "pad"), [("authors_main", -1.0), ("evo1_flash", 0.0), ("lerobot", 0.0)]
)
def test_the_models_state_is_padded_as_the_semantics_say(robot, line, pad):
    policy = Policy.load(shipped_checkpoint("xarm6"), robot=robot, device="cpu", semantics=line)
    state = policy._state(np.array(robot.home))
    assert state.shape == (24,)
    assert (state[7:] == pad).all()


def test_importing_the_policy_does_not_import_transformers():
    code = "import sys, evo1_policy.policy; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
