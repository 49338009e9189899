"""Files that a person looks at."""

import av
import numpy as np
from recordings import good

from evo1_bringup.demo.plot import plot_joints
from evo1_bringup.demo.video import side_by_side, write_video
from evo1_policy.robot_config import load_robot


def picture(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_images_of_different_sizes_stand_side_by_side():
    joined = side_by_side([picture(20, 30, 50), picture(11, 15, 90)])
    assert joined.shape == (20, 50, 3)  # 30 + 4 + 15, made even
    assert (joined[:, :30] == 50).all()
    assert (joined[:11, 34:49] == 90).all()
    assert (joined[11:, 34:] == 0).all()


def test_video_has_every_pair_of_frames(tmp_path):
    frames = {
        "image_1": [picture(48, 64, 30 * k) for k in range(8)],
        "image_2": [picture(48, 64, 0)] * 7,  # one came too late
    }
    path = write_video(tmp_path / "v.mp4", frames, rate_hz=10)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
    assert len(decoded) == 7
    assert abs(int(decoded[6][24, 32, 0]) - 180) < 8
    assert decoded[6][24, 100, 0] < 8


def test_no_frames_make_no_video(tmp_path):
    assert write_video(tmp_path / "v.mp4", {"image_1": [], "image_2": []}, rate_hz=10) is None
    assert not (tmp_path / "v.mp4").exists()


def test_plot_is_written(tmp_path, robots_dir):
    path = plot_joints(tmp_path / "p.png", good(), load_robot(robots_dir / "xarm6.yaml"))
    assert path.read_bytes().startswith(b"\x89PNG")
