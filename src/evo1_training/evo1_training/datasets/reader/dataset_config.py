"""Which datasets a training run mixes: the authors' config.yaml, and our keys beside theirs.

    data_groups:
      xarm6:                        # embodiment: key of the norm stats
        can_into_box:               # name of the dataset
          path: /data/can_into_box  # relative paths count from this file
          view_map: {image_1: observation.images.image_1, image_2: observation.images.image_2}
          weight: 2.0               # ours: how often a frame is seen in an epoch
          joints: [joint1, joint2]  # ours: what the numbers of state and action are, where the
                                    # dataset has no names or others than the robot file
          end_effector: libero      # ours: actions, and maybe states, are the end effector's; a
                                    # name that is known, or a mapping (docs/training.md)

Must not import ROS or torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from evo1_policy.kinematics.end_effector import read_end_effector
from evo1_policy.normalization import Mode
from evo1_policy.strict_yaml import Section, StrictYamlError, read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, read_text
from evo1_training.datasets.reader.adoption import (
    Adoption,
    adoption_of,
    dataset_name,
    mapping,
)
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.datasets.reader.suites import ABSOLUTE, Suite, official_suite

_MODES: Mapping[str, Mode] = {"bounds": "bounds", "bounds_q99": "quantiles", "normal": "mean_std"}
_CHOICES: Mapping[str, str] = {
    "model.views": "max_views",
    "model.state_width": "max_state_dim",
    "model.action_width": "max_action_dim",
    "normalization.mode": "normalization_type",
}
# Of the authors' own cache, which ours does not need.
_THEIR_CACHE = ("datasets_manifest", "decoder_cache_size", "cache_shard_size_bytes")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One dataset of a run.

    Attributes:
        name: for people and error messages.
        path: folder of a v2.1 or v3.0 dataset.
        embodiment: key of the norm stats; datasets of one embodiment may be mixed.
        view_map: camera feature of each image slot, in the order of the slots; empty for all
            cameras of the dataset in its order.
        suite: which columns make up state and action.
        weight: how often a frame is seen in an epoch.
        frames_per_episode: only the first so many of each episode; None for all.
        joints: what the numbers of state and action are, in place of the dataset's own names.
        source: the file and key that say so, for error messages; empty where nothing does.
    """

    name: str
    path: Path
    embodiment: str
    view_map: Mapping[str, str] = field(default_factory=dict)
    suite: Suite = ABSOLUTE
    weight: float = 1.0
    frames_per_episode: int | None = None
    joints: tuple[str, ...] | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetGroups:
    """What a dataset file says.

    Attributes:
        source: the file.
        specs: the datasets, in the file's order.
        choices: what the file says of the model and of scaling, by the name of our setting.
    """

    source: str
    specs: tuple[DatasetSpec, ...]
    choices: Mapping[str, int | str]

    def check(self, **ours: int | str) -> None:
        """Refuse a run that chose otherwise; a point in a setting's name is '__' here.

        Raises:
            DatasetError: names both keys, and what to type to follow the file.
        """
        for name, value in ours.items():
            setting = name.replace("__", ".")
            if self.choices.get(setting, value) != value:
                raise DatasetError(
                    f"{self.source}: {_CHOICES[setting]}: means {setting}="
                    f"{self.choices[setting]}, but this run has {value}; train with {setting}="
                    f"{self.choices[setting]}, or correct the file"
                )


def read_dataset_groups(path: Path | str) -> DatasetGroups:
    """Read a dataset file.

    Raises:
        DatasetError: it is missing, no YAML, or a key is unknown, missing or wrong; names the key.
    """
    path = Path(path)
    try:
        text = read_text(path, what="dataset file", max_bytes=MOST_YAML_BYTES)
        return _groups(read_section(text, source=str(path)), path.parent)
    except (UntrustedError, StrictYamlError) as error:
        raise DatasetError(str(error)) from error


