"""How LeRobot records the same robot: run by bench/recorder.py with a Python that has lerobot.

Two 640x480 cameras whose pictures are those of camera_source.py, at 30 Hz, and seven joints go
into LeRobotDataset.add_frame. A camera waits for nobody: a frame that is due while add_frame
still works on an older one is lost. Where this lerobot can, it encodes H.264 while it records,
its fastest way; else threads write PNG files, and saving encodes them. That the pictures do not
move is to the encoder's advantage.

Prints one line of JSON. Imports nothing of this workspace but its neighbours; works with lerobot
0.3.3 and 0.4.4.
"""

import argparse
import importlib.metadata
import inspect
import json
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lerobot_clients import lerobot_datasets
from processes import rss_mb

CAMERAS = ("observation.images.image_1", "observation.images.image_2")
WIDTH, HEIGHT, FPS, JOINTS = 640, 480, 30, 7
THREADS = 4 * len(CAMERAS)  # as many as lerobot's own record command starts
SAMPLE_S = 0.5
TASK = "measure"


class MemoryWatch:
    """Resident memory of this process [MB], sampled until it is stopped."""

    def __init__(self) -> None:
        self.samples = [rss_mb(os.getpid())]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[float]:
        """End it; returns all samples."""
        self._stop.set()
        self._thread.join()
        return [*self.samples, rss_mb(os.getpid())]

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.samples.append(rss_mb(os.getpid()))


def main() -> None:
    """Record one episode and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="dataset to write; must not exist")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    dataset, way = _create(lerobot_datasets().LeRobotDataset, arguments.root)
    takes_task = "task" in inspect.signature(dataset.add_frame).parameters
    images = {key: _pixels(number) for number, key in enumerate(CAMERAS)}
    watch, cpu_s = MemoryWatch(), _cpu_s()
    frames, lost, late = _record(dataset, images, arguments.seconds, takes_task=takes_task)
    cpu_percent = 100 * (_cpu_s() - cpu_s) / arguments.seconds
    samples = watch.stop()
    lost += _dropped(dataset)
    began_s = time.perf_counter()
    dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    figures = {
        "version": importlib.metadata.version("lerobot"),
        "way": way,
        "frames": frames,
        "lost": lost,
        "late": late,
        "cpu_percent": cpu_percent,
        "rss_mb": samples,
        "save_s": time.perf_counter() - began_s,
        "bytes": sum(path.stat().st_size for path in arguments.root.rglob("*") if path.is_file()),
    }
    print(json.dumps(figures))


def _create(kind: Any, root: Path) -> tuple[Any, str]:
    """A new dataset, and in which way it writes."""
    names = [f"joint{k}" for k in range(JOINTS)]
    vector = {"dtype": "float32", "shape": (JOINTS,), "names": names}
    shape = (HEIGHT, WIDTH, 3)
    camera = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
    features = {"observation.state": vector, "action": vector} | dict.fromkeys(CAMERAS, camera)
    streams = "streaming_encoding" in inspect.signature(kind.create).parameters
    options: dict[str, Any] = {"image_writer_threads": THREADS}
    if streams:
        options = {"streaming_encoding": True, "vcodec": "h264"}
    dataset = kind.create("local/bench", FPS, features, root=root, use_videos=True, **options)
    return dataset, "H.264 while recording" if streams else f"PNG by {THREADS} threads"


def _record(
    dataset: Any, images: dict[str, npt.NDArray[np.uint8]], seconds: float, *, takes_task: bool
) -> tuple[int, int, int]:
    """Feed frames as they become due; returns frames, and how many were lost and late."""
    frames = lost = late = tick = 0
    count, start_s = round(seconds * FPS), time.perf_counter()
    while tick < count:
        due_s = start_s + tick / FPS
        time.sleep(max(0.0, due_s - time.perf_counter()))
        late += time.perf_counter() - due_s > 0.5 / FPS
        vector = np.full(JOINTS, 0.1 * np.sin(tick / FPS), np.float32)
        frame = {"observation.state": vector, "action": vector, **images}
        if takes_task:
            dataset.add_frame(frame, task=TASK)
        else:
            dataset.add_frame({**frame, "task": TASK})
        frames += 1
        newest = int((time.perf_counter() - start_s) * FPS)
        missed = max(0, min(newest, count) - tick - 1)
        lost += missed * len(CAMERAS)
        tick += 1 + missed
    return frames, lost, late


def _dropped(dataset: Any) -> int:
    """Images that a full encoder's queue threw away; only lerobot's own counter knows."""
    encoder = getattr(dataset, "_streaming_encoder", None)
    return sum(getattr(encoder, "_dropped_frames", {}).values())


def _pixels(seed: int) -> npt.NDArray[np.uint8]:
    """What camera_source.py shows."""
    coarse = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8 + 1, WIDTH // 8 + 1, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)[:HEIGHT, :WIDTH]


def _cpu_s() -> float:
    """CPU time of this process, its threads and its ended children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


if __name__ == "__main__":
    main()
