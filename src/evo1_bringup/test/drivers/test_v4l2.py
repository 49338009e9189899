"""Cameras by OpenCV's V4L2 backend, on a stand-in that does what OpenCV's source says."""

import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_bringup.drivers.v4l2 import (
    CameraError,
    CameraLoop,
    CameraParameters,
    V4l2Capture,
    read_calibration,
    system_time,
    to_picture,
    users_of,
)
from evo1_policy.perception.colour import DamagedError, segments

SCENE = np.full((480, 640, 3), (200, 100, 40), np.uint8)  # BGR
PHOTO = cv2.imencode(".jpg", SCENE)[1].tobytes()
DEVICE = CameraParameters(device="/dev/video0")
NS = 1_000_000_000
CALIBRATION = """\
image_width: 640
image_height: 480
camera_name: narrow
camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}
"""


def without_huffman_tables(photo):
    """A JPEG as many webcams send it."""
    short = photo
    for kind, body in segments(photo):
        if kind == 0xC4:
            short = short.replace(b"\xff\xc4" + (len(body) + 2).to_bytes(2, "big") + body, b"")
    assert len(short) < len(photo)
    return short


class Video:
    """cv2.VideoCapture of a camera that has one format and one size."""

    def __init__(self, buffers, letters="MJPG", size=(640, 480), stamp_ms=0.0):
        self.buffers = list(buffers)
        self.told = {}
        self.released = False
        self._stamp_ms = stamp_ms
        self._answers = {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter_fourcc(*letters)),
            cv2.CAP_PROP_FRAME_WIDTH: float(size[0]),
            cv2.CAP_PROP_FRAME_HEIGHT: float(size[1]),
        }

    def __call__(self, device, backend):
        assert backend == cv2.CAP_V4L2
        return self

    def isOpened(self):  # noqa: N802, OpenCV's name
        return True

    def set(self, key, value):
        self.told[key] = value
        return True

    def get(self, key):
        return self._stamp_ms if key == cv2.CAP_PROP_POS_MSEC else self._answers[key]

    def grab(self):
        return bool(self.buffers)

    def retrieve(self):
        data = self.buffers.pop(0)
        return (True, np.frombuffer(data, np.uint8)[None]) if data else (False, None)

    def release(self):
        self.released = True


