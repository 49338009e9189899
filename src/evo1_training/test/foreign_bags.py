"""Bags as `ros2 bag record` and its like leave them: no label, no robot file."""

import shutil
from pathlib import Path

import numpy as np
import yaml
import zstandard
from bag_writing import (
    ENV,
    IMAGE,
    JOINT_STATE,
    JOINTS,
    NAMES,
    TRAJECTORY,
    WRIST,
    Recording,
    at,
    cdr,
    joints_cdr,
    message,
    picture,
    position,
    typestore,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

ARRAY, COMMANDS = "std_msgs/msg/Float64MultiArray", "/forward_position_controller/commands"
STRING, BOOL = "std_msgs/msg/String", "std_msgs/msg/Bool"


def write_bag(folder, recording, *, storage=StoragePlugin.MCAP, mode=None, splits=1):
    """Write a bag with the rosbags library; several files as rosbag2 splits them."""
    ordered = sorted(recording.messages, key=lambda one: one[0])
    size = -(-len(ordered) // splits)
    for part in range(splits):
        place = folder if not part else folder.with_name(f"{folder.name}_{part}")
        _write(place, recording, ordered[part * size : (part + 1) * size], storage, mode)
        if part:
            (source,) = place.glob(f"*.{_suffix(storage)}")
            source.rename(folder / source.name)
            shutil.rmtree(place)
            change(folder, lambda one, name=source.name: one["relative_file_paths"].append(name))
    return folder


def _suffix(storage):
    return "mcap" if storage is StoragePlugin.MCAP else "db3"


def _write(folder, recording, messages, storage, mode):
    writer = Writer(folder, version=9, storage_plugin=storage)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        known = {
            name: writer.add_connection(name, kind, typestore=typestore())
            for name, kind in recording.types.items()
        }
        for received_ns, topic, data in messages:
            writer.write(known[topic], received_ns, data)


def change(folder, edit):
    path = folder / "metadata.yaml"
    data = yaml.safe_load(path.read_text())
    edit(data["rosbag2_bagfile_information"])
    path.write_text(yaml.safe_dump(data))


def reindexed(folder, recording):
    write_bag(folder, recording)
    change(folder, lambda one: one.update(storage_identifier=""))
    return folder


def packed(folder, recording):
    """As with --compression-mode file."""
    write_bag(folder, recording, splits=2)
    for path in [*folder.glob("*.mcap")]:
        data = zstandard.ZstdCompressor().compress(path.read_bytes())
        path.with_name(f"{path.name}.zstd").write_bytes(data)
        path.unlink()

    def edit(one):
        one.update(compression_mode="FILE", compression_format="zstd")
        one["relative_file_paths"] = [f"{name}.zstd" for name in one["relative_file_paths"]]

    change(folder, edit)
    return folder


def torn(folder, recording):
    """The recorder was killed: no end, no metadata."""
    write_bag(folder, recording)
    (folder / "metadata.yaml").unlink()
    (path,) = folder.glob("*.mcap")
    path.write_bytes(path.read_bytes()[:-200])
    return folder


VARIANTS = {
    "mcap": write_bag,
    "sqlite3": lambda f, r: write_bag(f, r, storage=StoragePlugin.SQLITE3),
    "splits": lambda f, r: write_bag(f, r, splits=3),
    "split sqlite3": lambda f, r: write_bag(f, r, storage=StoragePlugin.SQLITE3, splits=2),
    "messages packed": lambda f, r: write_bag(f, r, mode=CompressionMode.MESSAGE),
    "files packed": packed,
    "reindexed": reindexed,
    "torn": torn,
}


def driven(kind: str, seconds: float = 1.5) -> Recording:
    """The same motion, its targets in one of several forms; 'own' is the recorder's."""
    types = {ENV: IMAGE, WRIST: IMAGE, JOINTS: JOINT_STATE}
    types |= {"own": {"/teleop/joint_trajectory": TRAJECTORY}, "array": {COMMANDS: ARRAY}}.get(
        kind, {}
    )
    recording = Recording(types=types)
    for k in range(round(seconds * 30)):
        recording.image(ENV, k * 1000 / 30, picture(k), received_ms=k * 1000 / 30 + 12)
        recording.image(WRIST, k * 1000 / 30 + 4, picture(k, camera=1))
    for ms in range(-200, round(seconds * 1000) + 100, 10):
        state, target = position(ms), position(ms + 50)
        if kind == "leader":
            names = [f"{who}_{name}" for who in ("leader", "follower") for name in NAMES]
            recording.joints(ms, [*target, *state], names=names)
            continue
        recording.joints(ms, state)
        if kind == "own":
            recording.target(ms, target)
        elif kind == "array":
            layout = message("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
            values = np.array(target[::-1])
            recording.add(COMMANDS, at(ms), cdr(ARRAY, message(ARRAY, layout=layout, data=values)))
        elif kind == "joint state":
            recording.types["/leader/joint_states"] = JOINT_STATE
            recording.add("/leader/joint_states", at(ms), joints_cdr(at(ms), target, ["a", "b"]))
    return recording


def say(recording: Recording, topic: str, kind: str, ms: float, value) -> None:
    recording.types[topic] = kind
    recording.add(topic, at(ms), cdr(kind, message(kind, data=value)))


def without(recording: Recording, topic: str) -> Recording:
    recording.types = {name: kind for name, kind in recording.types.items() if name != topic}
    recording.messages = [one for one in recording.messages if one[1] != topic]
    return recording


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
