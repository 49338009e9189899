"""The site of the documentation has every page, and links that hold there."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import docs_site

ROOT = Path(__file__).resolve().parents[2]


def test_the_navigation_names_every_page_once() -> None:
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    made = [f"reference/{name}.md" for name in docs_site.REFERENCE]
    assert sorted(named) == sorted(["index.md", *pages, *made])


@pytest.mark.parametrize(
    ("text", "folder", "origin", "there"),
    [
        ("[safety](docs/safety.md#states)", "", "", "[safety](safety.md#states)"),
        ("[safety](safety.md)", "", "docs", "[safety](safety.md)"),
        ("[loop](../src/a/policy_loop.py)", "", "docs", "loop (`src/a/policy_loop.py`)"),
        ("[policy_loop.py](../src/a/policy_loop.py)", "", "docs", "policy_loop.py"),
        ("[training](../training.md)", "study", "docs", "[training](../training.md)"),
        ("[start](../README.md#three-minutes)", "", "docs", "[start](index.md#three-minutes)"),
        (
            "[paper](https://arxiv.org/abs/2511.04555)",
            "",
            "docs",
            "[paper](https://arxiv.org/abs/2511.04555)",
        ),
        ("![cell](docs/images/a.png)", "", "", "![cell](images/a.png)"),
    ],
)
def test_links_are_moved(text: str, folder: str, origin: str, there: str) -> None:
    assert docs_site.relinked(text, Path(folder), Path(origin)) == there


def test_parameters_stand_in_the_reference() -> None:
    page = "\n".join(docs_site.parameters())
    assert re.search(r"^\| `execution_mode` \| `replace` \| .*ensemble", page, re.MULTILINE)
    assert "## Of so101.launch.py alone" in page
