"""Interpreters that have lerobot, and how benchmarks run a script with one.

scripts/setup_lerobot.sh makes them; the environment variables say where they are.
"""

import importlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).resolve().parent
# The dataset format that each one's lerobot writes.
CLIENTS: Mapping[str, Literal["v2.1", "v3.0"]] = {
    "EVO1_LEROBOT21_PYTHON": "v2.1",
    "EVO1_LEROBOT30_PYTHON": "v3.0",
}
_HIDDEN = ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH")  # of a sourced workspace


def client_python(variable: str) -> str | None:
    """The interpreter that a variable names; None, with the reason printed, where it does not."""
    python = os.environ.get(variable)
    if not python:
        print(f"LeRobot {CLIENTS[variable]:<26} not measured: {variable} names no interpreter")
    return python


def run_with_lerobot(python: str, script: str, arguments: Sequence[str], home: Path) -> Any:
    """Run a script of this folder; returns the JSON of the last line that it prints.

    Args:
        python: an interpreter that has lerobot.
        script: name of the file.
        arguments: of the command line.
        home: folder for what Hugging Face's libraries keep.

    Raises:
        SystemExit: it failed; its own words were printed.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _HIDDEN}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [python, str(FOLDER / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # else its encoders' chatter is nobody's business
        raise SystemExit(f"{done.stderr}\n{script} failed with {python}; see above")
    return json.loads(done.stdout.splitlines()[-1])


def lerobot_datasets() -> Any:
    """The module lerobot.datasets.lerobot_dataset, in an interpreter that has it.

    torchvision's wheel for CUDA imports beside torch for CPU once its operators are declared.
    """
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    module = importlib.import_module("lerobot.datasets.lerobot_dataset")
    module.operators = library  # type: ignore[attr-defined]  # lives as long as that
    return module
