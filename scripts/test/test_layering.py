"""Who may import whom, and how big things may get; read from the syntax trees.

Every test gives the list of offences, empty in a good workspace. Scripts may do as they please.
"""

import ast
import functools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("evo1_msgs", "evo1_policy", "evo1_sim", "evo1_training", "evo1_bringup")
PYTHON_PACKAGES = PACKAGES[1:]
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}
# Generated or described by ROS: exists only where ROS does.
ROS_MODULE = re.compile(r"rclpy|builtin_interfaces|\w+_(msgs|srvs|interfaces)")
LAUNCH_MODULE = re.compile(r"launch|launch_ros|launch_testing\w*")
TORCH_HOMES = (
    "evo1_policy/model/",
    "evo1_policy/checkpoint.py",
    "evo1_policy/checkpoint_layouts/",
    "evo1_policy/policy.py",
)
# Keys of rosdep's database for the other imports.
ROSDEP_KEYS = {
    "numpy": "python3-numpy",
    "yaml": "python3-yaml",
    "cv2": "python3-opencv",
    "torch": "python3-pytorch-pip",
    "transformers": "python3-transformers-pip",
    "safetensors": "python3-transformers-pip",
    "mujoco": "python3-mujoco-pip",
    "gymnasium": "python3-gymnasium-pip",
    "matplotlib": "python3-matplotlib",
    "psutil": "python3-psutil",
    "serial": "python3-serial",
    "tqdm": "python3-tqdm",
}


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    module: Path  # the importing file, relative to its package's folder in src
    line: int
    name: str  # dotted

    @property
    def top(self) -> str:
        """First part of the name."""
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path, relative_to: Path) -> Iterator[Import]:
    module = path.relative_to(relative_to)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield Import(module, node.lineno, node.module)


def source_files(package: str) -> list[Path]:
    """Installed modules and launch files of a package, without its tests."""
    folder = ROOT / "src" / package
    return sorted([*(folder / package).rglob("*.py"), *(folder / "launch").rglob("*.py")])


def test_files(package: str) -> list[Path]:
    return sorted((ROOT / "src" / package / "test").rglob("*.py"))


test_files.__test__ = False  # type: ignore[attr-defined]


def all_files() -> list[Path]:
    found = [path for package in PYTHON_PACKAGES for path in source_files(package)]
    found += [path for package in PYTHON_PACKAGES for path in test_files(package)]
    for folder in ("bench", "scripts"):
        found += sorted((ROOT / folder).rglob("*.py"))
    return found


def source_imports(package: str) -> list[Import]:
    folder = ROOT / "src" / package
    return [found for path in source_files(package) for found in imports_of(path, folder)]


def is_ros_edge(module: Path) -> bool:
    return "ros" in module.parts[:-1] or module.name.endswith(".launch.py")


def listed(offences: Iterable[object]) -> list[str]:
    return [str(offence) for offence in offences]


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_only_ros_folders_and_launch_files_import_rclpy_or_messages(package: str) -> None:
    offences = listed(
        found
        for found in source_imports(package)
        if ROS_MODULE.fullmatch(found.top) and not is_ros_edge(found.module)
    )
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_only_launch_files_and_launching_import_launch(package: str) -> None:
    offences = listed(
        found
        for found in source_imports(package)
        if LAUNCH_MODULE.fullmatch(found.top)
        and not found.module.name.endswith(".launch.py")
        and found.module.name != "launching.py"
    )
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_cv_bridge_is_chosen_in_one_module(package: str) -> None:
    offences = listed(
        found
        for found in source_imports(package)
        if found.top == "cv_bridge"
        and found.module.as_posix() != "evo1_policy/perception/colour.py"
    )
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("package", ["evo1_policy", "evo1_sim", "evo1_bringup"])
def test_torch_stays_with_the_model(package: str) -> None:
    offences = listed(
        found
        for found in source_imports(package)
        if found.top == "torch" and not found.module.as_posix().startswith(TORCH_HOMES)
    )
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_packages_import_only_those_before_them(package: str) -> None:
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    offences = listed(
        found
        for found in source_imports(package)
        if found.top in PACKAGES and found.top not in allowed
    )
    assert not offences, "\n".join(offences)


def test_module_is_no_longer_than_allowed() -> None:
    offences = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in all_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_MODULE_LINES
    ]
    assert not offences, "\n".join(offences)


def test_function_is_no_longer_than_allowed() -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path in all_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not offences, "\n".join(offences)


def test_every_module_has_a_name_that_says_something() -> None:
    offences = [
        str(path.relative_to(ROOT)) for path in all_files() if path.stem in NAMES_THAT_SAY_NOTHING
    ]
    assert not offences, "\n".join(offences)


def declared_dependencies(package: str, *kinds: str) -> set[str]:
    manifest = ElementTree.parse(ROOT / "src" / package / "package.xml").getroot()
    return {element.text or "" for kind in kinds for element in manifest.iter(kind)}


def undeclared(imports: Iterable[Import], package: str, declared: set[str]) -> list[str]:
    offences: dict[str, Import] = {}  # one import for each lacking key is enough
    for found in imports:
        is_ros = ROS_MODULE.fullmatch(found.top) or LAUNCH_MODULE.fullmatch(found.top)
        is_ours = found.top in PACKAGES or found.top == "cv_bridge"
        key = found.top if is_ros or is_ours else ROSDEP_KEYS.get(found.top)
        if key and key != package and key not in declared:
            offences.setdefault(key, found)
    return [f"{package}/package.xml lacks {key}: {found}" for key, found in offences.items()]


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_package_xml_declares_what_the_package_imports(package: str) -> None:
    declared = declared_dependencies(package, "depend", "exec_depend")
    offences = undeclared(source_imports(package), package, declared)
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_package_xml_declares_what_the_tests_import(package: str) -> None:
    declared = declared_dependencies(package, "depend", "exec_depend", "test_depend")
    folder = ROOT / "src" / package
    imports = [found for path in test_files(package) for found in imports_of(path, folder)]
    offences = undeclared(imports, package, declared)
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import rclpy.node", ["rclpy.node"]),
        ("def late():\n    from std_msgs.msg import String", ["std_msgs.msg"]),
        ("from . import neighbour", []),
        ("import os, torch", ["os", "torch"]),
    ],
)
def test_imports_are_found_wherever_they_stand(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    assert [found.name for found in imports_of(path, tmp_path)] == expected
