"""Lays out the documentation's site in out/docs: README, docs/, and a reference made of the code.

`make docs` runs it in the built workspace, then mkdocs on what it wrote. The reference is made
anew each time: parameters, commands with their --help, messages, robot files and changes.
"""

import contextlib
import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

from evo1_bringup.cli import PROGRAMS, build_parser
from evo1_bringup.options import options_of
from evo1_policy.node_parameters import POLICY_PARAMETERS, Parameter

ROOT = Path(__file__).resolve().parents[1]
LAUNCHES = ("xarm6", "so100", "so101", "policy")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def main() -> None:
    """Write every page of the site."""
    into = ROOT / "out" / "docs"
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(ROOT / "docs", into)
    for page in into.rglob("*.md"):
        page.write_text(relinked(page.read_text(), page.relative_to(into).parent, Path("docs")))
    (into / "index.md").write_text(relinked((ROOT / "README.md").read_text(), Path(), Path()))
    for name, make in REFERENCE.items():
        page = into / "reference" / f"{name}.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text("\n".join(make()) + "\n")
    print(f"{sum(1 for _ in into.rglob('*.md'))} pages in {into.relative_to(ROOT)}")


def relinked(text: str, folder: Path, origin: Path) -> str:
    """Markdown with its links as the site has them.

    Args:
        text: a page of the repository.
        folder: where the page lies in the site.
        origin: folder of the repository that its links start from, beside `folder`.
    """

    def moved(found: re.Match[str]) -> str:
        link = found[1]
        if re.match(r"[a-z]+:|#", link):
            return found[0]
        path, mark, anchor = link.partition("#")
        parts: list[str] = []
        for part in (origin / folder / path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        up = "../" * len(folder.parts)
        if parts[:1] == ["docs"]:
            return f"]({up}{'/'.join(parts[1:])}{mark}{anchor})"
        if parts == ["README.md"]:
            return f"]({up}index.md{mark}{anchor})"
        return f"](#source '{'/'.join(parts)}')"  # not part of the site

    # A link out of the site becomes the words alone; its file stands beside them.
    text = LINK.sub(moved, text)
    return re.sub(r"\[([^]]*)\]\(#source '([^']*)'\)", _named, text)


def _named(found: re.Match[str]) -> str:
    words, path = found[1], found[2]
    return words if Path(path).name in words else f"{words} (`{path}`)"


def _table(parameters: dict[str, Parameter]) -> Iterator[str]:
    yield "| name | default | what it is |"
    yield "|---|---|---|"
    for name, one in parameters.items():
        default = f"`{one.default}`" if one.default != "" else ""
        span = f" [{one.span[0]:g} to {one.span[1]:g}]" if one.span else ""
        yield f"| `{name}` | {default} | {_cell(one.described)}{span} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def parameters() -> Iterator[str]:
    """The policy node's parameters, and the options of each launch."""
    yield "# Parameters and launch options\n"
    yield "## Of the policy node\n"
    yield "Also options of every launch: `name:=value`.\n"
    yield from _table(dict(POLICY_PARAMETERS))
    for launch in LAUNCHES:
        yield f"\n## Of {launch}.launch.py alone\n"
        own = {one.name: one for one in options_of(launch) if one.name not in POLICY_PARAMETERS}
        yield from _table(own)


def commands() -> Iterator[str]:
    """What each command says by --help."""
    yield "# Commands\n"
    installed = {
        (e.dist.name if e.dist else "", e.name): e for e in entry_points(group="console_scripts")
    }
    yield from ("```text", build_parser().format_help().rstrip(), "```")
    for command, (package, program) in sorted(PROGRAMS.items()):
        entry = installed[(package, program)]
        yield f"\n## evo1 {command}\n"
        yield f"Also `ros2 run {package} {program}`.\n"
        yield from ("```text", _help(entry.load()), "```")


def _help(program: Callable[[], object]) -> str:
    said, before = io.StringIO(), sys.argv
    sys.argv = ["evo1", "--help"]
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            program()
    finally:
        sys.argv = before
    return said.getvalue().rstrip()


def messages() -> Iterator[str]:
    """Every message, service and action as it is defined, with its comments."""
    yield "# Messages\n"
    for folder in ("msg", "srv", "action"):
        for path in sorted((ROOT / "src" / "evo1_msgs" / folder).iterdir()):
            yield f"\n## {path.stem}\n"
            yield from (
                f"`evo1_msgs/{folder}/{path.stem}`\n",
                "```text",
                path.read_text().rstrip(),
                "```",
            )


def robots() -> Iterator[str]:
    """The robot files that ship, whole: they are the reference of their keys."""
    yield "# Robot files\n"
    yield "Every key stands in one of these; `evo1 new-robot` writes files like them.\n"
    for path in sorted((ROOT / "src" / "evo1_bringup" / "robots").glob("*.yaml")):
        yield from (f"\n## {path.stem}\n", "```yaml", path.read_text().rstrip(), "```")


def changes() -> Iterator[str]:
    """The changelogs of the packages."""
    yield "# Changes\n"
    for path in sorted((ROOT / "src").glob("*/CHANGELOG.rst")):
        yield from (f"\n## {path.parent.name}\n", "```text", path.read_text().rstrip(), "```")


REFERENCE = {
    "parameters": parameters,
    "commands": commands,
    "messages": messages,
    "robots": robots,
    "changes": changes,
}


if __name__ == "__main__":
    main()
