"""push and pull against a hub on this machine, which takes what is committed to it."""

import base64
import importlib.util
import json
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "reader"))
from small_dataset import SmallDataset, write

from evo1_policy.checkpoint_layouts.hub import licence
from evo1_training.cli import hub as commands

_HUB = Path(__file__).parents[3] / "evo1_policy/test/checkpoint_layouts/test_hub.py"
_SPEC = importlib.util.spec_from_file_location("hub_of_this_machine", _HUB)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
KEPT = {"shouldIgnore": False, "oid": None}
OWN = {"data/load.py", "notes.txt", ".evo1/secret"}


def taking(hub, told):
    """Let it take commits and tags, as the true one answers."""

    def answer(handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path, data = handler.path.partition("?")[0], {}
        if path.endswith("/preupload/main"):
            asked = [one["path"] for one in json.loads(body)["files"]]
            data = {"files": [{"path": p, "uploadMode": "regular"} | KEPT for p in asked]}
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    place = hub.folder / line["value"]["path"]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(base64.b64decode(line["value"]["content"]))
            data = {
                "commitUrl": f"{constants.ENDPOINT}/user/arm/commit/1",
                "commitOid": "1" * 40,
                "success": True,
            }
        elif path.startswith("/api/repos/create"):
            data = {"url": f"{constants.ENDPOINT}/user/arm"}
        told.append((handler.command, path, body))
        handler.send_response(200)
        text = json.dumps(data).encode()
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    handler = hub.server.RequestHandlerClass
    handler.do_POST = handler.do_DELETE = handler.do_PUT = answer


@pytest.fixture
def hub(tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    hub = _MODULE.Hub(tmp_path / "hub")
    hub.told = []
    taking(hub, hub.told)
    here = f"http://127.0.0.1:{hub.server.server_address[1]}"
    urls = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, here)
    for name, value in (
        ("HF_HUB_OFFLINE", False),
        ("HF_HUB_CACHE", str(tmp_path / "cache")),
        ("ENDPOINT", here),
        ("HUGGINGFACE_CO_URL_TEMPLATE", urls),
    ):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def v21(tmp_path):
    return write(tmp_path / "v21", SmallDataset())


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def checkpoint(folder, card="# Evo-1 for so100\n"):
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "optimizer.bin", "train.py"):
        (folder / name).write_text("{}")
    (folder / "README.md").write_text(card)
    return folder


def test_a_dataset_is_pushed_with_card_and_tag_and_pulled_as_it_was(hub, v21, tmp_path, capsys):
    for name in OWN:
        (v21 / name).parent.mkdir(exist_ok=True)
        (v21 / name).write_text("x")
    before = files(v21)
    assert commands.push([str(v21), "user/arm", "--license", "cc-by-4.0"]) == 0
    assert "tag v2.1" in capsys.readouterr().out
    assert files(hub.folder) == before - OWN | {"README.md"}
    assert files(v21) == before
    card = (hub.folder / "README.md").read_text()
    assert licence(hub.folder) == "cc-by-4.0"
    assert "- LeRobot" in card
    assert "data_files: data/*/*.parquet" in card
    asked = [(method, path) for method, path, _ in hub.told]
    assert asked[-2:] == [
        ("DELETE", "/api/datasets/user/arm/tag/v2.1"),
        ("POST", "/api/datasets/user/arm/tag/main"),
    ]
    assert json.loads(hub.told[-1][2])["tag"] == "v2.1"
    assert commands.pull(["hub:user/arm", "--to", str(tmp_path / "here")]) == 0
    out = capsys.readouterr().out
    assert "licence cc-by-4.0" in out
    assert "check" in out.splitlines()[-1]
    assert files(tmp_path / "here") == files(hub.folder)
    video = "videos/chunk-000/observation.images.image_1/episode_000000.mp4"
    assert (tmp_path / "here" / video).read_bytes() == (v21 / video).read_bytes()


def test_a_checkpoint_is_pushed_without_what_belongs_to_training(hub, tmp_path):
    folder = checkpoint(tmp_path / "policy")
    assert commands.push([str(folder), "user/arm", "--license", "mit"]) == 0
    assert files(hub.folder) == {"README.md", "config.json", "model.safetensors"}
    card = (hub.folder / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert card.endswith("# Evo-1 for so100\n")
    assert not [path for _, path, _ in hub.told if "/tag/" in path]


def test_the_licence_is_asked_for_or_the_cards(hub, tmp_path, capsys):
    folder = checkpoint(tmp_path / "policy")
    assert commands.push([str(folder), "user/arm"]) == 1
    assert "say under which with --license NAME" in capsys.readouterr().err
    card = "---\nlicense: apache-2.0\n---\n# mine\n"
    (folder / "README.md").write_text(card)
    assert commands.push([str(folder), "user/arm", "--license", "mit"]) == 1
    assert "names the licence apache-2.0, not mit" in capsys.readouterr().err
    assert hub.told == []
    assert commands.push([str(folder), "user/arm"]) == 0
    assert (hub.folder / "README.md").read_text() == card


def test_what_is_neither_is_not_pushed(hub, tmp_path, capsys):
    assert commands.push([str(tmp_path), "user/arm", "--license", "mit"]) == 1
    assert "neither a dataset (meta/info.json) nor a checkpoint" in capsys.readouterr().err
    assert hub.told == []
