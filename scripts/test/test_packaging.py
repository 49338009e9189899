"""What pip installs: the wheels bring their files and name what they import."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("evo1_policy", "evo1_sim", "evo1_training", "evo1_bringup")
# Named by a command that wants one and says so when it is missing.
OPTIONAL = {"rerun", "wandb", "metaworld", "libero"}
BY_APT = {"launch", "launch_ros"}
TRY = """
import sys
from evo1_bringup.installation import robot_file
from evo1_policy.checkpoint import shipped_checkpoint
from evo1_policy.policy import Policy
for name in {packages}:
    assert __import__(name).__file__.startswith(sys.prefix), name
print(Policy.load(shipped_checkpoint("so100")).interface.name, robot_file("xarm7"))
"""


def imported(package: str) -> Iterator[tuple[str, str]]:
    """Top modules that a package imports where no ROS is, with the file."""
    folder = ROOT / "src" / package / package
    for path in folder.rglob("*.py"):
        if "ros" in path.relative_to(folder).parts[:-1]:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                yield name.partition(".")[0], path.name


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_names_what_it_imports(package: str) -> None:
    source = (ROOT / "src" / package / "setup.py").read_text()
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword)]
    (required,) = (ast.literal_eval(one.value) for one in calls if one.arg == "install_requires")
    extras = [ast.literal_eval(one.value) for one in calls if one.arg == "extras_require"]
    wanted = [*required, *(name for extra in extras for names in extra.values() for name in names)]
    named = {plain(re.split(r"[\[<>=!~ ]", one)[0]) for one in wanted}
    owners = importlib.metadata.packages_distributions()
    missing = {}
    for module, path in imported(package):
        if module in sys.stdlib_module_names or module in OPTIONAL | BY_APT | {package}:
            continue
        if not named & {plain(owner) for owner in owners.get(module, [module])}:
            missing[module] = path
    assert missing == {}


def test_wheels_install_and_run_away_from_the_source(tmp_path: Path) -> None:
    sources = [tmp_path / "src" / name for name in PACKAGES]
    for source in sources:  # a build writes beside what it builds
        ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "test")
        shutil.copytree(ROOT / "src" / source.name, source, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "wheels")]
    subprocess.run([*wheel, *map(str, sources)], check=True, timeout=120)
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    assert [one.name.split("-")[0] for one in wheels] == sorted(PACKAGES)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    (site,) = (venv / "lib").glob("python3*/site-packages")
    # Everything else as it is here: what is tried is whether our own wheels are whole.
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(shared))
    into = [*pip, "--python", str(venv), "install", "--no-index", "--no-deps"]
    subprocess.run([*into, *map(str, wheels)], check=True, timeout=60)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}

    def said(*command: str) -> str:
        run = subprocess.run(
            [str(venv / "bin" / command[0]), *command[1:]],
            env=clean | {"OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    loaded = said("python", "-c", TRY.format(packages=PACKAGES)).split()
    assert loaded[0] == "so100"
    assert loaded[1] == str(venv / "share" / "evo1_bringup" / "robots" / "xarm7.yaml")
    assert "serve" in said("evo1", "--help")
    assert {"train", "convert", "serve"} <= {path.name for path in (venv / "bin").iterdir()}
