"""What a policy sees and answers, where nothing is an arm: files, checkpoints, and answers."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.checkpoint import (
    CheckpointError,
    read_checkpoint,
    save_checkpoint,
    shipped_checkpoint,
    stats_of,
)
from evo1_policy.cli.convert_checkpoint import main as convert_checkpoint
from evo1_policy.interface import InterfaceError, differences, load_interface, parse_interface
from evo1_policy.model.config import Evo1Config, Semantics
from evo1_policy.model.evo1 import new_model
from evo1_policy.normalization import FeatureStats, NormStats
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy, PolicyError
from evo1_policy.robot_config import load_robot

torch.set_num_threads(1)
METAWORLD = load_interface("metaworld")
LIBERO = load_interface("libero")
CONFIG = Evo1Config.from_dict(
    {
        "vision": {
            **vars(Evo1Config().vision),
            **{"image_size": 56, "width": 16, "layers": 1, "heads": 2, "mlp_width": 16},
        },
        "language": {
            **vars(Evo1Config().language),
            **{"vocab_size": 512, "width": 16, "layers": 1, "heads": 4, "kv_heads": 2},
            **{"mlp_width": 16, "max_positions": 128},
        },
        "head": {"layers": 1, "heads": 2, "state_hidden": 8, "output_hidden": 8, "dropout": 0.0},
        "semantics": vars(Semantics(context_length=100)),
        "views": 3,
        "horizon": 4,
        "action_width": 24,
        "state_width": 24,
        "num_inference_steps": 2,
    }
)


def feature(width, low=-1.0, high=1.0):
    return {
        "min": [low] * width,
        "max": [high] * width,
        "mean": [(low + high) / 2] * width,
        "std": [(high - low) / 4] * width,
        "q01": [low * 0.9] * width,
        "q99": [high * 0.9] * width,
    }


def norm_stats(interface, **changes):
    state, action = (
        FeatureStats(**{key: np.array(value) for key, value in feature(width).items()})
        for width in interface.widths
    )
    said = {"embodiment": interface.embodiment, "action_space": "raw"} | changes
    return NormStats(state=state, action=action, **said)


@pytest.fixture(scope="module")
def tokenizer():
    return shipped_checkpoint("xarm6") / "tokenizer"


def save(directory, tokenizer, interface, *, layout="own", stats=None, **semantics):
    config = dataclasses.replace(
        CONFIG, semantics=dataclasses.replace(CONFIG.semantics, **semantics)
    )
    save_checkpoint(
        directory,
        model=new_model(config, seed=0),
        stats=stats or norm_stats(interface),
        interface=interface,
        tokenizer_dir=tokenizer,
        layout=layout,
    )
    return directory


def authors_folder(directory, tokenizer, norm, *, line="mp_rank_00_model_states.pt"):
    """A folder as the authors' code leaves it, with our sidecar for the tiny sizes."""
    save(directory, tokenizer, METAWORLD, layout="official")
    (directory / "mp_rank_00_model_states.pt").rename(directory / line)
    if line == "checkpoint.pt":
        module = torch.load(directory / line, weights_only=True)["module"]
        torch.save({"model_state_dict": module}, directory / line)
    (directory / "interface.yaml").unlink()
    (directory / "norm_stats.json").write_text(json.dumps(norm))
    return directory


def picture(seed=0, size=56):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def observation(interface, **changes):
    parts = {
        "images": {name: picture(k) for k, name in enumerate(interface.cameras)},
        "state": np.linspace(-0.5, 0.5, len(interface.state)),
        "instruction": "press the button",
        "stamp_ns": 0,
        "received_ns": 0,
        "skew_ns": 0,
    }
    return Observation(**(parts | changes))


