"""A dataset that was made to do harm is refused by name, soon, and in little memory."""

import json
import os
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreign_dataset import Foreign
from foreign_dataset import write as write_foreign
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import SmallDataset, edit_info, write

from evo1_training.datasets.checker.checking import check_dataset
from evo1_training.datasets.reader import DatasetError, open_folder, video
from evo1_training.datasets.reader.columns import read_columns

TABLE = "data/chunk-000/episode_000001.parquet"


@pytest.mark.parametrize(
    "template",
    [
        "../../outside/{episode_index:06d}.parquet",
        "/etc/{episode_index}",
        "data/{episode_index:>999999999}.parquet",
        "data/{episode_index:0999999999d}",
        "data/{episode_index.__class__}.parquet",
        "data/{episode_index!r}.parquet",
        "data/{0}.parquet",
        "data/{",
        "data/\x1b[2J{episode_index}",
        "data/" + "x" * 5000,
    ],
)
def test_template_that_asks_for_more_than_a_place_is_refused(v21, template):
    edit_info(v21, data_path=template)
    with pytest.raises(DatasetError, match=r"data_path"):
        open_folder(v21)
    assert check_dataset(v21, quick=True).errors


@pytest.mark.parametrize(
    "name", ["meta/info.json", "meta/episodes.jsonl", "meta/tasks.jsonl", TABLE]
)
def test_link_out_of_the_dataset_is_refused(tmp_path, v21, name):
    outside = tmp_path / "outside"
    (v21 / name).rename(outside)
    (v21 / name).symlink_to(outside)
    with pytest.raises(DatasetError, match=r"leads to .*outside, which is not in the folder"):
        open_folder(v21)
    assert "outside" in {one.code for one in check_dataset(v21, quick=True).findings}


def test_snapshot_of_links_to_the_blobs_beside_it_is_read(tmp_path):
    root = write(tmp_path / "datasets--me--cans/snapshots/0123", SmallDataset())
    blobs = tmp_path / "datasets--me--cans/blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(os.path.relpath(blobs / str(number), path.parent))
    assert open_folder(root).rows == 16
    assert check_dataset(root, quick=True).meta is not None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "9" * 5000])
def test_json_that_is_nested_or_long_is_refused(v21, text):
    (v21 / "meta/info.json").write_text(text)
    with pytest.raises(DatasetError, match=r"info\.json: "):
        open_folder(v21)
    assert check_dataset(v21, quick=True).errors == 1


def test_pipe_in_place_of_a_file_is_refused(v21):
    (v21 / "meta/episodes.jsonl").unlink()
    os.mkfifo(v21 / "meta/episodes.jsonl")
    with pytest.raises(DatasetError, match=r"episodes\.jsonl: .* no regular file"):
        open_folder(v21)


def bomb(width, height):
    """A PNG of some hundred bytes that claims to be large."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    body = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def with_picture(tmp_path, **cell):
    root = write(tmp_path / "d", SmallDataset(dtype="image"))
    table = pq.read_table(root / TABLE)
    key = "observation.images.image_1"
    cells = pa.array([cell] * 7, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(table.set_column(table.column_names.index(key), key, cells), root / TABLE)
    return root


def test_picture_of_another_size_than_promised_is_never_decoded(tmp_path, open_samples):
    root = with_picture(tmp_path, bytes=bomb(9_000, 9_000), path=None)
    with pytest.raises(DatasetError, match=r"9000x9000, but info\.json says 64x48"):
        open_samples(root)[6]
    assert "picture-size" in {one.code for one in check_dataset(root, quick=True).findings}


def test_picture_that_a_table_repeats_without_end_is_not_unpacked(tmp_path, open_samples):
    root = write(tmp_path / "d", SmallDataset(dtype="image", lengths=(5, 200)))
    table, key = pq.read_table(root / TABLE), "observation.images.image_1"
    cells = pa.array([{"bytes": bytes(1 << 20), "path": None}] * 200)
    table = table.set_column(table.column_names.index(key), key, cells)
    pq.write_table(table, root / TABLE, dictionary_pagesize_limit=4 << 20)
    assert (root / TABLE).stat().st_size < 3 << 20
    with pytest.raises(DatasetError, match=r"unpack to more than [\d,]+ bytes are not read"):
        open_samples(root)[6]


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../secret.png"])
def test_picture_outside_of_the_dataset_is_not_opened(tmp_path, open_samples, path):
    root = with_picture(tmp_path, bytes=None, path=path)
    with pytest.raises(DatasetError, match=r"expected a name of a file below"):
        open_samples(root)[6]


def test_pictures_larger_than_any_cameras_are_refused(v21):
    info = json.loads((v21 / "meta/info.json").read_text())
    info["features"]["observation.images.image_1"]["shape"] = [40_000, 40_000, 3]
    edit_info(v21, features=info["features"])
    with pytest.raises(DatasetError, match=r"image_1: shape: .* too large"):
        open_folder(v21)


def test_video_larger_than_any_cameras_is_never_decoded(v21, open_samples, monkeypatch):
    monkeypatch.setattr(video, "MOST_PIXELS", 64 * 47)
    with pytest.raises(DatasetError, match=r"episode_000000\.mp4: cannot be decoded"):
        open_samples(v21)[0]


def test_table_that_unpacks_to_far_more_than_its_bytes_is_refused(v21, open_samples):
    rows = 1_000_000  # a long run of one value is nearly nothing on disk
    table = pa.table(
        {
            key: pa.array(np.zeros(rows, np.int64))
            for key in ("frame_index", "episode_index", "index", "task_index")
        }
        | {"timestamp": pa.array(np.zeros(rows, np.float32))}
        | {
            key: pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3 * rows, np.float32)), 3)
            for key in ("observation.state", "action")
        }
    )
    pq.write_table(table, v21 / TABLE, compression="zstd")
    assert (v21 / TABLE).stat().st_size < 80_000
    with pytest.raises(DatasetError, match=r"bytes that unpack to [\d,]+ are not read"):
        open_samples(v21)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = write_foreign(tmp_path_factory.mktemp("fuzz") / "d", Foreign(cameras={}, scale=1.0))
    return root, {name: (root / name).read_bytes() for name in FUZZED}


FUZZED = (
    "meta/info.json",
    "meta/episodes.jsonl",
    "meta/tasks.jsonl",
    "meta/episodes_stats.jsonl",
    TABLE,
)


@pytest.mark.fuzz
@given(data=st.data())
def test_no_dataset_ends_in_a_traceback(small, data):
    """One value of info.json, or some bytes of any file, are anything: a finding or an error."""
    root, originals = small
    name = data.draw(st.sampled_from(FUZZED))
    content = originals[name]
    if name == "meta/info.json" and data.draw(st.booleans()):
        info = json.loads(content)
        place = data.draw(st.sampled_from([info, info["features"], info["features"]["action"]]))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
        content = json.dumps(info).encode("utf-8", "surrogatepass")
    else:
        begin = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(begin, min(begin + 40, len(content))))
        content = content[:begin] + data.draw(st.binary(max_size=40)) + content[end:]
    (root / name).write_bytes(content)
    try:
        check_dataset(root, quick=True)
        folder = open_folder(root)
        read_columns(folder, [key for key, one in folder.info.features.items() if one.is_number])
    except DatasetError as error:
        if str(root) not in str(error):
            raise AssertionError("names no file") from error
    finally:
        (root / name).write_bytes(originals[name])
