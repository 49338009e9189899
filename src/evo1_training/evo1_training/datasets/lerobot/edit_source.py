"""A dataset of anybody's, opened to make another one of it. Must not import ROS or torch."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from evo1_policy.interface import Interface, parse_interface
from evo1_policy.robot_config import parse_robot
from evo1_policy.untrusted import parse_json, parse_yaml, read_json
from evo1_training.datasets.checker.statistics import read_episode_stats
from evo1_training.datasets.lerobot.contents import INFO, SOURCES, Identity
from evo1_training.datasets.lerobot.schema import stamp_key
from evo1_training.datasets.lerobot.statistics import Statistics
from evo1_training.datasets.reader.folder import DatasetFolder, open_folder
from evo1_training.datasets.reader.info import IMAGE_PREFIX, read_meta_lines
from evo1_training.datasets.reader.pictures import FrameSource
from evo1_training.datasets.reader.problems import Findings, Refusing
from evo1_training.datasets.reader.robot_check import own_interface


class EditError(ValueError):
    """An edit that cannot be made; the message says why, and nothing was changed."""


class Source:
    """A dataset that is read.

    Args:
        root: its folder.

    Raises:
        DatasetError: it is damaged; check-dataset says what to do.
    """

    def __init__(self, root: Path) -> None:
        self.folder: DatasetFolder = open_folder(root)
        self.root = root
        self.info: Mapping[str, Any] = read_json(root / INFO, what="facts of the dataset")
        self.frames = FrameSource(self.folder)
        self.told = self._told()
        self.pictures = _picture_statistics(self.folder)

    def identity(self, drop: Sequence[str]) -> Identity:
        """What a dataset made of it has in common, without some cameras."""
        features = {
            name: dict(item)
            for name, item in self.info["features"].items()
            if name not in drop and name not in {stamp_key(_short(key)) for key in drop}
        }
        return Identity(
            features=features,
            fps=self.folder.info.fps,
            robot_type=self.folder.info.robot_type,
            interface=self._interface({_short(key) for key in drop}),
            columns=_columns(self.folder.data_files[0].path, features),
        )

    def _interface(self, gone: Collection[str]) -> Interface | None:
        """What it says of its robot or benchmark, without some cameras."""
        interface, robot = own_interface(self.root)
        if interface is None or not gone:
            return interface
        data = parse_yaml(interface.text, source=interface.file)
        kept = [name not in gone for name in interface.cameras]
        data["cameras"] = list(compress(data["cameras"], kept))
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        if robot is None:
            return parse_interface(text, source=interface.file)
        return parse_robot(text, source=interface.file).interface

    def cameras(self, names: Sequence[str]) -> list[str]:
        """Keys of cameras by their names.

        Raises:
            EditError: there is none of a name, or no other would be left.
        """
        pictures = [key for key, one in self.folder.info.features.items() if one.is_picture]
        found = [key for key in pictures if key in names or _short(key) in names]
        if len(found) != len(set(names)) or len(found) == len(pictures):
            known = ", ".join(_short(key) for key in pictures)
            raise EditError(
                f"{self.root}: cannot drop {', '.join(names)}; its cameras are {known}, of which "
                "one must stay"
            )
        return found

    def _told(self) -> dict[int, dict[str, Any]]:
        """What the converter noted of each episode."""
        if not (self.root / SOURCES).is_file():
            return {}
        lines = list(read_meta_lines(self.root, SOURCES, Refusing()) or ())
        for number, line in enumerate(lines, 1):
            offsets = line.get("offsets_ms", {})
            if type(line.get("episode_index")) is not int or not isinstance(offsets, dict):
                raise EditError(
                    f"{self.root / SOURCES}: entry {number}: expected a whole number as "
                    "'episode_index', and 'offsets_ms' by stream if any; restore it, or delete "
                    "the file: then the names of the recordings are lost"
                )
        return {line["episode_index"]: dict(line) for line in lines}


def _picture_statistics(folder: DatasetFolder) -> dict[int, dict[str, Statistics]]:
    """What the dataset says of its pictures, by episode; what cannot be used is left out."""
    found: dict[int, dict[str, Statistics]] = {}
    cameras = folder.info.cameras
    for index, stats in read_episode_stats(folder.info, Findings()).items():
        try:
            given = {key: Statistics.from_dict(stats[key]) for key in cameras}
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
        if all(item.mean.shape == (3, 1, 1) for item in given.values()):
            found[index] = given
    return found


def _columns(table: Path, features: Mapping[str, Any]) -> pa.Schema:
    """The columns of a table that stay, with Hugging Face's description of them."""
    found = pq.read_schema(table)
    kept = [field for field in found if field.name in features]
    try:
        described = parse_json((found.metadata or {})[b"huggingface"].decode(), source=str(table))
        types = described["info"]["features"]
        described["info"]["features"] = {k: v for k, v in types.items() if k in features}
        return pa.schema(kept, metadata={"huggingface": json.dumps(described)})
    except (LookupError, TypeError, AttributeError, ValueError):
        return pa.schema(kept)


def _short(key: str) -> str:
    return key.removeprefix(IMAGE_PREFIX)
