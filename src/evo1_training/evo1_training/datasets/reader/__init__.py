"""LeRobot datasets (v2.1 and v3.0, ours and others') as training samples, in numpy.

    samples = TrainingSamples(DatasetSpec(name=..., path=..., embodiment=...), options)

Must not import ROS or torch.
"""

from evo1_training.datasets.reader.dataset_config import (
    DatasetGroups,
    DatasetSpec,
    dataset_spec,
    read_dataset_groups,
)
from evo1_training.datasets.reader.folder import DatasetFolder, open_folder
from evo1_training.datasets.reader.order import OrderConfig, Position, SampleOrder
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.datasets.reader.samples import (
    Sample,
    SampleOptions,
    TrainingSamples,
    check_embodiments,
)

__all__ = [
    "DatasetError",
    "DatasetFolder",
    "DatasetGroups",
    "DatasetSpec",
    "OrderConfig",
    "Position",
    "Sample",
    "SampleOptions",
    "SampleOrder",
    "TrainingSamples",
    "check_embodiments",
    "dataset_spec",
    "open_folder",
    "read_dataset_groups",
]