def test_the_shipped_interfaces_have_the_widths_of_the_authors_clients():
    assert (METAWORLD.widths, METAWORLD.cameras) == ((8, 4), ("image_1",))
    assert (LIBERO.widths, LIBERO.cameras) == ((8, 7), ("image_1", "image_2"))
    assert (METAWORLD.rate_hz, METAWORLD.step_ns) == (80, 12_500_000)
    assert METAWORLD.embodiment == "metaworld_robot"
    assert {METAWORLD.action_space, LIBERO.action_space} == {"raw"}
    assert {METAWORLD.file, LIBERO.file} == {"interface.yaml"}


def test_a_robot_yields_an_interface_of_its_joints(robots_dir):
    robot = load_robot(robots_dir / "xarm6.yaml")
    found = robot.interface
    assert found.state == found.action == robot.joint_names
    assert (found.cameras, found.rate_hz) == (("image_1", "image_2"), 30)
    assert (found.action_space, found.file, found.text) == ("joint", "robot.yaml", robot.text)


def test_an_interface_is_read_from_a_file_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(LIBERO.text.replace("rate_hz: 20", "rate_hz: 10"))
    assert differences(load_interface(path), LIBERO) == [("rate_hz", "10", "20")]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("rate_hz: 80", "rate_hz: 0", "rate_hz: expected a number above 0"),
        ("rate_hz: 80", "rate_hz: 8000", "rate_hz: expected at most 1000 Hz"),
        ("[x, y, z, gripper]", "[x, y, x]", r"action\[2\]: 'x' is action\[0\] already"),
        ("[x, y, z, gripper]", "[]", "action: expected a non-empty list"),
        ("action_space: raw", "action_space: ee_delta", "action_space: expected one of raw"),
        ("cameras", "camera", "cameras: missing .there is 'camera'."),
        ("action_space: raw", "home: [0]", "home: unknown key"),
    ],
)
def test_an_interface_that_cannot_be_used_names_its_key(old, new, says):
    assert old in METAWORLD.text
    with pytest.raises(InterfaceError, match=f"^mine: {says}"):
        parse_interface(METAWORLD.text.replace(old, new), source="mine")


def test_an_unknown_interface_lists_those_that_ship():
    with pytest.raises(InterfaceError, match=r"metaword: no such file.*known: libero, metaworld"):
        load_interface("metaword")


@given(st.text(max_size=60))
def test_no_text_makes_reading_an_interface_fail_otherwise(text):
    with pytest.raises(InterfaceError):
        parse_interface(text)


@pytest.mark.parametrize("layout", ["own", "official", "lerobot"])
@pytest.mark.parametrize("interface", [METAWORLD, LIBERO], ids=["metaworld", "libero"])
def test_a_checkpoint_of_a_benchmark_comes_back_from_every_layout(
    tmp_path, tokenizer, interface, layout
):
    folder = save(tmp_path / "c", tokenizer, interface, layout=layout)
    assert not (folder / "robot.yaml").exists()
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.interface, checkpoint.robot) == (interface, None)
    assert checkpoint.stats.to_dict() == norm_stats(interface).to_dict()
    policy = Policy.load(folder, device="cpu")
    assert policy.interface == interface
    policy.warm_up()
    chunk = policy.infer(observation(interface))
    assert chunk.actions.shape == (4, len(interface.action))
    assert chunk.start_ns == interface.step_ns
    seen = [picture(k) for k, _ in enumerate(interface.cameras)]
    answer = policy.predict(seen, np.linspace(-0.5, 0.5, 8), "press the button")
    assert answer.shape == (4, 24)
    np.testing.assert_array_equal(answer[:, : len(interface.action)], chunk.actions)
    assert (answer[:, len(interface.action) :] == 0).all()


def test_a_checkpoint_of_a_benchmark_moves_no_robot(tmp_path, tokenizer, robots_dir):
    folder = save(tmp_path / "c", tokenizer, METAWORLD)
    robot = load_robot(robots_dir / "xarm6.yaml")
    with pytest.raises(
        CheckpointError, match=r"has no robot: it is for metaworld.*cannot move xarm6.*evo1 serve"
    ):
        Policy.load(folder, robot=robot, device="cpu")


