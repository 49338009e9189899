"""Run every benchmark in turn: `make bench`, or `python -m bench [NAME ...] [--quick]`.

Other options go to the benchmark, where one is named: `python -m bench recorder --seconds 600`.

Each benchmark is a script of its own beside this file. It prints a table and merges its figures,
flat, into one JSON file.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

BENCHMARKS = {
    "sim_rate": "camera rate and real-time factor of the simulation node at its default size",
    "node_overhead": "camera stamp to published chunk, lost frames; our DDS profile and default",
    "stop_latency": "from typing evo1 stop to the word on the wire and the policy's STOPPED",
    "cameras": "JPEG cameras and joints into the node: joints heard, age of images, memory; loads",
    "skew": "how often free-running cameras give an observation, by rates and phases; no figure",
    "planning": "planning and checking one chunk; inverse kinematics of one",
    "control_seams": "position steps and accelerations at seams, true controller, five situations",
    "execution_modes": "replace, ensemble, rtc, synchronous: jerk, idle time, success; a plot",
    "convert": "recorded episodes to a dataset, in times real time; raw and JPEG images",
    "reader": "training samples a second; LeRobot beside it where it is installed",
    "recorder": "two 640x480 cameras and joints to disk: lost messages, CPU, memory; LeRobot too",
    "serving": "a policy elsewhere: added latency, ours and the authors' JSON; requests a second",
    "train_step": "one step of training: time and memory, with and without checkpointing",
    "model_latency": "inference of the paper's model, readable against fast path",
}
ON_REQUEST = {
    "floods": "floods, oversized messages, a controller that lies; relay and recorder killed",
    "soak": "an hour of each system: growth of memory, threads, files, shared memory; a plot",
}


def main() -> int:
    """Run the benchmarks that were asked for and say where the figures are."""
    known = {**BENCHMARKS, **ON_REQUEST}
    listing = "\n".join(f"  {name:<16}{text}" for name, text in known.items())
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which ones; none: all but soak and floods"
    )
    parser.add_argument("--quick", action="store_true", help="short runs, to see that they run")
    parser.add_argument("--json", type=Path, default=FOLDER.parent / "out" / "bench.json")
    arguments, options = parser.parse_known_args()
    if options and len(arguments.names) != 1:
        parser.error(f"{options[0]}: name the one benchmark that this is for")
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]}; known: {', '.join(known)}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.names or BENCHMARKS:
        print(f"\n== {name}: {known[name]}", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--json", str(arguments.json)]
        if arguments.quick:
            command.append("--quick")
        command += options
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    print(f"\nfigures: {arguments.json}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
