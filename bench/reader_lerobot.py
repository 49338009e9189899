"""How fast LeRobot reads a dataset: run by bench/reader.py with an interpreter that has lerobot.

Prints one line of JSON. Imports nothing of this workspace but its neighbours.
"""

import argparse
import json
import time
from pathlib import Path

from lerobot_clients import lerobot_datasets


def main() -> None:
    """Read the samples that were asked for and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--fps", type=int, required=True)
    parser.add_argument("--order", required=True, help="JSON list of sample numbers")
    parser.add_argument("--warm-up", type=int, required=True, help="how many to read beforehand")
    arguments = parser.parse_args()
    lerobot = lerobot_datasets()
    offsets = [step / arguments.fps for step in range(arguments.horizon)]
    dataset = lerobot.LeRobotDataset(
        "local/bench",
        root=arguments.root,
        video_backend="pyav",
        delta_timestamps={"action": offsets},
    )
    order = json.loads(arguments.order)
    for number in order[: arguments.warm_up]:
        dataset[number]
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for number in order[arguments.warm_up :]:
        dataset[number]
    count = len(order) - arguments.warm_up
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    figures = {"samples_per_s": count / wall_s, "cpu_ms": 1e3 * cpu_s / count}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
