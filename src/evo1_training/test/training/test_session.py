import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evo1_policy.checkpoint import CheckpointError, read_checkpoint, shipped_checkpoint
from evo1_policy.normalization import read_norm_stats
from evo1_policy.robot_config import load_robot
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.training.config_values import TrainConfigError, plain, to_yaml
from evo1_training.training.run_folder import RunFolder, find_stage1
from evo1_training.training.session import train
from evo1_training.training.trainer import Trainer, TrainError
from evo1_training.training.watching import Watcher

sys.path.insert(0, str(Path(__file__).parent))
from swaying_arm import infer, terminate_at_step, write_dataset


def losses(folder):
    """Every loss that a run wrote, by step."""
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def weights(folder, link="last"):
    return load_file(folder.path / link / "model.safetensors")


def with_data(config, *paths, **changes):
    data = dataclasses.replace(config.data, datasets=tuple(map(str, paths)), **changes)
    return dataclasses.replace(config, data=data)


def config_path(config):
    return Path(config.runs) / config.name / "stage1"


@pytest.fixture(scope="module")
def done(make_config, tmp_path_factory):
    """A finished stage 1, only to be looked at."""
    return train(make_config(tmp_path_factory.mktemp("runs")), "stage1").folder


@pytest.fixture
def copied(done, config):
    """A copy of it, where this test's config puts it."""
    target = config_path(config)
    shutil.copytree(done.path, target, symlinks=True)
    return RunFolder(target)


def test_stage1_leaves_the_backbone_as_it_was_and_trains_the_head(config, done):
    from evo1_policy.model.evo1 import new_model

    before, after = new_model(config.model, seed=config.seed).state_dict(), weights(done)
    for name, tensor in after.items():
        if name.startswith("embedder."):
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(
        after["action_head.seq_pool_proj.weight"], before["action_head.seq_pool_proj.weight"]
    )


def test_the_optimiser_keeps_nothing_about_frozen_weights(done):
    state = torch.load(done.newest().trainer / "optimizer.pt", weights_only=True)
    assert state["state"]
    assert not [name for name in state["state"] if "embedder" in name]


def test_what_comes_out_is_a_policy_for_the_robot(done, robot):
    assert infer(done.path / "best", robot).shape == (5, robot.width)


def test_stage2_finds_stage1_and_starts_from_its_weights_and_stats(config, done):
    found = find_stage1(done.path.parents[1], "")
    assert found.path == done.path
    second = dataclasses.replace(
        config,
        start_from=str(found.path / "best"),
        stage2=dataclasses.replace(config.stage2, steps=1, lr=1e-30, ema=0.0),
    )
    folder = train(second, "stage2").folder
    after, before = weights(folder), weights(done, "best")
    for name, tensor in after.items():
        assert torch.allclose(tensor, before[name]), name
    stats = (folder.path / "last" / "norm_stats.json").read_text()
    assert stats == (done.path / "best" / "norm_stats.json").read_text()


def test_an_unfinished_stage1_is_not_taken_for_a_finished_one(config, copied):
    unfinished = dataclasses.replace(config, stage1=dataclasses.replace(config.stage1, steps=9))
    (copied.path / "train.yaml").write_text(to_yaml(plain(unfinished)))
    with pytest.raises(TrainConfigError, match="stands at step 6 of 9"):
        find_stage1(copied.path.parents[1], "sway")


def test_the_last_k_and_the_best_checkpoint_are_kept(done):
    best = int((done.path / "best").resolve().parent.name.removeprefix("step_"))
    assert sorted({best, 4, 6}) == [saved.step for saved in done.saved()]
    assert (done.path / "last").resolve() == done.saved()[-1].policy.resolve()


