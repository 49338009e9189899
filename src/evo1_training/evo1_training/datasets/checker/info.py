"""meta/info.json as the checker reads it: every problem becomes a finding, not an exception.

Must not import ROS or torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evo1_training.datasets.checker.findings import Findings
from evo1_training.datasets.reader.info import (
    ACTION_KEY,
    STATE_KEY,
    DatasetError,
    Feature,
    Layout,
    read_json,
)

# Columns that every dataset has beside its own features.
DEFAULTS: Mapping[str, str] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
_OTHER_DTYPES = ("image", "video", "string", "language")
_COUNTS = ("total_episodes", "total_frames", "total_tasks", "chunks_size")
_VERSIONS: Mapping[str, Layout] = {"v2.0": "v2.1", "v2.1": "v2.1", "v3.0": "v3.0"}


@dataclass(frozen=True, kw_only=True)
class CheckedInfo:
    """What meta/info.json says, as far as it can be used.

    Attributes:
        root: folder of the dataset.
        version: as written.
        layout: 'v2.1' (one file an episode) or 'v3.0' (many episodes a file).
        fps: frames a second.
        robot_type: as written; empty where there is none.
        features: by key.
        counts: the numbers of _COUNTS and, where written, total_videos and total_chunks.
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
    data_path: str
    video_path: str

    @property
    def path(self) -> Path:
        """Where this was read from."""
        return self.root / "meta" / "info.json"

    @property
    def chunks_size(self) -> int:
        """Episodes (v2.1) or files (v3.0) a folder."""
        return max(self.counts["chunks_size"], 1)

    def keys(self, dtype: str) -> tuple[str, ...]:
        """Features of a dtype."""
        return tuple(key for key, feature in self.features.items() if feature.dtype == dtype)


def read_info(root: Path, findings: Findings) -> CheckedInfo | None:
    """Read meta/info.json; None where nothing else can be read without it."""
    path = root / "meta" / "info.json"
    try:
        data = read_json(path)
    except DatasetError as error:
        code = "meta-unreadable" if path.exists() else "meta-missing"
        findings.add(code, path, str(error).removeprefix(f"{path}: "))
        return None
    if not isinstance(data, dict):
        findings.add("info", path, f"expected an object, got {type(data).__name__}")
        return None
    layout = _layout(data, path, findings)
    fps = _fps(data, path, findings)
    counts = {key: _count(data, key, path, findings) for key in _COUNTS}
    counts |= {
        key: data[key]
        for key in ("total_videos", "total_chunks")
        if isinstance(data.get(key), int)
    }
    features = _features(data.get("features"), path, findings)
    data_path, video_path = data.get("data_path"), data.get("video_path")
    if not isinstance(data_path, str):
        findings.add("info", path, f"data_path: expected a template, got {data_path!r}")
    videos = any(feature.dtype == "video" for feature in features.values())
    if videos and not isinstance(video_path, str):
        findings.add("info", path, f"video_path: expected a template, got {video_path!r}")
        return None
    if layout is None or fps is None or not features or not isinstance(data_path, str):
        return None
    return CheckedInfo(
        root=root,
        version=str(data["codebase_version"]),
        layout=layout,
        fps=fps,
        robot_type=str(data.get("robot_type") or ""),
        features=features,
        counts=counts,
        data_path=data_path,
        video_path=video_path or "",
    )


def _layout(data: Mapping[str, Any], path: Path, findings: Findings) -> Layout | None:
    version = data.get("codebase_version")
    layout = _VERSIONS.get(str(version))
    if layout is None:
        findings.add("version", path, f"codebase_version: expected v2.1 or v3.0, got {version!r}")
    elif version == "v2.0":
        findings.add("old-version", path, "codebase_version: v2.0")
    return layout


def _fps(data: Mapping[str, Any], path: Path, findings: Findings) -> int | None:
    fps = data.get("fps")
    if isinstance(fps, int | float) and math.isfinite(fps) and fps > 0 and fps == int(fps):
        return int(fps)
    findings.add("info", path, f"fps: expected a whole number above 0, got {fps!r}")
    return None


def _count(data: Mapping[str, Any], key: str, path: Path, findings: Findings) -> int:
    value = data.get(key)
    if isinstance(value, int) and value >= 0:
        return value
    findings.add("info", path, f"{key}: expected 0 or more, got {value!r}")
    return 0


def _features(data: object, path: Path, findings: Findings) -> dict[str, Feature]:
    if not isinstance(data, dict) or not data:
        findings.add("info", path, f"features: expected an object, got {data!r:.60}")
        return {}
    features = {}
    for key, item in data.items():
        feature = _feature(key, item, path, findings)
        if feature is not None:
            features[key] = feature
    for key, dtype in DEFAULTS.items():
        if key not in data:
            findings.add("feature", path, f"features.{key}: missing; every dataset has it")
        elif key in features and features[key].dtype != dtype:
            findings.add(
                "feature", path, f"features.{key}: dtype {features[key].dtype}, expected {dtype}"
            )
    for key in (STATE_KEY, ACTION_KEY):
        if key not in data:
            findings.add("policy-feature", path, f"features: no {key}")
    if not any(feature.is_camera for feature in features.values()):
        findings.add("policy-feature", path, "features: no camera")
    return features


def _feature(key: str, item: object, path: Path, findings: Findings) -> Feature | None:
    where = f"features.{key}"
    if "/" in key:
        findings.add("feature", path, f"{where}: a feature's name must not contain '/'")
    dtype = item.get("dtype") if isinstance(item, dict) else None
    shape = item.get("shape") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(dtype, str) or not _known(dtype):
        findings.add("feature", path, f"{where}: expected a known dtype, got {dtype!r}")
        return None
    if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape):
        findings.add("feature", path, f"{where}: shape: expected whole numbers, got {shape!r}")
        return None
    feature = Feature(dtype=dtype, shape=tuple(shape), names=_names(item), video_fps=_rate(item))
    if feature.is_camera:
        if len(shape) != 3:
            findings.add("feature", path, f"{where}: expected [height, width, 3], got {shape}")
            return None
        if shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):  # channels first
            return Feature(dtype=dtype, shape=(*shape[1:], shape[0]), video_fps=feature.video_fps)
    elif feature.names is not None and len(shape) == 1 and len(feature.names) != shape[0]:
        findings.add(
            "feature", path, f"{where}: {len(feature.names)} names, but {shape[0]} numbers"
        )
    return feature


def _known(dtype: str) -> bool:
    if dtype in _OTHER_DTYPES:
        return True
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


def _names(item: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the numbers; older datasets wrap the list: {"motors": [...]}."""
    names = item.get("names")
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _rate(item: Mapping[str, Any]) -> float | None:
    details = item.get("info") or item.get("video_info") or {}
    rate = details.get("video.fps") if isinstance(details, dict) else None
    return float(rate) if isinstance(rate, int | float) else None
