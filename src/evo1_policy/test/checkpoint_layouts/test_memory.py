"""Loading takes memory for one copy of the weights."""

import dataclasses
import threading
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, stats_of

from evo1_policy.checkpoint import load_model, read_checkpoint, save_checkpoint
from evo1_policy.model.evo1 import new_model

STATUS = Path("/proc/self/status")


def private_bytes():
    """Memory of this process that is no mapped file."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class Peak:
    """The highest private memory while it is watched, above that at the start."""

    def __enter__(self):
        self.start = self.highest = private_bytes()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(0.001):
            self.highest = max(self.highest, private_bytes())

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.extra = max(self.highest, private_bytes()) - self.start


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("layout", ["own", "official", "lerobot"])
def test_the_weights_are_in_memory_once(tmp_path, robot, tokenizer, layout):
    language = dataclasses.replace(CONFIG.language, width=256, mlp_width=2048, layers=8)
    config = dataclasses.replace(CONFIG, language=language)
    parts = {
        "model": new_model(config, seed=0),
        "stats": stats_of(robot),
        "interface": robot.interface,
        "tokenizer_dir": tokenizer,
        "card": "",
    }
    save_checkpoint(tmp_path / "c", layout=layout, **parts)
    del parts
    checkpoint = read_checkpoint(tmp_path / "c")
    size = checkpoint.weights.stat().st_size
    assert size > 50e6
    load_model(checkpoint)  # what is loaded once only: libraries, caches
    with Peak() as peak:
        model = load_model(checkpoint, dtype=torch.float32)
    assert model is not None
    assert peak.extra < 1.3 * size