@pytest.mark.parametrize("photo", [PHOTO, without_huffman_tables(PHOTO), PHOTO + bytes(300)])
def test_the_cameras_own_jpeg_is_handed_on_undecoded_and_is_a_picture(photo):
    video = Video([photo])
    frame = V4l2Capture(DEVICE, video).read()
    assert frame.data.tobytes() == photo
    assert video.told[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert to_picture(frame)[0, 0] == pytest.approx((40, 100, 200), abs=3)


def test_a_jpeg_that_was_cut_off_is_no_picture():
    frame = V4l2Capture(DEVICE, Video([PHOTO[: len(PHOTO) // 2]])).read()
    with pytest.raises(DamagedError):
        to_picture(frame)


@pytest.mark.parametrize(
    ("letters", "encoding", "pixel", "colour"),
    [
        ("YUYV", "yuv422_yuy2", b"\x80\x80\x80\x80", 130),
        ("GREY", "mono8", b"\x80\x80", 128),
        ("RGB3", "rgb8", b"\x80" * 6, 128),
    ],
)
def test_a_camera_without_jpeg_gives_pixels_of_its_own_format(letters, encoding, pixel, colour):
    frame = V4l2Capture(DEVICE, Video([pixel * 2, pixel * 4], letters, (4, 2))).read
    assert frame() is None  # cut off
    whole = frame()
    assert (whole.encoding, whole.width, whole.height) == (encoding, 4, 2)
    assert to_picture(whole).shape == (2, 4, 3)
    assert to_picture(whole)[1, 3, 1] == pytest.approx(colour, abs=1)


def test_a_format_that_nobody_reads_is_refused_by_its_name_and_the_device_given_back():
    video = Video([], "H264")
    with pytest.raises(CameraError, match=r"/dev/video0 gives H264 where MJPG was asked for"):
        V4l2Capture(DEVICE, video)
    assert video.released


def test_exposure_is_the_cameras_own_unless_it_is_said():
    video = Video([])
    V4l2Capture(DEVICE, video)
    assert video.told[cv2.CAP_PROP_AUTO_EXPOSURE] == 3
    assert cv2.CAP_PROP_EXPOSURE not in video.told
    V4l2Capture(CameraParameters(device="x", exposure_ms=12.5, gain=7), video)
    assert video.told[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert (video.told[cv2.CAP_PROP_EXPOSURE], video.told[cv2.CAP_PROP_GAIN]) == (125, 7)


@given(st.integers(10 * NS, 10**7 * NS), st.integers(0, NS), st.booleans())
def test_a_stamp_of_either_clock_becomes_system_time(steady_ns, age_ns, of_system):
    system_ns = 1_700_000_000 * NS
    clock_ns = system_ns if of_system else steady_ns
    stamp_ms = (clock_ns - age_ns) / 1e6
    found = system_time(stamp_ms, system_ns, steady_ns)
    assert abs(found - (system_ns - age_ns)) < 1000  # of a double


@pytest.mark.parametrize("stamp_ms", [0.0, -1.0, 5_000.0, 500_000.0])
def test_a_stamp_of_an_unknown_clock_is_the_time_of_the_grab(stamp_ms):
    assert system_time(stamp_ms, 1_700_000_000 * NS, 100 * NS) == 1_700_000_000 * NS


def test_the_kernels_stamp_stands_on_the_frame():
    video = Video([PHOTO], stamp_ms=time.monotonic_ns() / 1e6 - 40.0)
    age_ns = time.time_ns() - V4l2Capture(DEVICE, video).read().stamp_ns
    assert age_ns >= 39_000_000


def test_true_opencv_says_what_keeps_it_from_opening(tmp_path):
    with pytest.raises(CameraError, match=r"video77 is not there: plug the camera in"):
        V4l2Capture(CameraParameters(device=str(tmp_path / "video77")))
    file = tmp_path / "video78"
    with file.open("w"), pytest.raises(CameraError, match=r"video78 is in use by .+ \(\d+\)"):
        V4l2Capture(CameraParameters(device=str(file)))
    assert users_of(str(file)) == []


def test_a_camera_that_is_pulled_says_so_once_and_goes_on_when_it_is_back():
    frames, told, videos = [], [], []

    def plug():
        videos.append(Video([[PHOTO, b"", PHOTO], [], [], [PHOTO]][len(videos)]))
        return V4l2Capture(DEVICE, videos[-1])

    def publish(frame):
        assert not loop.problem
        frames.append(frame)
        if len(frames) == 3:
            loop.end()

    loop = CameraLoop(
        "/dev/video0", plug, publish, lambda what, there: told.append((there, what)), retry_s=0.0
    )
    loop.run()
    assert (loop.frames, loop.spoilt) == (3, 1)
    assert [there for there, _ in told] == [True, False, True]
    assert told[1][1].startswith("/dev/video0 gives nothing any more: unplugged, or stuck; it is")
    assert all(video.released for video in videos)  # or it would come back under another name


def test_calibration_of_camera_calibrations_form_becomes_camera_info(tmp_path):
    file = tmp_path / "narrow.yaml"
    file.write_text(CALIBRATION)
    found = read_calibration(str(file))
    assert (found["width"], found["height"], found["distortion_model"]) == (640, 480, "plumb_bob")
    assert found["k"] == [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    assert (len(found["d"]), len(found["r"]), len(found["p"])) == (5, 9, 12)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("image_width: 640", "image_width: wide", "image_width"),
        ("image_height: 480", "image_height: .inf", "image_height"),
        ("[500, 0, 320, 0, 500, 240, 0, 0, 1]", "[500]", "camera_matrix"),
        ("[0.1, -0.2, 0, 0, 0]", "[.nan]", "distortion_coefficients"),
        (CALIBRATION, "[]", "image_width"),
    ],
)
def test_calibration_that_cannot_be_used_is_refused_by_its_key(old, new, key, tmp_path):
    file = tmp_path / "narrow.yaml"
    file.write_text(CALIBRATION.replace(old, new))
    with pytest.raises(CameraError, match=f"narrow.yaml: {key}: .*as camera_calibration writes"):
        read_calibration(str(file))
