"""A camera by OpenCV's V4L2 backend: its own JPEG or raw bytes, stamped by the kernel.

What OpenCV does is known from its source (modules/videoio/src/cap_v4l.cpp): without
CAP_PROP_CONVERT_RGB `retrieve` gives the buffer's bytes as they are, (1, N); a format or a size
that the camera has not is replaced, and reads back as what it is; CAP_PROP_POS_MSEC is the stamp
of the buffer that was grabbed last, 0 before; `grab` fails at once when the camera was pulled, and
when it is silent after a time that an environment variable says. Must not import ROS.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from evo1_policy.node_parameters import ParameterTable, parameter
from evo1_policy.perception.colour import ENCODINGS, decompress_rgb, to_rgb
from evo1_policy.untrusted import MOST_YAML_BYTES, parse_yaml, read_text

JPEG = "jpeg"
RETRY_S = 1.0
# By the name of its parameter: V4L2's letters, and the encoding of sensor_msgs.
PIXEL_FORMATS = {
    "mjpeg": ("MJPG", JPEG),
    "yuyv": ("YUYV", "yuv422_yuy2"),
    "uyvy": ("UYVY", "uyvy"),
    "nv12": ("NV12", "nv12"),
    "rgb": ("RGB3", "rgb8"),
    "bgr": ("BGR3", "bgr8"),
    "grey": ("GREY", "mono8"),
}
_ENCODING = {**dict(PIXEL_FORMATS.values()), "JPEG": JPEG}
_MANUAL, _BY_APERTURE = 1, 3  # V4L2_EXPOSURE_MANUAL; what webcams call automatic
_OLDEST_NS = 2_000_000_000  # a stamp of more is of another clock


class CameraError(RuntimeError):
    """A camera that is not there or gives nothing; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class CameraParameters(ParameterTable):
    """The parameters of the camera node, read once at its start.

    Raises:
        ParameterError: a value that cannot be used.
    """

    device: str = parameter(
        "", "Such as /dev/video0, or a lasting name of /dev/v4l/by-path. Required.", required=True
    )
    width: int = parameter(640, "Width that is asked for [pixels].", span=(16, 8192))
    height: int = parameter(480, "Height that is asked for [pixels].", span=(16, 8192))
    rate_hz: int = parameter(30, "Frames a second that are asked for.", span=(1, 240))
    pixel_format: str = parameter(
        "mjpeg",
        "What is asked for; a camera that has it not gives another one, which the log names.",
        choices=tuple(PIXEL_FORMATS),
    )
    exposure_ms: float = parameter(
        0.0, "Exposure [ms], in steps of 0.1; 0: the camera's own.", span=(0.0, 1000.0)
    )
    gain: int = parameter(-1, "Gain, in the camera's own unit; -1: as it is.", span=(-1, 65535))
    frame_id: str = parameter("camera", "Frame of the pictures (REP 103: z forward, x right).")
    calibration: str = parameter(
        "", "Calibration file (YAML) as camera_calibration writes it; empty: uncalibrated."
    )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture as the camera gave it.

    Attributes:
        data: (N,) uint8: a JPEG, or pixels.
        encoding: JPEG, or a key of ENCODINGS.
        stamp_ns: of its capture, in the system's time [ns].
    """

    data: npt.NDArray[np.uint8]
    encoding: str
    width: int
    height: int
    stamp_ns: int


class Capture(Protocol):
    """An opened camera. Used by one thread."""

    def read(self) -> Frame | None:
        """The next frame; None for one that came empty or cut off.

        Raises:
            CameraError: the camera is gone.
        """

    def close(self) -> None:
        """Give the device back, and its name with it."""


class V4l2Capture:
    """A camera by OpenCV.

    Args:
        wanted: what is asked for.
        open_video: in place of cv2.VideoCapture, which would grumble each second where none is.

    Raises:
        CameraError: it cannot be opened, or gives a format that nobody here reads.
    """

    def __init__(
        self, wanted: CameraParameters, open_video: Callable[[str, int], Any] | None = None
    ) -> None:
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # [s], of 10
        self._device = wanted.device
        if open_video is None and not Path(wanted.device).exists():
            raise CameraError(why_closed(wanted.device))
        self._video = (open_video or cv2.VideoCapture)(wanted.device, cv2.CAP_V4L2)
        if not self._video.isOpened():
            raise CameraError(why_closed(wanted.device))
        letters = PIXEL_FORMATS[wanted.pixel_format][0]
        self._set_up(wanted, letters)
        code = int(self._video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        found = code.to_bytes(4, "little").decode("latin-1")
        self._width = int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH))
        self._height = int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if found not in _ENCODING:
            self.close()
            known = ", ".join(PIXEL_FORMATS)
            raise CameraError(
                f"{wanted.device} gives {found} where {letters} was asked for; expected one of "
                f"{known}: set pixel_format to one that the camera has (evo1 find-cameras)"
            )
        self._encoding = _ENCODING[found]

    def _set_up(self, wanted: CameraParameters, letters: str) -> None:
        video = self._video
        video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*letters))
        video.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        video.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
        video.set(cv2.CAP_PROP_FPS, wanted.rate_hz)
        video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        manual = wanted.exposure_ms > 0  # else anew: a camera keeps what another program set
        video.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL if manual else _BY_APERTURE)
        if manual:
            video.set(cv2.CAP_PROP_EXPOSURE, round(wanted.exposure_ms * 10))  # of 0.1 ms
        if wanted.gain >= 0:
            video.set(cv2.CAP_PROP_GAIN, wanted.gain)

    def read(self) -> Frame | None:
        """The next frame; None for one that came empty or cut off."""
        if not self._video.grab():
            raise CameraError(f"{self._device} gives nothing any more: unplugged, or stuck")
        system_ns, steady_ns = time.time_ns(), time.monotonic_ns()
        stamp_ns = system_time(self._video.get(cv2.CAP_PROP_POS_MSEC), system_ns, steady_ns)
        good, data = self._video.retrieve()
        if not good or data is None or not data.size:
            return None
        data = data.reshape(-1)
        if self._encoding != JPEG:
            shape = ENCODINGS[self._encoding]
            if data.size != shape.rows(self._height) * self._width * shape.channels:
                return None
        return Frame(
            data=data,
            encoding=self._encoding,
            width=self._width,
            height=self._height,
            stamp_ns=stamp_ns,
        )

    def close(self) -> None:
        """Give the device back."""
        self._video.release()


def system_time(stamp_ms: float, system_ns: int, steady_ns: int) -> int:
    """When a frame was captured, in the system's time [ns].

    Args:
        stamp_ms: its buffer's stamp: most drivers' are of the monotonic clock, some of the
            system's, some are 0 or of a clock of their own [ms].
        system_ns: the system's clock at the grab.
        steady_ns: the monotonic clock, at the same moment.

    Returns:
        The stamp where it belongs to one of the two clocks; else the time of the grab.
    """
    stamp_ns = round(stamp_ms * 1e6)
    for clock_ns in (steady_ns, system_ns):
        if 0 <= clock_ns - stamp_ns < _OLDEST_NS:
            return system_ns - (clock_ns - stamp_ns)
    return system_ns


def why_closed(device: str) -> str:
    """Why a device cannot be opened, as far as anybody can see, and what to do."""
    if not Path(device).exists():
        return f"{device} is not there: plug the camera in (evo1 find-cameras lists what is)"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} is not yours to open: sudo usermod -aG video $USER, log in anew"
    users = ", ".join(users_of(device))
    if users:
        return f"{device} is in use by {users}: end that"
    return f"{device} cannot be opened: no camera, or in use by another user's program"


def users_of(device: str, processes: Path = Path("/proc")) -> list[str]:
    """The programs that have a device open, as far as this user may see them: name (pid)."""
    real, found = Path(device).resolve(), []
    for folder in processes.glob("[0-9]*"):
        try:
            if any(file.readlink() == real for file in (folder / "fd").iterdir()):
                found.append(f"{(folder / 'comm').read_text().strip()} ({folder.name})")
        except OSError:  # another user's, or it has ended
            continue
    return found


class CameraLoop:
    """Reads a camera for ever, and opens it anew when it was pulled and comes back.

    Args:
        device: its name, for people.
        open_capture: opens it, or raises CameraError.
        publish: is given every frame, on the reading thread.
        tell: is told when the camera comes and goes: the words, and whether it is there.
        retry_s: between two attempts [s].

    Attributes:
        frames: that came whole.
        spoilt: that came empty or cut off.
        problem: why none come now; empty while they come.
    """

    def __init__(
        self,
        device: str,
        open_capture: Callable[[], Capture],
        publish: Callable[[Frame], None],
        tell: Callable[[str, bool], None],
        retry_s: float = RETRY_S,
    ) -> None:
        self.frames, self.spoilt, self.problem = 0, 0, f"{device} is being opened"
        self._device, self._open, self._publish = device, open_capture, publish
        self._tell, self._retry_s = tell, retry_s
        self._ended = threading.Event()

    def run(self) -> None:
        """Read until `end`."""
        while not self._ended.is_set():
            try:
                with closing(self._open()) as capture:
                    self._read_all(capture)
            except CameraError as error:
                if str(error) != self.problem:
                    self.problem = str(error)
                    self._tell(f"{error}; it is opened again when it comes back", False)
                self._ended.wait(self._retry_s)

    def end(self) -> None:
        """Let `run` come to its end after the frame that it waits for."""
        self._ended.set()

    def _read_all(self, capture: Capture) -> None:
        while not self._ended.is_set():
            frame = capture.read()
            if frame is None:
                self.spoilt += 1
                continue
            self.frames += 1
            if self.problem:
                self.problem = ""
                what = f"{frame.encoding} {frame.width}x{frame.height}"
                self._tell(f"{self._device} gives {what}", True)
            self._publish(frame)


def to_picture(frame: Frame) -> npt.NDArray[np.uint8]:
    """The frame as (H, W, 3) uint8 RGB.

    Raises:
        DamagedError: a JPEG that is not whole.
    """
    if frame.encoding == JPEG:
        return decompress_rgb(frame.data)
    shape = ENCODINGS[frame.encoding]
    rows = frame.data.reshape(shape.rows(frame.height), frame.width, shape.channels)
    return to_rgb(rows, frame.encoding)


def read_calibration(path: str) -> dict[str, Any]:
    """What camera_calibration wrote, by the fields of sensor_msgs/CameraInfo.

    Raises:
        CameraError: it cannot be used; the message names file and key.
    """
    text = read_text(path, what="calibration file", max_bytes=MOST_YAML_BYTES)
    document, key = parse_yaml(text, source=path), ""
    matrices = (
        ("d", "distortion_coefficients", None),
        ("k", "camera_matrix", 9),
        ("r", "rectification_matrix", 9),
        ("p", "projection_matrix", 12),
    )
    values: dict[str, Any] = {}
    try:
        for name, key, kind in (
            ("width", "image_width", int),
            ("height", "image_height", int),
            ("distortion_model", "distortion_model", str),
        ):
            values[name] = kind(document[key])
        for name, key, count in matrices:
            values[name] = [float(number) for number in document[key]["data"]]
            if count not in (None, len(values[name])) or not np.isfinite(values[name]).all():
                raise ValueError(f"expected {count or 'finite'} numbers")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CameraError(
            f"{path}: {key}: {error!r}; expected a file as camera_calibration writes it"
        ) from error
    return values
