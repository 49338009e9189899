"""Several datasets and embodiments as one stream of samples. Must not import ROS or torch."""

from collections.abc import Sequence

from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.reader.dataset_config import DatasetGroups
from evo1_training.datasets.reader.frame_cache import Progress
from evo1_training.datasets.reader.info import DatasetError
from evo1_training.datasets.reader.order import OrderConfig, Position, SampleOrder
from evo1_training.datasets.reader.samples import Sample, SampleOptions, TrainingSamples


class Mixture:
    """Datasets whose samples are drawn in one shuffled order.

    The order and the reading are apart, so that a loader's workers read what one order hands out:

        for place in mixture.order(rank=0, ranks=8).epoch():
            sample = mixture[place]
    """

    def __init__(
        self, datasets: Sequence[TrainingSamples], *, seed: int = 0, shuffle: bool = True
    ) -> None:
        """Check that datasets of one embodiment mean the same numbers.

        Raises:
            DatasetError: they have other widths, rates or names; or there is no dataset.
        """
        if not datasets:
            raise DatasetError("no datasets to mix; expected at least one")
        self.datasets = tuple(datasets)
        _check_embodiments(self.datasets)
        self.order_config = OrderConfig(
            lengths=tuple(len(dataset) for dataset in datasets),
            weights=tuple(dataset.spec.weight for dataset in datasets),
            seed=seed,
            shuffle=shuffle,
        )

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Keys of the norm stats that are needed, sorted."""
        return tuple(sorted({dataset.spec.embodiment for dataset in self.datasets}))

    def order(
        self, *, rank: int = 0, ranks: int = 1, position: Position | None = None
    ) -> SampleOrder:
        """The order of one rank (or of one worker of one)."""
        return SampleOrder(self.order_config, rank=rank, ranks=ranks, position=position)

    def __len__(self) -> int:
        """Samples of an epoch, over all ranks."""
        return self.order_config.epoch_length

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """The sample of (dataset, number), as an order hands them out."""
        dataset, number = place
        return self.datasets[dataset][number]

    def close(self) -> None:
        """Close all videos."""
        for dataset in self.datasets:
            dataset.close()


def open_mixture(
    groups: DatasetGroups,
    options: SampleOptions,
    *,
    seed: int = 0,
    shuffle: bool = True,
    robot: RobotConfig | None = None,
    progress: Progress | None = None,
) -> Mixture:
    """Open all datasets of a dataset file.

    Args:
        groups: what the file says.
        options: how frames become samples.
        seed: chooses the shuffling.
        shuffle: False keeps the datasets one after the other.
        robot: robot file of the datasets of its embodiment.
        progress: called as frames enter a cache.

    Raises:
        DatasetError: a dataset cannot be used, or they do not fit together.
    """
    datasets = [
        TrainingSamples(
            spec,
            options,
            robot=robot if robot is not None and spec.embodiment == robot.embodiment else None,
            progress=progress,
        )
        for spec in groups.specs
    ]
    for dataset in datasets:
        for what, width, limit in (
            ("state", dataset.state_width, groups.state_width),
            ("action", dataset.action_width, groups.action_width),
        ):
            if width > limit:
                raise DatasetError(
                    f"{dataset.folder.info.path}: the {what} has {width} numbers, the model's "
                    f"width is {limit} (max_{what}_dim)"
                )
    return Mixture(datasets, seed=seed, shuffle=shuffle)


def _check_embodiments(datasets: Sequence[TrainingSamples]) -> None:
    first: dict[str, TrainingSamples] = {}
    for dataset in datasets:
        other = first.setdefault(dataset.spec.embodiment, dataset)
        for what, ours, theirs in (
            ("state width", dataset.state_width, other.state_width),
            ("action width", dataset.action_width, other.action_width),
            ("fps", dataset.folder.info.fps, other.folder.info.fps),
            ("names", _names(dataset), _names(other)),
        ):
            if ours != theirs and ours is not None and theirs is not None:
                raise DatasetError(
                    f"{dataset.folder.info.path}: {what}: {ours}, but {other.spec.path} of the "
                    f"same embodiment '{dataset.spec.embodiment}' has {theirs}; give it another "
                    "embodiment"
                )


def _names(dataset: TrainingSamples) -> tuple[str, ...] | None:
    """Names of the numbers of the actions, where every column has some."""
    names: tuple[str, ...] = ()
    for key in dataset.spec.suite.action:
        part = dataset.folder.info.feature(key).names
        if part is None:
            return None
        names += part
    return names
