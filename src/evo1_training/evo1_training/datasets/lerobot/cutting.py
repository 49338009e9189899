"""Parts of videos: by packets where that gives the same frames, else encoded again.

Must not import ROS or torch.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av

from evo1_training.datasets.lerobot.staging import DatasetWriteError
from evo1_training.datasets.lerobot.video import Codec, VideoWriter

_NEAR_S = 1e-3  # how far a frame may lie from its time


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
