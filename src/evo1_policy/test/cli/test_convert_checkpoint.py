import dataclasses
import subprocess
import sys

import pytest
import torch

from evo1_policy.checkpoint import (
    load_model,
    read_checkpoint,
    save_checkpoint,
    shipped_checkpoint,
)
from evo1_policy.cli.convert_checkpoint import main
from evo1_policy.model.evo1 import new_model


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Like the shipped policy, of the published stem: every layout has its tensors."""
    shipped = read_checkpoint(shipped_checkpoint("so100"))
    vision = dataclasses.replace(shipped.config.vision, stem="patch")
    folder = tmp_path_factory.mktemp("published") / "so100"
    save_checkpoint(
        folder,
        model=new_model(dataclasses.replace(shipped.config, vision=vision), seed=0),
        stats=shipped.stats,
        interface=shipped.interface,
        tokenizer_dir=shipped.tokenizer_dir,
        card="# so100: Evo-1 of the published stem\n",
    )
    return folder


def tensors(directory, **wanted):
    return load_model(read_checkpoint(directory, **wanted), dtype=None).state_dict()


def test_a_policy_goes_through_all_layouts_and_comes_back_unchanged(tmp_path, published, capsys):
    steps = [published]
    for layout in ("official", "lerobot", "own"):
        assert main([str(steps[-1]), str(tmp_path / layout), "--to", layout]) == 0
        steps.append(tmp_path / layout)
    said = capsys.readouterr().out
    count = sum(tensor.numel() for tensor in load_model(read_checkpoint(published)).parameters())
    assert f"own, {count:,} parameters, for so100 (6 numbers of a state, " in said
    assert "warning: the official code computes otherwise" in said
    assert "prediction: sample, there velocity" in said
    first, last = tensors(published), tensors(steps[-1])
    assert list(first) == list(last)
    assert all(torch.equal(first[name], last[name]) for name in first)
    before, after = read_checkpoint(published), read_checkpoint(steps[-1])
    assert before.config == after.config
    assert before.stats.to_dict() == after.stats.to_dict()
    assert before.robot.text == after.robot.text
    assert (steps[-1] / "README.md").read_text().startswith("# so100: Evo-1")


def test_another_semantics_is_recorded(tmp_path, published):
    arguments = [str(published), str(tmp_path / "out"), "--to", "own", "--semantics", "evo1_flash"]
    assert main(arguments) == 0
    found = read_checkpoint(tmp_path / "out").config
    assert found.semantics.time_scale == 999
    assert found.num_inference_steps == 50


def test_weights_can_be_halved_but_not_the_sinusoid_tables(tmp_path, published):
    out = tmp_path / "out"
    assert main([str(published), str(out), "--to", "official", "--dtype", "bfloat16"]) == 0
    found = tensors(out)
    assert found["action_head.norm_out.bias"].dtype == torch.bfloat16
    assert found["action_head.time_pos_enc.pe"].dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out", "--to", "own"], "nowhere: no such checkpoint directory"),
        ([".", "out", "--to", "own"], "no checkpoint; expected config.json"),
        ([".", ".", "--to", "own"], "exists already"),
        (["nowhere", "out", "--to", "own", "--robot", "no.yaml"], "no.yaml: cannot read"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("convert_checkpoint: ")
    assert message in said
    assert said.count("\n") == 1


def test_help_teaches_without_loading_torch():
    code = (
        "import sys\nfrom evo1_policy.cli.convert_checkpoint import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0
    for word in ("authors_main", "mp_rank_00_model_states.pt", "--embodiment", "examples"):
        assert word in done.stdout
