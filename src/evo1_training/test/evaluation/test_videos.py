import av
import cv2
import numpy as np
import pytest

from evo1_training.evaluation.videos import TrialVideo, VideoError, side_by_side, thumbnail


def frames(count):
    for k in range(count):
        image = np.full((25, 32, 3), 30 * k, np.uint8)
        yield {"image_1": image, "image_2": image}


def picture(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


def test_images_of_different_sizes_stand_side_by_side():
    joined = side_by_side([picture(20, 30, 50), picture(11, 15, 90)])
    assert joined.shape == (20, 44, 3)  # 30 + 15, made even
    assert (joined[:, :30] == 50).all()
    assert (joined[:11, 30:] == 90).all()
    assert (joined[11:, 30:] == 0).all()


def test_a_video_of_every_frame_shows_each(tmp_path):
    path = tmp_path / "v.mp4"
    video = TrialVideo(path, rate_hz=10, every=1)
    for k in range(7):
        video.add({"image_1": picture(48, 64, 30 * k), "image_2": picture(48, 64, 0)})
    assert video.close(keep=True)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
    assert len(decoded) == 7
    assert abs(int(decoded[6][24, 32, 0]) - 180) < 8
    assert decoded[6][24, 100, 0] < 8


def test_a_kept_video_plays_both_cameras_at_a_third_of_the_rate(tmp_path):
    path = tmp_path / "trial.mp4"
    video = TrialVideo(path, rate_hz=30)
    for images in frames(7):
        video.add(images)
    video.close(keep=True)
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 10
    assert [frame.shape for frame in shown] == [(24, 64, 3)] * 3
    assert [round(float(frame.mean()) / 90) for frame in shown] == [0, 1, 2]


@pytest.mark.parametrize(("count", "keep"), [(3, False), (0, True), (0, False)])
def test_a_video_that_is_not_kept_leaves_nothing(tmp_path, count, keep):
    video = TrialVideo(tmp_path / "trial.mp4", rate_hz=30)
    for images in frames(count):
        video.add(images)
    assert not video.close(keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_written_names_the_file(tmp_path):
    with pytest.raises(VideoError, match=r"no_folder/trial\.mp4"):
        TrialVideo(tmp_path / "no_folder" / "trial.mp4", rate_hz=30)


def test_a_thumbnail_is_a_small_jpeg_in_true_colours():
    red = np.zeros((240, 320, 3), np.uint8)
    red[..., 0] = 200
    image = cv2.imdecode(np.frombuffer(thumbnail(red), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (120, 160, 3)
    assert abs(int(image[60, 80, 2]) - 200) < 5