def test_a_full_disk_names_the_checkpoint_and_leaves_those_before_it(copied):
    before = sorted(copied.checkpoints.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as if the disk took no more
    try:
        with (
            pytest.raises(CheckpointError, match=r"step_000007: cannot be saved: .* disk full"),
            copied.appearing(7) as partial,
        ):
            (partial.trainer / "optimizer.pt").write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(copied.checkpoints.iterdir()) == before


def test_a_finished_run_is_not_trained_again(config, copied):
    before = losses(copied)
    finished = train(config, "stage1")
    assert finished.outcome is None
    assert "finished" in finished.summary
    assert losses(copied) == before


def test_a_run_under_other_choices_is_refused_or_set_aside(config, copied):
    changed = dataclasses.replace(config, stage1=dataclasses.replace(config.stage1, lr=0.5))
    with pytest.raises(TrainConfigError, match=r"stage1\.lr: 0\.001 then, 0\.5 now"):
        train(changed, "stage1")
    short = dataclasses.replace(config, stage1=dataclasses.replace(config.stage1, steps=1))
    train(short, "stage1", restart=True)
    assert (copied.path.parent / "stage1.old1" / "metrics.jsonl").is_file()


def test_a_run_that_was_killed_before_its_first_checkpoint_is_still_that_run(config):
    folder = RunFolder(config_path(config))
    folder.begin(config, {})
    folder.end()
    changed = dataclasses.replace(config, seed=1)
    with pytest.raises(TrainConfigError, match=r"seed: 0 then, 1 now.*--restart"):
        train(changed, "stage1")
    first = (folder.path / "run_id").read_text()
    short = dataclasses.replace(changed, stage1=dataclasses.replace(config.stage1, steps=1))
    train(short, "stage1", restart=True)
    assert (folder.path / "run_id").read_text() != first
    folder.begin(short, {})
    folder.end()
    assert len({(folder.path / "run_id").read_text(), first}) == 2


def test_killed_and_resumed_run_has_the_losses_and_weights_of_an_uninterrupted_one(
    config, tmp_path
):
    """A real kill -9 in another process, at any moment after the second checkpoint."""
    config = dataclasses.replace(config, single=dataclasses.replace(config.single, steps=12))
    whole = train(config, "single").folder
    file = tmp_path / "train.yaml"
    other = dataclasses.replace(config, runs=str(tmp_path / "killed"))
    file.write_text(to_yaml(plain(other)))
    command = [sys.executable, "-m", "evo1_training.cli.train", "--single-stage"]
    process = subprocess.Popen(
        [*command, "--config", str(file)], stderr=subprocess.DEVNULL, env=os.environ
    )
    killed = RunFolder(tmp_path / "killed" / "sway" / "single")
    deadline = time.monotonic() + 120
    while not (killed.checkpoints / "step_000004").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert killed.newest().step < 12
    train(other, "single")
    assert losses(killed) == losses(whole)
    for link in ("last", "best"):
        ours, theirs = weights(killed, link), weights(whole, link)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_sigterm_saves_and_the_same_command_goes_on(config, monkeypatch, done, capsys):
    terminate_at_step(3, monkeypatch)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # as torchrun's agent does
    monkeypatch.setattr("evo1_training.training.saving.AGENT_WAITS_S", 0)
    finished = train(config, "stage1")
    said = capsys.readouterr().err
    assert "torchrun kills 0 s after a SIGTERM: start it with --shutdown-timeout" in said
    assert "SIGTERM: saving step 3" in said
    assert "killed before that is done, the run goes on from step 2" in said
    assert finished.outcome.interrupted == "SIGTERM"
    assert "saved at step 3 of 6; the same command goes on" in finished.summary
    assert finished.folder.newest().step == 3
    monkeypatch.undo()
    assert losses(train(config, "stage1").folder) == losses(done)


def test_reading_ahead_in_another_process_changes_nothing(config, done):
    data = dataclasses.replace(config.data, workers=1)
    folder = train(dataclasses.replace(config, data=data), "stage1").folder
    assert losses(folder) == losses(done)


def test_losses_that_are_not_finite_are_skipped_then_stop_with_the_frames_named(
    config, monkeypatch
):
    config = dataclasses.replace(config, max_bad_steps=3)
    start = Trainer._step

    def break_weights_at_step_2(self):
        if self._progress.step == 2:
            torch.nn.init.constant_(self._objective.model.action_head.norm_out.weight, torch.nan)
        start(self)

    monkeypatch.setattr(Trainer, "_step", break_weights_at_step_2)
    with pytest.raises(TrainError, match=r"sway episode \d frame \d+.*3 steps in a row"):
        train(config, "stage1")
    folder = RunFolder(config_path(config))
    assert list(losses(folder)) == [1, 2]
    assert all(torch.isfinite(tensor).all() for tensor in weights(folder).values())


def test_out_of_memory_says_which_settings_to_change(config, monkeypatch):
    def fail(self):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Trainer, "_step", fail)
    with pytest.raises(TrainError, match=r"stage2\.batch_size=2 stage2\.accumulation=4.*ema=0"):
        train(config, "stage2")


