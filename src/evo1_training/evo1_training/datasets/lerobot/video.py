"""Videos of a dataset: frame i at exactly i / fps, a key frame every second one; parts of others'.

Must not import ROS or torch.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import av
import cv2
import numpy as np
import numpy.typing as npt

from evo1_training.datasets.lerobot.staging import DatasetWriteError, Whole

Codec = Literal["h264", "av1"]

# A key frame every two frames makes random reads cheap; one thread, as workers run side by side.
_ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "crf": "23", "g": "2", "bf": "0"}),
    "av1": ("libsvtav1", {"preset": "12", "crf": "30", "g": "2", "svtav1-params": "lp=1"}),
}
PIXEL_FORMAT = "yuv420p"
_NEAR_S = 1e-3  # how far a frame may lie from its time


class VideoWriter(Whole):
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

    def _let_go(self) -> None:
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
        return replace(self, frames=other.frames) == other


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


def cut_video(source: Path, target: Path, *, first_s: float, frames: int, fps: int) -> bool:
    """Write some frames of a video, beginning at 0.

    Args:
        source: a video of one dataset.
        target: an .mp4 to write.
        first_s: time of the first of them in the source [s].
        frames: how many.
        fps: of the dataset.

    Returns:
        Whether no frame was encoded again.

    Raises:
        DatasetWriteError: it cannot be cut there without encoding, and nothing here encodes it.
        OSError: the video cannot be read, or the disk is full or gone.
    """
    if _copy_packets(source, target, first_s=first_s, frames=frames, fps=fps):
        return True
    _encode_again(source, target, first_s=first_s, frames=frames, fps=fps)
    return False


def _copy_packets(source: Path, target: Path, *, first_s: float, frames: int, fps: int) -> bool:
    """Copy what was encoded; False where no key frame begins it, or frames are out of order."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base)
        first = round(Fraction(first_s).limit_denominator(10**6) / base)
        step, near = 1 / fps / base, _NEAR_S / base
        chosen: list[Any] = []
        container.seek(max(first, 0), stream=stream)
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            if packet.pts != packet.dts:
                return False
            if packet.pts >= first - near:
                chosen.append(packet)
            if len(chosen) == frames:
                break
        if len(chosen) != frames or not chosen[0].is_keyframe:
            return False
        if any(abs(p.pts - first - k * step) > near for k, p in enumerate(chosen)):
            return False
        origin = chosen[0].pts
        with av.open(str(target), "w", format="mp4") as output:
            written = output.add_stream_from_template(stream, opaque=True)
            written.time_base = stream.time_base
            for packet in chosen:
                packet.pts -= origin
                packet.dts -= origin
                packet.stream = written
                output.mux(packet)
    return True


def _encode_again(source: Path, target: Path, *, first_s: float, frames: int, fps: int) -> None:
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        name = {"libdav1d": "av1"}.get(stream.codec_context.name, stream.codec_context.name)
        codec: Codec | None = next((one for one in get_args(Codec) if one == name), None)
        if codec is None:
            raise DatasetWriteError(
                f"{source}: a video in {name} cannot be cut at {first_s:.4f} s, where no key "
                "frame is; choose another frame"
            )
        base = Fraction(stream.time_base)
        container.seek(max(round(first_s / float(base)), 0), stream=stream)
        left = frames
        size = (stream.height, stream.width)
        with VideoWriter(target, codec=codec, fps=fps, size=size) as writer:
            for frame in container.decode(stream):
                if frame.pts is None or float(frame.pts * base) < first_s - _NEAR_S:
                    continue
                writer.add(frame.to_ndarray(format="rgb24"))
                left -= 1
                if not left:
                    return
    raise DatasetWriteError(f"{source}: ends {left} frames early; check-dataset says where")
