"""A dataset format of JSON files, to test conversion without pyarrow and video."""

import hashlib
import json
import os
import threading
from pathlib import Path

from evo1_training.datasets.dataset_format import DatasetFormat


def encode(frames, *, schema, instruction, source, folder, offsets_ms=None):
    rows = [
        {
            "tick_ns": frame.tick_ns,
            "state": frame.state.tolist(),
            "action": frame.action.tolist(),
            "held": frame.held,
            "images": [
                hashlib.sha256(image.tobytes()).hexdigest() for image in frame.images.values()
            ],
        }
        for frame in frames
    ]
    folder.mkdir()
    text = json.dumps({"rows": rows, "instruction": instruction, "source": source})
    (folder / "encoded.json").write_text(text)


def load(folder):
    return json.loads((folder / "encoded.json").read_text())


class Writer:
    """Keeps everything in meta/info.json."""

    def __init__(self, root: Path, episodes):
        self.path = root / "meta" / "info.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.episodes = episodes
        self._save()

    @property
    def sources(self):
        return frozenset(episode["source"] for episode in self.episodes)

    def add(self, encoded):
        self.episodes.append(encoded)
        self._save()
        return len(self.episodes) - 1

    def close(self):
        self._save()

    def _save(self):
        self.path.write_text(json.dumps(self.episodes))


def open_dataset(root, schema, *, version, append):
    present = append and (root / "meta" / "info.json").exists()
    return Writer(root, read(root) if present else [])


def read(root):
    return json.loads((root / "meta" / "info.json").read_text())


TINY = DatasetFormat(encode=encode, load=load, open=open_dataset, max_seconds=1000.0)


def slow_encode(frames, *, schema, instruction, source, folder, offsets_ms=None):
    """Never ends, but says who works on it."""
    folder.mkdir()
    (folder / "started").write_text(str(os.getpid()))
    threading.Event().wait()
