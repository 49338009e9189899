"""Which datasets a run takes, and for which robot or benchmark. Must not import ROS or torch."""

import hashlib
from dataclasses import replace
from pathlib import Path

from evo1_policy.checkpoint_layouts.hub import local_dataset
from evo1_policy.interface import ActionSpace, Interface, InterfaceError, load_interface
from evo1_policy.model.config import Evo1Config
from evo1_policy.normalization import Mode
from evo1_policy.paths import folders_below
from evo1_policy.robot_config import RobotConfig, RobotConfigError, load_robot
from evo1_training.datasets.reader import (
    DatasetError,
    DatasetSpec,
    SampleOptions,
    TrainingSamples,
    check_embodiments,
    dataset_spec,
    read_dataset_groups,
)
from evo1_training.datasets.reader.adoption import adoption_of, adoption_path, robot_file
from evo1_training.datasets.reader.frame_cache import Progress
from evo1_training.datasets.reader.robot_check import INTERFACE_COPY, ROBOT_COPY, own_interface
from evo1_training.next_commands import command
from evo1_training.training.config_values import weighted
from evo1_training.training.phrasings import read_phrasings
from evo1_training.training.train_config import DataConfig
from evo1_training.training.training_data import EpisodePart, TrainingData, split_datasets


def newest_dataset(root: Path) -> Path:
    """The dataset below a folder that was written last.

    Raises:
        DatasetError: there is none, or too much beside it.
    """
    try:
        found = [
            folder / "info.json"
            for folder, _, files in folders_below(root, "the datasets")
            if folder.name == "meta" and "info.json" in files
        ]
    except ValueError as error:
        raise DatasetError(str(error)) from error
    if not found:
        raise DatasetError(
            f"{root}: no dataset below this folder; give one with --dataset FOLDER, or make one: "
            f"{command('convert')}"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns).parents[1]


def dataset_weights(config: DataConfig) -> dict[Path, float]:
    """The datasets that are meant: as given ('hub:user/name' is downloaded), or the newest.

    Returns:
        How often a frame of each comes in an epoch, by folder.

    Raises:
        DatasetError: one does not exist, or is given twice.
        CheckpointError: the hub does not give one.
    """
    if not config.datasets:
        return {newest_dataset(Path(config.root).expanduser()): 1.0}
    found: dict[Path, float] = {}
    for text in config.datasets:
        name, weight = weighted(text)
        if Path(text).expanduser().is_dir():  # its name ends like a weight
            name, weight = text, None
        path = local_dataset(name).expanduser().resolve()
        if not path.is_dir():
            raise DatasetError(f"{path}: no such dataset folder")
        if path in found:
            raise DatasetError(f"{path}: given twice; {path}:2 shows its frames twice as often")
        found[path] = weight or 1.0
    return found


def resolved(config: DataConfig) -> DataConfig:
    """The same with the folders that are meant written out, also the newest one."""
    if config.groups:
        return config
    found = dataset_weights(config).items()
    return replace(
        config, datasets=tuple(f"{path}:{w:g}" if w != 1 else str(path) for path, w in found)
    )


Subject = tuple[Interface, RobotConfig | None]  # what a policy is for; None: no robot


def find_subject(config: DataConfig, paths: tuple[Path, ...]) -> Subject:
    """The robot file or interface that was given, or what the first dataset that knows says.

    Raises:
        DatasetError: there is none, both were given, or it cannot be read.
    """
    try:
        if config.robot and config.interface:
            raise DatasetError("data.robot and data.interface: give one of them")
        if config.interface:
            return load_interface(config.interface), None
        if config.robot:
            return _of(load_robot(robot_file(str(Path(config.robot).expanduser()))))
        for path in paths:
            adoption = adoption_of(path)
            if adoption is not None:
                return _of(adoption.load_robot())
            interface, robot = own_interface(path)
            if interface is not None:
                return interface, robot
    except (RobotConfigError, InterfaceError) as error:
        raise DatasetError(str(error)) from error
    raise DatasetError(
        f"{paths[0]}: no {ROBOT_COPY}, so the dataset does not say which robot it is of; give "
        f"its robot file with --robot FILE, or, where it comes from elsewhere, adopt it: "
        f"{command('adopt', paths[0], '--robot', 'NAME')}; of a benchmark (no {INTERFACE_COPY} "
        "either) say --interface metaworld, or a file"
    )


def _of(robot: RobotConfig) -> Subject:
    return robot.interface, robot


def selected_subject(config: DataConfig) -> Subject:
    """What the data are of; opens no dataset.

    Raises:
        DatasetError: see find_subject, dataset_weights and the dataset groups.
    """
    return _subject(config, _specs(config))