def test_a_checkpoint_of_another_interface_is_refused(tmp_path, tokenizer):
    folder = save(tmp_path / "c", tokenizer, METAWORLD)
    with pytest.raises(CheckpointError, match=r"action: expected 'dx.*', the checkpoint has"):
        Policy.load(folder, interface=LIBERO, device="cpu")
    with pytest.raises(CheckpointError, match="embodiment: expected 'xarm6', the checkpoint has"):
        read_checkpoint(
            folder, interface=dataclasses.replace(METAWORLD, embodiment="xarm6", text="")
        )
    with pytest.raises(CheckpointError, match="embodiment: expected 'metaworld_robot'"):
        read_checkpoint(shipped_checkpoint("xarm6"), interface=METAWORLD)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"embodiment": "x"}, "are for embodiment 'x', metaworld is 'metaworld_robot'"),
        ({"action_space": "joint"}, "action space of the norm stats is joint, that of metaworld"),
        ({"action": norm_stats(LIBERO).action}, r"action has 7 entries, metaworld has 4 \(x, y"),
    ],
)
def test_parts_that_do_not_belong_together_are_not_saved(tmp_path, tokenizer, changes, says):
    stats = dataclasses.replace(norm_stats(METAWORLD), **changes)
    with pytest.raises(CheckpointError, match=says):
        save(tmp_path / "c", tokenizer, METAWORLD, stats=stats)


def published(arm, *, state=8, action=4):
    return {arm: {"observation.state": feature(state), "action": feature(action)}}


@pytest.mark.parametrize(
    ("interface", "arm"), [(METAWORLD, "metaworld_robot"), (LIBERO, "libero_robot")]
)
def test_the_authors_folder_answers_with_an_interface(tmp_path, tokenizer, interface, arm):
    norm = published(arm, action=len(interface.action))
    folder = authors_folder(tmp_path / "a", tokenizer, norm)
    with pytest.raises(CheckpointError, match=r"no robot\.yaml.*--interface metaworld"):
        Policy.load(folder, device="cpu")
    policy = Policy.load(folder, interface=interface, device="cpu")
    chunk = policy.infer(observation(interface))
    assert chunk.actions.shape == (4, len(interface.action))


def test_the_authors_folder_is_converted_with_an_interface(tmp_path, tokenizer, capsys):
    folder = authors_folder(tmp_path / "a", tokenizer, published("metaworld_robot"))
    arguments = [str(folder), str(tmp_path / "b"), "--to", "own"]
    assert convert_checkpoint([*arguments, "--interface", "metaworld"]) == 0
    said = "for metaworld (8 numbers of a state, 4 of an action)"
    assert said in capsys.readouterr().out
    request = ([picture()], np.zeros(8), "press")
    answers = [
        Policy.load(path, interface=METAWORLD, device="cpu").predict(*request)
        for path in (folder, tmp_path / "b")
    ]
    np.testing.assert_array_equal(*answers)


def test_what_an_arm_would_need_is_refused_for_a_benchmark(tmp_path, tokenizer):
    folder = authors_folder(tmp_path / "a", tokenizer, published("metaworld_robot"))
    with pytest.raises(CheckpointError, match="end_effector: of no use for metaworld"):
        read_checkpoint(folder, interface=METAWORLD, end_effector="libero")


def test_the_statistics_of_another_dataset_are_chosen_by_the_authors_keys(tmp_path, tokenizer):
    features = published("x", state=14, action=14)["x"]
    norm = {"aloha_joint": {"robotwin_a": features, "robotwin_b": features}}
    norm |= published("metaworld_robot")
    folder = authors_folder(tmp_path / "a", tokenizer, norm)
    other = stats_of(folder, "aloha_joint", "robotwin_b")
    assert other.embodiment == "aloha_joint/robotwin_b"
    assert other.widths(14, 14) == (14, 14)
    assert stats_of(folder, "metaworld_robot", "ignored").state.shape == (8,)
    with pytest.raises(CheckpointError, match=r"none is for 'aloha_joint/c'.*robotwin_a, aloha"):
        stats_of(folder, "aloha_joint", "c")
    policy = Policy.load(folder, interface=METAWORLD, device="cpu")
    answer = policy.predict([picture()] * 3, np.zeros(14), "stack", stats=other)
    assert (answer[:, :14] != 0).all()
    with pytest.raises(CheckpointError, match="holds the norm stats of one embodiment"):
        stats_of(save(tmp_path / "own", tokenizer, METAWORLD), "metaworld_robot")


