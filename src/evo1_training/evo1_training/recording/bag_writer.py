"""Writes one episode on a thread of its own, with bounded memory.

Whoever receives messages only appends to a queue and never waits for the disk. The queue is
bounded in bytes; what does not fit is counted as lost, by topic. Images that are to be compressed
are so on further threads while they wait in the queue, and count there as raw. A chunk is written
when it is large or a quarter of a second old, and a second thread has the disk take it over once a
second, so a kill costs the last chunk and a power cut the last second. Must not import ROS or
torch.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import O_CREAT, O_WRONLY, close, posix_fallocate
from os import open as open_descriptor
from pathlib import Path

from evo1_policy.paths import sync
from evo1_training.recording.cdr import STRING, string_cdr, topic_spec
from evo1_training.recording.episode import (
    FACTS_TOPIC,
    LABEL_TOPIC,
    OWN_TOPICS,
    EpisodeFacts,
    Sidecar,
    bag_path,
    to_json,
    write_sidecar,
)
from evo1_training.recording.mcap_writer import McapWriter, TopicQos, TopicSpec, write_metadata
from evo1_training.recording.packing import Packing, packed_spec

METADATA_RECORD = "evo1"
_RAW = " (raw)"  # behind a topic: those of its images that cannot be compressed
_PACKING_THREADS = 2
RESERVE = ".reserve"  # given back when the disk is full, so that the file can be ended


@dataclass(frozen=True, kw_only=True)
class WriterLimits:
    """Bounds of memory and of what a kill can cost."""

    queue_bytes: int = 192 * 2**20  # three seconds of two raw cameras
    chunk_bytes: int = 4 * 2**20
    chunk_s: float = 0.25
    sync_s: float = 1.0
    reserve_bytes: int = 8 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Queued:
    channel: int
    topic: str
    data: bytes
    log_ns: int
    publish_ns: int
    packed: Future[bytes] | None = None


class BagWriter:
    """One episode's folder and the thread that fills it.

    Args:
        folder: is made; it must not exist.
        sidecar: the facts; on the disk before this returns.
        topics: what will come; more can be added later.
        packings: how raw images are compressed, by topic.
        limits: bounds.
        on_end: called from the thread when the file is closed, whether asked for or not.

    Raises:
        OSError: the folder exists, or the disk is full or gone; nothing is left then.
        EpisodeError: the definition of a type is not installed.
    """

    def __init__(
        self,
        folder: Path,
        sidecar: Sidecar,
        topics: Sequence[TopicSpec],
        *,
        packings: Mapping[str, Packing] | None = None,
        limits: WriterLimits | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.error: OSError | None = None
        self._unpacked: dict[str, tuple[int, str]] = {}  # images that stay raw, and why, by topic
        self._packings = packings or {}
        # takes up no thread before something is packed
        self._packers = ThreadPoolExecutor(_PACKING_THREADS, thread_name_prefix="image packing")
        self._limits = limits or WriterLimits()
        self._on_end = on_end
        self.facts = sidecar.facts
        self._news = threading.Condition()
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._lost: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._specs: dict[str, TopicSpec] = {}  # as they came
        self._new_topics: deque[TopicSpec] = deque()
        folder.mkdir(parents=True)
        try:
            self._mcap = self._begin(sidecar, topics)
        except OSError as error:
            _remove_begun(folder)
            error.filename = error.filename or str(folder)
            raise
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that can be put."""
        own = OWN_TOPICS
        return tuple(name for name in self._channels if name not in own and _RAW not in name)

    @property
    def size(self) -> int:
        """Bytes in the bag."""
        return self._mcap.size

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the disk."""
        return self._queued_bytes

    @property
    def lost(self) -> dict[str, int]:
        """Messages that found no room or could not be written, by topic."""
        with self._news:
            return dict(self._lost)

    @property
    def notes(self) -> list[str]:
        """What somebody should look at once it has ended, for the grade."""
        return [
            f"{topic}: {count} images could not be compressed and stay raw: {why}"
            for topic, (count, why) in self._unpacked.items()
        ]

    @property
    def ended(self) -> bool:
        """Whether the file is closed."""
        return not self._thread.is_alive()

    def written(self) -> dict[str, int]:
        """Messages in the file, by the topic that they came on; final once it has ended."""
        counts, channels = self._mcap.counts, self._channels
        return {
            topic: sum(counts.get(channels.get(name, -1), 0) for name in (topic, topic + _RAW))
            for topic in self.topics
        }

    def add_topic(self, topic: TopicSpec, name: str = "") -> None:
        """Take a topic in that appeared while recording; it is put under its name or another."""
        with self._news:
            if (name or topic.name) not in self._channels:
                self._channels[name or topic.name] = len(self._channels)
                self._new_topics.append(topic)

    def label(self, instruction: str, now_ns: int) -> None:
        """Write what is demonstrated from now on [ns]."""
        self.add_topic(string_topic(LABEL_TOPIC))
        self.put(LABEL_TOPIC, string_cdr(instruction), log_ns=now_ns, publish_ns=now_ns)

    def put(self, topic: str, data: bytes, *, log_ns: int, publish_ns: int) -> bool:
        """Queue a message; False where it was lost because the disk is behind or the take ended.

        Args:
            topic: one of `topics`.
            data: CDR; it is not copied.
            log_ns: when it was received, the node's clock [ns].
            publish_ns: when it was sent, as DDS tells [ns].

        Raises:
            KeyError: an unknown topic.
        """
        message = _Queued(
            channel=self._channels[topic],
            topic=topic,
            data=data,
            log_ns=log_ns,
            publish_ns=publish_ns,
        )
        with self._news:
            full = self._queued_bytes + len(data) > self._limits.queue_bytes
            if full or self._closing or self.error is not None:
                self._lost[topic] = self._lost.get(topic, 0) + 1
                return False
            if (packing := self._packings.get(topic)) is not None:
                message = replace(message, packed=self._packers.submit(packing.pack, data, topic))
            self._queue.append(message)
            self._queued_bytes += len(data)
            self._news.notify()
        return True

    def close(self, *, wait: bool = True) -> None:
        """Write what is queued and end the file; `error` says whether that went well."""
        with self._news:
            self._closing = True
            self._news.notify()
        if wait:
            self._thread.join()

    # -- beginning -------------------------------------------------------------------------

    def _begin(self, sidecar: Sidecar, topics: Sequence[TopicSpec]) -> McapWriter:
        _reserve(self.folder / RESERVE, self._limits.reserve_bytes)
        write_sidecar(self.folder, sidecar)
        mcap = McapWriter(bag_path(self.folder))
        try:
            self._write_facts(mcap, to_json(sidecar), topics)
        except OSError:
            mcap.abandon()
            raise
        sync(self.folder)
        sync(self.folder.parent)
        return mcap

    def _write_facts(self, mcap: McapWriter, text: str, topics: Sequence[TopicSpec]) -> None:
        """Write the label before the first message, and wait for the disk."""
        for topic in (string_topic(FACTS_TOPIC), *topics):
            self._channels[topic.name] = len(self._channels)
            self._specs[topic.name] = topic
            packing = self._packings.get(topic.name)
            mcap.add_channel(topic if packing is None else packed_spec(topic))
        facts = self.facts
        mcap.add_message(
            self._channels[FACTS_TOPIC],
            string_cdr(text),
            log_ns=facts.started_ns,
            publish_ns=facts.started_ns,
            sequence=0,
        )
        mcap.flush()
        mcap.add_metadata(METADATA_RECORD, {**custom_facts(facts), "facts": text})
        mcap.sync()
        write_metadata(mcap, custom_facts(facts), sync=False)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        done = threading.Event()
        syncing = threading.Thread(target=self._sync, args=[done], name="bag sync", daemon=True)
        syncing.start()
        try:
            self._write_queue()
        except OSError as error:
            self._fail(error)
        finally:
            done.set()
            syncing.join()
            self._finish()
            self._on_end()

    def _sync(self, done: threading.Event) -> None:
        """Wait for the disk again and again, while the other thread goes on to write."""
        try:
            while not done.wait(self._limits.sync_s):
                self._mcap.sync()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        error.filename = error.filename or str(self.folder)  # a system call names no file
        self.error = self.error or error

    def _write_queue(self) -> None:
        limits, mcap = self._limits, self._mcap
        sequences: dict[int, int] = {}
        flushed_s = time.monotonic()
        while self.error is None:
            batch, closing = self._next()
            self._describe_new()
            for message in batch:
                channel, data = self._as_kept(message)
                sequence = sequences.get(channel, 0)
                sequences[channel] = sequence + 1
                mcap.add_message(
                    channel,
                    data,
                    log_ns=message.log_ns,
                    publish_ns=message.publish_ns,
                    sequence=sequence,
                )
                if mcap.pending_bytes >= limits.chunk_bytes:
                    mcap.flush()
                    flushed_s = time.monotonic()
            now_s = time.monotonic()
            if now_s - flushed_s >= limits.chunk_s:
                mcap.flush()
                flushed_s = now_s
            if closing and not batch:
                return

    def _as_kept(self, message: _Queued) -> tuple[int, bytes]:
        """Channel and bytes of a message; an image that cannot be compressed stays as it is."""
        if message.packed is None:
            return message.channel, message.data
        try:
            return message.channel, message.packed.result()
        except Exception as error:  # noqa: BLE001  whatever an encoder stumbles over
            topic = message.topic
            count, first = self._unpacked.get(topic, (0, str(error)))
            self._unpacked[topic] = count + 1, first
            self.add_topic(self._specs[topic], topic + _RAW)
            self._describe_new()
            return self._channels[topic + _RAW], message.data

    def _describe_new(self) -> None:
        while self._new_topics:
            self._mcap.add_channel(self._new_topics.popleft())

    def _next(self) -> tuple[list[_Queued], bool]:
        """Wait for messages, not longer than a chunk may stay open; take a chunk's worth."""
        limits = self._limits
        batch, size = [], 0
        with self._news:
            if not self._queue and not self._closing:
                self._news.wait(limits.chunk_s / 4)
            while self._queue and size < limits.chunk_bytes:
                batch.append(self._queue.popleft())
                size += len(batch[-1].data)
            self._queued_bytes -= size
            return batch, self._closing

    def _finish(self) -> None:
        """End the file with what it has; never raises."""
        with self._news:
            self._closing = True
            for message in self._queue:  # only where the disk failed
                self._lost[message.topic] = self._lost.get(message.topic, 0) + 1
            self._queue.clear()
            self._queued_bytes = 0
        self._packers.shutdown(cancel_futures=True)
        try:
            (self.folder / RESERVE).unlink(missing_ok=True)
            self._mcap.close()
            write_metadata(self._mcap, custom_facts(self.facts))
        except OSError as error:
            self._fail(error)
            self._mcap.abandon()


def string_topic(name: str) -> TopicSpec:
    """A topic on which the recorder itself says what was recorded."""
    return topic_spec(name, STRING, TopicQos(latched=True, depth=1))


def custom_facts(facts: EpisodeFacts) -> dict[str, str]:
    """What a bag itself tells of its episode, for those who look at no other file."""
    return {"episode_id": facts.episode_id, "instruction": facts.instruction}


def _reserve(path: Path, size: int) -> None:
    if not size:
        return
    descriptor = open_descriptor(path, O_WRONLY | O_CREAT, 0o644)
    try:
        posix_fallocate(descriptor, 0, size)
    finally:
        close(descriptor)


def _remove_begun(folder: Path) -> None:
    """Take away a folder that holds no message yet."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
