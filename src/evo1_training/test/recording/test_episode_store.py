import pytest

from evo1_training.datasets.reader import DatasetError
from evo1_training.recording.episode import SIDECAR, EpisodeError, episode_folders
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.foreign_files import bags_below
from evo1_training.training.data_selection import newest_dataset


def make(store):
    folder = store.next_folder()
    folder.mkdir()
    (folder / SIDECAR).write_text("{}")
    store.add(folder)
    return folder


def test_deleted_episode_is_in_the_trash_and_its_number_free(tmp_path):
    store = EpisodeStore(tmp_path / "new" / "root")
    first, second = make(store), make(store)
    moved = store.delete_last()
    assert (moved / SIDECAR).is_file()
    assert store.saved == (first,)
    assert store.next_folder() == second
    assert episode_folders(store.root) == [first]


def test_the_last_one_is_the_last_that_nobody_else_deleted(tmp_path):
    store = EpisodeStore(tmp_path)
    first, second = make(store), make(store)
    EpisodeStore(tmp_path).discard(second)  # on the desk's page
    assert store.delete_last().name == first.name
    with pytest.raises(LookupError, match="no episode was saved since"):
        store.delete_last()


def test_trash_keeps_only_the_newest(tmp_path):
    store = EpisodeStore(tmp_path, keep_deleted=2)
    moved = []
    for _ in range(4):
        make(store)
        moved.append(store.delete_last())
    assert [path.exists() for path in moved] == [False, False, True, True]


def test_episodes_of_another_run_are_never_deleted(tmp_path):
    make(EpisodeStore(tmp_path))
    with pytest.raises(LookupError, match="no episode was saved since"):
        EpisodeStore(tmp_path).delete_last()


def test_nothing_is_looked_for_in_a_whole_file_system(tmp_path):
    for number in range(5001):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(EpisodeError, match=r"more than 5,000 folders; name one nearer"):
        episode_folders(tmp_path)
    with pytest.raises(EpisodeError, match=r"more than 5,000 folders; name one nearer"):
        bags_below(tmp_path)
    with pytest.raises(DatasetError, match=r"more than 5,000 folders; name one nearer"):
        newest_dataset(tmp_path)


def test_a_dataset_that_is_being_made_is_not_the_newest_one(tmp_path):
    for place in ("can", ".work/can"):
        (tmp_path / place / "meta").mkdir(parents=True)
        (tmp_path / place / "meta/info.json").write_text("{}")
    assert newest_dataset(tmp_path) == tmp_path / "can"
