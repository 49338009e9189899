"""What ROS's own tools expect of packages: changelogs, manifests, XML, described parameters."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
PACKAGES = sorted(path.parent for path in SOURCES.glob("*/package.xml"))
XML = sorted(
    path
    for pattern in ("package.xml", "config/*.xml", "robots/urdf/*.urdf", "models/*.xml")
    for path in SOURCES.glob(f"*/{pattern}")
)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_manifest_and_changelog_are_read_by_catkin_pkg(package: Path) -> None:
    """As bloom and colcon read them; what is not released yet stands under Forthcoming."""
    changelog = pytest.importorskip("catkin_pkg.changelog")
    manifest = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    parsed = manifest.parse_package(str(package), warnings=warnings)
    assert warnings == []
    assert parsed.licenses == ["Apache-2.0"]
    text = (package / "CHANGELOG.rst").read_text(encoding="utf-8")
    assert text.splitlines()[1] == f"Changelog for package {parsed.name}"
    versions = [
        version
        for version, _, _ in changelog.populate_changelog_from_rst(
            changelog.Changelog(parsed.name), text
        ).foreach_version()
    ]
    assert [version for version in versions if version != "Forthcoming"] in ([], [parsed.version])


def test_every_xml_file_is_well_formed_to_xmllint() -> None:
    program = shutil.which("xmllint")
    if program is None:
        pytest.skip("needs xmllint (libxml2-utils), which is not in the PATH")
    done = subprocess.run([program, "--noout", *map(str, XML)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def declarations() -> Iterator[tuple[str, ast.Call, str]]:
    """Place, call and function of everything that declares a parameter of a node."""
    for path in SOURCES.glob("*/evo1_*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                yield f"{path.relative_to(SOURCES)}:{node.lineno}", node, name


def is_number(value: ast.expr) -> bool:
    return not isinstance(value, ast.Constant) or type(value.value) in (int, float)


def test_every_parameter_is_described_and_every_number_has_its_range() -> None:
    """By a row of a table, by fixed_parameter (read-only), or with a descriptor."""
    bare, endless = [], []
    for place, call, name in declarations():
        options = {option.arg for option in call.keywords}
        if name == "declare_parameter" and len(call.args) < 3 and "descriptor" not in options:
            bare.append(place)
        numbers = {"parameter": 0, "fixed_parameter": 2}
        at = numbers.get(name)
        if at is None or len(call.args) <= at or options & {"span", "choices"}:
            continue
        default = call.args[at]
        literal = isinstance(default, ast.Constant | ast.UnaryOp | ast.BinOp)
        if literal and is_number(default):
            endless.append(place)
    assert bare == []
    assert endless == []
