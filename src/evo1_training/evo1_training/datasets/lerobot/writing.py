"""Create a LeRobot dataset, or add to one. Must not import ROS or torch.

All episodes of a conversion appear together, when the writer is closed; a crash in between leaves
the dataset as it was, or a change that the next writer finishes (staging).
"""

import json
from pathlib import Path
from typing import Any

from evo1_policy.untrusted import read_json
from evo1_training.datasets.lerobot.contents import (
    INFO,
    OWN,
    SOURCES,
    STATS,
    Addition,
    Contents,
    Identity,
    read_contents,
)
from evo1_training.datasets.lerobot.encoding import EncodedEpisode
from evo1_training.datasets.lerobot.layouts import Layout, LayoutV21, LayoutV30
from evo1_training.datasets.lerobot.schema import (
    ACTION,
    MAX_SECONDS,
    STATE,
    DatasetSchema,
    Version,
    differences,
)
from evo1_training.datasets.lerobot.staging import (
    DatasetWriteError,
    Staging,
    is_interrupted,
    telling_where,
)
from evo1_training.datasets.lerobot.statistics import exact_statistics, official_norm_stats

NORM_STATS = "meta/evo1/norm_stats.json"


class DatasetWriter:
    """Adds encoded episodes to a dataset; made by open_dataset. One at a time for a folder."""

    def __init__(
        self,
        root: Path,
        identity: Identity,
        layout: Layout,
        contents: Contents,
        staging: Staging,
    ) -> None:
        self._root = root
        self._identity = identity
        self._layout = layout
        self._contents = contents
        self._staging = staging
        self._additions: list[Addition] = []

    @property
    def sources(self) -> frozenset[str]:
        """What is in the dataset already, or will be."""
        return frozenset(self._contents.sources)

    def add(self, encoded: EncodedEpisode) -> int:
        """Take an episode in; its files must stay until `close`.

        Returns:
            Its episode_index.

        Raises:
            DatasetWriteError: it does not fit, is too long for LeRobot, or is there already.
        """
        self._check(encoded)
        addition = self._contents.add(encoded)
        self._additions.append(addition)
        return addition.place.episode_index

    def close(self) -> None:
        """Write what was added; when this returns, it is on the disk and the dataset loads.

        Raises:
            OSError: the disk is full or gone; the dataset is as it was.
        """
        try:
            if self._additions and not self._staging.closed:
                with telling_where(self._root):
                    self._write()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let others in, and leave the dataset as it is."""
        self._additions.clear()
        self._staging.close()

    def _write(self) -> None:
        staging, contents, identity = self._staging, self._contents, self._identity
        staging.begin()
        self._layout.stage(staging, self._root, self._additions, contents)
        interface = identity.interface
        if interface is not None:
            staging.text(f"{OWN}/{interface.file}", interface.text)
        staging.lines(SOURCES, [_source(addition) for addition in self._additions])
        present = sorted((self._root / "data").glob("*/*.parquet"))
        exact = exact_statistics(
            [*present, *(one.encoded.table for one in self._additions)],
            [name for name in (STATE, ACTION) if name in identity.features],
        )
        statistics = {
            name: item.with_quantiles(exact[name].quantiles) if name in exact else item
            for name, item in contents.statistics.items()
        }
        if interface is not None:
            name = self._root.resolve().name
            official = official_norm_stats(exact, embodiment=interface.embodiment, dataset=name)
            staging.text(NORM_STATS, _json(official))
        staging.text(STATS, _json({name: item.to_dict() for name, item in statistics.items()}))
        staging.text(INFO, _json(self._info(contents)))
        staging.commit()

    def _info(self, contents: Contents) -> dict[str, Any]:
        return {
            "codebase_version": self._layout.version,
            "robot_type": self._identity.robot_type or None,
            "total_episodes": contents.episodes,
            "total_frames": contents.frames,
            "total_tasks": len(contents.tasks),
            **self._layout.info(contents),
            "fps": self._identity.fps,
            "splits": {"train": f"0:{contents.episodes}"},
            "features": self._identity.features,
        }

    def _check(self, encoded: EncodedEpisode) -> None:
        if self._staging.closed:
            raise DatasetWriteError(f"{self._root}: closed; open it again to add to it")
        if encoded.source in self._contents.sources:
            raise DatasetWriteError(f"{self._root}: {encoded.source} is in it already")
        found = differences(encoded.features, self._identity.features)
        if encoded.fps != self._identity.fps:
            found.append(f"fps is {self._identity.fps} in the dataset, here {encoded.fps}")
        if found:
            raise DatasetWriteError(
                f"{encoded.folder}: does not fit into {self._root}: {'; '.join(found)}"
            )
        seconds = encoded.length / encoded.fps
        if seconds > MAX_SECONDS:
            raise DatasetWriteError(
                f"{encoded.source}: {seconds:.0f} s long; LeRobot keeps times as float32 and "
                f"rejects episodes beyond {MAX_SECONDS:.0f} s: split it"
            )


def open_dataset(
    root: Path, schema: DatasetSchema | Identity, *, version: Version, append: bool
) -> DatasetWriter:
    """Create a dataset, or open one to add to it.

    Args:
        root: its folder; entries whose name begins with a dot are nobody's business.
        schema: of every episode.
        version: of LeRobot's format.
        append: whether `root` may hold a dataset of this schema and version already. A change
            to it that was cut off is finished first.

    Raises:
        DatasetWriteError: the folder holds something else, another schema, or is in use.
        SchemaError: a robot or camera that no LeRobot dataset can hold.
    """
    identity = schema if isinstance(schema, Identity) else Identity.of(schema)
    layout: Layout = LayoutV21(identity) if version == "v2.1" else LayoutV30(identity)
    if (root / INFO).is_file() and not append:
        raise DatasetWriteError(
            f"{root}: holds a dataset already; append to it, or choose another folder"
        )
    _check_no_stranger(root)
    staging = Staging(root)
    try:
        contents = _contents(root, identity, layout)
    except BaseException:
        staging.close()
        raise
    return DatasetWriter(root, identity, layout, contents, staging)


def _check_no_stranger(root: Path) -> None:
    if (root / INFO).is_file() or not root.exists() or is_interrupted(root):
        return
    if not root.is_dir():
        raise DatasetWriteError(f"{root}: is a file; expected a folder for the dataset")
    present = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    if present:
        raise DatasetWriteError(
            f"{root}: holds {', '.join(present[:3])} but no {INFO}: no dataset, or one that was "
            "written half by another program; choose another folder, or delete this one"
        )


def _contents(root: Path, identity: Identity, layout: Layout) -> Contents:
    path = root / INFO
    if not path.is_file():
        return Contents()
    try:
        info = read_json(path, what="facts of the dataset")
        version, fps, present = info["codebase_version"], info["fps"], info["features"]
        found = differences(identity.features, present)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetWriteError(f"{path}: cannot be read: {error!r}; restore it") from error
    if version != layout.version:
        raise DatasetWriteError(
            f"{path}: codebase_version is {version}, asked for is {layout.version}; a dataset "
            "has one version"
        )
    if fps != identity.fps:
        found.append(f"fps is {fps} in the dataset, here {identity.fps}")
    theirs, ours = info.get("robot_type"), identity.robot_type or None
    if theirs != ours:
        found.append(f"robot_type is {theirs} in the dataset, here {ours}")
    if found:
        raise DatasetWriteError(f"{path}: another schema: {'; '.join(found)}")
    return read_contents(root)


def _source(addition: Addition) -> str:
    """What an episode was made of, as a line."""
    encoded = addition.encoded
    line: dict[str, Any] = {
        "episode_index": addition.place.episode_index,
        "source": encoded.source,
    }
    if encoded.offsets_ms:
        line["offsets_ms"] = dict(encoded.offsets_ms)
    if encoded.packed:
        line["images_compressed_while_recorded"] = dict(encoded.packed)
    if encoded.scene:
        line["scene"] = json.loads(encoded.scene)
    return json.dumps(line, ensure_ascii=False)


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=4, ensure_ascii=False) + "\n"
