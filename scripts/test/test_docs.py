"""README and docs: what they link to, and what they tell people to type, exists."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from evo1_bringup.cli import PROGRAMS, build_parser
from evo1_bringup.options import options_of

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
LAUNCHES = ("xarm6", "so100", "policy", "xarm6_bimanual")


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def typed(page: Path) -> Iterator[list[str]]:
    """The words of each `evo1 ...` that a page shows as code."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`(evo1 [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in lines:
        if line.strip().startswith("evo1 "):
            try:
                yield shlex.split(line.strip(), comments=True)[1:]
            except ValueError:  # a quote that the next line closes
                yield line.split()[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / name)) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_what_is_to_be_typed_exists() -> None:
    actions = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    commands = set(PROGRAMS) | set(actions[0].choices)  # type: ignore[arg-type]
    options = {option.name for name in LAUNCHES for option in options_of(name)}
    options |= {"robot", "name"}  # of two_arms; of `name:=value`
    wrong = []
    for page, words in ((where, said) for where in PAGES for said in typed(where)):
        if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            continue
        flags = {found[0] for word in words if (found := re.match("--[a-z-]+", word))}
        named = [found[1] for word in words if (found := re.match(r"([a-z_0-9]+):=", word))]
        if (
            words[0] not in commands
            or any(f'"{flag}"' not in SOURCES and flag != "--help" for flag in flags)
            or any(re.sub("^(left|right)_", "", name) not in options for name in named)
        ):
            wrong.append(f"{page.name}: evo1 {' '.join(words)}")
    assert wrong == []


def test_the_readme_is_short_and_its_python_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = README.read_text()
    assert len(text.splitlines()) < 200
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(code, {})
    assert capsys.readouterr().out.strip() == "(25, 7)"
