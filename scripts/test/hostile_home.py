"""A home full of files that nobody should trust: what the sweep gives to every command.

Small things that are wrong by themselves, and copies of an episode, a dataset, a checkpoint, a
robot file and a calibration of which one file is another thing than it says.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
# A module of a checkpoint, a pickle and a YAML tag that leave this file behind if they are run.
MARK = "EXECUTED"
CODE = f"open(__import__('os').path.expanduser('~/{MARK}'), 'w')\n"
PICKLE = f"c__builtin__\nexec\n(V{CODE.strip()}\ntR.".encode()
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
)
_ODD_NAMES = ("sp ace'\";&$(touch x)", "new\nline", "\x1b[2Jred", os.fsdecode(b"\xff"))
_PARTS = {
    "episode_000000": 30,
    "run": 20,
    "dataset": 60,
    "checkpoint": 50,
}  # most mutations of each


def hostile_home(home: Path, cases: Path | None = None) -> list[Path]:
    """Fill `home` and return the inputs in it, each a file or a folder to be named to a command.

    Args:
        home: a folder that exists and is empty.
        cases: a folder with more inputs and with scripts that make some.
    """
    (home / "documents").mkdir()
    (home / "documents" / "secret.txt").write_text("nobody may read or change this\n")
    (home / ".bashrc").write_text("# nobody may change this\n")
    hostile = home / "hostile"
    hostile.mkdir()
    _single_files(hostile)
    _odd_things(hostile)
    good = home / "good"
    _good(good)
    for kind, most in _PARTS.items():
        _mutations(good / kind, hostile, most)
    if cases is not None:
        _cases(cases, hostile, good)
    episodes = {path: path / "episode_000000" for path in hostile.iterdir()}
    return sorted(inner if inner.is_dir() else path for path, inner in episodes.items())


def kind_of(path: Path) -> str:
    """Of which whole folder this is a damaged copy; nothing for single files."""
    kinds = {name.partition("_")[0]: name for name in _PARTS}
    return next(
        (kind for kind in kinds if re.search(rf"{kind}(_\d+)?_[a-z]+_\d\d_", str(path))), ""
    )


def lock_up(folder: Path) -> None:
    """Take away every right on what is named so below a folder (a copy must be made before)."""
    for path in (folder, *folder.glob("hostile/*")):
        if path.name.startswith("unreadable"):
            path.chmod(0)


def _single_files(hostile: Path) -> None:
    deep = "[" * 100_000
    texts = {
        "empty": "",
        "lfs_pointer": LFS_POINTER,
        "deep": deep,
        "deep_objects": '{"a":' * 50_000,
        "nan": '{"a": NaN, "features": {"x": {"shape": [1e400], "dtype": "float32"}}}',
        "huge_number": '{"codebase_version": ' + "9" * 10_000 + "}",
        "a_number": "7",
        "a_list": "[]",
        "nulls": '{"name": null, "joints": null, "cameras": null}',
        "bomb": BOMB,
        "tag": f"!!python/object/apply:builtins.exec [{json.dumps(CODE)}]\n",
        "merge": "<<: *nobody\n",
        "recursive": "a: &a [*a]\n",
        "nul": "name: \0\n",
        "escapes": "name: \x1b]0;evil\x07\x1b[2J\u202e\nrobot: \r[INFO] forged\n",
        "duplicate": "name: a\nname: b\n",
    }
    for name, text in texts.items():
        ending = "json" if text.startswith(("{", "[")) else "yaml"
        (hostile / f"{name}.{ending}").write_text(text, encoding="utf-8")
    (hostile / "latin1.yaml").write_bytes("name: Müller\n".encode("latin-1"))
    (hostile / "utf16.json").write_bytes('{"a": 1}'.encode("utf-16"))
    (hostile / "noise.mcap").write_bytes(b"\x89MCAP0\r\n" + bytes(range(256)) * 40)
    (hostile / "empty.db3").write_bytes(b"")
    (hostile / "noise.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}" * 9)
    (hostile / "code.py").write_text(CODE)
    (hostile / "pickle.pt").write_bytes(PICKLE)
    (hostile / "bomb.png").write_bytes(_png(60_000, 60_000))
    (hostile / "cut.png").write_bytes(_png(64, 64)[:60])


def _png(width: int, height: int) -> bytes:
    """A PNG that says it is so large, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(min(width * 3 + 1, 10_000) * min(height, 100)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    )


