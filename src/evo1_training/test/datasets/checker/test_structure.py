"""Each way of breaking a dataset gives its own finding, and nothing else."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sound_dataset import (
    CAMERAS,
    LENGTHS,
    TASKS,
    Kind,
    edit_json,
    edit_lines,
    edit_table,
    picture,
    pictures,
    png,
    vectors,
    write_tasks,
    write_video,
)

from evo1_training.datasets.checker.checking import check_dataset

V21, V30 = Kind(), Kind(version="v3.0")
IMAGES = Kind(dtype="image")
INFO = "meta/info.json"
TABLE = "data/chunk-000/episode_000001.parquet"
FILE = "data/chunk-000/file-001.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/chunk-000/{CAMERAS[0]}/episode_000001.mp4"
LONG_VIDEO = f"videos/{CAMERAS[0]}/chunk-000/file-000.mp4"
ALL_KINDS = [
    Kind(version=version, dtype=dtype, own=own)
    for version, dtype, own in itertools.product(
        ("v2.1", "v3.0"), ("video", "image"), (False, True)
    )
]


def codes(root, **options):
    return {finding.code for finding in check_dataset(root, **options).findings}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_sound_dataset_gives_no_finding(originals, kind):
    assert not check_dataset(originals(kind)).findings


@pytest.mark.parametrize("kind", [V21, V30], ids=str)
def test_quick_check_of_a_sound_dataset_gives_no_finding(originals, kind):
    assert not check_dataset(originals(kind), quick=True).findings


def set_info(**values):
    return lambda root: edit_json(root / INFO, lambda info: info.update(values))


def set_feature(key, **values):
    return lambda root: edit_json(root / INFO, lambda info: info["features"][key].update(values))


def set_column(path, **columns):
    return lambda root: edit_table(root / path, **columns)


def cut(path, keep=0.6):
    def change(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: int(keep * len(content))])

    return change


def remove(path):
    return lambda root: (root / path).unlink()


def copy(source, target):
    return lambda root: (root / target).write_bytes((root / source).read_bytes())


def lines(path, change):
    return lambda root: edit_lines(root / path, change)


def statistics(change):
    def on_stats(records):
        change(records[1]["stats"])

    return lines("meta/episodes_stats.jsonl", on_stats)


def video(path, images, **options):
    return lambda root: write_video(root / path, images, **options)


def column(path, key):
    return pq.read_table(path).column(key).to_pylist()


def nan_state(root):
    rows = pq.read_table(root / TABLE)
    values = np.array(rows.column("observation.state").to_pylist(), np.float32)
    values[7, 1] = np.nan
    edit_table(root / TABLE, observation__state=vectors(values))


def corrupt_picture(root):
    rows = pq.read_table(root / TABLE)
    cells = rows.column(CAMERAS[1]).to_pylist()
    cells[3] = {"bytes": b"no picture", "path": None}
    kind = rows.schema.field(CAMERAS[1]).type
    edit_table(root / TABLE, observation__images__image_2=pa.array(cells, kind))


def small_pictures(root):
    rows = pq.read_table(root / TABLE)
    cells = [{"bytes": png(picture(i, 0)[:24, :32]), "path": None} for i in range(LENGTHS[1])]
    kind = rows.schema.field(CAMERAS[1]).type
    edit_table(root / TABLE, observation__images__image_2=pa.array(cells, kind))


def leave_pictures(root):
    folder = root / "images" / CAMERAS[0] / "episode_000003"
    folder.mkdir(parents=True)
    (folder / "frame_000000.png").write_bytes(png(picture(0, 0)))


FRAMES = np.arange(LENGTHS[1])
INTS = pa.array(FRAMES)
SHORT = pictures(1, 0)[:-1]
BREAKAGES = {
    "no info.json": (V21, remove(INFO), "meta-missing"),
    "info.json cut off": (V21, cut(INFO), "meta-unreadable"),
    "old version": (V21, set_info(codebase_version="v1.6"), "version"),
    "future version": (V30, set_info(codebase_version="v4.0"), "version"),
    "fps of 0": (V21, set_info(fps=0), "info"),
    "no video_path": (V21, set_info(video_path=None), "info"),
    "no features": (V30, set_info(features={}), "info"),
    "path that cannot be filled": (V21, set_info(data_path="{chunk}.parquet"), "info"),
    "too many episodes claimed": (V21, set_info(total_episodes=4), "totals"),
    "too few frames claimed": (V30, set_info(total_frames=3), "totals"),
    "wrong number of videos": (V21, set_info(total_videos=1), "totals-minor"),
    "names do not fit the shape": (V21, set_feature("action", names=["a"]), "names"),
    "unknown dtype": (V21, set_feature("index", dtype="int65"), {"feature", "columns-extra"}),
    "no episodes.jsonl": (V21, remove("meta/episodes.jsonl"), "meta-missing"),
    "torn episodes.jsonl": (V21, cut("meta/episodes.jsonl"), "meta-unreadable"),
    "no tasks.jsonl": (V21, remove("meta/tasks.jsonl"), {"meta-missing", "totals-minor"}),
    "no episodes table": (V30, remove(EPISODES), "meta-missing"),
    "episodes table without footer": (V30, cut(EPISODES), "meta-unreadable"),
    "hole in episodes": (
        V21,
        lines("meta/episodes.jsonl", lambda records: records[2].update(episode_index=5)),
        {"episode-numbers", "data-missing", "data-extra", "video-missing", "video-extra"},
    ),
    "task that nobody names": (
        V21,
        lines("meta/episodes.jsonl", lambda records: records[2].update(tasks=["dance"])),
        "episode-tasks",
    ),
    "tasks numbered from 1": (
        V21,
        lines("meta/tasks.jsonl", lambda records: records[1].update(task_index=2)),
        "tasks",
    ),
    "task without a sentence": (
        V21,
        lines("meta/tasks.jsonl", lambda records: records[1].update(task=" ")),
        {"instruction-empty", "episode-tasks"},
    ),
    "tasks without pandas index": (
        V30,
        lambda root: write_tasks(root, TASKS, as_index=False),
        "tasks-index",
    ),
    "rows elsewhere": (
        V30,
        set_column(EPISODES, dataset_from_index=pa.array([0, 61, 126])),
        "rows-place",
    ),
    "no table": (V21, remove(TABLE), "data-missing"),
    "no shared table": (V30, remove(FILE), "data-missing"),
    "table too many": (V21, copy(TABLE, TABLE.replace("01.", "09.")), "data-extra"),
    "table cut off": (V21, cut(TABLE), "data-unreadable"),
    "shared table cut off": (V30, cut(FILE), "data-unreadable"),
    "column missing": (V21, set_column(TABLE, frame_index=None), "columns"),
    "column too many": (V21, set_column(TABLE, reward=INTS), "columns-extra"),
    "action in float64": (
        V21,
        lambda root: set_column(
            TABLE, action=vectors(np.array(column(root / TABLE, "action"), np.float64))
        )(root),
        "dtype-width",
    ),
    "action as text": (
        V21,
        set_column(TABLE, action=pa.array(FRAMES.astype(str).tolist())),
        "dtype",
    ),
    "action too wide": (
        V21,
        set_column(TABLE, action=vectors(np.zeros((66, 4), np.float32))),
        "shape",
    ),
    "fewer rows": (
        V21,
        lambda root: pq.write_table(pq.read_table(root / TABLE).slice(0, 60), root / TABLE),
        "rows",
    ),
    "episode_index of another": (
        V21,
        set_column(TABLE, episode_index=pa.array(np.full(66, 4))),
        "positions",
    ),
    "frame_index from 1": (V21, set_column(TABLE, frame_index=pa.array(FRAMES + 1)), "positions"),
    "index from 0 in v2.1": (V21, set_column(TABLE, index=INTS), "positions-minor"),
    "index from 0 in v3.0": (
        V30,
        set_column(FILE, index=pa.array(np.arange(60))),
        "positions",
    ),
    "timestamps of 25 fps": (
        V21,
        set_column(TABLE, timestamp=pa.array((FRAMES / 25).astype(np.float32))),
        "timestamps",
    ),
    "task_index that nobody names": (
        V21,
        set_column(TABLE, task_index=pa.array(np.full(66, 7))),
        "tasks",
    ),
    "NaN in the state": (V21, nan_state, "not-finite"),
    "no video": (V21, remove(VIDEO), "video-missing"),
    "no shared video": (V30, remove(LONG_VIDEO), "video-missing"),
    "video too many": (V21, copy(VIDEO, VIDEO.replace("01.", "09.")), "video-extra"),
    "video cut off": (V21, cut(VIDEO), "video-unreadable"),
    "frame lost": (V21, video(VIDEO, SHORT), "video-frames"),
    "video at 25 fps": (V21, video(VIDEO, pictures(1, 0), fps=25), "video-times"),
    "video of another size": (
        V21,
        video(VIDEO, [one[:24, :32].copy() for one in pictures(1, 0)]),
        "picture-size",
    ),
    "video.fps differs": (V21, set_feature(CAMERAS[0], info={"video.fps": 25}), "video-rate"),
    "from_timestamp is wrong": (
        V30,
        set_column(
            EPISODES, **{f"videos___{CAMERAS[0]}___from_timestamp": pa.array([0.0, 2.01, 0.0])}
        ),
        "video-times",
    ),
    "to_timestamp is wrong": (
        V30,
        set_column(
            EPISODES, **{f"videos___{CAMERAS[0]}___to_timestamp": pa.array([2.0, 5.2, 2.0])}
        ),
        "video-times",
    ),
    "picture corrupt": (IMAGES, corrupt_picture, "picture-unreadable"),
    "pictures of another size": (IMAGES, small_pictures, "picture-size"),
    "no statistics": (
        V21,
        lines("meta/episodes_stats.jsonl", lambda records: records.pop()),
        "stats-missing",
    ),
    "no stats.json in v3.0": (V30, remove("meta/stats.json"), "stats-missing"),
    "no std": (V21, statistics(lambda stats: stats["action"].pop("std")), "stats-missing"),
    "flat picture statistics": (
        V21,
        statistics(lambda stats: stats[CAMERAS[0]].update(mean=[0.5, 0.5, 0.5])),
        "stats-shape",
    ),
    "statistics of other data": (
        V21,
        statistics(lambda stats: stats["action"].update(max=[9, 9, 9])),
        "stats-wrong",
    ),
    "pictures left behind": (V21, leave_pictures, "leftovers"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_breakage_gives_its_finding_and_no_other(sound, name):
    kind, change, expected = BREAKAGES[name]
    root = sound(kind)
    change(root)
    assert codes(root) == ({expected} if isinstance(expected, str) else expected)


def test_finding_says_where_what_and_what_to_do(sound):
    root = sound(V21)
    (root / VIDEO).unlink()
    (finding,) = check_dataset(root).findings
    assert finding.where == str(root / VIDEO)
    assert "missing" in finding.what
    assert "restore" in finding.remedy
    assert finding.severity == "error"


def test_folder_without_dataset_is_an_error(tmp_path):
    report = check_dataset(tmp_path)
    assert report.errors == 1
    assert report.meta is None


def test_v20_dataset_is_checked_with_a_warning(sound):
    root = sound(V21)
    set_info(codebase_version="v2.0")(root)
    (root / "meta/episodes_stats.jsonl").unlink()
    assert codes(root) == {"old-version"}


def files_of(kind):
    """Paths of a sound dataset that tests damage, by what they are."""
    v21 = (INFO, "meta/episodes.jsonl", "meta/tasks.jsonl", "meta/episodes_stats.jsonl")
    v30 = (INFO, "meta/tasks.parquet", "meta/stats.json", EPISODES, FILE, LONG_VIDEO)
    return (*v21, TABLE, VIDEO) if kind.version == "v2.1" else v30


DAMAGED = [(kind, path) for kind in (V21, V30) for path in files_of(kind)]
DAMAGED_IDS = [f"{kind.version} {path}" for kind, path in DAMAGED]


@pytest.mark.parametrize(("kind", "path"), DAMAGED, ids=DAMAGED_IDS)
@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1, 2]", bytes(range(256)) * 8],
    ids=("empty", "object", "list", "bytes"),
)
def test_damaged_file_is_a_finding_and_no_exception(sound, kind, path, content):
    root = sound(kind)
    (root / path).write_bytes(content)
    found = check_dataset(root, quick=True).findings
    assert any(finding.severity in ("error", "warning") for finding in found)


@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [], {}, True])
def test_strange_value_in_info_is_no_exception(sound, value):
    root = sound(V21)
    original = (root / INFO).read_text()
    for key in ("fps", "chunks_size", "features", "data_path", "video_path", "robot_type"):
        set_info(**{key: value})(root)
        check_dataset(root, quick=True)
        (root / INFO).write_text(original)