def normalised(policy, monkeypatch, state):
    """The state that the model gets, as an answer to a request is computed."""
    seen = []
    sample = policy._engine.sample_actions

    def listening(inputs, *args, **more):
        seen.append(inputs.state[0].numpy().copy())
        return sample(inputs, *args, **more)

    monkeypatch.setattr(policy._engine, "sample_actions", listening)
    policy.predict([picture()], state, "press")
    return seen[0]


@pytest.mark.parametrize(
    ("line", "semantics", "own_pad", "clients_pad"),
    [
        ("mp_rank_00_model_states.pt", "authors_main", -1, -1),  # pads first, then normalises
        ("checkpoint.pt", "evo1_flash", 0, -1),  # normalises what it got, then pads
        ("checkpoint.pt", "lerobot", 0, 0),
    ],
)
def test_a_padded_state_is_normalised_in_the_order_of_the_authors_servers(
    tmp_path, tokenizer, monkeypatch, line, semantics, own_pad, clients_pad
):
    norm = published("metaworld_robot")
    folder = authors_folder(tmp_path / "a", tokenizer, norm, line=line)
    policy = Policy.load(folder, interface=METAWORLD, device="cpu", semantics=semantics)
    known = np.linspace(-0.5, 0.5, 8)
    expected = np.concatenate([known, np.full(16, own_pad)])
    np.testing.assert_allclose(normalised(policy, monkeypatch, known), expected, atol=1e-7)
    padded = np.concatenate([known, np.zeros(16)])
    expected = np.concatenate([known, np.full(16, clients_pad)])
    np.testing.assert_allclose(normalised(policy, monkeypatch, padded), expected, atol=1e-7)


def test_masked_images_do_not_count_wherever_they_stand(tmp_path, tokenizer):
    policy = Policy.load(save(tmp_path / "c", tokenizer, METAWORLD), device="cpu")
    ask = (np.zeros(8), "press")
    one = policy.predict([picture(0)], *ask)
    masked = policy.predict([picture(k) for k in range(3)], *ask, image_mask=[1, 0, 0])
    np.testing.assert_array_equal(one, masked)
    ends = policy.predict([picture(k) for k in (0, 1, 2)], *ask, image_mask=[1, 0, 1])
    other = policy.predict([picture(k) for k in (0, 9, 2)], *ask, image_mask=[1, 0, 1])
    np.testing.assert_array_equal(ends, other)
    assert np.abs(ends - one).max() > 1e-6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": [picture()] * 4}, "images: expected at most 3"),
        ({"image_mask": [1, 0]}, "got 1 and a mask of 2"),
        ({"images": [picture().astype(float)]}, r"image 0: expected \(H, W, 3\) uint8"),
        ({"state": np.zeros(7)}, r"state: expected 8 numbers \(metaworld_robot\)"),
        ({"state": np.zeros(25)}, r"padded to at most 24, got \(25,\)"),
        ({"state": [np.nan] * 8}, "state: holds NaN"),
        ({"action_mask": [1] * 4}, "action_mask: expected 24 values"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(tmp_path, tokenizer, changes, says):
    policy = Policy.load(save(tmp_path / "c", tokenizer, METAWORLD), device="cpu")
    request = {"images": [picture()], "state": np.zeros(8), "instruction": "press"} | changes
    with pytest.raises(PolicyError, match=says):
        policy.predict(**request)
