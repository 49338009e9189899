"""Make the small policies that ship with the workspace, from nothing.

    python scripts/make_shipped_policies.py [--only xarm6]

For each arm: record demonstrations, convert them, train both stages, evaluate on unseen scenes,
and put the policy with its card where launch files and demo find it. Every step is the command
that the README names; what is done is not done again, so an interrupted run goes on.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shipped_policies.card import write_card
from shipped_policies.words import train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "src" / "evo1_policy" / "checkpoints"
ROBOTS = ROOT / "src" / "evo1_bringup" / "robots"
BATCH = 40  # episodes that lie on the disk at a time: images are recorded raw
SEEDS_APART = 1000  # between the batches
TEST_SEED, TRIALS = 1, 100  # the scenes that the card reports


class Recipe:
    """One arm's policy in the making.

    Args:
        robot: 'xarm6' or 'so100'.
        work: folder for everything on the way.
        episodes: demonstrations.
        overrides: choices of training, `key=value`.
    """

    def __init__(self, robot: str, work: Path, episodes: int, overrides: list[str]) -> None:
        self.robot, self.episodes, self.overrides = robot, episodes, overrides
        self.work = work / robot
        self.work.mkdir(parents=True, exist_ok=True)
        self._times = self.work / "times.json"

    @property
    def dataset(self) -> Path:
        """The converted demonstrations."""
        return self.work / "dataset"

    @property
    def policy(self) -> Path:
        """What stage 2 leaves."""
        return self.work / "runs" / self.robot / "stage2" / "last"

    @property
    def results(self) -> Path:
        """What evaluation leaves."""
        return self.work / "evaluation.json"

    def seconds(self) -> dict[str, float]:
        """How long each step took [s]."""
        found: dict[str, float] = (
            json.loads(self._times.read_text()) if self._times.is_file() else {}
        )
        return found

    def demonstrate(self) -> None:
        """Record and convert, batch by batch."""
        bags = self.work / "bags"
        for begin in range(0, self.episodes, BATCH):
            done = self.work / f"converted_{begin:05d}"
            if done.exists():
                continue
            shutil.rmtree(bags, ignore_errors=True)
            count, seed = min(BATCH, self.episodes - begin), begin // BATCH * SEEDS_APART
            robot_file = str(ROBOTS / f"{self.robot}.yaml")
            self._run(
                "rehearse", "--robot", robot_file, "--episodes", count, "--seed", seed,
                "--root", bags,
            )  # fmt: skip
            more = ["--append"] if begin else []
            self._run("convert", bags, "--to", self.dataset, "--format", "v2.1", *more)
            done.touch()
        shutil.rmtree(bags, ignore_errors=True)

    def train(self) -> None:
        """Both stages; each goes on where it was."""
        tokenizer = self.work / "tokenizer"
        tokenizer.mkdir(exist_ok=True)
        train_tokenizer().save(str(tokenizer / "tokenizer.json"), pretty=False)
        runs = self.work / "runs"
        common = ["--name", self.robot, "--dataset", self.dataset, f"runs={runs}"]
        common += [f"tokenizer={tokenizer}", f"data.cache_dir={self.work / 'frames'}"]
        for stage in ("1", "2"):
            self._run("train", "--stage", stage, *common, *self.overrides)

    def evaluate(self) -> None:
        """Count successes on scenes that no demonstration shows."""
        if not self.results.is_file():
            self._run(
                "evaluate", "--checkpoint", self.policy, "--trials", TRIALS, "--seed", TEST_SEED,
                "--json", self.results, "--report", self.work / "report",
            )  # fmt: skip

    def install(self, out: Path) -> Path:
        """Put the policy with its card in place of the old one."""
        target = out / f"{self.robot}_tiny"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.policy.resolve(), target)
        results: dict[str, Any] = json.loads(self.results.read_text())
        write_card(target, self.robot, self.dataset, results, self.seconds())
        return target

    def _run(self, command: str, *arguments: object) -> None:
        words = [sys.executable, "-m", f"evo1_training.cli.{command}", *map(str, arguments)]
        print("+", " ".join(words[1:]), flush=True)
        began = time.monotonic()
        subprocess.run(words, check=True)
        seconds = self.seconds()
        seconds[command] = seconds.get(command, 0.0) + time.monotonic() - began
        self._times.write_text(json.dumps(seconds, indent=1) + "\n")


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("xarm6", "so100"), help="make one of them")
    parser.add_argument("--episodes", type=int, default=360, help="demonstrations an arm [360]")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "policies")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="choices of training")
    options = parser.parse_args()
    for robot in ("xarm6", "so100") if options.only is None else (options.only,):
        recipe = Recipe(robot, options.work.absolute(), options.episodes, options.overrides)
        recipe.demonstrate()
        recipe.train()
        recipe.evaluate()
        print(f"{recipe.install(options.out)}: done")


if __name__ == "__main__":
    main()
