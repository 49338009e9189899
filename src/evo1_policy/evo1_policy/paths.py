"""Paths: where things were installed, names that a file tells, what is really on the disk.

Whatever a dataset, bag, episode or checkpoint calls a file goes through `confined` before it is
opened, written or removed; nothing else joins such a name to a folder. Must not import ROS or
torch.
"""

import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MOST_FOLDERS = 5000  # that a search enters
_LONGEST_PART, _LONGEST = 255, 4000  # bytes, as Linux's file systems have them
_SHOWN = 80  # characters of a name in an error
_NEVER = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, line and paragraph separators


def prefixes() -> tuple[Path, ...]:
    """The install prefixes of this shell (AMENT_PREFIX_PATH), the overlay first."""
    text = os.environ.get("AMENT_PREFIX_PATH", "")
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


def shares(package: str) -> tuple[Path, ...]:
    """Where the shared files of a package may lie: beside our source, by colcon, by pip."""
    here, found = Path(__file__).resolve(), []
    python = importlib.util.find_spec(package) if package.isidentifier() else None
    for folder in (python.submodule_search_locations if python else None) or ():
        source = Path(folder).resolve().parent
        found += [source] if (source / "package.xml").is_file() else []
    places = [*prefixes()]
    if len(here.parents) > 4:  # <prefix>/lib/python3.x/site-packages/evo1_policy/paths.py
        places.append(here.parents[4])
    places.append(Path(sys.prefix))
    return (*found, *(place / "share" / package for place in places))


def sync(path: Path) -> None:
    """Have a file's contents, or a folder's names, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a file whole or not at all.

    Args:
        path: the file.
        text: what it will hold.
        sync: wait until it is on the disk.

    Raises:
        OSError: the disk is full or gone; what was there before stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    temporary.replace(path)


def point_link(link: Path, to: Path) -> None:
    """Let a link show a folder, without a moment in which it shows none.

    Raises:
        OSError: the disk is full or gone, or something that is no link has its name.
    """
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(to)
    fresh.replace(link)


def free_name(path: Path, suffix: str) -> Path:
    """The first name beside a path that nothing has: with the suffix, then a number behind it."""
    number, place = 1, path.with_name(path.name + suffix)
    while place.exists():
        number += 1
        place = path.with_name(f"{path.name}{suffix}.{number}")
    return place


def folders_below(root: Path, what: str) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder that a person named and those in it, hidden ones left out, as os.walk gives them.

    Args:
        root: may be a whole disk by mistake.
        what: is looked for, such as 'the episodes'.

    Yields:
        Each folder, the names of the folders in it (those taken out are not entered), and of its
        files.

    Raises:
        ValueError: there are more than can be meant.
    """
    for number, (folder, inner, files) in enumerate(os.walk(root)):
        if number == _MOST_FOLDERS:
            raise ValueError(
                f"{root}: more than {_MOST_FOLDERS:,} folders; name one nearer to {what}"
            )
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield Path(folder), inner, files


def confined(
    root: Path, name: str | os.PathLike[str], what: str, *, own_links: bool = False
) -> Path:
    """Give the path of a file below a folder, from a name that is not trusted.

    Symlinks are followed to see where the name leads, also through parents of files that do not
    exist yet. A snapshot in Hugging Face's cache may lead to the blobs beside it.

    Args:
        root: the folder that must not be left.
        name: relative, with forward slashes.
        what: where the name stands, such as 'data_path of meta/info.json'; begins the error.
        own_links: links in the folder are its owner's and may lead anywhere, as those of a share
            folder that colcon filled with --symlink-install.

    Returns:
        root / name, links not resolved, so that suffix and errors stay those of the name.

    Raises:
        ValueError: the name is empty, absolute or too long, has '..', a backslash, NUL or another
            control character, or leads out of the folder. Names what, name and root.
    """
    text = os.fspath(name)
    problem = _problem(text)
    if not problem:
        path = root / text
        if own_links:
            return path
        real = Path(os.path.realpath(path))
        if any(home in real.parents for home in _homes(Path(os.path.realpath(root)))):
            return path
        problem = f"leads to {real}, which is not in the folder"
    raise ValueError(
        f"{what}: {text[:_SHOWN]!r} {problem}; expected a name of a file below {root}"
    )


def _problem(text: str) -> str:
    """What keeps a text from naming a file below a folder, by itself; empty for nothing."""
    parts = PurePosixPath(text).parts
    if not parts:
        return "is no name"
    if any(unicodedata.category(character) in _NEVER for character in text):
        return "has a control character"
    if "\\" in text:
        return "has a backslash"
    if text.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "has '..'"
    sizes = [len(part.encode()) for part in parts]
    if max(sizes) > _LONGEST_PART or len(text.encode()) > _LONGEST:
        return f"is too long with {len(text)} characters"
    return ""


def _homes(root: Path) -> list[Path]:
    """The folder, and in Hugging Face's cache the blobs that its snapshots consist of."""
    if root.parent.name == "snapshots" and (root.parent.parent / "blobs").is_dir():
        return [root, root.parent.parent / "blobs"]
    return [root]
