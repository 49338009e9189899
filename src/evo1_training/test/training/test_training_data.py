import dataclasses
import json

import numpy as np
import pytest
import torch
from swaying_arm import MODEL, write_dataset

from evo1_policy.action_chunk import Guidance
from evo1_policy.checkpoint import save_checkpoint, shipped_checkpoint
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.preprocessing import load_tokenizer
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_training.cli.norm_stats import main as norm_stats
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.training.batch import Collator, model_inputs
from evo1_training.training.data_selection import newest_dataset, open_data
from evo1_training.training.loading import BatchStream
from evo1_training.training.open_loop import OpenLoopMeter
from evo1_training.training.train_config import DataConfig, NormalizationConfig
from evo1_training.training.training_data import compute_stats


@pytest.fixture(scope="module")
def opened(dataset):
    return open_data(DataConfig(datasets=(str(dataset),)), MODEL, seed=0)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(shipped_checkpoint("xarm6") / "tokenizer")


@pytest.fixture(scope="module")
def stats(opened):
    return compute_stats(opened, NormalizationConfig())


def test_held_out_episodes_are_never_trained_on(opened):
    data = opened
    (train,), (held,) = data.train, data.held_out
    assert sorted(train.episodes + held.episodes) == [0, 1, 2]
    assert held.episodes == (1,)
    assert {train[n].episode for n in range(len(train))} == {0, 2}
    assert [held[n].frame for n in range(len(held))] == list(range(14))


def test_the_pieces_of_one_take_are_held_out_together_or_not_at_all(tmp_path, robot):
    root = write_dataset(tmp_path / "cut", robot, lengths=(5,) * 8)
    takes = ["a#0", "b#0", "b#1", "b#2", "c#0", "d#0", "d#1", "e#0"]
    lines = (json.dumps({"episode_index": k, "source": name}) for k, name in enumerate(takes))
    (root / "meta" / "evo1" / "sources.jsonl").write_text("\n".join(lines))
    config = DataConfig(datasets=(str(root),), holdout=0.4)
    (held,) = open_data(config, MODEL, seed=0).held_out
    assert held.episodes == (1, 2, 3, 5, 6)  # takes b and d of a, b, c, d, e
    one = write_dataset(tmp_path / "one", robot, lengths=(5, 5, 5))
    (one / "meta" / "evo1" / "sources.jsonl").write_text('{"source": "a#0"}\n' * 3)
    with pytest.raises(DatasetError, match="pieces of one take are one"):
        open_data(DataConfig(datasets=(str(one),)), MODEL, seed=0)


def test_stats_are_those_of_the_training_episodes(opened, stats):
    (train,) = opened.train
    actions = np.stack([train[n].actions[0] for n in range(len(train))])
    assert stats["xarm6"].action.min == pytest.approx(actions.min(axis=0))
    assert stats["xarm6"].action.max == pytest.approx(actions.max(axis=0))


def test_a_chunk_counts_the_robots_joints_up_to_the_end_of_its_episode(opened, stats, tokenizer):
    (train,) = opened.train
    last = train[11]  # of the first episode
    batch = Collator(MODEL, tokenizer, stats)([train[0], last])
    assert batch.loss_mask[0].sum() == 5 * 7
    assert batch.loss_mask[1].sum() == 1 * 7
    assert not batch.loss_mask[:, :, 7].any()
    assert batch.action_mask.tolist() == [[True] * 7 + [False]] * 2
    counted = dataclasses.replace(
        MODEL, semantics=dataclasses.replace(MODEL.semantics, episode_tail="counted")
    )
    assert Collator(counted, tokenizer, stats)([last]).loss_mask.sum() == 5 * 7


