"""meta/info.json of a LeRobot dataset, read strictly. Must not import ROS or torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Layout = Literal["v2.1", "v3.0"]
# v2.0 differs from v2.1 in its statistics only, which no reader of samples needs.
_LAYOUTS: Mapping[str, Layout] = {"v2.0": "v2.1", "v2.1": "v2.1", "v3.0": "v3.0"}

STATE_KEY, ACTION_KEY = "observation.state", "action"
IMAGE_PREFIX = "observation.images."


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file and what was expected there."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column or camera.

    Attributes:
        dtype: numpy's name, or 'image', 'video', 'string'.
        shape: of one frame; (height, width, 3) for cameras.
        names: one a number, such as the joints; None where the dataset has none.
        video_fps: what info.json says of the video's rate [Hz]; None where it says nothing.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    video_fps: float | None = None

    @property
    def is_camera(self) -> bool:
        """Whether its values are pictures."""
        return self.dtype in ("image", "video")


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What meta/info.json says.

    Attributes:
        root: the folder of the dataset.
        layout: 'v2.1' (one file an episode) or 'v3.0' (many episodes a file).
        fps: frames a second; also the rate of the actions.
        robot_type: as written, empty where it is null.
        features: by key, in the file's order.
        total_episodes: how many episodes the dataset has.
        total_frames: how many frames they have together.
        chunks_size: episodes (v2.1) or files (v3.0) a folder.
        data_path: template of the tables' paths.
        video_path: template of the videos' paths; None where there are none.
    """

    root: Path
    layout: Layout
    fps: int
    robot_type: str
    features: Mapping[str, Feature]
    total_episodes: int
    total_frames: int
    chunks_size: int
    data_path: str
    video_path: str | None

    @property
    def path(self) -> Path:
        """Where this was read from."""
        return self.root / "meta" / "info.json"

    @property
    def cameras(self) -> tuple[str, ...]:
        """Keys of the features that are pictures."""
        return tuple(key for key, feature in self.features.items() if feature.is_camera)

    def feature(self, key: str) -> Feature:
        """The feature of a key.

        Raises:
            DatasetError: there is none.
        """
        if key not in self.features:
            raise DatasetError(
                f"{self.path}: features: no '{key}'; there are {', '.join(self.features)}"
            )
        return self.features[key]


def read_info(root: Path) -> DatasetInfo:
    """Read meta/info.json.

    Raises:
        DatasetError: no dataset, one of another version, or a key that is missing or wrong.
    """
    path = root / "meta" / "info.json"
    data = _Keys(read_json(path), path)
    version = data.get("codebase_version", str)
    if version not in _LAYOUTS:
        raise DatasetError(
            f"{path}: codebase_version: expected v2.1 or v3.0, got {version!r}; convert it with "
            "LeRobot's scripts"
        )
    layout = _LAYOUTS[version]
    info = DatasetInfo(
        root=root,
        layout=layout,
        fps=_fps(data),
        robot_type=data.optional("robot_type", str) or "",
        features={
            key: _feature(path, key, item) for key, item in data.get("features", dict).items()
        },
        total_episodes=data.count("total_episodes"),
        total_frames=data.count("total_frames"),
        chunks_size=max(data.count("chunks_size"), 1),
        data_path=data.get("data_path", str),
        video_path=data.optional("video_path", str),
    )
    if any(feature.dtype == "video" for feature in info.features.values()) and not info.video_path:
        raise DatasetError(f"{path}: video_path: missing, although features are videos")
    _check_rates(info)
    return info


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DatasetError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing; expected the folder of a LeRobot dataset") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON: {error}") from error


def read_json_lines(path: Path) -> list[Mapping[str, Any]]:
    """Read a file of one JSON object a line.

    Raises:
        DatasetError: it is missing, or a line is no JSON object (a torn last line, too).
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    records: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{path}: line {number}: not JSON ({error}); cut off?") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{path}: line {number}: expected an object, got {line[:40]!r}")
        records.append(record)
    return records


class _Keys:
    """Reads the keys of one JSON object; errors name the file and the key."""

    def __init__(self, data: object, path: Path) -> None:
        if not isinstance(data, dict):
            raise DatasetError(f"{path}: expected an object, got {type(data).__name__}")
        self._data = data
        self._path = path

    def get(self, key: str, kind: type) -> Any:
        if key not in self._data:
            raise self.error(key, f"missing; expected {kind.__name__}")
        value = self._data[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, f"expected {kind.__name__}, got {value!r}")
        return value

    def optional(self, key: str, kind: type) -> Any:
        return None if self._data.get(key) is None else self.get(key, kind)

    def count(self, key: str) -> int:
        value: int = self.get(key, int)
        if value < 0:
            raise self.error(key, f"expected 0 or more, got {value}")
        return value

    def number(self, key: str) -> float:
        value = self._data.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"expected a number, got {value!r}" if value else "missing")
        return value

    def error(self, key: str, problem: str) -> DatasetError:
        return DatasetError(f"{self._path}: {key}: {problem}")


def _fps(data: _Keys) -> int:
    value = data.number("fps")
    if value <= 0 or value != int(value):
        raise data.error("fps", f"expected a whole number above 0, got {value:g}")
    return int(value)


def _feature(path: Path, key: str, data: object) -> Feature:
    where = f"{path}: features.{key}"
    if not isinstance(data, dict) or not isinstance(data.get("dtype"), str):
        raise DatasetError(f"{where}: expected an object with dtype and shape, got {data!r}")
    shape = data.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        raise DatasetError(f"{where}.shape: expected a list of whole numbers, got {shape!r}")
    details = data.get("info") or data.get("video_info") or {}
    rate = details.get("video.fps") if isinstance(details, dict) else None
    feature = Feature(
        dtype=data["dtype"],
        shape=tuple(shape),
        names=_names(data.get("names")),
        video_fps=float(rate) if isinstance(rate, int | float) else None,
    )
    return _picture(where, feature) if feature.is_camera else feature


def _picture(where: str, feature: Feature) -> Feature:
    """The same with its shape as (height, width, 3), whichever order the dataset names."""
    shape = feature.shape
    if len(shape) == 3 and shape[2] != 3 and shape[0] == 3:
        shape = (shape[1], shape[2], 3)
    if len(shape) != 3 or shape[2] != 3:
        raise DatasetError(
            f"{where}.shape: expected [height, width, 3], got {list(feature.shape)}; depth and "
            "grey cameras cannot be used"
        )
    return Feature(
        dtype=feature.dtype, shape=shape, names=feature.names, video_fps=feature.video_fps
    )


def _names(data: object) -> tuple[str, ...] | None:
    """Names of the numbers; older datasets wrap the list: {"motors": [...]}."""
    if isinstance(data, dict) and len(data) == 1:
        data = next(iter(data.values()))
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        return tuple(data)
    return None


def _check_rates(info: DatasetInfo) -> None:
    for key, feature in info.features.items():
        if feature.video_fps is not None and abs(feature.video_fps - info.fps) > 0.01:
            raise DatasetError(
                f"{info.path}: features.{key}.info.video.fps: {feature.video_fps:g}, but fps is "
                f"{info.fps}; frames would get wrong times"
            )
