"""The states of a recorder, as values: what may follow what, and what a person is told.

    IDLE -- start --> WAITING -- every required stream alive --> RECORDING
    RECORDING -- save or discard --> SAVING -- file ended --> IDLE
    WAITING -- discard --> IDLE;  RECORDING or SAVING -- disk full --> FAULT -- file ended --> IDLE

Must not import ROS or torch.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from evo1_policy.observation import instruction_problem
from evo1_policy.perception.messages import MessageError, deserialize
from evo1_training.recording.cdr import STRING
from evo1_training.recording.episode import Label
from evo1_training.recording.stream_watch import StreamCondition


class TakeState(Enum):
    """Values are those of evo1_msgs/RecorderStatus."""

    IDLE = 0
    WAITING = 1
    RECORDING = 2
    SAVING = 3
    FAULT = 4


class Ending(Enum):
    """What becomes of a take."""

    SAVE = "save"
    DISCARD = "discard"


class RefusedError(Exception):
    """What was asked for cannot be done now; the message says why and what can."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """The state of a recorder; every method gives the next one.

    Attributes:
        state: one of TakeState.
        reason: why it waits or faulted; while idle, how the last take ended where it faulted.
        episode_id: of the running take; empty while idle.
        instruction: of the running take.
        operator: of the running take.
        scene: JSON of what its simulation varied; empty: nothing.
        started_ns: when the running take began [ns].
        ending: what becomes of the take once the file has ended.
    """

    state: TakeState = TakeState.IDLE
    reason: str = ""
    episode_id: str = ""
    instruction: str = ""
    operator: str = ""
    scene: str = ""
    started_ns: int = 0
    ending: Ending = Ending.SAVE

    def start(self, instruction: str, operator: str, scene: str = "") -> "Take":
        """Ask for a take.

        Raises:
            RefusedError: there is one already, or the label is empty.
        """
        if self.state is not TakeState.IDLE:
            raise RefusedError(f"{self.describe()}; save or discard it first")
        if not instruction.strip():
            raise RefusedError("no instruction; say in words what is demonstrated")
        return Take(
            state=TakeState.WAITING,
            instruction=instruction.strip(),
            operator=operator.strip(),
            scene=scene,
        )

    def waiting(self, reason: str) -> "Take":
        """Say what is still missing."""
        self._expect(TakeState.WAITING)
        return replace(self, reason=reason)

    def opened(self, episode_id: str, started_ns: int) -> "Take":
        """The file is open: messages count from now on."""
        self._expect(TakeState.WAITING)
        return replace(
            self,
            state=TakeState.RECORDING,
            reason="",
            episode_id=episode_id,
            started_ns=started_ns,
        )

    def end(self, ending: Ending) -> "Take":
        """Ask for the end of the take.

        Raises:
            RefusedError: none runs, or it ends already.
        """
        if self.state is TakeState.RECORDING:
            return replace(self, state=TakeState.SAVING, ending=ending)
        if self.state is TakeState.WAITING and ending is Ending.DISCARD:
            return Take()
        if self.state is TakeState.WAITING:
            raise RefusedError(f"nothing is recorded yet, {self.describe()}; discard cancels")
        if self.state is TakeState.IDLE:
            raise RefusedError("no take runs; start one first")
        raise RefusedError(f"{self.describe()}; the take ends already")

    def fail(self, reason: str) -> "Take":
        """The disk failed, or the file could not be opened."""
        if self.state in (TakeState.IDLE, TakeState.FAULT):
            return self
        return replace(self, state=TakeState.FAULT, reason=reason)

    def closed(self) -> "Take":
        """The file has ended; a fault stays told until the next start."""
        if self.state not in (TakeState.SAVING, TakeState.FAULT):
            raise ValueError(f"a file cannot end while {self.state.name}")
        return Take(reason=self.reason if self.state is TakeState.FAULT else "")

    def describe(self) -> str:
        """The state in words."""
        words = f" {self.episode_id}" if self.episode_id else ""
        return f"{self.state.name}{words}" + (f": {self.reason}" if self.reason else "")

    def _expect(self, state: TakeState) -> None:
        if self.state is not state:
            raise ValueError(f"expected {state.name}, is {self.state.name}")


class Labels:
    """The labels of a take after the first, and what was said last to the robot."""

    def __init__(self) -> None:
        self.later: list[Label] = []
        self._said = ""

    def now(self, first: str) -> str:
        """The label that holds now, in a take that began with this one."""
        return self.later[-1].instruction if self.later else first

    def hear(self, data: bytes, topic: str) -> str:
        """Look at a message that tells the robot what to do; '' where it tells nothing new.

        A latched one is heard again whenever a take begins, and means nothing then.

        Raises:
            MessageError: it is no text, or none that can be an instruction.
        """
        text = str(deserialize(data, STRING, topic=topic).data).strip()
        if problem := instruction_problem(text):
            raise MessageError(f"{topic}: {problem}")
        before, self._said = self._said, text
        return "" if text == before else text


@dataclass(frozen=True, kw_only=True)
class TakeResult:
    """How a take ended.

    Attributes:
        saved: whether the episode is kept.
        reason: why not, or what ended it before its time; empty otherwise.
        path: folder of the episode, in the trash where it was discarded; '' where none was made.
        grade: 'pass', 'warn' or 'fail'; '' where it was not saved.
        grade_reasons: why not 'pass'.
        messages: written.
        lost: known lost.
    """

    saved: bool
    reason: str = ""
    path: str = ""
    grade: str = ""
    grade_reasons: tuple[str, ...] = ()
    messages: int = 0
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class SessionReport:
    """Everything that status and diagnostics tell."""

    take: Take
    duration_s: float
    messages: int
    lost: int
    queued_bytes: int
    skew_ms: float
    disk_free_gb: float
    disk_left_s: float  # negative: not known
    episodes_saved: int
    streams: Sequence[StreamCondition]


def disk_words(error: Exception) -> str:
    """Say what went wrong with the disk, and what to do."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; make room or set another root"
    return f"{where}{error.strerror or error}"
