"""How fast training reads a dataset: random frames, frames in order, and from the frame cache.

Two 640x480 cameras, chunks of 50 actions, one process. Beside it LeRobotDataset with PyAV reads
the same frames of the same dataset in the same order, by turns, where EVO1_LEROBOT21_PYTHON or
EVO1_LEROBOT30_PYTHON names an interpreter that has lerobot.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from figures import ROBOTS, bench_parser, merge_figures
from lerobot_clients import CLIENTS, client_python, run_with_lerobot

from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_training.datasets.lerobot.encoding import encode_episode
from evo1_training.datasets.lerobot.schema import AlignedFrame, DatasetSchema, Storage
from evo1_training.datasets.lerobot.writing import open_dataset
from evo1_training.datasets.reader import DatasetSpec, SampleOptions, TrainingSamples

ROBOT_FILE = ROBOTS / "xarm6.yaml"
HEIGHT, WIDTH, FPS, HORIZON, TRAINING_SIZE = 480, 640, 30, 50, 448
WARM_UP = 10

Speed = tuple[float, float]  # samples a second, CPU milliseconds a sample


def main() -> int:
    """Write the datasets, measure, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="few frames, to see that it runs")
    parser.add_argument("--frames", type=int, default=300, help="of the dataset")
    parser.add_argument("--storage", choices=get_args(Storage), default="h264")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each reader")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.frames, arguments.rounds = 60, 1
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(Path(folder), arguments)
    merge_figures(arguments.json, figures)
    return 0


def _measure(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    frames, storage = arguments.frames, arguments.storage
    roots = _write(folder, frames, storage)
    order = np.random.default_rng(0).integers(0, frames, WARM_UP + min(frames, 200)).tolist()
    print(f"{storage}, {frames} frames, best of {arguments.rounds} turns")
    print(f"{'reader':<34}{'samples/s':>10}{'CPU ms/sample':>15}", flush=True)
    ours: list[Speed] = []
    figures: dict[str, float] = {}
    speedups = []
    for variable, version in CLIENTS.items():
        python = client_python(variable)
        turns = [
            (_ours(roots[version], order), _theirs(python, roots[version], order, folder))
            for _ in range(arguments.rounds)
        ]
        ours.append(_show(f"ours {version}, random", [mine for mine, _ in turns]))
        rival = [other for _, other in turns if other is not None]
        if rival:
            theirs = _show(f"LeRobot {version} with PyAV, random", rival)
            speedups.append(ours[-1][0] / theirs[0])
            figures[f"reader.lerobot_{version}_samples_per_s"] = theirs[0]
    in_order = list(range(min(WARM_UP + 200, frames)))
    sequential = _show("ours v2.1, in order", [_ours(roots["v2.1"], in_order)])
    cached = _show("ours v2.1, from the cache at 448", [_cached(roots["v2.1"], order, folder)])
    figures |= {
        "reader.samples_per_s": min(speed for speed, _ in ours),
        "reader.cpu_ms_per_sample": max(cpu_ms for _, cpu_ms in ours),
        "reader.sequential_samples_per_s": sequential[0],
        "reader.cached_samples_per_s": cached[0],
    }
    if speedups:
        figures["reader.speedup_vs_lerobot"] = min(speedups)
        print(f"at least {min(speedups):.1f} times as fast as LeRobot with PyAV")
    return figures


def _show(name: str, turns: Sequence[Speed]) -> Speed:
    best = max(turns)
    print(f"{name:<34}{best[0]:>10.0f}{best[1]:>15.1f}", flush=True)
    return best


def _ours(root: Path, order: Sequence[int], **options: object) -> Speed:
    spec = DatasetSpec(name="bench", path=root, embodiment="xarm6")
    settings = SampleOptions(horizon=HORIZON, **options)  # type: ignore[arg-type]
    samples = TrainingSamples(spec, settings)
    for number in order[:WARM_UP]:
        samples[number]
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for number in order[WARM_UP:]:
        samples[number]
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    samples.close()
    count = len(order) - WARM_UP
    return count / wall_s, 1e3 * cpu_s / count


def _cached(root: Path, order: Sequence[int], folder: Path) -> Speed:
    start = time.perf_counter()
    options = {"image_size": TRAINING_SIZE, "cache_dir": folder / "cache", "cache_jobs": 2}
    _ours(root, order[: WARM_UP + 1], **options)
    print(f"{'(building the cache took':<34}{time.perf_counter() - start:>10.1f} s)")
    return _ours(root, order, **options)


def _theirs(python: str | None, root: Path, order: Sequence[int], folder: Path) -> Speed | None:
    if not python:
        return None
    arguments = [str(root), "--order", json.dumps(order)]
    arguments += ["--horizon", str(HORIZON), "--fps", str(FPS), "--warm-up", str(WARM_UP)]
    figures = run_with_lerobot(python, "reader_lerobot.py", arguments, folder / "hf")
    return figures["samples_per_s"], figures["cpu_ms"]


def _write(folder: Path, frames: int, storage: Storage) -> dict[str, Path]:
    """The same two episodes as v2.1 and v3.0."""
    robot = load_robot(ROBOT_FILE)
    sizes = {camera.name: (HEIGHT, WIDTH) for camera in robot.cameras}
    schema = DatasetSchema(interface=robot.interface, fps=FPS, image_sizes=sizes, storage=storage)
    halves = [frames // 2, frames - frames // 2]
    encoded = [
        encode_episode(
            _scene(robot, count, seed),
            schema=schema,
            instruction="put the can into the box",
            source=f"scene {seed}",
            folder=folder / f"encoded_{seed}",
        )
        for seed, count in enumerate(halves)
    ]
    roots: dict[str, Path] = {}
    for version in CLIENTS.values():
        roots[version] = folder / f"dataset_{version}"
        writer = open_dataset(roots[version], schema, version=version, append=False)
        for episode in encoded:
            writer.add(episode)
        writer.close()
    return roots


def _scene(robot: RobotConfig, count: int, seed: int) -> Iterator[AlignedFrame]:
    """A textured background that pans, a block that moves, and a sensor's noise."""
    rng = np.random.default_rng(seed)
    grounds = {
        camera.name: _smooth(rng, HEIGHT + 100, WIDTH + 200).astype(np.int16)
        for camera in robot.cameras
    }
    for k in range(count):
        images = {name: _picture(ground, k, rng) for name, ground in grounds.items()}
        tick_ns = 1_000_000_000 + round(k * 1e9 / FPS)
        state = np.array(robot.home) + 0.05 * np.sin(k / 20 + np.arange(robot.width))
        stamps = dict.fromkeys([*images, "joint_states"], tick_ns)
        yield AlignedFrame(
            tick_ns=tick_ns,
            images=images,
            state=state,
            action=state,
            source_stamps_ns=stamps,
            skew_ns=0,
        )


def _smooth(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Coarse random colours, interpolated."""
    grid = rng.uniform(40, 210, (height // 40 + 2, width // 40 + 2, 3))
    rows, columns = np.arange(height) / 40, np.arange(width) / 40
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
    lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def _picture(
    ground: npt.NDArray[np.int16], k: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    y, x = k % 100, k % 200
    image = ground[y : y + HEIGHT, x : x + WIDTH] + rng.integers(-3, 4, (HEIGHT, WIDTH, 1))
    top = 50 + 2 * k % 300
    image[top : top + 60, 200:280] = (200, 40, 40)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
