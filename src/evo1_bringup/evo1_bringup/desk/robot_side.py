"""What the desk knows of a running robot, and who may act on it. Without ROS.

The robot itself is reached by evo1_bringup.ros.desk_node; tests give another one.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

LEASE_S = 5.0  # a page that is gone for so long operates no more
_NEEDS_A_MOVER = "no policy and no relay runs here"
_NO_SIMULATION = "no simulation runs here"
_NO_RECORDER = "no recorder runs here: launch with record:=true"
_RECORDING = ("record_save", "record_discard")
_POLICY_ALONE = ("speed", "instruction", "take_over", "hand_back", "park", "home")
ACTIONS = (
    *("stop", "clear_stop", "pause", "resume", *_POLICY_ALONE, "recover_arm", "reset"),
    *("record_task", "record_start", *_RECORDING, "record_delete_last"),
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of something that was asked for."""

    ok: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A camera's newest picture.

    Attributes:
        number: counts up with each picture.
        jpeg: as published, or encoded once for all who look.
    """

    number: int
    jpeg: bytes


class RobotSide(Protocol):
    """A running robot. Every method may be called from any thread."""

    def snapshot(self) -> dict[str, Any]:
        """What is known now, as JSON: policy, relay, recorder, nodes, joints, chunks."""

    def act(self, what: str, value: Any) -> Told:
        """Do one of ACTIONS; waits for the answer."""

    def picture(self, camera: str) -> Picture | None:
        """The newest of a camera; None where none came, or there is no such camera."""

    def close(self) -> None:
        """Let go of it."""


def hindrances(snapshot: Mapping[str, Any]) -> dict[str, str]:
    """Why each action is not possible now; '' where it is."""
    policy, relay = snapshot.get("policy"), snapshot.get("relay")
    recorder = snapshot.get("recorder")
    why = dict.fromkeys(ACTIONS, "")
    if not policy and not relay:
        why |= dict.fromkeys(("clear_stop", "pause", "resume", *_POLICY_ALONE), _NEEDS_A_MOVER)
    elif not policy:
        why |= dict.fromkeys(_POLICY_ALONE, "no policy runs here")
    else:
        why |= _of_state(policy["state"], policy.get("reason_code", ""))
    if not snapshot.get("simulated"):
        why["reset"] = _NO_SIMULATION
    if not snapshot.get("recoverable"):
        why["recover_arm"] = "no driver here that recovers"
    names = ("record_task", "record_start", *_RECORDING, "record_delete_last")
    if not recorder:
        why |= dict.fromkeys(names, _NO_RECORDER)
    elif recorder.get("busy"):
        why |= dict.fromkeys(("record_start", "record_delete_last"), "a take is being recorded")
    else:
        why |= dict.fromkeys(_RECORDING, "nothing is being recorded")
    return why


def _of_state(state: str, reason_code: str) -> dict[str, str]:
    """What a policy's own state leaves no room for."""
    if state == "STOPPED":
        stopped = ("pause", "resume", "take_over", "hand_back", "park", "home")
        return dict.fromkeys(stopped, "it is stopped: clear the stop first")
    why = {"clear_stop": "it is not stopped"}
    if state == "TAKEOVER":
        why["take_over"] = "a person drives already"
    else:
        why["hand_back"] = "nobody has taken over"
    if state == "RUNNING":
        why["resume"] = "it runs"
    elif reason_code in ("", "paused"):
        why["pause"] = "it rests already"
    return why


@dataclass
class Lease:
    """Who operates: one page at a time; others watch. A stop asks nobody.

    Attributes:
        holder: the page that operates; '' for nobody.
    """

    holder: str = ""
    _seen_s: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, page: str, now_s: float | None = None) -> str:
        """A page is there; the first one operates. Returns the holder."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            if page:
                self._seen_s[page] = now_s
            if now_s - self._seen_s.get(self.holder, -LEASE_S) >= LEASE_S:
                self.holder = page
            self._seen_s = {k: at for k, at in self._seen_s.items() if now_s - at < LEASE_S}
            return self.holder

    def take(self, page: str) -> None:
        """Operate from now on, whoever did before."""
        with self._lock:
            self.holder = page
            self._seen_s[page] = time.monotonic()

    def refusal(self, page: str) -> str:
        """Why a page may not act; '' where it may."""
        if page and self.seen(page) == page:
            return ""
        return "another page operates: take the controls there first"
