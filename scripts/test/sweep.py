"""Every command on every file of a hostile home: no traceback, nothing changed, nothing run.

    scripts/in_workspace.sh python scripts/test/sweep.py --seconds 600 [--cases DIR] [--ros]

Each run has a world of its own: a home that cannot be written, a current folder that was removed,
a terminal that knows only ASCII, no standard output, or a clock in 1970 or 2100. A command meets
every single file and every damaged folder of the kind that it reads, and a few of other kinds.

Commands run as forks of one process that has imported everything, so that a run costs a tenth of
a second and not two, and never as root: some are told to write to a link to `/`. One run in
TYPE_EVERY is repeated by the command line that a person types, and must end alike. A fault is a
traceback, a file that changed outside of what was named, a program started or a network asked for,
more than LIMIT_CPU_S of processor time, LIMIT_S by the clock, or LIMIT_MB.
"""

import argparse
import fcntl
import gc
import importlib
import math
import os
import pkgutil
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hostile_home import (  # type: ignore[import-not-found,unused-ignore]
    MARK,
    hostile_home,
    kind_of,
    lock_up,
)
from swept_child import (  # type: ignore[import-not-found,unused-ignore]
    FAULT,
    auditor,
    bound,
    child,
    enter,
    wait,
)
from swept_commands import (  # type: ignore[import-not-found,unused-ignore]
    COMMANDS,
    ROS_COMMANDS,
    Command,
)

LIMIT_CPU_S = 10.0
LIMIT_S = 60.0  # who waits for ever uses no processor; a busy machine is slow, not wrong
LIMIT_MB = 1000.0
TYPE_EVERY = 20  # of so many runs one is typed as well, where its world is a plain one
# Interpreters may lie where only root can read: all else of root's is given up.
NOBODY = (
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    *("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search"),
    *("--bounding-set", "-all,+dac_read_search"),
)
_OTHERS = 12  # of the damaged folders of another kind, every so many
_NODES = 4  # of the inputs of a node: they read by the same functions, and start slowly
NODE_S = 6.0  # a node that runs for so long has taken what it was given

