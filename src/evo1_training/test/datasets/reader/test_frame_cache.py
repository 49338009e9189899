"""The frame cache: the same pictures, built once, never half."""

import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
from small_dataset import SmallDataset, write

from evo1_policy.model.preprocessing import resize_image
from evo1_training.datasets.reader import DatasetError, frame_cache, open_folder
from evo1_training.datasets.reader.frame_cache import episode_keys, open_frame_cache
from evo1_training.datasets.reader.pictures import FrameSource, resize

CAMERA = "observation.images.image_1"
KINDS = pytest.mark.parametrize("kind", ["raw", "jpeg"])


@pytest.fixture
def folder(v21):
    return open_folder(v21)


def files(cache_dir):
    return sorted(path for path in cache_dir.glob("*/*") if path.suffix in (".frames", ".jpegs"))


def build(folder, cache_dir, **options):
    return open_frame_cache(folder, CAMERA, **{"size": 28, "cache_dir": cache_dir, **options})


@pytest.fixture
def decoded(monkeypatch):
    """Rows that were decoded."""
    rows, read = [], FrameSource.read
    monkeypatch.setattr(
        FrameSource, "read", lambda self, key, row: rows.append(row) or read(self, key, row)
    )
    return rows


def test_cached_samples_equal_decoded_ones(any_dataset, tmp_path, open_samples):
    plain = open_samples(any_dataset, image_size=28)
    cached = open_samples(any_dataset, image_size=28, cache_dir=tmp_path / "c", cache_jobs=2)
    for row in range(16):
        assert (plain[row].images == cached[row].images).all()


def test_cache_without_resizing_keeps_the_frames(folder, tmp_path):
    cache = build(folder, tmp_path / "c", size=None)
    source = FrameSource(folder)
    assert all((cache.read(row) == source.read(CAMERA, row)).all() for row in range(16))


def test_jpegs_are_a_fraction_of_the_size_and_look_the_same(tmp_path, any_dataset):
    folder = open_folder(any_dataset)
    exact = build(folder, tmp_path / "raw", size=112)
    small = build(folder, tmp_path / "jpeg", size=112, kind="jpeg")
    for row in range(16):
        error = exact.read(row).astype(float) - small.read(row)
        assert (error**2).mean() < 6.5  # 40 dB
    sizes = [
        sum(path.stat().st_size for path in files(tmp_path / kind)) for kind in ("raw", "jpeg")
    ]
    assert sizes[1] < sizes[0] / 4


@KINDS
def test_the_size_is_told_before_the_first_frame_is_decoded(folder, tmp_path, kind):
    told = []
    build(folder, tmp_path, size=448, kind=kind, progress=lambda *what: told.append(what))
    size = {"raw": "image_1, 0.0 GB (raw)", "jpeg": "image_1, 0.0 GB (jpeg)"}[kind]
    assert told == [(size, 0, 16), *[(size, 1, 16)] * 16]


def test_second_opening_builds_nothing(folder, tmp_path):
    build(folder, tmp_path)
    before = files(tmp_path)[0].stat().st_mtime_ns
    build(folder, tmp_path, progress=lambda *told: pytest.fail("built again"))
    assert files(tmp_path)[0].stat().st_mtime_ns == before


@KINDS
def test_only_a_changed_episode_is_decoded_again(folder, tmp_path, decoded, kind):
    build(folder, tmp_path, kind=kind)
    video = folder.episodes[1].videos[CAMERA].path
    os.utime(video, ns=(0, video.stat().st_mtime_ns + 1))
    decoded.clear()
    build(folder, tmp_path, kind=kind)
    first = folder.episodes[1].first_row
    span = range(first, first + folder.episodes[1].length)
    assert set(decoded) == set(span)
    assert len(decoded) <= len(span) + 1  # one more told the size


