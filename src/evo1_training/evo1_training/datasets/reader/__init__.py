"""LeRobot datasets (v2.1 and v3.0, ours and others') as training samples, in numpy.

    samples = TrainingSamples(DatasetSpec(name=..., path=..., embodiment=...), options)
    mixture = open_mixture(read_dataset_groups("config.yaml"), options, seed=0)

Must not import ROS or torch.
"""

from evo1_training.datasets.reader.dataset_config import (
    DatasetGroups,
    DatasetSpec,
    read_dataset_groups,
)
from evo1_training.datasets.reader.folder import DatasetFolder, open_folder
from evo1_training.datasets.reader.info import DatasetError
from evo1_training.datasets.reader.mixture import Mixture, open_mixture
from evo1_training.datasets.reader.order import OrderConfig, Position, SampleOrder
from evo1_training.datasets.reader.samples import Sample, SampleOptions, TrainingSamples

__all__ = [
    "DatasetError",
    "DatasetFolder",
    "DatasetGroups",
    "DatasetSpec",
    "Mixture",
    "OrderConfig",
    "Position",
    "Sample",
    "SampleOptions",
    "SampleOrder",
    "TrainingSamples",
    "open_folder",
    "open_mixture",
    "read_dataset_groups",
]
