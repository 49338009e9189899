"""Recorded messages of any bytes: each ends in a reading, a rejection, or an error with a name."""

import pytest
from bag_writing import Recording, picture, position, write_episode
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_training.datasets.conversion_job import Job, convert_episode
from evo1_training.datasets.conversion_request import schema_of
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import EpisodeError

FEWER = settings(max_examples=max(10, settings.default.max_examples // 4))


@pytest.mark.fuzz
@FEWER
@given(data=st.data())
def test_messages_of_any_bytes_are_converted_or_named(tmp_path_factory, data):
    recording = Recording()
    for k in range(12):
        recording.image("/env/image_raw", k * 1000 / 30, picture(k))
        recording.image("/wrist/image_raw", k * 1000 / 30 + 4, picture(k, camera=1))
        recording.joints(k * 1000 / 30, position(k))
        recording.target(k * 1000 / 30, position(k + 1))
    for _ in range(data.draw(st.integers(1, 6))):
        number = data.draw(st.integers(0, len(recording.messages) - 1))
        received_ns, topic, raw = recording.messages[number]
        changed = bytearray(raw)
        for _ in range(data.draw(st.integers(0, 3))):
            place = data.draw(st.integers(0, max(0, min(len(raw) - 4, 120))))
            word = data.draw(st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)]))
            changed[place : place + 4] = word
        del changed[data.draw(st.integers(0, len(raw))) :]
        recording.messages[number] = (received_ns, topic, bytes(changed))
    folder = write_episode(tmp_path_factory.mktemp("fuzz") / "episode_000000", recording)
    try:
        schema = schema_of(open_episode(folder), "png")
        work = folder.parent / "work"
        work.mkdir()
        job = Job(folder=folder, work=work, schema=schema, gaps="auto", min_frames=1)
        result = convert_episode(job, lambda _: None)
    except EpisodeError as error:
        assert str(folder) in str(error)  # noqa: PT017
    else:
        assert sum(result.frames) > 0
