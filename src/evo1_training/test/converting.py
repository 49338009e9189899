"""Episodes to convert, and what a conversion left of them."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from bag_writing import steady, write_episode

from evo1_training.datasets.conversion_request import Request
from evo1_training.recording.episode import SIDECAR


class Watcher:
    def __init__(self):
        self.expected, self.done, self.notes = 0, 0, []

    def expect(self, frames):
        self.expected = frames

    def advance(self, frames):
        self.done += frames

    def note(self, text):
        self.notes.append(text)


def episodes(root: Path, count: int, **options) -> Path:
    for k in range(count):
        recording = steady(1.0 + 0.1 * k)
        write_episode(root / f"episode_{k:06d}", recording, instruction=f"task {k}", **options)
        shift_start(root / f"episode_{k:06d}", k)
    return root


def shift_start(folder: Path, by: int) -> None:
    """Give an episode a start of its own, as real ones have."""
    data = json.loads((folder / SIDECAR).read_text())
    data["facts"]["started_ns"] += by
    (folder / SIDECAR).write_text(json.dumps(data))


def listed(request: Request) -> list[dict]:
    text = (request.dataset / "meta" / "episodes.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def lengths(request: Request) -> list[int]:
    paths = sorted(request.dataset.glob("data/*/*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in paths] == [
        episode["length"] for episode in listed(request)
    ]
    return [episode["length"] for episode in listed(request)]


def sources(request: Request) -> list[str]:
    text = (request.dataset / "meta" / "evo1" / "sources.jsonl").read_text()
    return [json.loads(line)["source"] for line in text.splitlines()]