def test_an_added_episode_is_all_that_is_decoded(tmp_path, decoded):
    short = write(tmp_path / "short", SmallDataset(lengths=(3, 4)))
    longer = write(tmp_path / "longer", SmallDataset(lengths=(3, 4, 5)))
    for video in short.glob("videos/**/*.mp4"):  # what adding an episode leaves as it was
        shutil.copystat(video, longer / video.relative_to(short))
    build(open_folder(short), tmp_path / "c")
    decoded.clear()
    build(open_folder(longer), tmp_path / "c")
    assert decoded == [7, 8, 9, 10, 11]


def test_processes_that_ask_at_once_build_it_once(folder, tmp_path):
    context = multiprocessing.get_context("fork")
    built = context.Value("i", 0)
    workers = [context.Process(target=_count_built, args=(folder, tmp_path, built)) for _ in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert built.value == 16


def _count_built(folder, tmp_path, built):
    def count(camera, frames, of):
        with built.get_lock():
            built.value += frames

    build(folder, tmp_path, progress=count)


def test_cut_off_build_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    read = FrameSource.read
    last = folder.episodes[-1].first_row

    def failing(self, key, row):
        if row == last + 1:
            raise DatasetError("pulled the plug")
        return read(self, key, row)

    with monkeypatch.context() as patched:
        patched.setattr(FrameSource, "read", failing)
        with pytest.raises(DatasetError, match="pulled the plug"):
            build(folder, tmp_path)
    assert len(files(tmp_path)) == len(folder.episodes) - 1
    rows = []
    monkeypatch.setattr(
        FrameSource, "read", lambda self, key, row: rows.append(row) or read(self, key, row)
    )
    build(folder, tmp_path)
    assert rows == list(range(last, 16))
    assert not list(tmp_path.glob("*/*.tmp"))


@KINDS
def test_a_file_that_lost_bytes_is_built_again(folder, tmp_path, kind):
    build(folder, tmp_path, kind=kind)
    with files(tmp_path)[0].open("r+b") as file:
        file.truncate(100)
    cache = build(folder, tmp_path, kind=kind)
    assert all(cache.read(row).shape == (28, 28, 3) for row in range(16))


def test_a_damaged_jpeg_is_named(folder, tmp_path):
    cache = build(folder, tmp_path, kind="jpeg")
    for path in files(tmp_path):
        with path.open("r+b") as file:
            file.write(b"no picture")
    with pytest.raises(DatasetError, match=r"\.jpegs: frame 0 is damaged; delete this file"):
        cache.read(0)


def test_an_episode_that_is_there_twice_is_decoded_once(tmp_path, decoded):
    root = write(tmp_path / "d", SmallDataset(lengths=(4, 4)))
    first, second = (episode.videos[CAMERA].path for episode in open_folder(root).episodes)
    second.unlink()
    os.link(first, second)
    cache = build(open_folder(root), tmp_path / "c", jobs=2)
    assert len(decoded) == 4
    assert (cache.read(5) == cache.read(1)).all()


def test_moved_dataset_keeps_its_cache(folder, tmp_path):
    moved = shutil.copytree(folder.root, tmp_path / "moved")
    assert episode_keys(open_folder(moved), CAMERA, 28) == episode_keys(folder, CAMERA, 28)
    assert not set(episode_keys(folder, CAMERA, 56)) & set(episode_keys(folder, CAMERA, 28))


def test_disk_that_is_too_small_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match=r"image_1 needs 0\.0 GB, 0\.0 GB are free; choose"):
        build(folder, tmp_path)
    assert not files(tmp_path)


def test_cache_travels_to_another_process_without_its_frames(tmp_path):
    root = write(tmp_path / "d", SmallDataset(lengths=(3,)))
    cache = build(open_folder(root), tmp_path / "c", size=None)
    frame = cache.read(2)
    data = pickle.dumps(cache)
    assert len(data) < frame.nbytes
    assert (pickle.loads(data).read(2) == frame).all()


@pytest.mark.parametrize("size", [28, 56, 448])
def test_resize_is_the_policys_within_one_level(size):
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    ours = resize(image, size).astype(int)
    theirs = resize_image(image, size).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1
