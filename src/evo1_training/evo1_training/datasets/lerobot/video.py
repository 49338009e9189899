"""Videos of a dataset: frame i at exactly i / fps, a key frame every second one.

Must not import ROS or torch.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import cv2
import numpy as np
import numpy.typing as npt

Codec = Literal["h264", "av1"]

# A key frame every two frames makes random reads cheap; one thread, as workers run side by side.
_ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "crf": "23", "g": "2", "bf": "0"}),
    "av1": ("libsvtav1", {"preset": "12", "crf": "30", "g": "2", "svtav1-params": "lp=1"}),
}
PIXEL_FORMAT = "yuv420p"


class VideoWriter:
    """Encodes frames as they come; a file is whole only after close()."""

    def __init__(self, path: Path, *, codec: Codec, fps: int, size: tuple[int, int]) -> None:
        """Open the file.

        Args:
            path: an .mp4 to write.
            codec: 'h264' or 'av1'.
            fps: frames a second.
            size: (height, width) in pixels, both even.
        """
        os.environ.setdefault("SVT_LOG", "1")  # errors only: the AV1 encoder talks to stderr
        encoder, options = _ENCODERS[codec]
        self._container = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream(encoder, rate=fps, options=dict(options))
        stream.height, stream.width = size
        stream.pix_fmt = PIXEL_FORMAT
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        self._stream = stream
        self._time_base = Fraction(1, fps)
        self._count = 0

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Append (H, W, 3) uint8 RGB."""
        # A quarter of the time of PyAV's own conversion (reformat), and no less exact.
        planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format=PIXEL_FORMAT)
        frame.pts, frame.time_base = self._count, self._time_base
        self._container.mux(self._stream.encode(frame))
        self._count += 1

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        if self._count:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(OSError):  # the error that came first counts
                self._container.close()


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What decides whether two videos can be one without encoding them again."""

    frames: int
    fps: Fraction
    time_base: Fraction
    codec: str
    size: tuple[int, int]
    extradata: bytes

    def joins(self, other: "VideoFacts") -> bool:
        """Whether a decoder set up for this video can go on with the other."""
        return (self.fps, self.time_base, self.codec, self.size, self.extradata) == (
            other.fps,
            other.time_base,
            other.codec,
            other.size,
            other.extradata,
        )


def read_facts(path: Path) -> VideoFacts:
    """Read the header of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return VideoFacts(
            frames=stream.frames,
            fps=Fraction(stream.average_rate),
            time_base=Fraction(stream.time_base),
            codec=stream.codec_context.name,
            size=(stream.height, stream.width),
            extradata=bytes(stream.codec_context.extradata or b""),
        )


def concatenate(parts: Sequence[Path], target: Path) -> None:
    """Join videos that fit (VideoFacts.joins) without encoding them again, frame after frame."""
    with av.open(str(target), "w", format="mp4") as output:
        stream = None
        first = 0
        for part in parts:
            with av.open(str(part)) as source:
                given = source.streams.video[0]
                if stream is None:
                    # Opaque: there is no encoder by the name of AV1's decoder.
                    stream = output.add_stream_from_template(given, opaque=True)
                    stream.time_base = given.time_base
                offset = round(first / given.average_rate / given.time_base)
                for packet in source.demux(given):
                    if packet.dts is None:  # the end of the file
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = stream
                    output.mux(packet)
                first += given.frames
