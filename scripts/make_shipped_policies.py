"""Make the small policies that ship with the workspace, from nothing.

    python scripts/make_shipped_policies.py [--only xarm6_tiny]

For each: record demonstrations, convert them, train, evaluate on unseen scenes, and put the policy
with its card where launch files and demo find it. Every step is the command that the README names;
what is done is not done again, so an interrupted run goes on.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shipped_policies.card import write_card
from shipped_policies.recipes import RECIPES, Recipe
from shipped_policies.words import train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "src" / "evo1_policy" / "checkpoints"
ROBOTS = ROOT / "src" / "evo1_bringup" / "robots"
PHRASINGS = Path(__file__).parent / "shipped_policies" / "phrasings"
SEEDS_APART = 1000  # between the batches
TEST_SEED = 1  # the scenes that the card reports


class Maker:
    """Follows one recipe.

    Args:
        recipe: what is made.
        root: folder for everything on the way of every policy.
        overrides: more choices of training, `key=value`.
        workers: processes that demonstrate; None: as many as cores.
    """

    def __init__(
        self,
        recipe: Recipe,
        root: Path,
        overrides: Sequence[str] = (),
        workers: int | None = None,
    ) -> None:
        self._recipe, self._root, self._workers = recipe, root, workers
        self._choices = (*recipe.choices, *overrides)
        self._work = root / recipe.name
        self._work.mkdir(parents=True, exist_ok=True)
        self._times = self._work / "times.json"

    @property
    def dataset(self) -> Path:
        """The converted demonstrations."""
        return self._work / "dataset"

    @property
    def policy(self) -> Path:
        """What stage 2 leaves."""
        return self._work / "runs" / self._recipe.name / "stage2" / "last"

    def seconds(self) -> dict[str, float]:
        """How long each step took [s]."""
        found: dict[str, float] = (
            json.loads(self._times.read_text()) if self._times.is_file() else {}
        )
        return found

    def demonstrate(self) -> None:
        """Record and convert, batch by batch."""
        recipe, bags = self._recipe, self._work / "bags"
        robot_file = ROBOTS / f"{recipe.robot}.yaml"
        more = ["--vary"] if recipe.varied else []
        more += ["--workers", str(self._workers)] if self._workers else []
        for begin in range(0, recipe.episodes, recipe.batch):
            for task in recipe.tasks:
                done = self._work / f"converted_{task}_{begin:05d}"
                if done.exists():
                    continue
                shutil.rmtree(bags, ignore_errors=True)
                count = min(recipe.batch, recipe.episodes - begin)
                seed = recipe.first_seed + begin // recipe.batch * SEEDS_APART
                self._run(
                    "rehearse", "--robot", robot_file, "--task", task, "--episodes", count,
                    "--seed", seed, "--root", bags, *more,
                )  # fmt: skip
                append = ["--append"] if self.dataset.exists() else []
                self._run("convert", bags, "--to", self.dataset, "--format", "v2.1", *append)
                done.touch()
        shutil.rmtree(bags, ignore_errors=True)

    def train(self, before: "Maker | None") -> None:
        """From nothing in both stages, or in stage 2 from another policy; each goes on.

        Args:
            before: has made the policy to begin as.
        """
        tokenizer = self._work / "tokenizer"
        tokenizer.mkdir(exist_ok=True)
        train_tokenizer().save(str(tokenizer / "tokenizer.json"), pretty=False)
        common = ["--name", self._recipe.name, "--dataset", self.dataset]
        common += [f"runs={self._work / 'runs'}", f"tokenizer={tokenizer}"]
        common += [f"data.cache_dir={self._root / 'frames'}"]
        words = PHRASINGS / f"{self._recipe.name}.yaml"
        common += ["--phrasings", words] if words.is_file() else []
        if before is None:
            self._run("train", "--stage", "1", *common, *self._choices)
        else:
            common += ["--dataset", before.dataset, "--from", before.policy]
        self._run("train", "--stage", "2", *common, *self._choices)

    def evaluate(self) -> list[dict[str, Any]]:
        """Count successes on scenes that no demonstration shows, for each task."""
        results = []
        for task in self._recipe.tasks:
            path = self._work / f"evaluation_{task}.json"
            if not path.is_file():
                self._run(
                    "evaluate", "--checkpoint", self.policy, "--task", task, "--trials",
                    self._recipe.trials, "--seed", TEST_SEED, "--json", path,
                    "--report", self._work / f"report_{task}",
                )  # fmt: skip
            results.append(json.loads(path.read_text()))
        return results

    def install(self, out: Path, results: Sequence[dict[str, Any]]) -> Path:
        """Put the policy with its card in place of the old one."""
        target = out / self._recipe.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.policy.resolve(), target)
        write_card(target, self._recipe, self.dataset, results, self.seconds())
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
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument("--only", choices=names, help="make one of them, and what it begins as")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "policies")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    parser.add_argument("--workers", type=int, metavar="N", help="processes that demonstrate")
    parser.add_argument("--collect", action="store_true", help="only demonstrate, for now")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="choices of training")
    options = parser.parse_args()
    wanted = {options.only} if options.only else set(names)
    wanted |= {recipe.after for recipe in RECIPES if recipe.name in wanted}
    makers: dict[str, Maker] = {}
    for recipe in RECIPES:
        if recipe.name not in wanted:
            continue
        maker = Maker(recipe, options.work.absolute(), options.overrides, options.workers)
        maker.demonstrate()
        if options.collect:
            continue
        maker.train(makers.get(recipe.after))
        print(f"{maker.install(options.out, maker.evaluate())}: done")
        makers[recipe.name] = maker


if __name__ == "__main__":
    main()
