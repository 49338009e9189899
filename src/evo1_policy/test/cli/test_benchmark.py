import json
import subprocess
import sys

import pytest
import torch

from evo1_policy.cli.benchmark import as_json, main, table
from evo1_policy.model.machine import Machine
from evo1_policy.model.measurement import Report, Result

torch.set_num_threads(1)


def result(path, p50_ms, **changes):
    parts = {
        "path": path,
        "views": 2,
        "steps": 10,
        "runs": 3,
        "p50_ms": p50_ms,
        "p95_ms": p50_ms + 1,
        "hz": 1e3 / p50_ms,
        "vision_share": 0.5,
        "language_share": 0.25,
        "head_share": 0.25,
        "cpu_ms": p50_ms,
        "gflop": 3.0,
        "bound_ms": p50_ms / 2,
        "roofline": 0.5,
    }
    return Result(**(parts | changes))


REPORT = Report(
    parameters=1_234_567,
    machine=Machine(device="cpu", threads=1, matmul_gflops=80.0, bandwidth_gb_s=10.0),
    load_average=0.5,
    results=(result("readable", 30.0), result("fast", 12.0, vision_share=float("nan"))),
    readable_memory_gb=0.5,
    fast_memory_gb=0.6,
    max_abs_diff=2e-7,
)


def test_table_says_how_much_sooner_the_fast_path_is():
    lines = table(REPORT).splitlines()
    assert lines[0].startswith("1,234,567 parameters on cpu, 1 CPU threads")
    assert lines[3].split()[:6] == ["readable", "2", "10", "30.0", "31.0", "33.33"]
    assert "2.50x" in lines[4]
    assert "2.0e-07" in lines[-1]


def test_shares_that_a_graph_hides_are_null_in_json():
    data = json.loads(json.dumps(as_json(REPORT), allow_nan=False))
    assert data["results"][1]["vision_share"] is None
    assert data["results"][0]["vision_share"] == 0.5
    assert data["speedup"] == [{"views": 2, "steps": 10, "speedup": 2.5}]


def test_small_model_is_measured_and_drawn(tmp_path, capsys):
    arguments = ["--threads", "1", "--views", "1,2", "--steps", "2", "--runs", "2"]
    files = ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    assert main(arguments + files) == 0
    data = json.loads((tmp_path / "b.json").read_text())
    assert data["preset"] == "evo1_tiny"
    assert data["parameters"] == 6_322_224
    assert data["max_abs_diff"] < 1e-5
    cases = [(row["path"], row["views"], row["steps"], row["runs"]) for row in data["results"]]
    assert cases == [(path, views, 2, 2) for path in ("readable", "fast") for views in (1, 2)]
    for row in data["results"]:
        shares = row["vision_share"] + row["language_share"] + row["head_share"]
        assert shares == pytest.approx(1.0)
        assert row["p95_ms"] >= row["p50_ms"] > 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert "6,322,224 parameters on cpu, 1 CPU threads" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--views", "3"], "evo1_tiny has 2 image slots"),
        (["--views", "0"], "expected 1 or more, got 0"),
        (["--preset", "evo2"], "invalid choice: 'evo2'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cuda"])
    assert "torch finds no CUDA here; use cpu" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys\n"
        "from evo1_policy.cli.benchmark import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "of bound" in done.stdout
