"""Names that a file tells stay below their folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.paths import confined, shares


@pytest.mark.parametrize("name", ["a", "meta/info.json", "a b/c;d'e", "..a/b..", "~", "ü/日本"])
def test_an_ordinary_name_is_a_path_below_the_folder(tmp_path: Path, name: str) -> None:
    assert confined(tmp_path, name, "data_path") == tmp_path / name


def test_a_path_is_taken_like_a_text(tmp_path: Path) -> None:
    assert confined(tmp_path, Path("a") / "b", "data_path") == tmp_path / "a" / "b"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is no name"),
        (".", "is no name"),
        ("./.", "is no name"),
        ("..", "has '..'"),
        ("../x", "has '..'"),
        ("./../../x", "has '..'"),
        ("a/../b", "has '..'"),
        ("/etc/passwd", "is an absolute path"),
        ("//etc/passwd", "is an absolute path"),
        ("a\0b", "has a control character"),
        ("a\nb", "has a control character"),
        ("a\x1b[2Jb", "has a control character"),
        ("a\x7f", "has a control character"),
        ("a\x9b2J", "has a control character"),
        ("a\u2028b", "has a control character"),
        ("a\ud800", "has a control character"),
        ("..\\x", "has a backslash"),
        ("C:\\x", "has a backslash"),
        ("a" * 256, "is too long"),
        ("ü" * 128, "is too long"),
        ("a/" * 2001, "is too long"),
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(
    tmp_path: Path, name: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=r"^data_path of info\.json: ") as caught:
        confined(tmp_path, name, "data_path of info.json")
    assert problem in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_symlinks_may_stay_below_the_folder_and_not_leave_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "good").symlink_to(root / "inside")
    (root / "relative").symlink_to("inside")
    (root / "up").symlink_to("..")
    (root / "away").symlink_to(tmp_path / "elsewhere")  # which does not exist yet
    (root / "itself").symlink_to(root)
    (root / "loop").symlink_to("loop")
    assert confined(root, "good/new", "x") == root / "good" / "new"
    assert confined(root, "relative/new", "x") == root / "relative" / "new"
    for name in ("up/root.txt", "away", "away/new", "itself"):
        with pytest.raises(ValueError, match="is not in the folder"):
            confined(root, name, "x")
    confined(root, "loop", "x")  # leads nowhere; opening it is an OSError


def test_the_folder_itself_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert confined(tmp_path / "link", "a", "x") == tmp_path / "link" / "a"


def test_a_folder_with_the_same_beginning_is_another_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data_2").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data_2")
    with pytest.raises(ValueError, match="is not in the folder"):
        confined(tmp_path / "data", "link/x", "x")


def test_a_snapshot_of_hugging_faces_cache_leads_to_its_blobs(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "blobs").mkdir()
    (snapshot / "config.json").symlink_to("../../blobs/89ab")
    (snapshot / "evil.json").symlink_to("../../refs/main")
    assert confined(snapshot, "config.json", "x") == snapshot / "config.json"
    with pytest.raises(ValueError, match="is not in the folder"):
        confined(snapshot, "evil.json", "x")


@pytest.mark.fuzz
@given(st.text(st.sampled_from("./\\~a \0\n\u202e"), max_size=24) | st.text())
def test_any_text_is_below_the_folder_or_refused(name: str) -> None:
    root = Path("/nonexistent/root")
    try:
        path = confined(root, name, "x")
    except ValueError:
        return
    assert os.path.normpath(path).startswith("/nonexistent/root/")


def test_what_ships_is_found_where_there_is_no_ros(monkeypatch) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    for shared in ("models/xarm6.xml", "checkpoints/xarm6_tiny"):
        assert any((share / shared).exists() for share in shares("evo1_policy"))
