"""Checks LeRobot datasets, ours and others': what loaders reject, and what training suffers from.

    report = check_dataset(Path("dataset"), quick=False)

Must not import ROS or torch.
"""

from evo1_training.datasets.checker.checking import CheckReport, check_dataset
from evo1_training.datasets.reader.problems import Finding, Findings

__all__ = ["CheckReport", "Finding", "Findings", "check_dataset"]