def test_training_sees_what_the_policy_sees(opened, stats, tokenizer, robot, tmp_path):
    data = opened
    sample = data.train[0][3]
    save_checkpoint(
        tmp_path / "policy",
        model=new_model(MODEL, seed=0),
        stats=stats["xarm6"],
        interface=robot.interface,
        tokenizer_dir=shipped_checkpoint("xarm6") / "tokenizer",
        card="",
    )
    policy = Policy.load(tmp_path / "policy", robot=robot, device="cpu")
    images = {camera.name: sample.images[k] for k, camera in enumerate(robot.cameras)}
    theirs = policy._inputs(
        Observation(
            images=images,
            state=sample.state.astype(np.float64),
            instruction=sample.instruction,
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
    )
    ours = model_inputs(Collator(MODEL, tokenizer, stats)([sample]), MODEL)
    for item in dataclasses.fields(ours):
        assert torch.equal(getattr(ours, item.name), getattr(theirs, item.name)), item.name


@pytest.mark.parametrize("max_pause_s", [None, 0.05])
@pytest.mark.parametrize("gripper", [(), (6,)])
def test_relative_actions_of_training_become_the_demonstrated_targets_in_the_policy(
    dataset, tokenizer, robot, tmp_path, max_pause_s, gripper
):
    config = DataConfig(datasets=(str(dataset),), max_pause_s=max_pause_s)
    data = open_data(config, MODEL, seed=0)
    space = {"action_space": "joint_relative", "absolute_joints": gripper}
    stats = compute_stats(data, NormalizationConfig(), **space)
    collator, (train,) = Collator(MODEL, tokenizer, stats), data.train
    differences = []
    for sample in (train[number] for number in range(len(train))):
        origin = sample.state.copy()
        origin[list(gripper)] = 0.0
        differences.append((sample.actions - origin)[sample.action_mask])
    learnt = np.concatenate(differences)
    np.testing.assert_allclose(stats["xarm6"].action.min, learnt.min(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats["xarm6"].action.max, learnt.max(axis=0), atol=1e-6)
    save_checkpoint(
        tmp_path / "policy",
        model=new_model(MODEL, seed=0),
        stats=stats["xarm6"],
        interface=robot.interface,
        tokenizer_dir=shipped_checkpoint("xarm6") / "tokenizer",
    )
    policy = Policy.load(tmp_path / "policy", robot=robot, device="cpu")
    for sample in (train[3], train[20]):
        answered = collator([sample]).actions
        policy._engine.sample_actions = lambda *_, actions=answered, **__: actions
        seen = Observation(
            images={camera.name: sample.images[k] for k, camera in enumerate(robot.cameras)},
            state=sample.state.astype(np.float64),
            instruction=sample.instruction,
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
        chunk = policy.infer(seen).actions
        np.testing.assert_allclose(chunk, sample.actions, atol=1e-6)
        prefix = policy._prefix(Guidance(actions=chunk, weights=np.ones(5)), seen.state)
        np.testing.assert_allclose(prefix.actions, answered, atol=1e-6)


def test_batches_go_on_where_their_position_was_taken(opened, stats, tokenizer):
    data, collator = opened, Collator(MODEL, tokenizer, stats)
    config = DataConfig(workers=0)
    whole = BatchStream(data, collator, config, batch_size=4)
    origins = [next(whole).origins for _ in range(9)]  # more than one epoch of 22 frames
    first = BatchStream(data, collator, config, batch_size=4)
    for _ in range(4):
        next(first)
    second = BatchStream(data, collator, config, batch_size=4, state=first.state_dict())
    assert [next(second).origins for _ in range(5)] == origins[4:]


def test_the_processes_of_a_run_share_the_samples_of_one(opened, stats, tokenizer):
    data, collator = opened, Collator(MODEL, tokenizer, stats)
    config = DataConfig(workers=0)
    one = next(BatchStream(data, collator, config, batch_size=4)).origins
    shared = [
        next(BatchStream(data, collator, config, batch_size=2, rank=rank, ranks=2)).origins
        for rank in range(2)
    ]
    assert set(shared[0] + shared[1]) == set(one)


def test_a_dataset_file_without_the_robots_embodiment_is_refused(dataset, tmp_path):
    file = tmp_path / "groups.yaml"
    file.write_text(f"data_groups: {{so100: {{sway: {{path: {dataset}}}}}}}\n")
    with pytest.raises(DatasetError, match="no embodiment 'xarm6'"):
        open_data(DataConfig(groups=str(file)), MODEL, seed=0)


def test_a_position_of_other_data_is_refused(opened, stats, tokenizer):
    data, collator = opened, Collator(MODEL, tokenizer, stats)
    state = BatchStream(data, collator, DataConfig(workers=0), batch_size=4).state_dict()
    with pytest.raises(ValueError, match="seed"):
        BatchStream(
            data, collator, DataConfig(workers=0), batch_size=4, state={**state, "seed": 9}
        )


def test_a_perfect_prediction_has_no_open_loop_error_and_draws_its_plot(
    opened, stats, tokenizer, robot, tmp_path
):
    data = opened
    stats = {"xarm6": dataclasses.replace(stats["xarm6"], clamp=False)}
    collator = Collator(MODEL, tokenizer, stats)
    meter = OpenLoopMeter(data, collator, stats["xarm6"], MODEL, frames=14, batch_size=100)
    held = [data.held_out[0][n] for n in range(14)]
    truth = collator(held).actions
    error = meter.measure(lambda inputs, noise: truth, torch.device("cpu"))
    assert error.normalised < 1e-5
    off = meter.measure(lambda inputs, noise: truth + 1.0, torch.device("cpu"))
    scale = stats["xarm6"].action.max - stats["xarm6"].action.min
    assert off.joints["joint1"] == pytest.approx(scale[0] / 2)
    chunks = meter.follow(lambda inputs, noise: truth[: len(noise)], torch.device("cpu"))
    assert [chunk.frame for chunk in chunks] == [0, 5, 10]
    meter.plot(chunks, tmp_path / "plots" / "step.png")
    assert (tmp_path / "plots" / "step.png").read_bytes().startswith(b"\x89PNG")


def test_the_newest_dataset_below_a_folder_is_found(tmp_path, robot):
    with pytest.raises(DatasetError, match="no dataset below this folder"):
        newest_dataset(tmp_path)
    write_dataset(tmp_path / "a" / "old", robot)
    new = write_dataset(tmp_path / "new", robot)
    assert newest_dataset(tmp_path) == new


def test_a_dataset_without_a_robot_file_needs_one(tmp_path, robot):
    root = write_dataset(tmp_path / "foreign", robot)
    (root / "meta" / "evo1" / "robot.yaml").unlink()
    with pytest.raises(DatasetError, match="give its robot file with --robot"):
        open_data(DataConfig(datasets=(str(root),)), MODEL, seed=0)


def test_norm_stats_are_written_for_train_to_use(tmp_path, dataset, capsys):
    out = tmp_path / "stats.json"
    assert norm_stats([str(dataset), "--out", str(out)]) == 0
    assert "joint1" in capsys.readouterr().out
    assert norm_stats([str(dataset), "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err


def corrected(root, robot, **choices):
    """A run on demonstrations and on a dataset in which a person drove frames 4 to 8 of each."""
    plain = write_dataset(root / "demos", robot, lengths=(12,))
    mended = write_dataset(root / "mended", robot, lengths=(10, 10), driven=(4, 9))
    config = DataConfig(datasets=(str(plain), f"{mended}:2"), holdout=0.0, **choices)
    return open_data(config, MODEL, seed=0)


def test_only_what_a_person_drove_is_learnt_of_corrected_episodes_and_weighs_more(tmp_path, robot):
    data = corrected(tmp_path, robot, intervention_weight=3.0)
    assert [(len(part), part.weight) for part in data.train] == [(12, 1.0), (10, 6.0)]
    assert data.order.counts == (12, 60)
    part = data.train[1]
    assert [part[n].frame for n in range(10)] == [4, 5, 6, 7, 8] * 2
    assert part[9].action_mask.tolist() == [True, False, False, False, False]
    assert part.rows().tolist() == [4, 5, 6, 7, 8, 14, 15, 16, 17, 18]
    assert "mended: 2 episodes (10 frames, each 6 times an epoch)" in data.describe()[1]


def test_the_policys_own_frames_come_in_where_they_are_given_a_weight(tmp_path, robot):
    data = corrected(tmp_path, robot, policy_weight=0.5)
    assert [(len(part), part.weight) for part in data.train] == [(12, 1.0), (10, 2.0), (10, 1.0)]
    own = data.train[2]
    assert [own[n].frame for n in range(5)] == [0, 1, 2, 3, 9]
    assert own[3].action_mask.all()