_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_CACHES = (".cache", ".ros", ".config")  # of libraries, in any home
WORLDS = ("plain", "plain", "plain", "no home", "no folder", "ascii", "no output", "1970", "2100")
_EVO1 = "evo1_bringup.cli"
_PACKAGES = ("evo1_policy", "evo1_sim", "evo1_training", "evo1_bringup")
_NOT_EARLY = re.compile(r"\.ros(\.|$)|__main__|\.launch$")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that must not be: `what`, for a command line."""

    module: str
    words: tuple[str, ...]
    what: str

    def __str__(self) -> str:
        """One line, whatever the words are."""
        line = " ".join(word if word.isprintable() else ascii(word) for word in self.words)
        return f"{self.module} {line}: {self.what}"


State = dict[str, tuple[int, ...]]


def state_of(folder: Path) -> State:
    """Everything below a folder: kind and mode, size, and when it was written."""
    found: State = {}
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                about = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
                times = () if is_folder else (about.st_size, about.st_mtime_ns)
                if entry.name in _CACHES:
                    continue
                found[entry.path] = (about.st_mode, *times)
                if is_folder and about.st_mode & 0o400:
                    waiting.append(entry.path)
    return found


class Sweep:
    """Runs commands on a hostile home below `root` and collects the faults."""

    def __init__(
        self,
        root: Path,
        cases: Path | None = None,
        limit_s: float = LIMIT_S,
        type_every: int = TYPE_EVERY,
    ) -> None:
        self._root = root
        self._limit_s, self._type_every = limit_s, type_every
        self.home = root / "home"
        self.home.mkdir()
        self.inputs = hostile_home(self.home, cases)
        self._whole = root / "whole"
        subprocess.run(["cp", "-a", self.home, self._whole], check=True)
        lock_up(self.home)
        self._before = state_of(self.home)
        self._out = root / "out"
        self.faults: list[Fault] = []
        self.runs, self.typed = 0, 0
        self.longest_s, self.largest_mb = 0.0, 0.0

    def pairs(self, commands: Sequence[Command]) -> list[tuple[Command, Path]]:
        """What is to be run: each command with each kind of input, and with a sound one."""
        sound = [(one, self.home / "good" / one.sound) for one in commands if one.sound]
        return sound + [
            (command, path)
            for command in commands
            for number, path in enumerate(self.inputs)
            if not (command.writes and not Path(os.path.realpath(path)).is_relative_to(self.home))
            and (kind_of(path) in ("", command.reads) or number % _OTHERS == 0)
            and (not command.node or command.reads or number % _NODES == 0)
        ]

    def summary(self, pairs: Sequence[tuple[Command, Path]]) -> str:
        """How many runs there were, and the most that one of them took."""
        return (
            f"{self.runs} of {len(pairs)} runs, {self.typed} of them typed as well, "
            f"{len(self.faults)} faults; at most "
            f"{self.longest_s:.1f} s of processor time and {self.largest_mb:.0f} MB"
        )

    def import_all(self, modules: Sequence[str]) -> None:
        """Import what the commands need, once for all of them."""
        os.environ["MPLCONFIGDIR"] = str(self._root / "matplotlib")
        early = [
            module.name
            for package in map(importlib.import_module, _PACKAGES)
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        ]
        for name in early:
            if not _NOT_EARLY.search(name):
                with suppress(ImportError):  # what needs more than is here
                    importlib.import_module(name)
        for name in (
            *modules,
            "av",
            "pyarrow.parquet",
            "matplotlib.pyplot",
            "transformers",
            "mujoco",
        ):
            importlib.import_module(name)
        sys.modules["torch"].set_num_threads(1)
        gc.collect()
        gc.freeze()  # a child that collects would copy every page

    def run(self, command: Command, path: Path, world: str) -> None:
        """Run a command on an input in one of WORLDS."""
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()
        words = command.line(path, self.home, self._out)
        said, log = self._root / "said", self._root / "audit"
        log.write_text("")
        told = len(self.faults)
        began = time.monotonic()
        base_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        number = os.fork()
        if number == 0:
            with child():
                bound()
                heard = fcntl.fcntl(os.open(log, os.O_WRONLY | os.O_APPEND), fcntl.F_DUPFD, 100)
                enter(world, self.home, said)
                sys.argv = [command.module, *words]
                sys.addaudithook(auditor(heard, str(self.home)))
                main = importlib.import_module(command.module).main
                sys.exit(main() if command.node else main(words))
        asked = began + NODE_S if command.node else math.inf
        status, used, killed = wait(number, began + self._limit_s, asked)
        took_s, mb = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024 - base_mb
        self.longest_s, self.largest_mb = max(self.longest_s, took_s), max(self.largest_mb, mb)
        self.runs += 1
        text = said.read_text(encoding="utf-8", errors="replace")
        self._judge(command, words, text, log.read_text(errors="replace"), status, killed)
        if mb > LIMIT_MB:
            self._fault(command, words, f"{mb:.0f} MB")
        if took_s > LIMIT_CPU_S:
            self._fault(command, words, f"{took_s:.1f} s of processor time")
        if status and world == "plain" and path == self.home / "good" / command.sound:
            self._fault(command, words, f"fails on a sound input: {_last_line(text)}")
        if status == 1 and not text.strip() and world != "no output":
            self._fault(command, words, "failed and said nothing")
        self._look(command, words, path)
        if (
            self.runs % self._type_every == 0
            and world == "plain"
            and not command.node
            and not killed
        ):
            self._type(command, words, status, text)
            self._look(command, words, path)
        for fault in self.faults[told:]:
            print(f"{fault} [{world}]", flush=True)

    def _type(self, command: Command, words: list[str], status: int, text: str) -> None:
        """Run the command as a person does, in a new process, and compare how it ends."""
        shutil.rmtree(self._out)
        self._out.mkdir()
        self.typed += 1
        name = command.module.rpartition(".")[2].replace("_", "-")
        typed = ["evo1", *([] if command.module == _EVO1 else [name]), *words]
        if shutil.which("evo1") is None:  # where nothing is installed
            main = f"import sys; from {command.module} import main; sys.exit(main())"
            typed = [sys.executable, "-c", main, *words]
        done = subprocess.run(
            typed,
            env={**os.environ, "HOME": str(self.home)},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        ends = [
            _ending(code, said) for code, said in ((status, text), (done.returncode, done.stdout))
        ]
        if ends[0] != ends[1]:
            self._fault(command, words, f"forked {ends[0]}, typed {ends[1]}")

    def _judge(
        self, command: Command, words: list[str], text: str, log: str, status: int, killed: bool
    ) -> None:
        if killed:
            self._fault(
                command, words, f"not done after {self._limit_s:.0f} s; said {text[-200:]!r}"
            )
        elif status not in range(FAULT) and status != 130:
            self._fault(command, words, f"ended with {status}: {_last_line(text)}")
        elif "Traceback" in text:
            self._fault(command, words, f"told a traceback: {_last_line(text)}")
        plain = _COLOURS.sub("", text)  # of FastDDS's own messages
        if any(character in plain for character in "\x1b\u202e\x07"):
            self._fault(command, words, "printed control characters of the input")
        for line in log.splitlines():
            self._fault(command, words, line)

    def _look(self, command: Command, words: list[str], path: Path) -> None:
        """Whether anything else than what was named has changed; mend it."""
        if (self.home / MARK).exists():
            self._fault(command, words, "EXECUTED what a file says")
        after = state_of(self.home)
        changed = sorted(
            name
            for name in self._before.keys() | after.keys()
            if self._before.get(name) != after.get(name)
        )
        for name in changed:
            if not (command.writes and name.startswith(str(path))):
                how = "removed" if name not in after else "changed"
                self._fault(command, words, f"{how if name in self._before else 'made'} {name}")
            self._mend(Path(name))
        if changed:
            self._before = state_of(self.home)

    def _mend(self, path: Path) -> None:
        """Make one path of the home again what it was."""
        good = self._whole / path.relative_to(self.home)
        subprocess.run(["rm", "-rf", path], check=True)
        if os.path.lexists(good):
            path.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", good, path], check=True)
            lock_up(path)

    def _fault(self, command: Command, words: list[str], what: str) -> None:
        self.faults.append(Fault(module=command.module, words=tuple(words), what=what))


def _ending(status: int, text: str) -> tuple[int, str]:
    """Exit status and, of a failure, its last line without numbers, which may be of this run."""
    return status, re.sub(r"\d+", "0", _last_line(text)) if status else ""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    places = [line.strip() for line in lines if line.strip().startswith("File ")]
    where = next((place for place in reversed(places) if "evo1_" in place), "")
    return f"{lines[-1] if lines else ''} {where}"[:400]


def main() -> int:
    """Sweep; the exit status is 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--runs", type=int, default=10**9)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="of a run [s]")
    parser.add_argument("--part", default="0/1", help="1/3: the second third of the runs")
    parser.add_argument("--cases", type=Path, help="a folder with more inputs")
    parser.add_argument("--ros", action="store_true", help="the nodes too")
    parser.add_argument("--type-every", type=int, default=TYPE_EVERY, help="runs")
    parser.add_argument("--only", default="", help="runs with this in their line")
    given = parser.parse_args()
    if os.geteuid() == 0:
        os.execvp(NOBODY[0], [*NOBODY, sys.executable, *sys.argv])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    commands = (*COMMANDS, *(ROS_COMMANDS if given.ros else ()))
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="evo1_sweep_") as root:
        sweep = Sweep(Path(root), given.cases, given.limit, given.type_every)
        sweep.import_all(sorted({command.module for command in commands}))
        pairs = sweep.pairs(commands)
        chance.shuffle(pairs)
        part, parts = (int(word) for word in given.part.split("/"))
        pairs = pairs[part::parts]
        end = time.monotonic() + given.seconds
        with suppress(KeyboardInterrupt):
            for command, path in pairs:
                if given.only not in " ".join((command.module, *command.words, str(path))):
                    continue
                if time.monotonic() > end or sweep.runs >= given.runs:
                    break
                sweep.run(command, path, chance.choice(WORLDS))
                if sweep.runs % 100 == 0:
                    print(sweep.summary(pairs), flush=True)
    print(f"seed {given.seed}: {sweep.summary(pairs)}")
    return int(bool(sweep.faults))


if __name__ == "__main__":
    sys.exit(main())