def test_a_checkpoint_of_another_architecture_is_refused_before_the_first_step(config, done):
    wide = dataclasses.replace(config.model, horizon=6)
    other = dataclasses.replace(config, model=wide, start_from=str(done.path / "best"))
    with pytest.raises(TrainConfigError, match=r"another architecture: model\.horizon: 6 here, 5"):
        train(other, "stage2")
    assert not (config_path(config).parent / "stage2").exists()


@pytest.mark.parametrize("wrong", ["tokenizer", "start_from"])
def test_what_a_run_starts_from_is_checked_before_frames_are_decoded(config, tmp_path, wrong):
    cache = tmp_path / "cache"
    data = dataclasses.replace(config.data, cache_dir=str(cache))
    with pytest.raises(CheckpointError, match="nowhere"):
        train(
            dataclasses.replace(config, data=data, **{wrong: str(tmp_path / "nowhere")}), "stage1"
        )
    assert not cache.exists()


def test_a_wrong_dataset_path_is_refused(config, tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such dataset folder"):
        train(with_data(config, tmp_path / "nowhere"), "stage1")


def test_datasets_of_two_rates_are_refused(config, dataset, tmp_path, robot):
    slow = write_dataset(tmp_path / "slow", robot, fps=15)
    with pytest.raises(DatasetError, match="fps: 15"):
        train(with_data(config, dataset, slow), "stage1")


def test_joints_that_differ_from_the_robot_file_are_refused(config, tmp_path, robot, robots_dir):
    names = ("elbow", *robot.joint_names[1:])
    other = write_dataset(tmp_path / "other", robot, joints=names)
    with pytest.raises(DatasetError, match="expected the joints of the robot file"):
        train(with_data(config, other), "stage1")
    with pytest.raises(
        DatasetError, match="expected the joints of the robot file, shoulder_pan_joint"
    ):
        train(
            with_data(config, config.data.datasets[0], robot=str(robots_dir / "so100.yaml")),
            "stage1",
        )


def test_too_few_episodes_for_the_hold_out_are_refused(config, tmp_path, robot):
    one = write_dataset(tmp_path / "one", robot, lengths=(10,))
    with pytest.raises(DatasetError, match=r"1 episode are too few.*data\.holdout=0"):
        train(with_data(config, one), "stage1")


def test_an_empty_dataset_is_refused(config, tmp_path, robot):
    empty = write_dataset(tmp_path / "empty", robot, lengths=())
    with pytest.raises(DatasetError, match="the dataset has no episodes"):
        train(with_data(config, empty), "stage1")


def test_two_robots_in_one_run_have_norm_stats_of_their_own(config, dataset, tmp_path, robots_dir):
    so100 = load_robot(robots_dir / "so100.yaml")
    other = write_dataset(tmp_path / "other", so100)
    file = tmp_path / "groups.yaml"
    file.write_text(
        f"data_groups: {{xarm6: {{a: {{path: {dataset}}}}}, so100: {{b: {{path: {other}}}}}}}\n"
    )
    data = dataclasses.replace(config.data, datasets=(), groups=str(file))
    both = dataclasses.replace(config, data=data)
    first = train(both, "stage1").folder
    assert read_checkpoint(first.path / "last").robot.name == "xarm6"
    (theirs,) = (first.newest().trainer / "norm_stats").glob("*.json")
    assert read_norm_stats(theirs).action.shape == (so100.width,)
    second = train(dataclasses.replace(both, start_from=str(first.path / "last")), "stage2").folder
    (kept,) = (second.newest().trainer / "norm_stats").glob("*.json")
    assert kept.read_text() == theirs.read_text()


def test_training_begins_with_the_given_backbone_and_takes_its_tokenizer_alone(config, tmp_path):
    from evo1_policy.model.evo1 import new_model

    prefix, folder = "embedder.model.", tmp_path / "InternVL3-1B"
    shutil.copytree(shipped_checkpoint("xarm6") / "tokenizer", folder)
    weights_of = new_model(config.model, seed=9).state_dict()
    backbone = {n: tensor for n, tensor in weights_of.items() if n.startswith(prefix)}
    published = {f"model.{n.removeprefix(prefix)}": tensor for n, tensor in backbone.items()}
    save_file(published, folder / "model.safetensors")
    given = dataclasses.replace(config, from_scratch=False, backbone=str(folder))
    run = train(given, "stage1").folder
    after = weights(run)
    assert all(torch.equal(after[name], tensor) for name, tensor in backbone.items())
    copied = {path.name for path in (run.path / "last" / "tokenizer").iterdir()}
    assert copied == {"tokenizer.json"}


def test_an_untrained_backbone_is_only_taken_where_it_is_asked_for(config):
    with pytest.raises(TrainConfigError, match="give InternVL3-1B's folder with --backbone"):
        train(dataclasses.replace(config, from_scratch=False), "stage1")


def test_the_saved_checkpoint_says_what_it_was_made_of(done):
    card = (done.path / "last" / "README.md").read_text()
    assert "sway: 2 episodes (22 frames) to learn from, 1 held out" in card
    assert "Success of the task was not measured" in card
    assert "noise" not in card
    checkpoint = read_checkpoint(done.path / "last")
    assert checkpoint.stats.embodiment == "xarm6"
    assert checkpoint.training.trained_in == "unknown"  # its dataset does not say
    assert checkpoint.training.instructions


def test_a_pool_that_is_too_narrow_for_a_velocity_is_told(config):
    semantics = dataclasses.replace(config.model.semantics, prediction="velocity")
    model = dataclasses.replace(config.model, semantics=semantics)
    stage = dataclasses.replace(config.stage1, steps=1)
    run = train(dataclasses.replace(config, model=model, stage1=stage), "stage1")
    card = (run.folder.path / "last" / "README.md").read_text()
    assert "35 numbers (5 actions x 7 numbers), and the head's pool has 16" in card


def test_words_of_a_dataset_write_no_control_characters_on_a_terminal(config, tmp_path, capsys):
    watching = dataclasses.replace(config.watching, tensorboard=False)
    title = "a\x1b[2Jb"
    watcher = Watcher(tmp_path, watching, title=title, steps=1, start=0, choices={})
    watcher.say("episode of \x1b[31mred\nforged: line")
    watcher.close()
    said = capsys.readouterr().err
    assert "\x1b[31m" not in said
    assert "\x1b[2J" not in said
    assert "\\x1b[31mred\\nforged: line" in said


def test_a_run_whose_data_changed_does_not_go_on_with_them(config, tmp_path, robot):
    root = write_dataset(tmp_path / "growing", robot)
    begun = with_data(config, root)
    folder = train(begun, "stage1").folder
    shutil.rmtree(folder.newest().path)
    shutil.rmtree(root)
    write_dataset(root, robot, lengths=(12, 14, 10, 8))
    with pytest.raises(TrainConfigError, match="saved position belongs to lengths"):
        train(begun, "stage1")
