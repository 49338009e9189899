"""metadata.yaml of a rosbag2 folder, as ROS 2 Jazzy writes it (version 9).

Must not import ROS or torch.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from evo1_training.recording.mcap_writer import McapWriter

METADATA = "metadata.yaml"
VERSION = 9
DISTRO = "jazzy"


def write_metadata(
    bag: Path, writer: McapWriter, custom: Mapping[str, str], *, sync: bool = True
) -> None:
    """Write metadata.yaml, whole or not at all.

    Args:
        bag: what it tells of; it stands beside.
        writer: who wrote that.
        custom: texts of our own.
        sync: wait for the disk; what is written while recording begins can be rebuilt.

    Raises:
        OSError: the disk is full or gone.
    """
    folder = bag.parent
    temporary = folder / f".{METADATA}.tmp"
    text = yaml.safe_dump(_tree(bag.name, writer, custom), sort_keys=False, allow_unicode=True)
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    temporary.replace(folder / METADATA)


def _tree(file: str, writer: McapWriter, custom: Mapping[str, str]) -> dict[str, Any]:
    count = sum(writer.counts.values())
    duration = {"nanoseconds": writer.last_ns - writer.first_ns if count else 0}
    start = {"nanoseconds_since_epoch": writer.first_ns}
    return {
        "rosbag2_bagfile_information": {
            "version": VERSION,
            "storage_identifier": "mcap",
            "duration": duration,
            "starting_time": start,
            "message_count": count,
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.type,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": topic.profiles(),
                        "type_description_hash": topic.type_hash,
                    },
                    "message_count": writer.counts[channel],
                }
                for channel, topic in enumerate(writer.topics)
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file],
            "files": [
                {
                    "path": file,
                    "starting_time": dict(start),
                    "duration": dict(duration),
                    "message_count": count,
                }
            ],
            "custom_data": dict(custom),
            "ros_distro": DISTRO,
        }
    }
