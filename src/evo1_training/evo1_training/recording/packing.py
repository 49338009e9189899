"""Raw images as JPEG or PNG while they are recorded: by topic.

The picture is what the live node would decode, so PNG gives the very pixels of the raw message.
Must not import ROS or torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from evo1_policy.perception.messages import MessageError, decode_image, deserialize
from evo1_training.recording.cdr import COMPRESSED, IMAGE, cdr, made, topic_spec
from evo1_training.recording.episode import RecordedTopic
from evo1_training.recording.mcap_writer import TopicSpec

QUALITY = 95
_PNG_LEVEL = 1  # higher ones take five times as long for a tenth of the size


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the raw images of some topics are kept.

    Attributes:
        pattern: of resolved topic names, such as '/*/image_raw'.
        quality: of JPEG, 1 to 100; 0: PNG, which loses nothing.
    """

    pattern: str
    quality: int

    def __str__(self) -> str:
        return f"jpeg {self.quality}" if self.quality else "png"

    def pack(self, data: bytes, topic: str) -> bytes:
        """Turn a serialised Image into a CompressedImage of the same header.

        Raises:
            MessageError: it is no image that the policy could see.
        """
        message = deserialize(data, IMAGE, topic=topic)
        image = decode_image(message, topic=topic)
        form = f"{message.encoding}; {'jpeg' if self.quality else 'png'} compressed bgr8"
        packed = self._jpeg(image) if self.quality else png(image)
        return cdr(COMPRESSED, made(COMPRESSED, header=message.header, format=form, data=packed))

    def _jpeg(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Half the colours, as in the videos of datasets: a third smaller."""
        whole = np.ascontiguousarray(image)
        data = simplejpeg.encode_jpeg(whole, self.quality, "RGB", "420")
        return np.frombuffer(data, np.uint8)


def png(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file; nothing is lost."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    return np.asarray(data, np.uint8).reshape(-1)


def read_packings(text: str) -> tuple[Packing, ...]:
    """Read the parameter: 'PATTERN=jpeg', 'PATTERN=jpeg:90' or 'PATTERN=png', with commas between.

    Raises:
        ValueError: it says something else.
    """
    found = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        pattern, _, form = part.rpartition("=")
        name, _, quality = form.partition(":")
        number = int(quality) if quality.isascii() and quality.isdigit() else QUALITY
        wrong = quality and (not quality.isdigit() or not 1 <= number <= 100 or name != "jpeg")
        if not pattern or name not in ("jpeg", "png") or wrong:
            raise ValueError(
                f"compress: '{part}': expected PATTERN=jpeg, PATTERN=jpeg:QUALITY (1 to 100) "
                "or PATTERN=png, such as /*/image_raw=jpeg:95"
            )
        found.append(Packing(pattern=pattern, quality=number if name == "jpeg" else 0))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class PackingPlan:
    """What becomes of the raw images of one take.

    Attributes:
        packings: how they are compressed, by topic.
        notes: why some are not, although that was asked for.
    """

    packings: Mapping[str, Packing] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_kept(self, topics: Sequence[RecordedTopic]) -> tuple[RecordedTopic, ...]:
        """The topics of the take as they stand in its bag."""
        return tuple(
            replace(
                topic,
                name=packed_name(topic.name),
                type=COMPRESSED,
                packed=str(self.packings[topic.name]),
            )
            if topic.name in self.packings
            else topic
            for topic in topics
        )


def plan_packing(
    packings: Sequence[Packing],
    topics: Sequence[RecordedTopic],
    newest: Mapping[str, bytes],
) -> PackingPlan:
    """Choose how each topic is compressed.

    Args:
        packings: the first whose pattern fits counts.
        topics: of the take.
        newest: the last message of each; b'' where none is known.
    """
    found, notes = {}, []
    taken = {topic.name for topic in topics}
    for topic in topics:
        packing = next((one for one in packings if fnmatchcase(topic.name, one.pattern)), None)
        if packing is None or topic.type != IMAGE:
            continue
        try:
            if packed_name(topic.name) in taken:
                raise MessageError("its compressed topic is recorded, too")
            if data := newest[topic.name]:
                packing.pack(data, topic.name)
            found[topic.name] = packing
        except MessageError as error:
            notes.append(f"{topic.name} stays raw: {error}")
    return PackingPlan(packings=found, notes=tuple(notes))


def packed_name(topic: str) -> str:
    """Where image_transport publishes the compressed images of a topic."""
    return f"{topic}/compressed"


def packed_spec(spec: TopicSpec) -> TopicSpec:
    """What the bag says of a compressed topic."""
    return topic_spec(packed_name(spec.name), COMPRESSED, spec.qos)
