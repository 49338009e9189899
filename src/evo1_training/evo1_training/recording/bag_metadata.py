"""metadata.yaml of a rosbag2 folder, as ROS 2 Jazzy writes it (version 9).

Must not import ROS or torch.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

METADATA = "metadata.yaml"
VERSION = 9
DISTRO = "jazzy"
# How rosbag2 writes "for ever".
_INFINITE = {"sec": 9223372036, "nsec": 854775807}


@dataclass(frozen=True, kw_only=True)
class TopicQos:
    """What the publishers of a topic offer, as far as playing a bag needs it."""

    reliable: bool = True
    latched: bool = False
    depth: int = 10


@dataclass(frozen=True, kw_only=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: resolved name.
        type: such as 'sensor_msgs/msg/Image'.
        type_hash: RIHS01 hash of the type; '' where unknown.
        qos: of its publishers; None where unknown.
        messages: how many the bag holds.
    """

    name: str
    type: str
    type_hash: str = ""
    qos: TopicQos | None = None
    messages: int = 0


@dataclass(frozen=True, kw_only=True)
class BagContents:
    """What a bag holds; times are log times [ns]."""

    file: str
    topics: Sequence[BagTopic]
    first_ns: int
    last_ns: int
    custom: Mapping[str, str]


def write_metadata(folder: Path, contents: BagContents, *, sync: bool = True) -> None:
    """Write metadata.yaml, whole or not at all.

    Args:
        folder: of the bag.
        contents: what it tells.
        sync: wait for the disk; what is written while recording begins can be rebuilt.

    Raises:
        OSError: the disk is full or gone.
    """
    temporary = folder / f".{METADATA}.tmp"
    text = yaml.safe_dump(_tree(contents), sort_keys=False, allow_unicode=True)
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    temporary.replace(folder / METADATA)


def qos_text(qos: TopicQos | None) -> str:
    """Return the QoS as a channel of an MCAP file carries it."""
    return str(yaml.safe_dump(_qos(qos), sort_keys=False)) if qos else ""


def _tree(contents: BagContents) -> dict[str, Any]:
    count = sum(topic.messages for topic in contents.topics)
    duration = {"nanoseconds": contents.last_ns - contents.first_ns if count else 0}
    start = {"nanoseconds_since_epoch": contents.first_ns}
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
                        "offered_qos_profiles": _qos(topic.qos),
                        "type_description_hash": topic.type_hash,
                    },
                    "message_count": topic.messages,
                }
                for topic in contents.topics
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [contents.file],
            "files": [
                {
                    "path": contents.file,
                    "starting_time": dict(start),
                    "duration": dict(duration),
                    "message_count": count,
                }
            ],
            "custom_data": dict(contents.custom),
            "ros_distro": DISTRO,
        }
    }


def _qos(qos: TopicQos | None) -> list[dict[str, Any]]:
    if qos is None:
        return []
    return [
        {
            "history": "keep_last",
            "depth": qos.depth,
            "reliability": "reliable" if qos.reliable else "best_effort",
            "durability": "transient_local" if qos.latched else "volatile",
            "deadline": dict(_INFINITE),
            "lifespan": dict(_INFINITE),
            "liveliness": "automatic",
            "liveliness_lease_duration": dict(_INFINITE),
            "avoid_ros_namespace_conventions": False,
        }
    ]
