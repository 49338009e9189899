"""The functions that conversion needs of a dataset format. Must not import ROS or torch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from evo1_training.datasets.frames import AlignedFrame, DatasetSchema

Version = Literal["v2.1", "v3.0"]


class DatasetWriter(Protocol):
    """A dataset on disk that episodes are added to; after each add it loads."""

    @property
    def sources(self) -> frozenset[str]:
        """What is in it already."""

    def add(self, encoded: Any) -> int:
        """Append an encoded episode; returns its index."""

    def close(self) -> None:
        """Finish the dataset."""


class Encode(Protocol):
    """Encodes one episode into a folder, in constant memory."""

    def __call__(
        self,
        frames: Iterable[AlignedFrame],
        *,
        schema: DatasetSchema,
        instruction: str,
        source: str,
        folder: Path,
        offsets_ms: Mapping[str, float] = ...,
    ) -> Any:
        """Write the folder; it is complete or not there."""


class OpenDataset(Protocol):
    """Creates a dataset, or opens one to append."""

    def __call__(
        self, root: Path, schema: DatasetSchema, *, version: Version, append: bool
    ) -> DatasetWriter:
        """Return its writer."""


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """How episodes are encoded, and how datasets are made of them.

    Attributes:
        encode: an episode into a folder.
        load: what encode left.
        open: a dataset.
        max_seconds: longer episodes do not fit, and are cut.
    """

    encode: Encode
    load: Callable[[Path], Any]
    open: OpenDataset
    max_seconds: float


def lerobot() -> DatasetFormat:
    """Return LeRobot's format; imports pyarrow and PyAV."""
    from evo1_training.datasets.lerobot.encoding import encode_episode, load_encoded
    from evo1_training.datasets.lerobot.schema import MAX_SECONDS
    from evo1_training.datasets.lerobot.writing import open_dataset

    return DatasetFormat(
        encode=encode_episode, load=load_encoded, open=open_dataset, max_seconds=MAX_SECONDS
    )