def _odd_things(hostile: Path) -> None:
    """What is no plain file under a plain name."""
    links = {
        "to_passwd.yaml": "/etc/passwd",
        "to_root": "/",
        "to_itself.yaml": "to_itself.yaml",
        "to_nowhere.json": "nowhere",
        "to_zero.json": "/dev/zero",
        "to_documents": "../documents",
    }
    for name, target in links.items():
        (hostile / name).symlink_to(target)
    (hostile / "loop").mkdir()
    (hostile / "loop" / "again").symlink_to("..")
    for name in ("folder.yaml", "folder.json", "folder.mcap", "empty_folder"):
        (hostile / name).mkdir()
    os.mkfifo(hostile / "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as line:
        here = Path.cwd()
        os.chdir(hostile)  # its full path may be too long for an address
        line.bind("socket.json")
        os.chdir(here)
    (hostile / "unreadable.yaml").write_text("name: x\n")
    (hostile / "unreadable").mkdir()
    for name in _ODD_NAMES:
        (hostile / f"{name}.yaml").write_text("name: x\n")
        (hostile / name).mkdir()
    whole_fifos = hostile / "episode_000009"
    whole_fifos.mkdir()
    for name in ("episode.json", "metadata.yaml", "episode_000009_0.mcap"):
        os.mkfifo(whole_fifos / name)
    fifos = hostile / "fifo_checkpoint"
    fifos.mkdir()
    for name in ("config.json", "robot.yaml", "norm_stats.json", "model.safetensors"):
        os.mkfifo(fifos / name)
    (hostile / "fifo_dataset" / "meta").mkdir(parents=True)
    os.mkfifo(hostile / "fifo_dataset" / "meta" / "info.json")


def _good(good: Path) -> None:
    """An episode, a policy's run, a dataset and a checkpoint in order, with their robot files."""
    for tests in ("evo1_training/test", "evo1_policy/test/replay"):
        sys.path.insert(0, str(ROOT / "src" / tests))
    from bag_writing import (  # type: ignore[import-not-found,unused-ignore]
        ROBOT_TEXT,
        steady,
        write_episode,
    )
    from recorded_run import run  # type: ignore[import-not-found,unused-ignore]

    episode, dataset = good / "episode_000000", good / "dataset"
    write_episode(episode, steady(1.0, size=(64, 96)))
    to = ("--to", dataset, "--format", "v2.1", "--workers", "1")
    for words in (("recover", episode), ("convert", episode, *to)):  # recover writes metadata.yaml
        command = [sys.executable, "-m", f"evo1_training.cli.{words[0]}", *map(str, words[1:])]
        subprocess.run(command, check=True, capture_output=True)
    for kept in episode.glob("*.before_recover"):
        kept.unlink()
    (good / "two_joints.yaml").write_text(ROBOT_TEXT)
    run(0.7).write(good / "run")
    shipped = ROOT / "src" / "evo1_policy" / "checkpoints" / "so100_tiny"
    shutil.copytree(shipped, good / "checkpoint")
    shutil.copyfile(shipped / "robot.yaml", good / "robot.yaml")


def _mutations(whole: Path, hostile: Path, most: int) -> None:
    """Copies of a folder of which one file is another thing than it says."""
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    pairs = [(file, change) for change in _CHANGES for file in files]
    for number, (file, change) in enumerate(pairs[:: max(1, len(pairs) // most)]):
        copy = hostile / f"{whole.name}_{change}_{number:02d}_{file.name}"
        if whole.name.startswith("episode"):
            copy /= whole.name  # the bag has the folder's name
        shutil.copytree(whole, copy, copy_function=os.link)
        path = copy / file
        data = path.read_bytes()
        path.unlink()
        _CHANGES[change](path, data)
    if whole.name == "checkpoint":
        _with_code(whole, hostile / "checkpoint_with_code")
    if whole.name == "dataset":
        _with_journal(whole, hostile / "dataset_with_journal")


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([(data[middle] if data else 0) ^ 0x41]) + data[middle + 1 :]


_CHANGES: dict[str, Callable[[Path, bytes], object]] = {
    "cut": lambda path, data: path.write_bytes(data[: len(data) // 2]),
    "zeros": lambda path, data: path.write_bytes(bytes(len(data))),
    "flipped": lambda path, data: path.write_bytes(_flipped(data)),
    "empty": lambda path, data: path.write_bytes(b""),
    "lfs": lambda path, data: path.write_text(LFS_POINTER),
    "folder": lambda path, data: path.mkdir(),
    "fifo": lambda path, data: os.mkfifo(path),
    "passwd": lambda path, data: path.symlink_to("/etc/passwd"),
    "gone": lambda path, data: None,
    "deep": lambda path, data: path.write_text("[" * 100_000),
    "bomb": lambda path, data: path.write_text(BOMB),
    "words": lambda path, data: path.write_text('{"a": "b"}'),
}


def _with_code(whole: Path, copy: Path) -> None:
    """A checkpoint that brings code along in every way that Python's libraries know."""
    shutil.copytree(whole, copy, copy_function=os.link)
    for name in ("tokenization_evil.py", "modeling_evil.py", "tokenizer/tokenization_evil.py"):
        (copy / name).write_text(CODE)
    table = copy / "tokenizer" / "tokenizer_config.json"
    config = json.loads(table.read_text()) if table.exists() else {}
    table.unlink(missing_ok=True)  # a link to the good one
    config |= {
        "tokenizer_class": "EvilTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_evil.EvilTokenizer", None]},
    }
    table.write_text(json.dumps(config))
    for name in ("pytorch_model.bin", "model.pt", "mp_rank_00_model_states.pt"):
        (copy / name).write_bytes(PICKLE)


def _with_journal(whole: Path, copy: Path) -> None:
    """A dataset whose unfinished transaction names files of others."""
    shutil.copytree(whole, copy)
    (copy / ".adding").mkdir()
    journal = {"replace": ["../../.bashrc"], "delete": ["../../documents/secret.txt"]}
    (copy / ".adding" / "journal.json").write_text(json.dumps(journal))


def _cases(cases: Path, hostile: Path, good: Path) -> None:
    """Everything of a folder, and what its scripts make."""
    for path in cases.iterdir():
        if path.is_dir():
            shutil.copytree(path, hostile / path.name)
        else:
            shutil.copyfile(path, hostile / path.name)
    python = [sys.executable]
    variants = "so101 renamed one_name nested float64 depth libero aloha lfs chunk_index"
    for words in _made(cases, hostile, good, variants.split()):
        subprocess.run([*python, *words], check=False, capture_output=True, cwd=hostile)
    evil = hostile / "with_evil_journal"
    shutil.copytree(good / "dataset", evil)
    shutil.copytree(cases / "evil_journal", evil / ".adding")
    traversal = hostile / "episode_000007"
    shutil.copytree(good / "episode_000000", traversal)
    shutil.copyfile(cases / "episode_traversal" / "episode.json", traversal / "episode.json")
    for path in hostile.rglob("*"):
        if not path.is_symlink() and (path.is_dir() or path.is_file()) and path.stat().st_mode & 7:
            path.chmod(path.stat().st_mode | 0o600)


def _made(cases: Path, hostile: Path, good: Path, variants: list[str]) -> Iterator[list[str]]:
    for variant in variants:
        yield [str(cases / "make_dataset.py"), variant, str(hostile / f"made_{variant}")]
    yield [str(cases / "make_bags.py"), str(hostile / "made_bags")]
    yield [str(cases / "tasks_shuffled.py"), str(hostile / "tasks_shuffled.parquet")]
    yield [str(cases / "damaged_jpeg.py"), str(hostile / "jpegs")]
    yield [str(cases / "deepspeed_enum.py"), str(hostile / "mp_rank_00_model_states.pt")]
    huge = hostile / "huge_weights"
    shutil.copytree(good / "checkpoint", huge)
    weights = str(huge / "model.safetensors")
    yield [str(cases / "huge_weights.py"), weights, weights]