def open_data(
    config: DataConfig,
    model: Evo1Config,
    *,
    seed: int,
    mode: Mode | None = None,
    action_space: ActionSpace = "joint",
    progress: Progress | None = None,
) -> TrainingData:
    """Open and check everything that a run learns from.

    Args:
        config: which data.
        model: whose image slots, image size and horizon they must have.
        seed: of the order.
        mode: how the run scales numbers, where a dataset file's own choice shall be compared.
        action_space: 'ee_pose' and 'ee_delta' turn recorded joints into the end effector's.
        progress: called as frames enter the cache.

    Raises:
        DatasetError: a folder is missing, empty or damaged; rates, joints or widths differ; too
            few episodes. Names the file and what to do.
    """
    specs = _specs(config)
    interface, robot = _subject(config, specs)
    if config.groups:
        groups = read_dataset_groups(Path(config.groups).expanduser())
        groups.check(
            model__views=model.views,
            model__state_width=model.state_width,
            model__action_width=model.action_width,
            **({} if mode is None else {"normalization__mode": mode}),
        )
        if interface.embodiment not in {spec.embodiment for spec in specs}:
            raise DatasetError(
                f"{config.groups}: no embodiment '{interface.embodiment}', which the file of "
                f"{interface.name} names; name one so, or give another with --robot or --interface"
            )
    else:
        specs = [replace(spec, embodiment=interface.embodiment) for spec in specs]
    datasets = [
        TrainingSamples(
            spec,
            _sample_options(config, model, action_space),
            robot=robot if spec.embodiment == interface.embodiment else None,
            interface=interface if spec.embodiment == interface.embodiment else None,
            progress=progress,
        )
        for spec in specs
    ]
    for dataset in datasets:
        _check_widths(dataset, model)
    check_embodiments(datasets)
    data = split_datasets(
        datasets, interface=interface, robot=robot, holdout=config.holdout, seed=seed
    )
    return _with_phrasings(_with_corrections(data, config), config.phrasings)


def _with_corrections(data: TrainingData, config: DataConfig) -> TrainingData:
    """The same with what people corrected, and what the policy drove there, weighted apart."""
    parts: list[EpisodePart] = []
    for part in data.train:
        samples = part.samples
        if not samples.corrected[part.rows()].any():
            parts.append(part)
            continue
        neither = ~samples.corrected & ~samples.by_policy
        for among, factor in (
            (samples.corrected, config.intervention_weight),
            (samples.by_policy, config.policy_weight),
            (neither, 1.0),
        ):
            some = EpisodePart(samples, part.episodes, among, part.weight * factor)
            parts += [some] if factor and len(some) else []
    return replace(data, train=tuple(parts))


def _sample_options(config: DataConfig, model: Evo1Config, space: ActionSpace) -> SampleOptions:
    return SampleOptions(
        action_space=space,
        horizon=model.horizon,
        views=model.views,
        image_size=model.vision.image_size,
        mask_held=config.mask_held,
        mask_policy=not config.policy_weight,
        max_pause_s=config.max_pause_s,
        cache_dir=Path(config.cache_dir).expanduser() if config.cache_dir else None,
        cache_kind=config.cache_kind,
    )


def _with_phrasings(data: TrainingData, file: str) -> TrainingData:
    if not file:
        return data
    found = read_phrasings(Path(file).expanduser(), data.instructions)
    return replace(data, phrasings=found)


def mappings(config: DataConfig) -> dict[str, str]:
    """How each dataset is read as the robot's, by a hash of what it was adopted as; '' for as is.

    The file of phrasings stands there, too.

    Raises:
        DatasetError: a dataset or the dataset file cannot be read.
    """
    paths = {str(spec.path): adoption_path(spec.path) for spec in _specs(config)}
    if config.phrasings:
        paths[config.phrasings] = Path(config.phrasings).expanduser()
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
        for name, path in paths.items()
    }


def _subject(config: DataConfig, specs: list[DatasetSpec]) -> Subject:
    return find_subject(config, tuple(spec.path for spec in specs))


def _specs(config: DataConfig) -> list[DatasetSpec]:
    if config.groups:
        return list(read_dataset_groups(Path(config.groups).expanduser()).specs)
    found = dataset_weights(config).items()
    return [replace(dataset_spec(path), weight=weight) for path, weight in found]


def _check_widths(dataset: TrainingSamples, model: Evo1Config) -> None:
    for what, width, limit in (
        ("state", dataset.state_width, model.state_width),
        ("action", dataset.action_width, model.action_width),
    ):
        if width > limit:
            raise DatasetError(
                f"{dataset.folder.info.path}: the {what} has {width} numbers, the model takes "
                f"{limit} (model.{what}_width)"
            )
