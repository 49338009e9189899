"""Takes of one robot into one folder: what the recorder node does, without ROS.

Messages come from a reading thread (`receive`, `lose`), everything else from one other thread.
The reading thread never waits for a disk. Must not import ROS or torch.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from evo1_policy.perception.messages import MessageError
from evo1_policy.robot_config import RobotConfig
from evo1_training.recording.bag_writer import BagWriter, WriterLimits
from evo1_training.recording.episode import (
    INSTRUCTION,
    EpisodeError,
    EpisodeFacts,
    Label,
    RecordedTopic,
    Sidecar,
    write_sidecar,
)
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.grade import outcome
from evo1_training.recording.mcap_writer import TopicSpec
from evo1_training.recording.packing import Packing, PackingPlan, plan_packing
from evo1_training.recording.pre_roll import INTERVENTION, Heard, PreRoll
from evo1_training.recording.stream_monitor import MAX_UNUSABLE, StreamMonitor, WatchedTake
from evo1_training.recording.take import (
    Ending,
    Labels,
    RefusedError,
    SessionReport,
    Take,
    TakeResult,
    TakeState,
    disk_words,
)

_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class SessionInput:
    """A topic that is recorded: its part in the episode, and what the bag says of it."""

    topic: RecordedTopic
    spec: TopicSpec


class Session:
    """The takes between activation and deactivation of the recorder.

    Args:
        robot: the robot file.
        store: where episodes go.
        now_ns: the node's clock.
        min_free_gb: no take starts with less room, and one ends at half of it.
        pre_roll: what came before a take-over, for a take that begins while the person drives;
            None keeps nothing.
        packings: how raw images are compressed; the first whose pattern fits counts.
        max_unusable: a larger share of a topic's messages that cannot be used fails a take.
        limits: of the writer.
        on_news: called from the writer's thread when `tick` has something to do.
    """

    def __init__(
        self,
        robot: RobotConfig,
        store: EpisodeStore,
        *,
        now_ns: Callable[[], int],
        min_free_gb: float = 1.0,
        pre_roll: PreRoll | None = None,
        packings: Sequence[Packing] = (),
        max_unusable: float = MAX_UNUSABLE,
        limits: WriterLimits | None = None,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self.take = Take()
        self._robot = robot
        self._store = store
        self._now_ns = now_ns
        self._min_free_gb = min_free_gb
        self._limits = limits or WriterLimits()
        self._packings = packings
        self._max_unusable = max_unusable
        self._packed = PackingPlan()  # of the take
        self._labels = Labels()
        self._on_news = on_news
        self._lock = threading.Lock()
        self._monitor = StreamMonitor(robot, ())
        self._inputs: dict[str, SessionInput] = {}
        self._writer: BagWriter | None = None  # set while messages are to be written
        self._ending: BagWriter | None = None  # until its file has ended
        self._watched = WatchedTake(started_ns=0, ended_ns=0, streams=(), joints=())
        self._pre_roll = pre_roll or PreRoll(0)
        self._rolled: dict[str, int] = {}  # messages of the take that came before it
        self._bytes = 0
        self._pace: tuple[int, int, float] = (0, 0, 0.0)  # time, bytes, bytes a second

    # -- on the reading thread -------------------------------------------------------------

    def receive(self, topic: str, data: bytes, *, received_ns: int, publish_ns: int) -> None:
        """Take in a message of one of the inputs."""
        with self._lock:
            if topic not in self._inputs:
                return
            self._bytes += len(data)
            if self._inputs[topic].topic.type == INTERVENTION:
                self._pre_roll.follow(data, received_ns)
            writer = self._writer
            if writer is None:
                publish_ns = publish_ns or received_ns
                self._pre_roll.add(
                    Heard(topic=topic, data=data, received_ns=received_ns, publish_ns=publish_ns)
                )
            elif not writer.put(
                topic, data, log_ns=received_ns, publish_ns=publish_ns or received_ns
            ):
                self._monitor.lose(topic)  # not seen by the monitor, so that the gap shows
                return
            self._monitor.add(topic, data, received_ns)
            if self._inputs[topic].topic.role == INSTRUCTION:
                try:
                    self._relabel(writer, self._labels.hear(data, topic), received_ns)
                except MessageError as error:
                    self._monitor.reject(topic, str(error))

    def _relabel(self, writer: BagWriter | None, text: str, now_ns: int) -> None:
        if writer is None or not text or text == self._labels.now(self.take.instruction):
            return
        writer.label(text, now_ns)  # for those who have no sidecar
        self._labels.later.append(Label(from_ns=now_ns, instruction=text))

    def lose(self, topic: str, count: int) -> None:
        """Count messages that DDS says it lost."""
        with self._lock:
            if self._writer is not None:
                self._monitor.lose(topic, count)

    # -- what people ask -------------------------------------------------------------------

    def start(self, instruction: str, operator: str = "", scene: str = "") -> None:
        """Ask for a take; it begins at once or as soon as every required stream is alive.

        Raises:
            RefusedError: one runs, the label is empty, or the disk is nearly full.
        """
        take = self.take.start(instruction, operator, scene)
        free_gb = self._store.free_bytes() / _GB
        if free_gb < self._min_free_gb:
            raise RefusedError(
                f"{self._store.root}: {free_gb:.2f} GB left on the disk, min_free_gb is "
                f"{self._min_free_gb:g}; make room or set another root"
            )
        self.take = take

    def relabel(self, instruction: str) -> None:
        """Say what is demonstrated from now on in the running take.

        Raises:
            RefusedError: none is being recorded.
        """
        with self._lock:
            if self._writer is None:
                raise RefusedError(f"{self.take.describe()}; no take is being recorded")
            self._relabel(self._writer, instruction.strip(), self._now_ns())

    def end(self, ending: Ending) -> None:
        """Save or discard the running take; `tick` tells when it is done.

        Raises:
            RefusedError: there is none.
        """
        self.take = self.take.end(ending)
        self._stop_writing()

    def delete_last(self) -> str:
        """Move the episode saved last to the trash; returns where it is now.

        Raises:
            RefusedError: a take runs, nothing was saved, or it cannot be moved.
        """
        if self.take.state is not TakeState.IDLE:
            raise RefusedError(f"{self.take.describe()}; save or discard it first")
        try:
            return str(self._store.delete_last())
        except (LookupError, OSError) as error:
            raise RefusedError(str(error.args[0] if not error.args[1:] else error)) from error

    # -- on a timer, and on news -----------------------------------------------------------

    def set_inputs(
        self, inputs: Sequence[SessionInput], notices: Mapping[str, str] | None = None
    ) -> None:
        """Say what is recorded; a running take goes on, with what is new.

        Args:
            inputs: all of it.
            notices: why nothing can come on some topics, by resolved name.
        """
        with self._lock:
            self._inputs = {one.topic.name: one for one in inputs}
            topics = [one.topic for one in inputs]
            if self._writer is not None:  # what vanished still belongs to the take
                names = {topic.name for topic in topics}
                topics += [one for one in self._monitor.topics if one.name not in names]
                for one in inputs:
                    self._writer.add_topic(one.spec)
            self._monitor.set_topics(topics)
            self._monitor.set_notices(notices or {})

    def tick(self, problem: str = "") -> TakeResult | None:
        """Go on with the take; returns how it ended when it did.

        Args:
            problem: why what comes in now is worth nothing, such as two cameras on one topic: no
                take begins, and one that runs ends as failed.
        """
        if self.take.state is TakeState.WAITING:
            with self._lock:
                missing = problem or self._monitor.missing(self._now_ns())
            if missing:
                self.take = self.take.waiting(f"waiting for {missing}")
                return None
            return self._open()
        if self.take.state is TakeState.RECORDING:
            self._watch_disk(problem)
            return None  # a fault is told before the file has ended
        if self._ending is not None and self._ending.ended:
            return self._finish(self._ending)
        return None

    def close(self) -> TakeResult | None:
        """Save the running take and wait for it; a waiting one is given up."""
        if self.take.state is TakeState.WAITING:
            self.take = self.take.end(Ending.DISCARD)
        if self.take.state is TakeState.RECORDING:
            self.end(Ending.SAVE)
        if self._ending is None:
            return None
        self._ending.close()
        return self._finish(self._ending)

    def report(self) -> SessionReport:
        """Tell how everything does now."""
        now_ns, take = self._now_ns(), self.take
        recording = take.state is TakeState.RECORDING
        writer = self._ending
        with self._lock:
            streams = self._monitor.conditions(now_ns, recording=recording)
            skew_ms = self._monitor.skew_ms()
            take = replace(take, instruction=self._labels.now(take.instruction))
        end_ns = now_ns if recording else self._watched.ended_ns
        free = self._store.free_bytes()
        rate = self._bytes_a_second(now_ns)
        return SessionReport(
            take=take,
            duration_s=max(0, end_ns - take.started_ns) / 1e9 if take.episode_id else 0.0,
            messages=sum(writer.written().values()) if writer else 0,
            lost=sum(stream.lost for stream in streams),
            queued_bytes=writer.queued_bytes if writer else 0,
            skew_ms=skew_ms,
            disk_free_gb=free / _GB,
            disk_left_s=free / rate if rate else -1.0,
            episodes_saved=len(self._store.saved),
            streams=streams,
        )

    # -- opening and ending a file ---------------------------------------------------------

    def _open(self) -> TakeResult | None:
        folder, started_ns = self._store.next_folder(), self._now_ns()
        with self._lock:
            inputs = list(self._inputs.values())
            first, rolled = self._pre_roll.first_ns, self._pre_roll.size
            topics = [one.topic for one in inputs]
            newest = {topic.name: self._monitor.newest(topic.name) for topic in topics}
            self._labels.later = []
        packed = self._packed = plan_packing(self._packings, topics, newest)
        facts = EpisodeFacts(
            episode_id=folder.name,
            instruction=self.take.instruction,
            operator=self.take.operator,
            robot_text=self._robot.text,
            topics=packed.as_kept(topics),
            started_ns=min(started_ns, first or started_ns),
            started_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            scene=self.take.scene,
        )
        try:
            writer = BagWriter(
                folder,
                Sidecar(facts=facts),
                [one.spec for one in inputs],
                packings=packed.packings,
                limits=replace(self._limits, queue_bytes=self._limits.queue_bytes + rolled),
                on_end=self._on_news,
            )
        except (OSError, EpisodeError) as error:
            reason = f"cannot record: {disk_words(error)}"
            self.take = self.take.fail(reason).closed()
            return TakeResult(saved=False, reason=reason)
        self._ending = writer
        begun_ns = self._now_ns()  # opening waited for the disk
        with self._lock:
            self._monitor.begin(begun_ns)
            self._rolled = {}
            for heard in self._pre_roll.take():
                self._roll(writer, heard)
            self._writer = writer
        self.take = self.take.opened(folder.name, begun_ns)
        return None

    def _roll(self, writer: BagWriter, heard: Heard) -> None:
        if heard.topic in writer.topics and writer.put(
            heard.topic, heard.data, log_ns=heard.received_ns, publish_ns=heard.publish_ns
        ):
            self._rolled[heard.topic] = self._rolled.get(heard.topic, 0) + 1

    def _watch_disk(self, problem: str) -> None:
        writer = self._ending
        if problem:
            self._fail(problem)
        elif writer is not None and writer.error is not None:
            self._fail(disk_words(writer.error))
        elif self._store.free_bytes() < self._min_free_gb / 2 * _GB:
            self._fail(f"the disk of {self._store.root} has less than half of min_free_gb left")

    def _fail(self, reason: str) -> None:
        self.take = self.take.fail(reason)
        self._stop_writing()

    def _stop_writing(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                self._watched = self._monitor.end(self._now_ns())
        if writer is not None:
            writer.close(wait=False)

    def _finish(self, writer: BagWriter) -> TakeResult:
        writer.close()
        if writer.error is not None:
            self._fail(disk_words(writer.error))
        take, self._ending = self.take, None
        if take.state is TakeState.SAVING and take.ending is Ending.DISCARD:
            result = self._discard(writer)
        else:
            fault = take.reason if take.state is TakeState.FAULT else ""
            result = self._save(writer, fault)
        self.take = self.take.closed()
        return result

    def _discard(self, writer: BagWriter) -> TakeResult:
        try:
            return TakeResult(
                saved=False, reason="discarded", path=str(self._store.discard(writer.folder))
            )
        except OSError as error:
            self.take = self.take.fail(f"{writer.folder}: cannot be discarded: {error.strerror}")
            return TakeResult(saved=False, reason=self.take.reason, path=str(writer.folder))

    def _save(self, writer: BagWriter, fault: str) -> TakeResult:
        written = writer.written()
        with self._lock:
            facts = replace(writer.facts, topics=self._packed.as_kept(self._monitor.topics))
        watched = {name: count - self._rolled.get(name, 0) for name, count in written.items()}
        take = replace(
            self._watched,
            fault=fault,
            max_unusable=self._max_unusable,
            notes=(*self._packed.notes, *writer.notes),
        )
        ended = outcome(self._robot, take, written=watched, labels=self._labels.later)
        try:
            write_sidecar(writer.folder, Sidecar(facts=facts, outcome=ended))
        except OSError as error:
            fault = fault or f"the grade could not be written: {disk_words(error)}"
            self.take = self.take.fail(fault)
        self._store.add(writer.folder)
        return TakeResult(
            saved=True,
            reason=fault,
            path=str(writer.folder),
            grade=ended.grade,
            grade_reasons=ended.reasons,
            messages=sum(written.values()),
            lost=sum(stream.lost for stream in ended.streams),
        )

    def _bytes_a_second(self, now_ns: int) -> float:
        since_ns, before, rate = self._pace
        if now_ns - since_ns >= 1_000_000_000 or now_ns < since_ns:
            rate = (self._bytes - before) * 1e9 / max(1, now_ns - since_ns) if since_ns else 0.0
            self._pace = (now_ns, self._bytes, rate)
        return rate
