"""What stands between recorded episodes and dataset formats: aligned frames and their schema.

Must not import ROS or torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig

Storage = Literal["h264", "av1", "png"]


@dataclass(frozen=True, kw_only=True)
class AlignedFrame:
    """One observation with the demonstrated action, at a tick of the reference camera.

    Attributes:
        tick_ns: stamp of the reference camera's frame [ns].
        images: (H, W, 3) uint8 RGB by camera name, in the robot file's order.
        state: (D,) float64 [rad], in the robot file's order.
        action: (D,) float64 [rad]: where the arm should be one step (1 / rate_hz) after the tick.
        source_stamps_ns: stamps of the camera frames and of 'joint_states' that were used [ns].
        skew_ns: largest difference between the stamps of two camera frames [ns].
        held: the image or the action repeats what came before, because the recording has a gap.
        intervention: a person drove, in an episode of the policy.
        instruction: the label that holds at the tick; '': that of the whole episode.
    """

    tick_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]]
    state: npt.NDArray[np.float64]
    action: npt.NDArray[np.float64]
    source_stamps_ns: Mapping[str, int]
    skew_ns: int
    held: bool = False
    intervention: bool = False
    instruction: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetSchema:
    """What every episode of one dataset has in common.

    Attributes:
        robot: the robot file; joints give names and order of state and action.
        fps: frames a second, whole; the robot file's rate_hz.
        image_sizes: (height, width) in pixels by camera name, in the robot file's order.
        storage: how images are kept: a video codec, or PNG files inside the table.
    """

    robot: RobotConfig
    fps: int
    image_sizes: Mapping[str, tuple[int, int]]
    storage: Storage = "h264"
