"""hub:user/name against a hub on this machine: HTTP as huggingface_hub speaks it."""

import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
import torch
from huggingface_hub import constants

from evo1_policy.checkpoint import CheckpointError, load_model, read_checkpoint, read_weights
from evo1_policy.checkpoint_layouts.hub import (
    TOKENIZER_FILES,
    licence,
    local_checkpoint,
    local_dataset,
)

CARD = "---\nlicense: apache-2.0\ntags: [evo1]\n---\n# a policy\n"
COMMIT = {"main": "1" * 40, "v2": "2" * 40}


class Hub:
    """One repository, user/arm, with the files of a folder; remembers what was asked for."""

    def __init__(self, folder):
        self.folder, self.asked, hub = folder, [], self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self._answer(body=False)

            def do_GET(self):
                self._answer(body=True)

            def log_message(self, *what):
                pass

            def _answer(self, *, body):
                path = unquote(self.path.partition("?")[0])
                hub.asked.append(path)
                path = path.replace("/api/datasets/", "/api/models/").removeprefix("/datasets")
                status, data, headers = hub.answer(path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve = partial(self.server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()

    def answer(self, path):
        names = sorted(p.relative_to(self.folder).as_posix() for p in self._files())
        if not path.startswith(("/api/models/user/arm", "/user/arm")):
            return 401, b"{}", {"X-Error-Code": "RepoNotFound"}
        words = path.removeprefix("/api/models").removeprefix("/user/arm/").split("/")
        revision = words[1] if len(words) > 1 else "main"
        commit = COMMIT.get(revision, revision if revision in COMMIT.values() else None)
        if commit is None:
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        if words[0] == "resolve":
            data = (self.folder / "/".join(words[2:])).read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            return 200, data, {"ETag": etag, "X-Repo-Commit": commit}
        if words[0] == "tree":
            tree = [self._entry(name) for name in names]
            return 200, json.dumps(tree).encode(), {"Content-Type": "application/json"}
        said = {"id": "user/arm", "sha": commit, "siblings": [{"rfilename": n} for n in names]}
        return 200, json.dumps(said).encode(), {"Content-Type": "application/json"}

    def _entry(self, name):
        size = (self.folder / name).stat().st_size
        oid = hashlib.sha1(name.encode()).hexdigest()
        return {"type": "file", "path": name, "size": size, "oid": oid}

    def _files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def hub(tmp_path, saved, monkeypatch):
    folder = saved("own")
    (folder / "README.md").write_text(CARD)
    (folder / "modeling_evo1.py").write_text("raise SystemExit")
    (folder / "optimizer.pt").write_bytes(b"0" * 100)
    hub = Hub(folder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    here = f"http://127.0.0.1:{hub.server.server_address[1]}"  # what HF_ENDPOINT sets
    urls = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, here)
    monkeypatch.setattr(constants, "ENDPOINT", here)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", urls)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def test_a_policy_of_the_hub_is_downloaded_once_and_is_the_one_that_was_pushed(hub, robot, model):
    found = read_checkpoint("hub:user/arm", robot=robot)
    assert found.notes[0] == "hub:user/arm: revision 111111111111, licence apache-2.0"
    loaded = load_model(found).state_dict()
    assert all(torch.equal(loaded[name], one) for name, one in model.state_dict().items())
    hub.asked.clear()
    assert read_weights("hub:user/arm").config == model.config
    assert hub.asked == []


def test_only_the_files_of_a_checkpoint_are_downloaded(hub):
    folder = local_checkpoint("hub:user/arm")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        *("README.md", "config.json", "model.safetensors", "norm_stats.json", "robot.yaml"),
        "tokenizer/tokenizer.json",
    }
    assert not [path for path in hub.asked if path.endswith((".py", "optimizer.pt"))]


def test_a_tokenizer_comes_without_the_weights_that_it_lies_beside(hub):
    (hub.folder / "tokenizer.json").write_text("{}")
    folder = local_checkpoint("hub:user/arm", TOKENIZER_FILES)
    assert [path.name for path in folder.iterdir()] == ["tokenizer.json"]
    assert (local_checkpoint("hub:user/arm") / "model.safetensors").is_file()


def test_a_dataset_comes_without_programs_and_is_completed_at_its_own_revision(hub, monkeypatch):
    for name in ("meta/info.json", "data/chunk-000/episode_000000.parquet", "data/load.py"):
        (hub.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (hub.folder / name).write_text("{}")
    folder = local_dataset("hub:user/arm")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"README.md", "meta/info.json", "data/chunk-000/episode_000000.parquet"}
    assert folder.parts[-3:] == ("datasets--user--arm", "snapshots", COMMIT["main"])
    (folder / "data/chunk-000/episode_000000.parquet").unlink()
    assert local_dataset("hub:user/arm") == folder
    assert (folder / "data/chunk-000/episode_000000.parquet").is_file()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_dataset("hub:user/arm") == folder
    with pytest.raises(CheckpointError, match="hf download user/other --repo-type dataset"):
        local_dataset("hub:user/other")


def test_a_revision_is_the_one_that_was_named(hub):
    assert local_checkpoint("hub:user/arm@v2").name == COMMIT["v2"]
    with pytest.raises(CheckpointError, match="the repository has no revision 'v3'"):
        local_checkpoint("hub:user/arm@v3")


def test_what_the_hub_has_not_is_said(hub):
    with pytest.raises(CheckpointError, match="no such repository, or it is private"):
        local_checkpoint("hub:user/leg")
    for wrong in ("hub:", "hub:arm", "hub:../../etc", "hub:user/arm/x", "hub:user/arm@a b"):
        with pytest.raises(CheckpointError, match="expected hub:user/name"):
            local_checkpoint(wrong)


def test_without_a_network_the_error_says_what_to_type(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"type: hf download user/arm --local-dir arm"):
        local_checkpoint("hub:user/arm")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (CARD, "apache-2.0"),
        ("---\nlicense: other\nlicense_name: nc-research\n---\n", "nc-research"),
        ("# no front matter\n---\nlicense: x\n---\n", ""),
        ("---\nlicense: [mit]\n---\n", ""),
        ("---\nlicense: {\n---\n", ""),
        ("---\nlicense: mi\x1b[2Jt\n---\n", ""),
    ],
)
def test_the_licence_is_what_the_card_names(tmp_path, card, said):
    (tmp_path / "README.md").write_text(card)
    assert licence(tmp_path) == said


def test_a_folder_is_itself(tmp_path):
    assert local_checkpoint(tmp_path) == tmp_path
    assert licence(tmp_path) == ""
