"""Episodes and datasets that would have a conversion change other files than its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from converting import Watcher, episodes, lengths

from evo1_training.datasets.conversion import convert
from evo1_training.recording.episode import SIDECAR


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "wrong", ["./../../escaped/pwn", "/tmp/pwn", "a/b", "", "a\n", "*", "x" * 101, 7, None]
)
def test_an_episode_id_that_is_no_name_writes_nothing_outside(tmp_path, request_for, wrong):
    root = episodes(tmp_path / "demos", 2)
    text = json.loads((root / "episode_000001" / SIDECAR).read_text())
    text["facts"]["episode_id"] = wrong
    (root / "episode_000001" / SIDECAR).write_text(json.dumps(text))
    before = contents(tmp_path)
    request = request_for(root)
    summary = convert(request, Watcher())
    ((folder, reason),) = summary.failed
    assert (folder.name, "episode_id" in reason) == ("episode_000001", True)
    assert lengths(request) == [30]
    assert {k: v for k, v in contents(tmp_path).items() if request.dataset not in k.parents} == (
        before
    )


def test_a_journal_in_a_dataset_changes_nothing(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root / "episode_000000")
    convert(request, Watcher())
    victim = tmp_path / "victim" / "secret.txt"
    victim.parent.mkdir()
    victim.write_text("mine")
    journal = request.dataset / ".adding" / "journal.json"
    journal.parent.mkdir()
    journal.write_text('{"replace": ["../victim/bashrc"], "delete": ["../victim/secret.txt"]}')
    more = replace(request, episodes=[root], append=True)
    with pytest.raises(ValueError, match=r"\.adding: no conversion left this"):
        convert(more, Watcher())
    assert journal.is_file()
    (journal.parent / "lock").touch()
    convert(more, Watcher())
    assert contents(victim.parent) == {victim: b"mine"}
    assert lengths(request) == [30, 33]


@pytest.mark.parametrize("name", [".work", ".adding", "meta", "data", "data/chunk-000"])
def test_a_link_in_a_dataset_does_not_lead_the_conversion_out_of_it(tmp_path, request_for, name):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root / "episode_000000")
    convert(request, Watcher())
    link, elsewhere = request.dataset / name, tmp_path / "elsewhere"
    if link.exists():
        link.rename(elsewhere)
    else:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    before = contents(elsewhere)
    with pytest.raises(ValueError, match="is not in the folder"):
        convert(replace(request, episodes=[root], append=True), Watcher())
    assert contents(elsewhere) == before


@pytest.mark.parametrize("name", [".work", ".adding"])
def test_hidden_folders_of_others_are_not_removed(tmp_path, request_for, name):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root / "episode_000000")
    convert(request, Watcher())
    (request.dataset / name).mkdir()
    (request.dataset / name / "precious.txt").write_text("mine")
    before = contents(request.dataset)
    with pytest.raises(ValueError, match="no conversion left this"):
        convert(replace(request, episodes=[root], append=True), Watcher())
    assert contents(request.dataset) == before
