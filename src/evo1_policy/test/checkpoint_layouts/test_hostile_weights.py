"""Files of weights that are damaged, absurd or hostile: an error that names the file."""

import enum
import json
import os
import resource
import sys
import types
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import stats_of

from evo1_policy.checkpoint import CheckpointError, load_model, read_checkpoint, save_checkpoint
from evo1_policy.checkpoint_layouts.restricted_unpickler import load_plain
from evo1_policy.checkpoint_layouts.tensor_files import open_safetensors
from evo1_policy.conversion import convert_checkpoint

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1551234567\n"
NORM = "action_head.norm_out.bias"
FILES = ("f.pt", "w.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.double() + 1e300, r"is 1e\+300 at flat index 0; no trained weight is beyond"),
        (lambda t: t + 1e37, r"is 1e\+37 at flat index 0; no trained weight is beyond 1e\+06"),
        (lambda t: t.to(torch.float8_e4m3fn), "is torch.float8_e4m3fn; sparse and quantised"),
        (lambda t: t.to(torch.int8), "is torch.int8; sparse and quantised weights cannot be used"),
    ],
)
def test_weights_that_no_model_can_compute_with_are_named(saved, change, message):
    path = saved("own") / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {NORM: change(tensors[NORM])}, path)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: {NORM} {message}"):
        load_model(read_checkpoint(path.parent))


@pytest.mark.parametrize("layout", ["own", "official", "lerobot"])
def test_norm_stats_of_no_joint_are_named_with_file_key_and_value(saved, layout):
    directory = saved(layout)
    if layout == "lerobot":
        path = directory / "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
        tensors = {key: value.clone() for key, value in load_file(path).items()}
        tensors["action.max"][1] = 1e308
        save_file(tensors, path)
    else:
        path = directory / "norm_stats.json"
        data = json.loads(path.read_text())
        (data["stats"] if layout == "own" else data)["xarm6"]["action"]["max"][1] = 1e308
        path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=rf"{path.name}: .*action: max\[1\]: 1e\+308 is no"):
        read_checkpoint(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), "is torch.sparse_coo; sparse and quantised"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is torch.qint8; sparse"),
        (lambda t: t.to("meta"), "is without data; sparse"),
        (lambda t: t.double() + 1e300, r"is 1e\+300 at flat index 0"),
    ],
)
def test_tensors_of_a_pickle_that_hold_no_plain_numbers_are_named(saved, change, message):
    path = saved("official") / "mp_rank_00_model_states.pt"
    content = torch.load(path, weights_only=True)
    content["module"][NORM] = change(content["module"][NORM])
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"states\.pt: ({NORM} )?.*{message}"):
        load_model(read_checkpoint(path.parent))


