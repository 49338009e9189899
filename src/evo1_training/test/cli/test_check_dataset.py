"""check_dataset as a person runs it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "checker"))
from sound_dataset import Kind, write

from evo1_training.cli.check_dataset import main


@pytest.fixture
def dataset(tmp_path):
    return write(tmp_path / "dataset", Kind(own=True))


def test_sound_dataset_exits_with_0(dataset, capsys):
    assert main([str(dataset)]) == 0
    assert "3 episodes, 186 frames: 0 errors, 0 warnings" in capsys.readouterr().out


def test_broken_dataset_exits_with_1_and_says_what_to_do(dataset, capsys):
    (dataset / "data/chunk-000/episode_000001.parquet").unlink()
    assert main([str(dataset)]) == 1
    said = capsys.readouterr().out
    assert "error: data-missing" in said
    assert "episode_000001.parquet: missing" in said
    assert "-> restore the file" in said


def test_report_has_a_page_and_its_plots(dataset, tmp_path):
    assert main([str(dataset), "--quick", "--report", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/report.html").read_text()
    for name in ("episodes.png", "lags.png", "episode_000002_joints.png"):
        assert name in page
        assert (tmp_path / "report" / name).stat().st_size > 1000


def test_report_of_what_cannot_be_read_lists_the_findings(tmp_path):
    (tmp_path / "dataset").mkdir()
    assert main([str(tmp_path / "dataset"), "--report", str(tmp_path / "report")]) == 1
    assert "meta-missing" in (tmp_path / "report/report.html").read_text()


def test_report_leaves_out_an_episode_whose_file_is_gone(dataset, tmp_path):
    for path in (dataset / "data/chunk-000").iterdir():
        path.unlink()
    assert main([str(dataset), "--report", str(tmp_path / "report")]) == 1
    page = (tmp_path / "report/report.html").read_text()
    assert "data-missing" in page
    assert "contact_sheet" not in page


def test_json_lists_all_findings(dataset, tmp_path):
    (dataset / "data/chunk-000/episode_000001.parquet").unlink()
    assert main([str(dataset), "--json", str(tmp_path / "out.json")]) == 1
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["counts"]["error"] == 1
    assert content["findings"][0]["code"] == "data-missing"
    assert content["joints"][0]["name"] == "shoulder"


def test_missing_folder_is_one_line_on_stderr(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.strip().endswith("no such folder")


def test_wrong_usage_exits_with_2():
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
