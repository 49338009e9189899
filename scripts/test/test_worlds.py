"""Commands where a machine is not as usual: no home, locale or terminal, odd names, no disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src" / "evo1_training" / "test"))
ODD = "sp ace; $(touch ran) 'quo\"te' new\nline"
NOBODY = ("setpriv", "--reuid", "12345", "--clear-groups")
# The interpreter may lie where only root can read.
READS = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
IN_TURN = """
import importlib, json, sys
for module, *words in json.loads(sys.argv[1]):
    try:
        status = importlib.import_module(module).main(words)
    except SystemExit as end:
        status = end.code
    print("STATUS", module, status, flush=True)
"""


def in_turn(
    commands: list[list[str]], cwd: Path, prefix: tuple[str, ...] = (), /, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run main functions one after the other in a process that has these variables alone."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.run(
        [*prefix, sys.executable, "-c", IN_TURN, json.dumps(commands)],
        cwd=cwd,
        capture_output=True,
        check=False,
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AMENT_PREFIX_PATH": os.environ.get("AMENT_PREFIX_PATH", ""),
            "OMP_NUM_THREADS": "1",
            **variables,
        },
    )


def statuses(done: subprocess.CompletedProcess[bytes]) -> dict[str, str]:
    """Exit statuses by module; the last of each."""
    lines = [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
    return {line[1]: line[2] for line in lines if line[:1] == ["STATUS"]}


def episode(folder: Path) -> Path:
    from bag_writing import steady, write_episode  # type: ignore[import-not-found,unused-ignore]

    made: Path = write_episode(folder, steady(1.0, size=(64, 96)))
    return made


def test_commands_need_no_home_no_locale_and_no_plain_names(tmp_path: Path) -> None:
    place = tmp_path / ODD
    demos = episode(place / "demos" / "episode_000000")
    dataset, out = place / "data;set", place / "o u t"
    shipped = ROOT / "src" / "evo1_policy" / "checkpoints" / "so100_tiny"
    commands = [
        ["evo1_training.cli.convert", str(demos), "--to", str(dataset), "--workers", "1"],
        ["evo1_training.cli.recover", str(demos)],
        ["evo1_training.cli.check_dataset", str(dataset), "--report", str(out / "check")],
        ["evo1_training.cli.view", str(dataset), "--out", str(out)],
        ["evo1_training.cli.norm_stats", str(dataset), "--out", str(place / "stats.json")],
        ["evo1_training.cli.train", "--single-stage", "--print-config"],
        ["evo1_training.cli.rehearse", "--help"],
        ["evo1_policy.cli.convert_checkpoint", str(shipped), str(out / "own"), "--to", "own"],
        ["evo1_bringup.cli", "launch", "so100", "--dry-list", f"checkpoint:={out / 'own'}"],
    ]
    prefix: tuple[str, ...] = ()
    if os.getuid() == 0 and shutil.which("setpriv"):
        prefix = (*NOBODY, *READS)
        subprocess.run(["chmod", "-R", "a+rwX", place], check=True)
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o755)
    strange = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"}
    done = in_turn(commands, Path("/proc"), prefix, **strange)
    said = done.stderr.decode(errors="replace")
    assert statuses(done) == dict.fromkeys((line[0] for line in commands), "0"), said
    assert "Traceback" not in said
    assert (out / "own" / "model.safetensors").is_file()
    assert not list(tmp_path.rglob("ran"))


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    demos = episode(tmp_path / "demos" / "episode_000000")
    shipped = ROOT / "src" / "evo1_policy" / "checkpoints" / "so100_tiny"
    commands = [
        ["evo1_training.cli.convert", str(demos), "--to", "~/data", "--workers", "1"],
        ["evo1_training.cli.convert", str(demos), "--to", "/proc/none/data", "--workers", "1"],
        ["evo1_policy.cli.convert_checkpoint", str(shipped), "/proc/none/own", "--to", "own"],
        ["evo1_training.cli.train", "--single-stage", "--dataset", str(demos)],
        ["evo1_training.cli.view", str(demos), "--out", "/proc/none"],
        ["evo1_bringup.drivers.calibrate", "--port", "/proc/none", "--to", "/proc/none/a.json"],
    ]
    homeless = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/proc/none")
    done = in_turn(commands, Path("/proc"), TMPDIR=str(tmp_path), **homeless)
    said = done.stderr.decode(errors="replace")
    assert "Traceback" not in said
    assert set(statuses(done)) == {line[0] for line in commands}, said
    assert set(statuses(done).values()) == {"1"}, said
    assert said.count("/proc/") >= 4
