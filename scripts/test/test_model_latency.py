"""The benchmark of the model: its inputs, its measurement at the small size, its table."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from inference_times import Machine, Report, Result
from model_inputs import random_inputs, random_noise
from model_latency import main, table

from evo1_policy.model.config import preset
from evo1_policy.model.engine import Engine
from evo1_policy.model.evo1 import new_model

torch.set_num_threads(1)


def result(path: str, p50_ms: float, vision_share: float = 0.5) -> Result:
    return Result(
        path=path,
        views=2,
        steps=10,
        runs=3,
        p50_ms=p50_ms,
        p95_ms=p50_ms + 1,
        vision_share=vision_share,
        language_share=0.25,
        head_share=0.25,
        cpu_ms=p50_ms,
        gflop=3.0,
        bound_ms=p50_ms / 2,
    )


REPORT = Report(
    parameters=1_234_567,
    machine=Machine(device="cpu", threads=1, matmul_gflops=80.0, bandwidth_gb_s=10.0),
    load_average=0.5,
    results=(result("readable", 30.0), result("fast", 12.0, vision_share=float("nan"))),
    readable_memory_gb=0.5,
    fast_memory_gb=0.6,
    max_abs_diff=2e-7,
    bf16_max_abs_diff=0.0,
)


def test_table_says_how_much_sooner_the_fast_path_is() -> None:
    lines = table(REPORT).splitlines()
    assert lines[0].startswith("1,234,567 parameters on cpu, 1 CPU threads")
    assert lines[3].split()[:6] == ["readable", "2", "10", "30.0", "31.0", "33.33"]
    assert "2.50x" in lines[4]
    assert "2.0e-07" in lines[-1]


def test_a_share_that_a_graph_hides_is_a_dash() -> None:
    readable, fast = table(REPORT).splitlines()[3:5]
    assert readable.split()[7:9] == ["50", "%"]
    assert fast.split()[7] == "-"


def test_small_model_is_measured_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", "evo1_tiny", "--device", "cpu", "--threads", "1"]
    arguments += ["--views", "1,2", "--steps", "2", "--runs", "2"]
    files = ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    assert main(arguments + files) == 0
    data = json.loads((tmp_path / "b.json").read_text())
    assert data["model_evo1_tiny_A.parameters"] == 6_322_224
    assert data["model_evo1_tiny_A.max_abs_diff"] < 1e-5
    for path in ("readable", "fast"):
        for views in (1, 2):
            assert data[f"model_evo1_tiny_A.cpu_{path}_{views}views_2steps_ms_p50"] > 0
    assert (tmp_path / "b_cpu.png").read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6,322,224 parameters on cpu, 1 CPU threads")
    rows = [line.replace(" %", "").split() for line in lines[3:7]]
    assert [row[:3] for row in rows] == [
        [path, views, "2"] for path in ("readable", "fast") for views in ("1", "2")
    ]
    for row in rows:
        assert sum(map(float, row[7:10])) == pytest.approx(100, abs=2)  # shares
        assert float(row[4]) >= float(row[3]) > 0  # p95, p50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "evo1_tiny", "--views", "3"], "evo1_tiny has 2 image slots"),
        (["--views", "0"], "expected 1 or more, got 0"),
        (["--preset", "evo2"], "invalid choice: 'evo2'"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--device", "cuda"])
    assert "torch finds no CUDA here; use cpu" in capsys.readouterr().err


def test_papers_prompt_has_the_usual_counts() -> None:
    inputs = random_inputs(preset("evo1"), present=2)
    assert inputs.input_ids.shape == (1, 1024)
    assert int(inputs.image_slots.sum()) == 3 * 256
    assert int(inputs.token_mask.sum()) == 548
    assert inputs.images.shape == (1, 3, 3, 448, 448)
    black = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert inputs.images[0, 2, :, 0, 0].tolist() == pytest.approx(black)


def test_equal_seeds_give_equal_inputs() -> None:
    config = preset("evo1_tiny")
    a, b = random_inputs(config, present=1), random_inputs(config, present=1)
    for item in dataclasses.fields(a):
        assert torch.equal(getattr(a, item.name), getattr(b, item.name))


def test_both_paths_agree_on_the_tiny_model_in_the_memory_order_of_cpus() -> None:
    config = preset("evo1_tiny")
    model = new_model(config, seed=0).eval()
    noise = random_noise(config)
    for present in (1, 2):
        inputs = random_inputs(config, present=present)
        with torch.inference_mode():
            expected = model.sample_actions(inputs, noise)
        engine = Engine.for_device(model, torch.device("cpu"))
        got = engine.sample_actions(inputs, noise)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
