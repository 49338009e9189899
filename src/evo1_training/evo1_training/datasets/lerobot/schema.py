"""What a dataset is made of: aligned frames, and its features for info.json, Arrow and `datasets`.

Must not import ROS or torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evo1_policy.interface import Interface
from evo1_policy.robot_config import JOINT_STREAM
from evo1_training.datasets.reader.info import vector_names

Version = Literal["v2.1", "v3.0"]
Storage = Literal["h264", "av1", "png"]
Features = Mapping[str, Mapping[str, Any]]

STATE, ACTION = "observation.state", "action"
CAMERA_PREFIX = "observation.images."
EXTRA_PREFIX = "evo1."  # columns of ours, which LeRobot carries along and no policy reads
TICK, SKEW, HELD, INTERVENTION = (
    f"{EXTRA_PREFIX}{name}" for name in ("tick_ns", "skew_ms", "held", "intervention")
)
INDEX_COLUMNS = {  # LeRobot's own, in its order; the writers add them
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
# LeRobot keeps times as float32 and compares them within 1e-4 s; beyond, they round by more.
MAX_SECONDS = 1024.0


@dataclass(frozen=True, kw_only=True)
class AlignedFrame:
    """One observation with the demonstrated action, at a tick of the reference camera.

    Attributes:
        tick_ns: stamp of the reference camera's frame [ns].
        images: (H, W, 3) uint8 RGB by camera name, in the interface's order.
        state: (S,) float64, in the interface's order; of a robot [rad].
        action: (A,) float64; of a robot [rad]: where the arm should be one step (1 / rate_hz)
            after the tick.
        source_stamps_ns: stamps of the camera frames and of 'joint_states' that were used [ns];
            a benchmark has none.
        skew_ns: largest difference between the stamps of two camera frames [ns].
        held: the image or the action repeats what came before, because the recording has a gap.
        intervention: a person drove, in an episode of the policy.
        instruction: the label that holds at the tick; '': that of the whole episode.
    """

    tick_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]]
    state: npt.NDArray[np.float64]
    action: npt.NDArray[np.float64]
    source_stamps_ns: Mapping[str, int] = field(default_factory=dict)
    skew_ns: int = 0
    held: bool = False
    intervention: bool = False
    instruction: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetSchema:
    """What every episode of one dataset has in common.

    Attributes:
        interface: gives names and order of state and action; a robot's, or a benchmark's.
        fps: frames a second, whole; the interface's rate_hz.
        image_sizes: (height, width) in pixels by camera name, in the interface's order.
        storage: how images are kept: a video codec, or PNG files inside the table.
    """

    interface: Interface
    fps: int
    image_sizes: Mapping[str, tuple[int, int]]
    storage: Storage = "h264"

    @property
    def streams(self) -> tuple[str, ...]:
        """What was recorded with stamps: cameras and joints; nothing in a benchmark's world."""
        is_robot = self.interface.action_space != "raw"
        return (*self.image_sizes, JOINT_STREAM) if is_robot else ()


class SchemaError(ValueError):
    """A robot or camera that no LeRobot dataset can hold; the message names it."""


def camera_key(camera: str) -> str:
    """Feature name of a camera."""
    return f"{CAMERA_PREFIX}{camera}"


def stamp_key(stream: str) -> str:
    """Column of the stamp of a camera's frame or of 'joint_states'."""
    return f"{EXTRA_PREFIX}{stream}.stamp_ns"


def features(schema: DatasetSchema) -> dict[str, dict[str, Any]]:
    """The features of info.json, LeRobot's own included.

    Raises:
        SchemaError: a name with '/', a camera whose size no video can have, or fps below 1.
    """
    if schema.fps < 1:
        raise SchemaError(f"fps: expected a whole number above 0, got {schema.fps}")
    found: dict[str, dict[str, Any]] = {
        key: {"dtype": "float32", "shape": [len(names)], "names": list(names)}
        for key, names in ((STATE, schema.interface.state), (ACTION, schema.interface.action))
    }
    for camera, size in schema.image_sizes.items():
        found[camera_key(camera)] = _camera(schema, camera, size)
    scalars: dict[str, str] = {}
    if schema.streams:
        scalars = {TICK: "int64"} | {stamp_key(stream): "int64" for stream in schema.streams}
        scalars |= {SKEW: "float32", HELD: "bool", INTERVENTION: "bool"}
    for name, dtype in (scalars | INDEX_COLUMNS).items():
        found[name] = {"dtype": dtype, "shape": [1], "names": None}
    for name in found:
        if "/" in name:
            raise SchemaError(f"feature '{name}': LeRobot allows no '/' in names; rename it")
    return found


def _camera(schema: DatasetSchema, camera: str, size: tuple[int, int]) -> dict[str, Any]:
    height, width = size
    names = ["height", "width", "channels"]
    feature: dict[str, Any] = {"shape": [height, width, 3], "names": names}
    if schema.storage == "png":
        return {"dtype": "image", **feature}
    if height % 2 or width % 2:
        raise SchemaError(
            f"camera '{camera}': {width}x{height} pixels cannot be a yuv420p video, which needs "
            "even sizes; store it as png"
        )
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": schema.storage,
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": schema.fps,
        "video.channels": 3,
        "has_audio": False,
    }
    return {"dtype": "video", **feature, "info": info}


def columns(features: Features) -> dict[str, Mapping[str, Any]]:
    """The features that are columns of the tables; videos are files of their own."""
    return {name: item for name, item in features.items() if item["dtype"] != "video"}


def video_keys(features: Features) -> list[str]:
    """The features that are videos."""
    return [name for name, item in features.items() if item["dtype"] == "video"]


def arrow_schema(features: Features, version: Version | None = None) -> pa.Schema:
    """Types of the columns.

    Args:
        features: as in info.json.
        version: adds the metadata by which Hugging Face's `datasets` knows the types.
    """
    fields = [(name, _arrow_type(item)) for name, item in columns(features).items()]
    if version is None:
        return pa.schema(fields)
    # datasets 3 knows no List, and datasets 4 writes it; v2.1 is read by the former.
    kind = "Sequence" if version == "v2.1" else "List"
    types = {name: _hugging_face(item, kind) for name, item in columns(features).items()}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": types}})})


def _arrow_type(feature: Mapping[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    scalar = _SCALARS[feature["dtype"]]
    width = feature["shape"][0]
    return scalar if width == 1 else pa.list_(scalar, width)


def _hugging_face(feature: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if feature["dtype"] == "image":
        return {"_type": "Image"}
    value = {"dtype": feature["dtype"], "_type": "Value"}
    width = feature["shape"][0]
    return value if width == 1 else {"feature": value, "length": width, "_type": kind}


_SCALARS = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}


def differences(ours: Features, theirs: Features) -> list[str]:
    """What keeps two datasets from being one, each in a line; empty where nothing does."""
    found = [f"'{name}' is only in the dataset" for name in theirs if name not in ours]
    found += [f"'{name}' is not in the dataset" for name in ours if name not in theirs]
    found += [
        f"'{name}' is {_brief(theirs[name])} in the dataset, here {_brief(ours[name])}"
        for name in ours
        if name in theirs and _brief(ours[name]) != _brief(theirs[name])
    ]
    return found


def _brief(feature: Mapping[str, Any]) -> str:
    parts = [str(feature["dtype"]), str(list(feature["shape"]))]
    codec = (feature.get("info") or {}).get("video.codec")
    if codec:
        parts.append(codec)
    names = vector_names(feature.get("names"))
    if names and feature["dtype"] == "float32":
        parts.append("/".join(names))
    return " ".join(parts)
