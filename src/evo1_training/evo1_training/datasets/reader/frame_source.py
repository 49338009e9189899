"""Any picture of a dataset by camera and row, from videos or tables, as stored or resized.

Must not import ROS or torch.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import DatasetError
from evo1_training.datasets.reader.pictures import TablePictures
from evo1_training.datasets.reader.video import VideoFrames


class FrameSource:
    """Decodes frames of one dataset. Not for use by several threads at once."""

    def __init__(self, folder: DatasetFolder, *, open_videos: int = 64) -> None:
        self._folder = folder
        self._videos = VideoFrames(capacity=open_videos)
        self._pictures = TablePictures()
        self._episode_starts = np.array([episode.first_row for episode in folder.episodes])
        self._file_starts = np.array([file.first_row for file in folder.data_files])

    def read(self, key: str, row: int) -> npt.NDArray[np.uint8]:
        """The frame of a camera.

        Args:
            key: the camera's feature.
            row: of the dataset, over all episodes.

        Returns:
            (H, W, 3) uint8 RGB, as info.json gives its size.

        Raises:
            DatasetError: it cannot be decoded, lies at another time, or has another size.
        """
        feature = self._folder.info.feature(key)
        image = (
            self._from_video(key, row) if feature.dtype == "video" else self._from_table(key, row)
        )
        if image.shape != feature.shape:
            raise DatasetError(
                f"{self._folder.root}: {key}: frame {row} is {image.shape[1]}x{image.shape[0]}, "
                f"but info.json says {feature.shape[1]}x{feature.shape[0]}"
            )
        return image

    def close(self) -> None:
        """Close the videos; the next read opens its own again."""
        self._videos.close()

    def _from_video(self, key: str, row: int) -> npt.NDArray[np.uint8]:
        number = int(np.searchsorted(self._episode_starts, row, side="right")) - 1
        episode = self._folder.episodes[number]
        span = episode.videos[key]
        time_s = span.start_s + (row - episode.first_row) / self._folder.info.fps
        return self._videos.read(span.path, time_s)

    def _from_table(self, key: str, row: int) -> npt.NDArray[np.uint8]:
        number = int(np.searchsorted(self._file_starts, row, side="right")) - 1
        file = self._folder.data_files[number]
        return self._pictures.read(file.path, key, row - file.first_row)


def resize(image: npt.NDArray[Any], size: int) -> npt.NDArray[np.uint8]:
    """Antialiased bicubic resize to a square, aspect not kept: PIL's, as the authors train.

    The policy's own resize (evo1_policy.model.preprocessing.resize_image) gives the same within
    one level of 255 for each number.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: edge [px].

    Returns:
        (size, size, 3) uint8 RGB.
    """
    if image.shape[:2] == (size, size):
        return image
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)
