"""meta/info.json of a LeRobot dataset. Must not import ROS or torch."""

import math
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evo1_policy.paths import confined
from evo1_policy.untrusted import MOST_PIXELS, UntrustedError, parse_json, read_json, read_text
from evo1_training.datasets.reader.problems import DatasetError, Findings

Layout = Literal["v2.1", "v3.0"]
# v2.0 differs from v2.1 in its statistics only, which no reader of samples needs.
_LAYOUTS: Mapping[str, Layout] = {"v2.0": "v2.1", "v2.1": "v2.1", "v3.0": "v3.0"}

STATE_KEY, ACTION_KEY = "observation.state", "action"
IMAGE_PREFIX = "observation.images."
# Columns that every dataset has beside its own features.
DEFAULTS: Mapping[str, str] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
_COUNTS = ("total_episodes", "total_frames", "total_tasks", "total_videos", "total_chunks")
_MOST_LINES_BYTES = 1 << 30
_CHUNK = 1000
_OTHER_DTYPES = ("image", "video", "string", "language")
_DTYPES = frozenset(
    {*_OTHER_DTYPES, "bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_SPEC = re.compile(r"(0?[1-9])?d?")  # of a whole number in a template


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column or camera.

    Attributes:
        dtype: numpy's name, or 'image', 'video', 'string', 'language'.
        shape: of one frame; (height, width, channels) for pictures.
        names: one a number, such as the joints; as written, so there may be too few. None where
            the dataset has none.
        video_fps: what info.json says of the video's rate [Hz]; None where it says nothing.
        depth: whether info.json calls the picture a depth map.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    video_fps: float | None = None
    depth: bool = False

    @property
    def is_picture(self) -> bool:
        """Whether its values are pictures, of colour or depth."""
        return self.dtype in ("image", "video")

    @property
    def is_camera(self) -> bool:
        """Whether its values are pictures in colour."""
        return self.is_picture and not self.depth and self.shape[2:] == (3,)

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers in the tables."""
        return self.dtype not in _OTHER_DTYPES

    def labels(self, key: str) -> tuple[str, ...]:
        """A name for each number: the dataset's, or 'key[0]' and so on."""
        count = int(np.prod(self.shape))
        if self.names is not None and len(self.names) == count:
            return self.names
        return tuple(f"{key}[{j}]" for j in range(count))


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What meta/info.json says.

    Attributes:
        root: the folder of the dataset.
        version: as written.
        layout: 'v2.1' (one file an episode) or 'v3.0' (many episodes a file).
        fps: frames a second; also the rate of the actions.
        robot_type: as written, empty where it is null.
        features: by key, in the file's order.
        counts: total_episodes and so on, as far as they are there.
        chunks_size: episodes (v2.1) or files (v3.0) a folder.
        data_path: template of the tables' paths.
        video_path: template of the videos' paths; empty where there are none.
    """

    root: Path
    version: str
    layout: Layout
    fps: int
    robot_type: str
    features: Mapping[str, Feature]
    counts: Mapping[str, int]
    chunks_size: int
    data_path: str
    video_path: str

    @property
    def path(self) -> Path:
        """Where this was read from."""
        return self.root / "meta" / "info.json"

    @property
    def cameras(self) -> tuple[str, ...]:
        """Keys of the features that are pictures in colour."""
        return tuple(key for key, feature in self.features.items() if feature.is_camera)

    @property
    def videos(self) -> tuple[str, ...]:
        """Keys of the features that lie in videos, depth too."""
        return tuple(key for key, one in self.features.items() if one.dtype == "video")

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

    def fill(self, key: str, place: Mapping[str, int | str], problems: Findings) -> Path | None:
        """The path that a template gives, below the dataset's folder.

        Args:
            key: 'data_path' or 'video_path'.
            place: the template's fields.
            problems: told where the template asks for more than these, or leaves the folder.
        """
        template = self.data_path if key == "data_path" else self.video_path
        try:
            name = _fill(template, place)
        except ValueError as error:
            problems.add("info", self.path, f"{key}: cannot fill {template[:200]!r}: {error}")
            return None
        return inside(self.root, name, f"{key} of {self.path}", problems)


def read_info(root: Path, problems: Findings) -> DatasetInfo | None:
    """Read meta/info.json; None where nothing else can be read without it."""
    path = root / "meta" / "info.json"
    data = read_meta_json(root, "meta/info.json", problems)
    if data is None:
        return None
    version = data.get("codebase_version")
    layout = _LAYOUTS.get(version) if isinstance(version, str) else None
    if layout is None:
        problems.add("version", path, f"codebase_version: expected v2.1 or v3.0, got {version!r}")
    elif version == "v2.0":
        problems.add("old-version", path, "codebase_version: v2.0")
    fps = _number(data.get("fps"))
    if fps is None or fps <= 0 or fps != int(fps):
        what = f"fps: expected a whole number above 0, got {data.get('fps')!r:.80}"
        problems.add("info", path, what)
        fps = None
    features = _features(data.get("features"), path, problems)
    templates = _templates(data, features, path, problems)
    if layout is None or fps is None or not features or templates is None:
        return None
    if layout == "v2.1" and "{chunk_index" in templates[0]:
        problems.add("template", path, "data_path: {chunk_index} belongs to v3.0")
    counts = {key: _count(data, key, path, problems) for key in (*_COUNTS, "chunks_size")}
    known = {key: count for key, count in counts.items() if count is not None}
    _check_rates(features, fps, path, problems)
    return DatasetInfo(
        root=root,
        version=str(version),
        layout=layout,
        fps=int(fps),
        robot_type=str(data.get("robot_type") or ""),
        features=features,
        counts=known,
        chunks_size=known.pop("chunks_size", 0) or _CHUNK,
        data_path=templates[0],
        video_path=templates[1],
    )


def _templates(
    data: Mapping[str, Any], features: Mapping[str, Feature], path: Path, problems: Findings
) -> tuple[str, str] | None:
    """data_path and video_path; the second may be empty where no feature is a video."""
    found = []
    for key, needed in (
        ("data_path", True),
        ("video_path", any(feature.dtype == "video" for feature in features.values())),
    ):
        value = data.get(key)
        if needed and not isinstance(value, str):
            problems.add("info", path, f"{key}: expected a template, got {value!r:.80}")
            return None
        found.append(value if isinstance(value, str) else "")
    return found[0], found[1]


def _check_rates(
    features: Mapping[str, Feature], fps: float, path: Path, problems: Findings
) -> None:
    for key, feature in features.items():
        if feature.video_fps is not None and abs(feature.video_fps - fps) > 0.01:
            what = f"features.{key}.info.video.fps: {feature.video_fps:g}, but fps is {fps}"
            problems.add("video-rate", path, what)


def inside(root: Path, name: str, what: str, problems: Findings) -> Path | None:
    """The path of a file of the dataset; None where the name or a symlink leaves its folder.

    A snapshot in Hugging Face's cache may consist of links to the blobs beside it.
    """
    try:
        return confined(root, name, what)
    except ValueError as error:
        problems.add("outside", what, str(error).removeprefix(f"{what}: "))
        return None


def read_meta_json(root: Path, name: str, problems: Findings) -> Mapping[str, Any] | None:
    """Read a JSON object of a dataset; None where there is none that can be read."""
    path = inside(root, name, str(root / name), problems)
    if path is None:
        return None
    if not path.exists():
        problems.add("meta-missing", path, "missing; expected the folder of a LeRobot dataset")
        return None
    try:
        data = read_json(path, what=path.name)
    except UntrustedError as error:
        problems.add("meta-unreadable", path, str(error).removeprefix(f"{path}: "))
        return None
    if not isinstance(data, dict):
        what = f"expected an object, got {type(data).__name__}"
        problems.add("info" if path.name == "info.json" else "meta-unreadable", path, what)
        return None
    return data


def read_meta_lines(
    root: Path, name: str, problems: Findings
) -> Iterator[Mapping[str, Any]] | None:
    """Read a file of one JSON object a line; None where it cannot be read, torn lines too."""
    path = inside(root, name, str(root / name), problems)
    if path is None:
        return None
    if not path.exists():
        problems.add("meta-missing", path, "missing, although the dataset's version has it")
        return None
    records: list[Mapping[str, Any]] = []
    try:
        lines = read_text(path, what=path.name, max_bytes=_MOST_LINES_BYTES).splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            record = parse_json(line, source=f"{path}: line {number}")
            if not isinstance(record, dict):
                raise UntrustedError(f"{path}: line {number}: expected an object: {line[:40]!r}")
            records.append(record)
    except UntrustedError as error:
        problems.add("meta-unreadable", path, str(error).removeprefix(f"{path}: "))
        return None
    return iter(records)


def _fill(template: str, place: Mapping[str, int | str]) -> str:
    """Put plain fields into a template; numbers at most nine digits wide.

    Raises:
        ValueError: it has other fields, attributes, conversions or widths.
    """
    parts: list[str] = []
    for literal, field, spec, conversion in string.Formatter().parse(template):
        parts.append(literal)
        if field is None:
            continue
        if field not in place or conversion:
            raise ValueError(f"no field '{field[:40]}'; there are {', '.join(place)}")
        value = place[field]
        if not _SPEC.fullmatch(spec or "") or (spec and isinstance(value, str)):
            raise ValueError(f"{field}: expected a format such as '03d', got {spec!r:.40}")
        parts.append(format(value, spec or ""))
    return "".join(parts)


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    return None


def _count(data: Mapping[str, Any], key: str, path: Path, problems: Findings) -> int | None:
    value = data.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if value is not None:
        problems.add("info", path, f"{key}: expected 0 or more, got {value!r:.80}")
    elif key not in ("total_videos", "total_chunks"):  # v3.0 has neither
        problems.add("counts", path, f"{key}: missing")
    return None


def _features(data: object, path: Path, problems: Findings) -> dict[str, Feature]:
    if not isinstance(data, dict) or not data:
        problems.add("info", path, f"features: expected an object, got {data!r:.60}")
        return {}
    found = {key: _feature(key, item, path, problems) for key, item in data.items()}
    features = {key: feature for key, feature in found.items() if feature is not None}
    for key, dtype in DEFAULTS.items():
        if key not in data:
            problems.add("default-feature", path, f"features.{key}: missing")
        elif key in features and features[key].dtype != dtype:
            what = f"features.{key}: dtype {features[key].dtype}, expected {dtype}"
            problems.add("default-feature", path, what)
    for key in (STATE_KEY, ACTION_KEY):
        if key not in data:
            problems.add("policy-feature", path, f"features: no {key}")
    if not any(feature.is_camera for feature in features.values()):
        problems.add("policy-feature", path, "features: no camera")
    return features


def _feature(key: str, item: object, path: Path, problems: Findings) -> Feature | None:
    where = f"features.{key}"
    if "/" in key:
        problems.add("feature", path, f"{where}: a feature's name must not contain '/'")
    dtype = item.get("dtype") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(dtype, str) or dtype not in _DTYPES:
        problems.add("feature", path, f"{where}: expected a known dtype, got {dtype!r:.80}")
        return None
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        problems.add("feature", path, f"{where}: shape: expected whole numbers, got {shape!r:.80}")
        return None
    if math.prod(shape) > 3 * MOST_PIXELS:
        problems.add("feature", path, f"{where}: shape: {shape} is too large")
        return None
    details = item.get("info") or item.get("video_info")
    details = details if isinstance(details, dict) else {}
    feature = Feature(
        dtype=dtype,
        shape=tuple(shape),
        names=vector_names(item.get("names")),
        video_fps=_number(details.get("video.fps")),
        depth=details.get("is_depth_map", details.get("video.is_depth_map")) is True,
    )
    if feature.is_picture:
        return _picture(where, feature, path, problems)
    if feature.names is not None and len(shape) == 1 and len(feature.names) != shape[0]:
        what = f"{where}: {len(feature.names)} names, but {shape[0]} numbers"
        problems.add("names", path, what)
    return feature


def _picture(where: str, feature: Feature, path: Path, problems: Findings) -> Feature | None:
    """The same with its shape as (height, width, channels), whichever order the dataset names."""
    shape = feature.shape
    if len(shape) != 3:
        what = f"{where}: shape: expected [height, width, 3], got {list(shape)}"
        problems.add("feature", path, what)
        return None
    if shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        shape = (shape[1], shape[2], shape[0])
    turned = Feature(
        dtype=feature.dtype, shape=shape, video_fps=feature.video_fps, depth=feature.depth
    )
    if not turned.is_camera:
        what = f"{where}: shape {list(feature.shape)}: depth or grey, no picture in colour"
        problems.add("depth", path, what)
    return turned


def vector_names(data: object) -> tuple[str, ...] | None:
    """Names of a vector's numbers; some wrap the list: {"motors": [...]}, [[...]]."""
    if isinstance(data, dict) and len(data) == 1:
        data = next(iter(data.values()))
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
        data = data[0]
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        return tuple(data)
    return None