def _groups(root: Section, folder: Path) -> DatasetGroups:
    for key in _THEIR_CACHE:
        root.has(key)
    choices: dict[str, int | str] = {
        setting: _whole(root, key, 1)
        for setting, key in _CHOICES.items()
        if key != "normalization_type" and root.has(key)
    }
    if root.has("normalization_type"):
        mode = _MODES[root.choice("normalization_type", tuple(_MODES))]
        choices["normalization.mode"] = mode
    specs: list[DatasetSpec] = []
    for embodiment in mapping(root, "data_groups", "embodiments"):
        groups = root.section("data_groups")
        group = groups.section(embodiment)
        names = mapping(groups, embodiment, "datasets")
        specs += [_spec(group.section(name), folder, embodiment, name) for name in names]
    root.finish()
    most = choices.get("model.views")
    for spec in specs:
        if isinstance(most, int) and len(spec.view_map) > most:
            raise root.error(
                f"data_groups.{spec.embodiment}.{spec.name}.view_map",
                f"{len(spec.view_map)} views, but max_views is {most}",
            )
    return DatasetGroups(source=root.source, specs=tuple(specs), choices=choices)


def dataset_spec(
    path: Path, *, embodiment: str = "", name: str = "", read: bool = True
) -> DatasetSpec:
    """A dataset by its folder alone: as it was adopted (unless `read` is False), or as it is.

    Raises:
        DatasetError: the file of the adoption does not fit.
    """
    spec = DatasetSpec(name=name or dataset_name(path), path=path, embodiment=embodiment)
    adoption = adoption_of(path) if read else None
    return spec if adoption is None else adopted(spec, adoption)


def adopted(spec: DatasetSpec, adoption: Adoption) -> DatasetSpec:
    """The same dataset read as the adoption says."""
    return replace(
        spec,
        view_map=adoption.cameras,
        suite=adoption.suite,
        joints=adoption.joint_names,
        source=str(adoption.source),
    )


def _spec(section: Section, folder: Path, embodiment: str, name: str) -> DatasetSpec:
    path = Path(section.text("path"))
    spec = DatasetSpec(
        name=name, path=path if path.is_absolute() else folder / path, embodiment=embodiment
    )
    # What the file says of joints and columns counts, and an adoption where it says nothing.
    keys = ("process_suite", "suite_config", "joints", "end_effector")
    said = [key for key in keys if section.has(key)]
    if not said:
        spec = dataset_spec(spec.path, embodiment=embodiment, name=name)
    view_map, suite = _view_map(section), _suite(section)
    spec = replace(
        spec,
        view_map=view_map or spec.view_map,
        suite=suite if said else spec.suite,
        weight=section.positive("weight") if section.has("weight") else 1.0,
        frames_per_episode=(
            _whole(section, "frames_per_episode", 1) if section.has("frames_per_episode") else None
        ),
        joints=section.names("joints") if section.has("joints") else spec.joints,
        source=spec.source or f"{section.source}: {section.path}",
    )
    section.finish()
    return spec


def _view_map(section: Section) -> Mapping[str, str]:
    if not section.has("view_map"):
        return {}
    views = section.section("view_map")
    data = mapping(section, "view_map", "image slots")
    return {slot: views.text(slot) for slot in data}


def _suite(section: Section) -> Suite:
    if section.flag("use_delta_action", default=False):
        raise section.error(
            "use_delta_action",
            "true would teach changes of position that it makes itself, and a checkpoint here "
            "would not say which: set it to false; where the dataset holds deltas of the end "
            "effector, end_effector says so, and action_space=joint_relative trains on joints",
        )
    name = section.text("process_suite") if section.has("process_suite") else "default"
    config = (section.has("suite_config") and section.get("suite_config", "a mapping")) or {}
    if not isinstance(config, dict):
        raise section.error("suite_config", f"expected a mapping, got {config!r}")
    try:
        suite = official_suite(name, config)
    except ValueError as error:
        raise section.error("suite_config" if config else "process_suite", str(error)) from error
    if not section.has("end_effector"):
        return suite
    return replace(suite, end_effector=read_end_effector(section, "end_effector"))


def _whole(section: Section, key: str, default: int) -> int:
    if not section.has(key):
        return default
    value = section.positive(key)
    if value != int(value):
        raise section.error(key, f"expected a whole number, got {value}")
    return int(value)