def test_small_objects_of_deepspeed_do_not_matter(tmp_path, monkeypatch):
    class ZeroStageEnum(int, enum.Enum):
        gradients = 2

    module = types.ModuleType("deepspeed.zero")
    ZeroStageEnum.__module__, ZeroStageEnum.__qualname__ = module.__name__, "ZeroStageEnum"
    module.ZeroStageEnum = ZeroStageEnum
    content = {"module": {"w": torch.ones(2)}, "optimizer": {"stage": ZeroStageEnum.gradients}}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "deepspeed", types.ModuleType("deepspeed"))
        patch.setitem(sys.modules, module.__name__, module)
        torch.save(content, tmp_path / "f.pt")
    assert load_plain(tmp_path / "f.pt")["module"]["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["model.safetensors", "f.pt"])
def test_a_git_lfs_pointer_is_called_one(tmp_path, name):
    path = tmp_path / name
    path.write_text(POINTER)
    read = load_plain if name == "f.pt" else lambda path: open_safetensors(path).__enter__()
    with pytest.raises(CheckpointError, match=rf"{name}: a Git LFS pointer to a file of 1,551,2"):
        read(path)


def test_a_pipe_in_place_of_the_weights_is_not_waited_for(saved):
    path = saved("own") / "model.safetensors"
    path.unlink()
    os.mkfifo(path)
    checkpoint = read_checkpoint(path.parent)
    for read in (checkpoint.model_hash, lambda: load_model(checkpoint)):
        with pytest.raises(ValueError, match=r"model\.safetensors: .*no regular file"):
            read()


def test_an_archive_that_grows_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"module": {"w": torch.zeros(1000)}}, tmp_path / "plain.pt")
    path = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name) + bytes(1_000_000))
    with pytest.raises(CheckpointError, match=r"bomb\.pt: grows when it is unpacked"):
        load_plain(path)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"{}", 1 << 62, "damaged or truncated"),
        ({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, None, "damag"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, None, "damaged"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, None, "damaged"),
        ({"w": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, None, "damaged"),
        (b"[" * 100_000, None, "damaged"),
    ],
    ids=range(6),
)
def test_absurd_headers_are_refused(tmp_path, header, data, message):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if data is None else data
    (tmp_path / "w.safetensors").write_bytes(size.to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(CheckpointError, match=rf"w\.safetensors: {message}"):
        open_safetensors(tmp_path / "w.safetensors").__enter__()


def test_only_the_files_of_a_tokenizer_are_copied(tmp_path, saved, model, robot, tokenizer):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("evil.py", "model.safetensors", "config.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    (folder / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    save_checkpoint(
        tmp_path / "out",
        model=model,
        stats=stats_of(robot),
        interface=robot.interface,
        tokenizer_dir=folder,
    )
    copied = {path.name for path in (tmp_path / "out/tokenizer").iterdir()}
    assert copied == {"tokenizer.json", "tokenizer_config.json"}


@pytest.mark.parametrize("layout", ["own", "official", "lerobot"])
def test_a_full_disk_names_the_folder_and_leaves_nothing(tmp_path, saved, layout):
    before, target = saved("own"), tmp_path / "out" / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as if the disk took no more
    try:
        with pytest.raises(CheckpointError, match=f"{target}: cannot be saved: .* the disk full"):
            convert_checkpoint(before, target, layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(target.parent.iterdir()) == []
    read_checkpoint(before)


def test_a_folder_of_somebody_else_is_not_removed(tmp_path, saved, model, robot, tokenizer):
    parts = {"model": model, "stats": stats_of(robot), "interface": robot.interface}
    theirs = tmp_path / "out.partial"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("x")
    with pytest.raises(CheckpointError, match=r"out\.partial: in the way, and not left by a save"):
        save_checkpoint(tmp_path / "out", tokenizer_dir=tokenizer, **parts)
    assert (theirs / "thesis.tex").read_text() == "x"
    (theirs / ".begun").touch()  # as a killed save leaves it
    save_checkpoint(tmp_path / "out", tokenizer_dir=tokenizer, **parts)
    assert not theirs.exists()
    assert not (tmp_path / "out/.begun").exists()


def one_change(data, place, value):
    """The bytes with one of them replaced; the place is a share of their number."""
    changed = bytearray(data)
    changed[int(place * (len(data) - 1))] = value
    return bytes(changed)


def is_read_or_named(read, named):
    """Whether a file is read, or refused by an error that names it."""
    try:
        read()
    except CheckpointError as error:
        return named in str(error)
    return True


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.floats(0, 1),
    value=st.integers(0, 255),
    cut=st.floats(0, 1),
    name=st.sampled_from(FILES),
)
def test_any_byte_of_a_file_of_weights_may_be_wrong(tmp_path, place, value, cut, name):
    whole, path = tmp_path / f"whole_{name}", tmp_path / name
    content = {"w": torch.arange(8.0), "v": torch.ones(2, 2)}
    if not whole.exists():
        torch.save({"module": content}, whole) if name == "f.pt" else save_file(content, whole)
    changed = bytearray(whole.read_bytes())
    changed[int(place * (len(changed) - 1))] = value
    path.write_bytes(changed[: int(cut * len(changed))] if cut < 0.3 else changed)

    def read():
        if name == "f.pt":
            load_plain(path)
            return
        with open_safetensors(path) as file:
            for key in file.shapes:
                file.read(key)

    assert is_read_or_named(read, name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
OWN = ("config.json", "norm_stats.json", "training.json")
FOREIGN = ("config.json", "norm_stats.json", "evo1_ros2.json")
LEROBOT = ("config.json", "policy_preprocessor.json", "policy_postprocessor.json")


def places(value, path=()):
    """Every place in JSON data."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("layout", "names"), [("own", OWN), ("official", FOREIGN), ("lerobot", LEROBOT)]
)
def test_any_value_of_a_small_file_may_be_wrong(saved, robot, layout, names):
    directory = saved(layout)
    (directory / "training.json").write_text('{"trained_in": "real", "instructions": ["a"]}')
    whole = {name: json.loads((directory / name).read_text()) for name in names}
    known = [(name, path) for name in names for path in places(whole[name])]

    @given(where=st.sampled_from(known), value=JSON, sidecar=st.booleans())
    def change(where, value, sidecar):
        name, path = where
        data = json.loads(json.dumps(whole[name]))
        spot = data
        for key in path[:-1]:
            spot = spot[key]
        if path:
            spot[path[-1]] = value
        hidden = directory / "evo1_ros2.json"
        kept = hidden.read_text() if hidden.exists() else None
        (directory / name).write_text(json.dumps(data if path else value))
        if kept is not None and not sidecar:
            hidden.unlink()
        named = is_read_or_named(lambda: read_checkpoint(directory, robot=robot), str(directory))
        (directory / name).write_text(json.dumps(whole[name]))
        if kept is not None:
            hidden.write_text(kept)
        assert named

    change()
