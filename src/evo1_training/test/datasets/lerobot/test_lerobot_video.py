"""Videos: exact times, joining without encoding, quality."""

from fractions import Fraction

import av
import numpy as np
import pytest
from made_episodes import picture

from evo1_training.datasets.lerobot.video import VideoWriter, concatenate, read_facts


def write(path, episode, count, codec="h264", fps=30):
    with VideoWriter(path, codec=codec, fps=fps, size=(48, 64)) as video:
        for index in range(count):
            video.add(picture(episode, index, 0))
    return path


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            yield frame.pts * stream.time_base, frame.to_ndarray(format="rgb24")


def psnr(found, expected):
    return 10 * np.log10(255**2 / np.mean((found.astype(float) - expected) ** 2))


@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("fps", [24, 25, 30, 50, 7])
def test_frame_i_is_at_exactly_i_over_fps(tmp_path, codec, fps):
    path = write(tmp_path / "a.mp4", 0, 9, codec, fps)
    assert [time for time, _ in decode(path)] == [Fraction(i, fps) for i in range(9)]
    assert read_facts(path).frames == 9


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_frames_come_back_close_to_what_was_written(tmp_path, codec):
    path = write(tmp_path / "a.mp4", 0, 12, codec)
    for index, (_, image) in enumerate(decode(path)):
        assert psnr(image, picture(0, index, 0)) > 34


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_every_second_frame_is_a_key_frame(tmp_path, codec):
    path = write(tmp_path / "a.mp4", 0, 10, codec)
    with av.open(str(path)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert keys[::2] == [True] * 5


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_joined_videos_hold_the_same_frames_at_exact_times(tmp_path, codec):
    parts = [write(tmp_path / f"{i}.mp4", i, count, codec) for i, count in enumerate((5, 1, 8))]
    concatenate(parts, tmp_path / "joined.mp4")
    before = [image for part in parts for _, image in decode(part)]
    after = list(decode(tmp_path / "joined.mp4"))
    assert [time for time, _ in after] == [Fraction(i, 30) for i in range(14)]
    for (_, image), expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(image, expected)


def test_videos_of_different_codec_or_rate_do_not_join(tmp_path):
    first = read_facts(write(tmp_path / "a.mp4", 0, 4))
    assert first.joins(read_facts(write(tmp_path / "b.mp4", 1, 7)))
    assert not first.joins(read_facts(write(tmp_path / "c.mp4", 0, 4, "av1")))
    assert not first.joins(read_facts(write(tmp_path / "d.mp4", 0, 4, "h264", 25)))


@pytest.mark.parametrize("size", [(38, 50), (2, 2), (46, 130)])
def test_sizes_that_no_encoder_block_divides_keep_their_pixels(tmp_path, size):
    across, down = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    image = np.stack([across + 60, down + 90, across // 2 + down], axis=-1).astype(np.uint8)
    with VideoWriter(tmp_path / "a.mp4", codec="h264", fps=30, size=size) as video:
        video.add(image)
    ((_, found),) = decode(tmp_path / "a.mp4")
    assert found.shape == image.shape
    assert psnr(found, image) > 30
