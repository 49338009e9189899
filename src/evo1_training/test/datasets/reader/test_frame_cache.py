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
from evo1_training.datasets.reader.frame_cache import cache_key, open_frame_cache
from evo1_training.datasets.reader.pictures import FrameSource, resize

CAMERA = "observation.images.image_1"


@pytest.fixture
def folder(v21):
    return open_folder(v21)


def shards(cache_dir):
    return sorted(cache_dir.glob("*/*.frames"))


def build(folder, cache_dir, **options):
    return open_frame_cache(folder, CAMERA, **{"size": 28, "cache_dir": cache_dir, **options})


def test_cached_samples_equal_decoded_ones(any_dataset, tmp_path, open_samples):
    plain = open_samples(any_dataset, image_size=28)
    cached = open_samples(any_dataset, image_size=28, cache_dir=tmp_path / "c", cache_jobs=2)
    for row in range(16):
        assert (plain[row].images == cached[row].images).all()


def test_cache_without_resizing_keeps_the_frames(folder, tmp_path):
    cache = build(folder, tmp_path / "c", size=None)
    source = FrameSource(folder)
    assert all((cache.read(row) == source.read(CAMERA, row)).all() for row in range(16))


def test_frames_are_split_into_shards(folder, tmp_path):
    done = []
    cache = build(
        folder, tmp_path, shard_bytes=5 * 28 * 28 * 3, progress=lambda *told: done.append(told)
    )
    assert len(shards(tmp_path)) == 4  # 5 + 5 + 5 + 1
    assert sum(frames for _, frames, _ in done) == 16
    assert {(camera, of) for camera, _, of in done} == {(CAMERA, 16)}
    source = FrameSource(folder)
    assert all((cache.read(r) == resize(source.read(CAMERA, r), 28)).all() for r in range(16))


def test_second_opening_builds_nothing(folder, tmp_path):
    build(folder, tmp_path)
    before = shards(tmp_path)[0].stat().st_mtime_ns
    build(folder, tmp_path, progress=lambda *told: pytest.fail("built again"))
    assert shards(tmp_path)[0].stat().st_mtime_ns == before


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
    per_shard = {"shard_bytes": 5 * 28 * 28 * 3}
    read = FrameSource.read

    def failing(self, key, row):
        if row == 12:
            raise DatasetError("pulled the plug")
        return read(self, key, row)

    monkeypatch.setattr(FrameSource, "read", failing)
    with pytest.raises(DatasetError, match="pulled the plug"):
        build(folder, tmp_path, **per_shard)
    assert "00002" not in [path.name[:5] for path in shards(tmp_path)]
    assert not list(tmp_path.glob("*/cache.json"))
    rows = []
    monkeypatch.setattr(
        FrameSource, "read", lambda self, key, row: rows.append(row) or read(self, key, row)
    )
    build(folder, tmp_path, **per_shard)
    assert rows[:5] == [10, 11, 12, 13, 14]
    assert min(rows) == 10


def test_shard_that_lost_bytes_is_refused(folder, tmp_path):
    build(folder, tmp_path)
    with shards(tmp_path)[0].open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DatasetError, match="shard 00000 is missing or damaged; delete"):
        build(folder, tmp_path)


def test_cut_off_facts_are_refused(folder, tmp_path):
    build(folder, tmp_path)
    next(tmp_path.glob("*/cache.json")).write_text("")
    with pytest.raises(DatasetError, match=r"cache\.json: damaged"):
        build(folder, tmp_path)


def test_changed_dataset_gets_another_cache(folder, tmp_path):
    before = cache_key(folder, CAMERA, 28)
    assert cache_key(folder, CAMERA, 56) != before
    assert cache_key(folder, "observation.images.image_2", 28) != before
    video = folder.episodes[1].videos[CAMERA].path
    os.utime(video, ns=(0, video.stat().st_mtime_ns + 1))
    assert cache_key(folder, CAMERA, 28) != before


def test_moved_dataset_keeps_its_cache(folder, tmp_path):
    moved = shutil.copytree(folder.root, tmp_path / "moved")
    assert cache_key(open_folder(moved), CAMERA, 28) == cache_key(folder, CAMERA, 28)


def test_disk_that_is_too_small_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match=r"image_1 needs 0\.0 GB, 0\.0 GB are free; choose"):
        build(folder, tmp_path)
    assert not shards(tmp_path)


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
